//! `auth_jwt`: checks signed tokens of an identity provider (RFC 7519, RFC 6750).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request as HttpRequest, StatusCode};
use http_body_util::{BodyExt, Limited};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::MiddlewareBuilder;
use super::api_key::bearer;
use super::canary::cookie;
use super::followed::FollowedFile;
use super::identity::{names, pass_as, plain, unauthorized};
use super::options::{Wrong, entries, header, path, value};
use crate::body::{App, Body, Request, Response};
use crate::config::{AppLink, FollowedPath, Table, join};
use crate::environ::RemoteUser;
use crate::error::{BoxError, Error, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "auth_jwt"`.
///
/// A request must have a valid token as `Authorization: Bearer TOKEN`; others get 401. The middleware checks the signature,
/// the times `exp` and `nbf`, and, with `issuer` and `audience`, also these claims.
///
/// ```toml
/// [middleware.api_users]
/// use = "auth_jwt"
/// jwks_app = "provider"
/// jwks_path = "/oauth2/jwks.json"
/// issuer = "https://login.example.org"
/// audience = "shop"
///
/// [app.provider]
/// use = "proxy"
/// upstreams = ["https://login.example.org"]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// File with the public keys, as a JSON Web Key Set. It is reloaded when it changes.
    jwks: Option<FollowedPath>,
    /// Name of an app, usually a `proxy` to the provider, that answers with the public keys.
    jwks_app: Option<String>,
    /// The path of the keys at `jwks_app`.
    jwks_path: String,
    /// How long keys from `jwks_app` are used, in seconds. A token with an unknown key causes a new request,
    /// at most every ten seconds.
    jwks_secs: u32,
    /// The key of tokens that are signed with a shared secret (`HS256`), instead of public keys.
    secret: Option<String>,
    /// Algorithms to accept. By default `RS256`, `ES256` and `EdDSA`; with `secret`, `HS256`.
    algorithms: Vec<String>,
    /// The claim `iss` that a token must have.
    issuer: Option<String>,
    /// Accepted audiences of a token (`aud`). By default, a token must not have an audience.
    audience: Vec<String>,
    /// Tolerance for clocks that differ, in seconds.
    leeway_secs: u32,
    /// Claim with the name of the user (`REMOTE_USER`).
    user_claim: String,
    /// Claim with the groups of the user (`REMOTE_GROUPS`): a list, or a string separated by spaces or commas.
    groups_claim: Option<String>,
    /// Claims to pass to the app, by field: `{ x-email = "email" }`. Values from clients in these fields are removed.
    claims: BTreeMap<String, String>,
    /// Name of a cookie that may also contain the token. If you set it, use `csrf` as well.
    cookie: Option<String>,
    /// Let requests without a token pass, without a user. An invalid token is always refused.
    optional: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            jwks: None,
            jwks_app: None,
            jwks_path: "/.well-known/jwks.json".into(),
            jwks_secs: 300,
            secret: None,
            algorithms: Vec::new(),
            issuer: None,
            audience: Vec::new(),
            leeway_secs: 30,
            user_claim: "sub".into(),
            groups_claim: None,
            claims: BTreeMap::new(),
            cookie: None,
            optional: false,
        }
    }
}

/// A key, its id, and the algorithm that it is for.
type KnownKey = (Option<String>, Option<Algorithm>, DecodingKey);

enum Keys {
    Fixed(Vec<KnownKey>),
    File(FollowedFile<Vec<KnownKey>>),
    App(KeyApp),
}

/// Keys that an app answers with.
struct KeyApp {
    app: App,
    path: PathAndQuery,
    lifetime: Duration,
    known: Mutex<(Arc<Vec<KnownKey>>, Option<Instant>)>,
    /// Held during a request, so that there is one at a time.
    asking: tokio::sync::Mutex<()>,
}

/// The shortest time between two requests for keys.
const PAUSE: Duration = Duration::from_secs(10);
/// Maximum length of a key set in bytes.
const KEY_SET_BYTES: usize = 1024 * 1024;

struct JwtAuth {
    keys: Keys,
    /// For each accepted algorithm: the library accepts several only if they are of one family.
    validations: Vec<(Algorithm, Validation)>,
    user_claim: String,
    groups_claim: Option<String>,
    claims: Vec<(HeaderName, String)>,
    cookie: Option<String>,
    optional: bool,
    next: App,
}

