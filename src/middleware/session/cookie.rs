//! The cookie of a session: its name, its attributes, and how it is read and written (RFC 6265).

use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

/// Whether browsers send the cookie with requests from other sites.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::middleware) enum SameSite {
    /// Only when a link is followed to this site.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always. Works over TLS only.
    None,
}

/// How a cookie is named and sent.
#[derive(Debug, Clone)]
pub(in crate::middleware) struct CookieStyle {
    /// Its name, without a prefix.
    pub(in crate::middleware) name: String,
    pub(in crate::middleware) same_site: SameSite,
    /// How long a browser keeps it; `None`: until it is closed.
    pub(in crate::middleware) max_age: Option<Duration>,
}

impl CookieStyle {
    /// The name: over TLS with the prefix for cookies that no other host and no page without TLS can set (RFC 6265bis,
    /// section 4.1.3.2).
    fn full_name(&self, secure: bool) -> String {
        format!("{}{}", if secure { "__Host-" } else { "" }, self.name)
    }

    /// The value in a request.
    pub(in crate::middleware) fn find<'h>(&self, headers: &'h HeaderMap, secure: bool) -> Option<&'h str> {
        let name = self.full_name(secure);
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let mut pairs =
            fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The field that sets the value; `None` removes the cookie.
    pub(in crate::middleware) fn set(&self, value: Option<&str>, secure: bool) -> Option<HeaderValue> {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let mut text = format!(
            "{}={}; Path=/; HttpOnly; SameSite={same_site}",
            self.full_name(secure),
            value.unwrap_or("")
        );
        if secure {
            text += "; Secure";
        }
        match (value, self.max_age) {
            (None, _) => text += "; Max-Age=0",
            (Some(_), Some(age)) => text += &format!("; Max-Age={}", age.as_secs()),
            (Some(_), None) => {}
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Whether the text can be the name of a cookie (RFC 6265, section 4.1.1).
pub(in crate::middleware) fn is_name(text: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(token) && !text.starts_with("__")
}
