//! `canary`: sends a share of the clients to another app.

use std::sync::Arc;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use schemars::JsonSchema;
use serde::Deserialize;

use super::MiddlewareBuilder;
use super::options::{header, value};
use crate::body::{App, Request};
use crate::config::{AppLink, Table};
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "canary"`.
///
/// Each client gets a number in a cookie, so that it stays with one app. If `percent` grows, clients of the other app stay
/// with it, and more are added.
///
/// ```toml
/// [middleware.try_v2]
/// use = "canary"
/// app = "v2"
/// percent = 5
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Name of the other app.
    app: String,
    /// Percentage of clients that get the other app.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    percent: f64,
    /// Name of the cookie. For tests, the value `always` or `never` overrides the number.
    #[serde(default = "cookie_name")]
    cookie: String,
    /// How long clients keep the cookie, in seconds.
    #[serde(default = "thirty_days")]
    cookie_secs: u32,
    /// Header field that selects the other app (`always`) or not (`never`), such as `x-canary`. Default: none.
    header: Option<String>,
}

fn cookie_name() -> String {
    "paster_canary".into()
}

fn thirty_days() -> u32 {
    30 * 24 * 3600
}

/// The numbers of clients are below this: steps of 0.01 percent.
const NUMBERS: u16 = 10_000;

struct Canary {
    app: App,
    /// Clients with a lower number get the other app.
    below: u16,
    cookie: String,
    cookie_secs: u32,
    header: Option<HeaderName>,
}

/// Wraps `next`.
pub(super) fn build(
    options: Options,
    table: &Table,
    builder: &mut MiddlewareBuilder<'_>,
    next: App,
) -> Result<App> {
    let app = (builder.resolve)(&options.app, table.origin("app"));
    let mut errors = Vec::new();
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if options.cookie.is_empty() || !options.cookie.chars().all(token) {
        let error = table.error("cookie", format!("`{}` is not the name of a cookie", options.cookie));
        errors.push(error.help("use letters, digits, `-` and `_`"));
    }
    let header = options.header.as_deref().and_then(|name| value(table, "header", name, &mut errors, header));
    Errors::check(errors)?;
    let below = (options.percent * f64::from(NUMBERS) / 100.0).round() as u16;
    let Options { cookie, cookie_secs, .. } = options;
    let canary = Arc::new(Canary { app, below, cookie, cookie_secs, header });
    Ok(App::from_call(move |request| {
        let (other, new) = canary.choose(request.headers());
        let cookie = new.and_then(|number| canary.set_cookie(&request, number));
        let response = if other { &canary.app } else { &next }.handle(request);
        let Some(cookie) = cookie else { return response };
        Box::pin(async move {
            let mut response = response.await?;
            response.headers_mut().append(SET_COOKIE, cookie);
            Ok(response)
        })
    }))
}

/// The other app.
pub(super) fn links(options: &Options) -> Vec<AppLink> {
    vec![AppLink {
        at: format!("{} % of clients", options.percent),
        app: options.app.clone(),
        key: "app".into(),
    }]
}

impl Canary {
    /// Whether the request goes to the other app, and the number of a client that had none.
    fn choose(&self, headers: &HeaderMap) -> (bool, Option<u16>) {
        let wish = self.header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
        match wish.or(cookie(headers, &self.cookie)) {
            Some("always") => return (true, None),
            Some("never") => return (false, None),
            _ => {}
        }
        let known = cookie(headers, &self.cookie).and_then(|value| value.parse::<u16>().ok());
        match known.filter(|number| *number < NUMBERS) {
            Some(number) => (number < self.below, None),
            None => {
                let random = uuid::Uuid::new_v4().as_u128();
                let number = u16::try_from(random % u128::from(NUMBERS)).unwrap_or(0);
                (number < self.below, Some(number))
            }
        }
    }

    fn set_cookie(&self, request: &Request, number: u16) -> Option<HeaderValue> {
        let environ = request.extensions().get::<Environ>()?;
        let path = if environ.script_name.is_empty() { "/" } else { &environ.script_name };
        let secure = if environ.secure { "; Secure" } else { "" };
        let (name, secs) = (&self.cookie, self.cookie_secs);
        let text = format!("{name}={number}; Path={path}; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}