/// Wraps `next`.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let mut errors = Vec::new();
    let keys = keys(&options, table, builder, &mut errors);
    let algorithms = entries(table, "algorithms", &options.algorithms, &mut errors, algorithm);
    let validations = validations(&options, algorithms);
    let mut claims = Vec::new();
    for (name, claim) in &options.claims {
        let name = value(table, join("claims", name), name, &mut errors, header);
        claims.extend(name.map(|name| (name, claim.clone())));
    }
    let symmetric =
        |algorithm: &Algorithm| matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    if validations.iter().any(|(algorithm, _)| symmetric(algorithm) != options.secret.is_some()) {
        let error = table.error("algorithms", "the algorithms do not match the keys");
        errors.push(error.help("use `HS256` with `secret`, and algorithms with public keys otherwise"));
    }
    Errors::check(errors)?;
    let Some(keys) = keys else { unreachable!("checked above") };
    let Options { user_claim, groups_claim, cookie, optional, .. } = options;
    let auth =
        Arc::new(JwtAuth { keys, validations, user_claim, groups_claim, claims, cookie, optional, next });
    Ok(App::from_call(move |request| {
        let auth = auth.clone();
        Box::pin(async move { auth.answer(request).await })
    }))
}

/// The app with the keys.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    let link = |app: &String| AppLink {
        at: format!("keys from {}", options.jwks_path),
        app: app.clone(),
        key: "jwks_app".into(),
    };
    options.jwks_app.iter().map(link).collect()
}

fn algorithm(text: &str) -> Result<Algorithm, Wrong> {
    let wrong =
        |_| (format!("`{text}` is not an algorithm"), "write `RS256`, `ES256`, `EdDSA`, `PS256` or `HS256`");
    text.parse().map_err(wrong)
}

fn keys(
    options: &Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    errors: &mut Vec<Error>,
) -> Option<Keys> {
    match (&options.secret, &options.jwks, &options.jwks_app) {
        (Some(secret), None, None) if secret.len() < 32 => {
            let error = table.error("secret", "the secret is too short");
            errors.push(error.help("use at least 32 random characters (RFC 7518, section 3.2)"));
            None
        }
        (Some(secret), None, None) => {
            Some(Keys::Fixed(vec![(None, None, DecodingKey::from_secret(secret.as_bytes()))]))
        }
        (None, Some(file), None) => {
            let what = ("key set", "save the provider's key set in it");
            let opened = FollowedFile::open(file, table, "jwks", what, |text, path| {
                key_set(text.as_bytes()).map_err(|cause| {
                    let message = format!("`{}` is not a JSON Web Key Set", path.display());
                    vec![Error::config(message).because(cause)]
                })
            });
            opened.map_err(|found| errors.extend(found)).ok().map(Keys::File)
        }
        (None, None, Some(name)) => {
            let app = (builder.resolve)(name, table.origin("jwks_app"));
            let path = value(table, "jwks_path", &options.jwks_path, errors, path)?;
            let lifetime = Duration::from_secs(options.jwks_secs.into());
            Some(Keys::App(KeyApp {
                app,
                path,
                lifetime,
                known: Mutex::default(),
                asking: Default::default(),
            }))
        }
        _ => {
            let error = table.error("", "`auth_jwt` needs one source of keys");
            errors.push(error.help("set one of `jwks`, `jwks_app` and `secret`"));
            None
        }
    }
}

fn validations(options: &Options, algorithms: Vec<Algorithm>) -> Vec<(Algorithm, Validation)> {
    let default = match options.secret {
        Some(_) => vec![Algorithm::HS256],
        None => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
    };
    let algorithms = if algorithms.is_empty() { default } else { algorithms };
    let validation = |algorithm| {
        let mut validation = Validation::new(algorithm);
        validation.leeway = options.leeway_secs.into();
        validation.validate_nbf = true;
        if !options.audience.is_empty() {
            validation.set_audience(&options.audience);
            validation.required_spec_claims.insert("aud".into());
        }
        if let Some(issuer) = &options.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        (algorithm, validation)
    };
    algorithms.into_iter().map(validation).collect()
}

/// The keys of a set that are for signatures. Keys of unknown types are skipped (RFC 7517, section 5).
fn key_set(text: &[u8]) -> Result<Vec<KnownKey>, serde_json::Error> {
    let set: KeySet = serde_json::from_slice(text)?;
    let known = |key: Value| {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        if jwk.common.public_key_use == Some(PublicKeyUse::Encryption) {
            return None;
        }
        let algorithm = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse().ok());
        Some((jwk.common.key_id.clone(), algorithm, DecodingKey::from_jwk(&jwk).ok()?))
    };
    Ok(set.keys.into_iter().filter_map(known).collect())
}

