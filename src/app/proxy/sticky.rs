//! Clients that stay with one upstream, by a cookie.

use http::header::{COOKIE, HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::upstream::{Group, Member};
use crate::config::Table;
use crate::environ::Environ;
use crate::error::Error;

/// The cookie that keeps a client with one upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StickyOptions {
    /// Name of the cookie.
    cookie: String,
    /// How long clients keep the cookie, in seconds; 0 means until the browser is closed.
    #[serde(default)]
    max_age_secs: u32,
}

/// The cookie. Its value is the mark of the upstream.
pub(super) struct Sticky {
    name: String,
    secs: u32,
}

impl Sticky {
    /// Checks the options; faults go to `errors`.
    pub(super) fn new(options: StickyOptions, table: &Table, errors: &mut Vec<Error>) -> Sticky {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if options.cookie.is_empty() || !options.cookie.chars().all(is_token) {
            let error =
                table.error("sticky.cookie", format!("`{}` is not the name of a cookie", options.cookie));
            errors.push(error.help("use letters, digits, `-` and `_`"));
        }
        Sticky { name: options.cookie, secs: options.max_age_secs }
    }

    /// The slot of the upstream that the client has had before.
    pub(super) fn find(&self, headers: &HeaderMap, group: &Group) -> Option<usize> {
        let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
        let mut pairs =
            fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == self.name)?;
        group.members().list.iter().find(|member| member.mark == value).map(|member| member.slot)
    }

    /// The cookie for an upstream.
    pub(super) fn cookie(&self, member: &Member, environ: &Environ) -> Option<HeaderValue> {
        let path = if environ.script_name.is_empty() { "/" } else { &environ.script_name };
        let secure = if environ.secure { "; Secure" } else { "" };
        let age = if self.secs == 0 { String::new() } else { format!("; Max-Age={}", self.secs) };
        let (name, value) = (&self.name, &member.mark);
        HeaderValue::try_from(format!("{name}={value}; Path={path}{age}; HttpOnly; SameSite=Lax{secure}"))
            .ok()
    }
}
