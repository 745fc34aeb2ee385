//! `auth_oidc`: logs users in at an OpenID Connect provider (Core 1.0, the code flow with PKCE).
//!
//! `openidconnect` checks the provider's answers. Nothing is kept here but the provider's metadata: the session
//! is in the client's cookie.

mod access;
mod cookies;
mod options;
mod pages;
mod provider;
mod refresh;
mod requests;
mod session;
mod tokens;

use std::sync::Arc;

use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, SET_COOKIE};
use http::request::Parts as Head;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use self::access::Access;
use self::cookies::{CookieUse, Cookies};
use self::options::OidcParts;
pub(super) use self::options::Options;
use self::pages::{OidcPage, page, redirect_to, with_cookies};
use self::provider::{Provider, ProviderAnswer, ProviderError};
use self::refresh::Refreshes;
use self::requests::{is_navigation, own_path, parameter};
use self::session::{LOGIN_SECS, OidcLifetime, OidcSession, Refresh, now, with_login};
use super::csrf::{is_handshake, is_own};
use super::identity::{names, pass_as, plain, unauthorized};
use super::refusal::{refusal, refusal_for};
use crate::body::{App, Request, Response, text_response};
use crate::config::Table;
use crate::context::Context;
use crate::environ::{Environ, RemoteUser};
use crate::error::{BoxError, Errors, Result};

/// When to refresh the claims if the provider does not send the lifetime of its access token, in seconds.
const REFRESH_SECS: u64 = 3600;
/// `Retry-After` while the provider is unreachable, in seconds.
const AWAY_SECS: u64 = 10;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

struct OidcAuth {
    options: Options,
    provider: Provider,
    cookies: Cookies,
    access: Access,
    lifetime: OidcLifetime,
    claims: Vec<(HeaderName, String)>,
    refreshes: Refreshes,
    next: App,
}

/// Wraps `next`: requests with a session carry a [`RemoteUser`] with its groups.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let parts = options.parts(table, &mut errors);
    Errors::check(errors)?;
    let Some(OidcParts { provider, cookies, access, lifetime, claims }) = parts else {
        unreachable!("checked above")
    };
    let refreshes = Refreshes::default();
    let auth = Arc::new(OidcAuth { options, provider, cookies, access, lifetime, claims, refreshes, next });
    Ok(App::from_call(move |request| {
        let auth = auth.clone();
        Box::pin(async move { auth.answer(request).await })
    }))
}

impl OidcAuth {
    async fn answer(&self, request: Request) -> Result<Response, BoxError> {
        // A body is not shared by threads, so the head goes its way alone.
        let (mut request, body) = request.into_parts();
        for (name, _) in &self.claims {
            request.headers.remove(name);
        }
        let environ = request.extensions.get::<Environ>().cloned();
        let environ = environ.ok_or("the request did not pass the gate")?;
        match request.uri.path().strip_prefix(&*self.options.prefix) {
            Some("/callback") => return Ok(self.callback(&request, &environ).await),
            Some("/login") => {
                let next = parameter(&request, "next").unwrap_or_default();
                return Ok(self.log_in(&request.headers, &environ, &next).await);
            }
            Some("/logout") => return Ok(self.log_out(&request, &environ).await),
            Some("/user") => return Ok(self.user(&request, &environ)),
            _ => {}
        }
        let now = now();
        let Some(mut session) = self.session(&request, &environ) else {
            return Ok(self.without_session(&request, &environ).await);
        };
        if is_handshake(&request.method, &request.headers) && !is_own(&request.headers, Some(&environ), &[]) {
            let text = "The request comes from a page of another site.\n";
            return Ok(refusal(StatusCode::FORBIDDEN, "a request from another site", text));
        }
        let mut changed = self.lifetime.touch(&mut session, now);
        if session.refresh.as_ref().is_some_and(|refresh| refresh.due <= now) {
            let Some(fresh) = self.refreshes.once(&session, || self.refreshed(&session, now)).await else {
                return Ok(self.without_session(&request, &environ).await);
            };
            (session, changed) = (fresh, true);
        }
        let cookie = changed.then(|| {
            let left = self.lifetime.left(&session, now);
            self.cookies.with_session(&session, left, &environ)
        });
        self.cookies.take_away(&mut request.headers, &environ);
        self.pass(Request::from_parts(request, body), session, cookie.flatten()).await
    }