/// A JSON Web Key Set.
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl JwtAuth {
    async fn answer(&self, mut request: Request) -> Result<Response, BoxError> {
        for (name, _) in &self.claims {
            request.headers_mut().remove(name);
        }
        let Some(token) = self.token(request.headers()) else {
            if self.optional {
                return self.next.handle(request).await;
            }
            let challenge = HeaderValue::from_static("Bearer realm=\"api\"");
            return Ok(unauthorized(challenge, "A token is required.\n"));
        };
        let claims = match self.check(&token).await {
            Ok(claims) => claims,
            Err(reason) => {
                tracing::debug!("refused a token: {reason}");
                let challenge = HeaderValue::from_static("Bearer realm=\"api\", error=\"invalid_token\"");
                return Ok(unauthorized(challenge, "The token is not valid.\n"));
            }
        };
        for (name, claim) in &self.claims {
            if let Some(Ok(value)) = claims.get(claim).map(|value| HeaderValue::try_from(plain(value))) {
                request.headers_mut().insert(name, value);
            }
        }
        let user = claims.get(&self.user_claim).map(plain).filter(|user| !user.is_empty());
        let groups = self.groups_claim.as_ref().and_then(|claim| claims.get(claim)).map(names);
        match user {
            Some(user) => {
                let user = RemoteUser::new(user, "Bearer").with_groups(groups.unwrap_or_default());
                pass_as(user, request, &self.next).await
            }
            None => self.next.handle(request).await,
        }
    }

    fn token(&self, headers: &HeaderMap) -> Option<String> {
        let field = headers.get(AUTHORIZATION).and_then(|field| bearer(field.as_bytes()));
        let field = field.and_then(|token| std::str::from_utf8(token).ok());
        let in_cookie = || cookie(headers, self.cookie.as_deref()?);
        field.or_else(in_cookie).filter(|token| !token.is_empty()).map(str::to_owned)
    }

    /// The claims of a valid token.
    /// # Errors
    /// Why it is not valid.
    async fn check(&self, token: &str) -> Result<Value, BoxError> {
        let head = decode_header(token)?;
        let accepted = self.validations.iter().find(|(algorithm, _)| *algorithm == head.alg);
        let Some((_, validation)) = accepted else { return Err("its algorithm is not accepted".into()) };
        let fits = |(id, algorithm, _): &&KnownKey| {
            id.as_ref().zip(head.kid.as_ref()).is_none_or(|(known, wanted)| known == wanted)
                && algorithm.is_none_or(|algorithm| algorithm == head.alg)
        };
        let keys = match &self.keys {
            Keys::Fixed(keys) => Arc::new(keys.clone()),
            Keys::File(file) => file.get(),
            Keys::App(app) => {
                let known = app.keys(app.lifetime).await?;
                match known.iter().any(|key| fits(&key)) {
                    true => known,
                    false => app.keys(PAUSE).await?,
                }
            }
        };
        let mut reason: BoxError = "no key matches its signature".into();
        for (.., key) in keys.iter().filter(fits) {
            match decode::<Value>(token, key, validation) {
                Ok(found) => return Ok(found.claims),
                Err(error) => reason = error.into(),
            }
        }
        Err(reason)
    }
}

impl KeyApp {
    /// The keys, asked for if those that are known are older than `oldest`.
    async fn keys(&self, oldest: Duration) -> Result<Arc<Vec<KnownKey>>, BoxError> {
        let fresh = || {
            let known = self.known.lock();
            known.1.filter(|asked| asked.elapsed() < oldest.max(PAUSE)).map(|_| known.0.clone())
        };
        if let Some(keys) = fresh() {
            return Ok(keys);
        }
        let _one = self.asking.lock().await;
        if let Some(keys) = fresh() {
            return Ok(keys);
        }
        let asked = self.ask().await;
        let mut known = self.known.lock();
        known.1 = Some(Instant::now());
        match asked {
            Ok(keys) => known.0 = Arc::new(keys),
            // The old keys may still be right.
            Err(error) => tracing::error!(path = self.path.path(), "cannot get the keys of tokens: {error}"),
        }
        Ok(known.0.clone())
    }

    async fn ask(&self) -> Result<Vec<KnownKey>, BoxError> {
        let mut request = HttpRequest::get(self.path.as_str()).body(Body::empty())?;
        request.headers_mut().insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.app.handle(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("the response has the status {}", response.status()).into());
        }
        let body = Limited::new(response.into_body(), KEY_SET_BYTES).collect().await?.to_bytes();
        Ok(key_set(&body)?)
    }
}
