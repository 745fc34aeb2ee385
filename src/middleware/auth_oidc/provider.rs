//! The provider: its endpoints and keys, and its data about users.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
};
use openidconnect::{
    AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest,
    HttpResponse, IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardErrorResponse, SubjectIdentifier, TokenResponse, UserInfoClaims,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::session::Pending;
use super::tokens::{AnyIdToken, OidcClient, OtherClaims, ProviderMetadata, TokenError, Tokens, verified};
use crate::body::BoxFuture;
use crate::error::{BoxError, chain};
use crate::tls_client::HttpsClient;

/// How long the provider's metadata is used.
const METADATA: Duration = Duration::from_secs(3600);
/// Minimum time between two requests for metadata, regardless of tokens and failures.
const PAUSE: Duration = Duration::from_secs(10);

/// Sends the requests of `openidconnect`.
struct ProviderHttp(HttpsClient);

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = io::Error;
    type Future = BoxFuture<Result<HttpResponse, io::Error>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let http = self.0.clone();
        Box::pin(async move {
            let request = request.map(|body| Full::new(Bytes::from(body)));
            let response = http.send(request).await.map_err(io::Error::other)?;
            Ok(response.map(|body| body.to_vec()))
        })
    }
}

/// An OpenID Connect provider.
pub(super) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    /// Whether claims come from the userinfo endpoint too.
    userinfo: bool,
    http: ProviderHttp,
    known: Mutex<KnownProvider>,
    /// Held during a request for metadata, so that there is one at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct KnownProvider {
    metadata: Option<(Arc<ProviderMetadata>, Instant)>,
    /// The last request for metadata, and why it failed.
    asked: Option<(Instant, Option<String>)>,
}

/// The provider's data about a user.
pub(super) struct ProviderAnswer {
    pub(super) subject: String,
    pub(super) claims: Map<String, Value>,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    /// How long the access token is valid.
    pub(super) expires_in: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// The provider gives none.
    #[error("the provider does not respond: {0}")]
    Away(String),
    /// The provider, or the check of its answer, refuses the user.
    #[error("the login is refused: {0}")]
    Refused(String),
}

