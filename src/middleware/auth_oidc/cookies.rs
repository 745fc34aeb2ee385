//! The cookies of sessions, and of logins that have begun.

use http::header::{COOKIE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::session::{LOGIN_SECS, OidcSession, Pending};
use crate::environ::Environ;
use crate::middleware::canary::cookie;
use crate::middleware::sealed::Sealer;

/// Longest value of a cookie in bytes. Browsers keep 4096, with the name.
const VALUE_LIMIT: usize = 3900;

/// Reads and writes the cookies.
pub(super) struct Cookies {
    pub(super) sealer: Sealer,
    pub(super) name: String,
}

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CookieUse {
    Session,
    Login,
}

impl Cookies {
    /// The session that the client has.
    pub(super) fn session(&self, headers: &HeaderMap, environ: &Environ) -> Option<OidcSession> {
        self.read(CookieUse::Session, headers, environ)
    }

    /// The logins that the client has begun.
    pub(super) fn logins(&self, headers: &HeaderMap, environ: &Environ) -> Vec<Pending> {
        self.read(CookieUse::Login, headers, environ).unwrap_or_default()
    }

    /// The cookie for a session that lasts `secs`. Without its ID token if it would be too long; `None` if it is
    /// too long even then.
    pub(super) fn with_session(
        &self,
        session: &OidcSession,
        secs: u64,
        environ: &Environ,
    ) -> Option<HeaderValue> {
        let write = |session: &OidcSession| self.write(CookieUse::Session, session, secs, environ);
        write(session).or_else(|| write(&OidcSession { id_token: None, ..session.clone() }))
    }

    /// The cookie for logins.
    pub(super) fn with_logins(&self, logins: &[Pending], environ: &Environ) -> Option<HeaderValue> {
        match logins {
            [] => self.without(CookieUse::Login, environ),
            _ => self.write(CookieUse::Login, &logins, LOGIN_SECS, environ),
        }
    }

    /// The value that removes a cookie.
    pub(super) fn without(&self, purpose: CookieUse, environ: &Environ) -> Option<HeaderValue> {
        field(&self.name(purpose, environ), "", 0, environ)
    }

    /// Removes both cookies from a request: the app has no use for them.
    pub(super) fn take_away(&self, headers: &mut HeaderMap, environ: &Environ) {
        let own = [CookieUse::Session, CookieUse::Login].map(|purpose| self.name(purpose, environ));
        let is_own =
            |pair: &str| pair.split_once('=').is_some_and(|(name, _)| own.iter().any(|own| own == name));
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let pairs: Vec<&str> = fields.flat_map(|field| field.split(';')).map(str::trim).collect();
        if !pairs.iter().any(|pair| is_own(pair)) {
            return;
        }
        let rest: Vec<&str> = pairs.into_iter().filter(|pair| !pair.is_empty() && !is_own(pair)).collect();
        let rest = HeaderValue::try_from(rest.join("; ")).ok().filter(|rest| !rest.is_empty());
        headers.remove(COOKIE);
        if let Some(rest) = rest {
            headers.insert(COOKIE, rest);
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        purpose: CookieUse,
        headers: &HeaderMap,
        environ: &Environ,
    ) -> Option<T> {
        let name = self.name(purpose, environ);
        let text = self.sealer.open(&name, cookie(headers, &name)?)?;
        serde_json::from_slice(&text).ok()
    }

    fn write(
        &self,
        purpose: CookieUse,
        value: &impl Serialize,
        secs: u64,
        environ: &Environ,
    ) -> Option<HeaderValue> {
        let name = self.name(purpose, environ);
        let sealed = self.sealer.seal(&name, &serde_json::to_vec(value).ok()?)?;
        if sealed.len() > VALUE_LIMIT {
            return None;
        }
        field(&name, &sealed, secs, environ)
    }

    /// The prefixes are those of RFC 6265bis, section 4.1.3.
    fn name(&self, purpose: CookieUse, environ: &Environ) -> String {
        let prefix = match (environ.secure, environ.script_name.is_empty()) {
            (true, true) => "__Host-",
            (true, false) => "__Secure-",
            (false, _) => "",
        };
        let ending = if purpose == CookieUse::Login { "_login" } else { "" };
        format!("{prefix}{}{ending}", self.name)
    }
}

fn field(name: &str, value: &str, secs: u64, environ: &Environ) -> Option<HeaderValue> {
    let path = if environ.script_name.is_empty() { "/" } else { &environ.script_name };
    let secure = if environ.secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).ok()
}