    /// Passes the request on as the user of the session.
    async fn pass(
        &self,
        mut request: Request,
        session: OidcSession,
        cookie: Option<HeaderValue>,
    ) -> Result<Response, BoxError> {
        for (name, claim) in &self.claims {
            let value = session.claims.get(claim).map(HeaderValue::try_from);
            if let Some(Ok(value)) = value {
                request.headers_mut().insert(name, value);
            }
        }
        let user = RemoteUser::new(session.user, "OIDC").with_groups(session.groups);
        let mut response = pass_as(user, request, &self.next).await?;
        if let Some(cookie) = cookie {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// The session of the client, if it has not ended.
    fn session(&self, request: &Head, environ: &Environ) -> Option<OidcSession> {
        let session = self.cookies.session(&request.headers, environ)?;
        self.lifetime.covers(&session, now()).then_some(session)
    }

    /// Browsers that open a page go to the login; everything else gets 401.
    async fn without_session(&self, request: &Head, environ: &Environ) -> Response {
        if is_navigation(request) {
            let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
            let next = format!("{}{target}", environ.script_name);
            return self.log_in(&request.headers, environ, &next).await;
        }
        let login = format!("{}{}/login", environ.script_name, self.options.prefix);
        // draft-broyer-http-cookie-auth: there is no standard scheme for cookies.
        let challenge = format!("Cookie realm=\"restricted\", form-action=\"{login}\"");
        let challenge = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Cookie"));
        unauthorized(challenge, "A login is required.\n")
    }

    /// Redirects to the provider, which sends the client to `next` afterwards.
    async fn log_in(&self, headers: &HeaderMap, environ: &Environ, next: &str) -> Response {
        let Options { scopes, login_parameters, .. } = &self.options;
        let redirect = self.url(environ, "/callback");
        let (url, mut pending) = match self.provider.login_page(&redirect, scopes, login_parameters).await {
            Ok(found) => found,
            Err(error) => return away(&error),
        };
        let root = format!("{}/", environ.script_name);
        pending.next = if next.is_empty() { root } else { own_path(next).to_owned() };
        let logins = with_login(self.cookies.logins(headers, environ), pending);
        let cookie = self.cookies.with_logins(&logins, environ);
        redirect_to(&url, [cookie])
    }

    /// The client comes back from the provider.
    async fn callback(&self, request: &Head, environ: &Environ) -> Response {
        let state = parameter(request, "state").unwrap_or_default();
        let mut logins = self.cookies.logins(&request.headers, environ);
        let known = |login: &session::Pending| login.state == state && login.began + LOGIN_SECS > now();
        let Some(index) = logins.iter().position(known) else {
            // Such as a reload of this page, or the way back in the history.
            return match self.session(request, environ) {
                Some(_) => redirect_to(&format!("{}/", environ.script_name), []),
                None => self.failed(OidcPage::Unknown, environ, []),
            };
        };
        let pending = logins.remove(index);
        let rest = self.cookies.with_logins(&logins, environ);
        let answer = match self.code(request) {
            Ok(code) => self.provider.exchange(&code, &pending, &self.url(environ, "/callback")).await,
            Err(reason) => Err(ProviderError::Refused(reason)),
        };
        let session = match answer.and_then(|answer| self.begin(answer, None, now())) {
            Ok(session) => session,
            Err(error @ ProviderError::Away(_)) => return away(&error),
            Err(error) => {
                tracing::warn!("the login failed: {error}");
                return self.failed(OidcPage::Refused, environ, [rest]);
            }
        };
        let left = self.lifetime.left(&session, now());
        match self.cookies.with_session(&session, left, environ) {
            Some(cookie) => {
                tracing::info!(user = session.user, "logged in");
                redirect_to(&pending.next, [rest, Some(cookie)])
            }
            None => {
                let groups = session.groups.len();
                tracing::error!(user = session.user, groups, "the session is too large for a cookie");
                self.failed(OidcPage::TooLarge, environ, [rest])
            }
        }
    }

    /// The code with which the client comes back.
    /// # Errors
    /// Why it has none.
    fn code(&self, request: &Head) -> Result<String, String> {
        // RFC 9207: the answer of another provider must not be taken for one of this.
        if parameter(request, "iss").is_some_and(|issuer| issuer != self.provider.issuer()) {
            return Err("the response comes from another provider".to_owned());
        }
        let reason = || parameter(request, "error").unwrap_or("the response has no code".to_owned());
        parameter(request, "code").ok_or_else(reason)
    }

    /// Creates the session of a user with this data from the provider. The `old` one ends.
    /// # Errors
    /// If the user may not pass.
    fn begin(
        &self,
        answer: ProviderAnswer,
        old: Option<&OidcSession>,
        now: u64,
    ) -> Result<OidcSession, ProviderError> {
        let refused = |reason: String| Err(ProviderError::Refused(reason));
        let ProviderAnswer { subject, claims, id_token, refresh_token, expires_in } = answer;
        let old_token = || old?.refresh.as_ref().map(|refresh| refresh.token.clone());
        let token = refresh_token.or_else(old_token).filter(|_| self.options.refresh);
        let secs = expires_in.map_or(REFRESH_SECS, |time| time.as_secs().max(30));
        let refresh = token.map(|token| Refresh { token, due: now + secs });
        if let Some(old) = old.filter(|_| claims.is_empty()) {
            return Ok(OidcSession { refresh, seen: now, ..old.clone() });
        }
        let user = match &*self.options.user_claim {
            "email" => self.access.email(&claims).map(str::to_owned),
            claim => claims.get(claim).map(plain),
        };
        let Some(user) = user.filter(|user| !user.is_empty()) else {
            return refused(format!(
                "there is no claim `{}`, or it is not verified",
                self.options.user_claim
            ));
        };
        let groups = claims.get(&self.options.groups_claim).map(names).unwrap_or_default();
        if !self.access.allows(&user, &groups, &claims) {
            return refused(format!("`{user}` may not pass"));
        }
        let passed =
            self.claims.iter().filter_map(|(_, claim)| Some((claim.clone(), plain(claims.get(claim)?))));
        let old_id = || old.and_then(|old| old.id_token.clone());
        Ok(OidcSession {
            user,
            subject,
            groups,
            claims: passed.collect(),
            began: old.map_or(now, |old| old.began),
            seen: now,
            refresh,
            id_token: id_token.or_else(old_id),
        })
    }

    /// The session with new claims; `None` if the user may no longer log in. If the provider is unreachable, the session
    /// remains unchanged for a minute.
    async fn refreshed(&self, old: &OidcSession, now: u64) -> Option<OidcSession> {
        let Refresh { token, .. } = old.refresh.as_ref()?;
        let answer = self.provider.refresh(token, &old.subject).await;
        match answer.and_then(|answer| self.begin(answer, Some(old), now)) {
            Ok(session) => Some(session),
            Err(error @ ProviderError::Refused(_)) => {
                tracing::info!(user = old.user, "the session ends: {error}");
                None
            }
            Err(error) => {
                tracing::error!(user = old.user, "cannot refresh the claims: {error}");
                let refresh = Some(Refresh { token: token.clone(), due: now + 60 });
                Some(OidcSession { refresh, seen: now, ..old.clone() })
            }
        }
    }

    /// Ends the session here, and at the provider if it offers that.
    async fn log_out(&self, request: &Head, environ: &Environ) -> Response {
        if request.headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site") {
            let text = "The request comes from a page of another site.\n";
            return refusal(StatusCode::FORBIDDEN, "a request from another site", text);
        }
        let after = format!("{}{}", environ.script_name, self.options.after_logout);
        let session = self.cookies.session(&request.headers, environ);
        if let Some(session) = &session {
            tracing::info!(user = session.user, "logged out");
        }
        let id_token = session.as_ref().and_then(|session| session.id_token.as_deref());
        let outside = format!("{}{after}", self.origin(environ));
        let page = self.provider.logout_page(id_token, &outside).await;
        let gone =
            [CookieUse::Session, CookieUse::Login].map(|purpose| self.cookies.without(purpose, environ));
        redirect_to(page.as_deref().unwrap_or(&after), gone)
    }

    /// Who is logged in, for scripts of a page.
    fn user(&self, request: &Head, environ: &Environ) -> Response {
        let Some(session) = self.session(request, environ) else {
            return unauthorized(HeaderValue::from_static("Cookie"), "A login is required.\n");
        };
        let left = self.lifetime.left(&session, now());
        let known = json!({ "user": session.user, "groups": session.groups, "expires_in": left });
        let mut response = text_response(StatusCode::OK, format!("{known}\n"));
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// A page about a login that has failed, with a way to try again.
    fn failed<const N: usize>(
        &self,
        kind: OidcPage,
        environ: &Environ,
        cookies: [Option<HeaderValue>; N],
    ) -> Response {
        let base = format!("{}{}", environ.script_name, self.options.prefix);
        with_cookies(page(kind, &base), cookies)
    }

    /// The site as clients know it: `https://example.org`.
    fn origin(&self, environ: &Environ) -> String {
        match &self.options.public_url {
            Some(url) => url.clone(),
            None => format!("{}://{}", if environ.secure { "https" } else { "http" }, environ.authority()),
        }
    }

    fn url(&self, environ: &Environ, page: &str) -> String {
        format!("{}{}{}{page}", self.origin(environ), environ.script_name, self.options.prefix)
    }
}

fn away(error: &ProviderError) -> Response {
    tracing::error!("logins are not possible: {error}");
    let text = "The login service does not respond. Try again later.\n";
    refusal_for(AWAY_SECS, StatusCode::SERVICE_UNAVAILABLE, "no login service", text)
}