impl Provider {
    /// A provider with this issuer URL. Asks it nothing yet.
    /// # Errors
    /// Why the issuer is not one.
    pub(super) fn new(
        issuer: &str,
        client_id: &str,
        client_secret: Option<String>,
        userinfo: bool,
        http: HttpsClient,
    ) -> Result<Provider, String> {
        let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|error| error.to_string())?;
        let (url, host) = (issuer.url(), issuer.url().host_str().unwrap_or_default());
        let local = host == "localhost" || host == "127.0.0.1" || host == "[::1]";
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err("it must begin with `https://`".to_owned());
        }
        Ok(Provider {
            issuer,
            client_id: ClientId::new(client_id.to_owned()),
            client_secret: client_secret.map(ClientSecret::new),
            userinfo,
            http: ProviderHttp(http),
            known: Mutex::default(),
            asking: Default::default(),
        })
    }

    /// The issuer, as responses of the provider name it (RFC 9207).
    pub(super) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// The address of the provider's login page, and what to keep until the user comes back.
    /// # Errors
    /// If the provider's metadata cannot be read.
    pub(super) async fn login_page(
        &self,
        redirect: &str,
        scopes: &[String],
        parameters: &BTreeMap<String, String>,
    ) -> Result<(String, Pending), ProviderError> {
        let metadata = self.metadata(METADATA).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let redirect = redirect_url(redirect)?;
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut page = metadata
            .client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_challenge(challenge);
        for scope in scopes.iter().filter(|scope| *scope != "openid") {
            page = page.add_scope(Scope::new(scope.clone()));
        }
        for (name, value) in parameters {
            page = page.add_extra_param(name.clone(), value.clone());
        }
        let (url, state, nonce) = page.url();
        let pending = Pending {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            next: String::new(),
            began: super::session::now(),
        };
        Ok((url.into(), pending))
    }

    /// The provider's data about the user who has returned with a code.
    pub(super) async fn exchange(
        &self,
        code: &str,
        pending: &Pending,
        redirect: &str,
    ) -> Result<ProviderAnswer, ProviderError> {
        let metadata = self.metadata(METADATA).await?;
        let request = metadata.client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request = request.map_err(|error| ProviderError::Away(error.to_string()))?;
        let tokens = request
            .set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.clone()))
            .set_redirect_uri(Cow::Owned(redirect_url(redirect)?))
            .request_async(&self.http)
            .await
            .map_err(token_error)?;
        let nonce = Nonce::new(pending.nonce.clone());
        self.read(metadata, tokens, Some(&nonce), None).await
    }

    /// New claims of a user. The provider may send no ID token then; the claims are empty without one and without
    /// userinfo.
    pub(super) async fn refresh(&self, token: &str, subject: &str) -> Result<ProviderAnswer, ProviderError> {
        let metadata = self.metadata(METADATA).await?;
        let token = RefreshToken::new(token.to_owned());
        let request = metadata.client.exchange_refresh_token(&token);
        let request = request.map_err(|error| ProviderError::Away(error.to_string()))?;
        let tokens = request.request_async(&self.http).await.map_err(token_error)?;
        self.read(metadata.clone(), tokens, None, Some(subject)).await
    }

    /// The address of the provider's logout page, if it has one (RP-Initiated Logout 1.0).
    pub(super) async fn logout_page(&self, id_token: Option<&str>, after: &str) -> Option<String> {
        let metadata = self.metadata(METADATA).await.ok()?;
        let mut page =
            LogoutRequest::from(metadata.end_session.clone()?).set_client_id(self.client_id.clone());
        if let Ok(after) = PostLogoutRedirectUrl::new(after.to_owned()) {
            page = page.set_post_logout_redirect_uri(after);
        }
        let token = id_token.and_then(|token| token.parse::<AnyIdToken>().ok());
        if let Some(token) = &token {
            page = page.set_id_token_hint(token);
        }
        Some(page.http_get_url().into())
    }

    /// Verifies the tokens, and collects the claims.
    async fn read(
        &self,
        metadata: Arc<ProviderMetadata>,
        tokens: Tokens,
        nonce: Option<&Nonce>,
        subject: Option<&str>,
    ) -> Result<ProviderAnswer, ProviderError> {
        let refused = |reason: &str| ProviderError::Refused(reason.to_owned());
        let mut claims = match tokens.id_token() {
            Some(_) => match verified(&metadata, &tokens, nonce) {
                // The provider may have changed its keys.
                Err(TokenError::UnknownKey) => {
                    let metadata = self.metadata(PAUSE).await?;
                    verified(&metadata, &tokens, nonce).map_err(TokenError::into_error)?
                }
                claims => claims.map_err(TokenError::into_error)?,
            },
            None if nonce.is_some() => return Err(refused("the provider sent no ID token")),
            None => Map::new(),
        };
        let told = claims.get("sub").and_then(Value::as_str).or(subject).map(str::to_owned);
        let told = told.ok_or_else(|| refused("the ID token names no user"))?;
        if subject.is_some_and(|subject| subject != told) {
            return Err(refused("the provider sent data about another user"));
        }
        if self.userinfo {
            let expected = SubjectIdentifier::new(told.clone());
            let request = metadata.client.user_info(tokens.access_token().clone(), Some(expected));
            let request = request.map_err(|_| ProviderError::Away("it has no userinfo endpoint".into()))?;
            let more: UserInfoClaims<OtherClaims, CoreGenderClaim> = request
                .request_async(&self.http)
                .await
                .map_err(|error| ProviderError::Away(format!("its userinfo endpoint: {}", chain(&error))))?;
            if let Ok(Value::Object(more)) = serde_json::to_value(more) {
                claims.extend(more);
            }
        }
        Ok(ProviderAnswer {
            subject: told,
            claims,
            id_token: tokens.id_token().map(ToString::to_string),
            refresh_token: tokens.refresh_token().map(|token| token.secret().clone()),
            expires_in: tokens.expires_in(),
        })
    }

    /// The metadata, asked for if what is known is older than `oldest`.
    async fn metadata(&self, oldest: Duration) -> Result<Arc<ProviderMetadata>, ProviderError> {
        if let Some(known) = self.known.lock().fresh(oldest) {
            return known;
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.known.lock().fresh(oldest) {
            return known;
        }
        let found = self.discover().await;
        let mut known = self.known.lock();
        known.asked = Some((Instant::now(), found.as_ref().err().map(ToString::to_string)));
        match found {
            Ok(metadata) => known.metadata = Some((Arc::new(metadata), Instant::now())),
            Err(error) => {
                tracing::error!(issuer = self.issuer(), "cannot read the provider's metadata: {error}")
            }
        }
        known.current()
    }

    async fn discover(&self) -> Result<ProviderMetadata, BoxError> {
        let found = ProviderMetadataWithLogout::discover_async(self.issuer.clone(), &self.http).await;
        let found = found.map_err(|error| chain(&error))?;
        let end_session = found.additional_metadata().end_session_endpoint.clone();
        let methods = found.token_endpoint_auth_methods_supported().cloned().unwrap_or_default();
        let client =
            OidcClient::from_provider_metadata(found, self.client_id.clone(), self.client_secret.clone());
        let in_body = methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic);
        let way = if in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(ProviderMetadata { client: client.set_auth_type(way), end_session })
    }
}

impl KnownProvider {
    /// What is known, unless it must be asked for.
    fn fresh(&self, oldest: Duration) -> Option<Result<Arc<ProviderMetadata>, ProviderError>> {
        let recent = |time: &Instant, oldest| time.elapsed() < oldest;
        let is_fresh = self.metadata.as_ref().is_some_and(|(_, found)| recent(found, oldest));
        let has_just_asked = self.asked.as_ref().is_some_and(|(asked, _)| recent(asked, PAUSE));
        (is_fresh || has_just_asked).then(|| self.current())
    }

    /// The last metadata, even if it is old: it may still be right.
    fn current(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        let reason = || self.asked.as_ref().and_then(|(_, reason)| reason.clone()).unwrap_or_default();
        let known = self.metadata.as_ref().map(|(metadata, _)| metadata.clone());
        known.ok_or_else(|| ProviderError::Away(reason()))
    }
}

fn redirect_url(text: &str) -> Result<RedirectUrl, ProviderError> {
    RedirectUrl::new(text.to_owned()).map_err(|error| ProviderError::Refused(error.to_string()))
}

/// Errors such as `invalid_grant` concern the user. All others concern the provider or the config.
fn token_error(
    error: RequestTokenError<io::Error, StandardErrorResponse<CoreErrorResponseType>>,
) -> ProviderError {
    match &error {
        RequestTokenError::ServerResponse(response)
            if *response.error() == CoreErrorResponseType::InvalidGrant =>
        {
            ProviderError::Refused(response.to_string())
        }
        _ => ProviderError::Away(chain(&error)),
    }
}
