//! `redirect`: sends clients to the one address of the site: HTTPS, one host, current paths.

use std::sync::Arc;

use http::header::{HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::options::{Wrong, value};
use super::refusal::at_once;
use super::template::{Template, regex};
use crate::body::{App, Request, text_response};
use crate::codec::host_name::to_ascii;
use crate::codec::variables::decode_path;
use crate::config::{KeyPath, Table, item, join};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Error, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "redirect"`.
///
/// A request that needs several changes gets a single redirect. Requests that need no change reach the app.
///
/// ```toml
/// [middleware.canonical]
/// use = "redirect"
/// https = true
/// www = "remove"
/// rules = [{ match = "^/blog/(.*)$", to = "https://blog.example.org/$1" }]
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Redirect from HTTP to HTTPS. Behind a proxy that ends TLS, list it in the server's `trusted_proxies`.
    https: bool,
    /// The port of HTTPS in redirects.
    https_port: u16,
    /// Add `www.` to the host, or remove it. Addresses and `localhost` are not changed.
    www: Www,
    /// The canonical host of the site, without a port. All other hosts are redirected to it.
    host: Option<String>,
    /// Add a slash to the end of paths whose last segment has no dot, or remove it.
    trailing_slash: TrailingSlash,
    /// Rules. The first one that matches is applied.
    rules: Vec<RedirectRule>,
    /// The status: 301 and 308 are permanent, 302 and 307 temporary. 307 and 308 keep the method.
    status: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            https: false,
            https_port: 443,
            www: Www::Keep,
            host: None,
            trailing_slash: TrailingSlash::Keep,
            rules: Vec::new(),
            status: 308,
        }
    }
}

/// What to do with `www.` before the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Www {
    #[default]
    Keep,
    Add,
    Remove,
}

/// What to do with a slash at the end of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TrailingSlash {
    #[default]
    Keep,
    Add,
    Remove,
}

/// One rule.
#[derive(Debug, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RedirectRule {
    /// A regular expression for the path, decoded and below the app's mount: `^/old/(.*)$`.
    r#match: String,
    /// Where to redirect: a URL or a path below the app's mount. `$1` and `$name` are groups of the
    /// expression, `$$` is a dollar. The query is appended unless this has a `?`.
    to: String,
    /// The status for this rule.
    status: Option<u16>,
}

struct CompiledRule {
    regex: Regex,
    to: Template,
    status: StatusCode,
}

struct Redirect {
    options: Options,
    status: StatusCode,
    rules: Vec<CompiledRule>,
}

/// Wraps `next`.
pub(super) fn build(mut options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let status = status(table, "status".into(), options.status, &mut errors);
    let rules = compiled(&options.rules, table, status, &mut errors);
    if let Some(host) = options.host.take() {
        options.host = value(table, "host", &host, &mut errors, site_host);
    }
    Errors::check(errors)?;
    let redirect = Arc::new(Redirect { options, status, rules });
    Ok(App::from_call(move |request| match redirect.target(&request) {
        None => next.handle(request),
        Some((status, location)) => {
            let mut response = text_response(status, format!("See {location}\n"));
            match HeaderValue::try_from(location) {
                Ok(location) => drop(response.headers_mut().insert(LOCATION, location)),
                // Groups are percent-encoded, and the rest was checked.
                Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
            }
            at_once(response)
        }
    }))
}

fn status(table: &Table, key: KeyPath, status: u16, errors: &mut Vec<Error>) -> StatusCode {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let error = table.error(key, format!("`{status}` is not a redirect status"));
        errors.push(error.help("use 301, 302, 303, 307 or 308"));
    }
    StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT)
}

fn compiled(
    rules: &[RedirectRule],
    table: &Table,
    common: StatusCode,
    errors: &mut Vec<Error>,
) -> Vec<CompiledRule> {
    let mut all = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let place = |key| join(item("rules", index), key);
        let status = rule.status.map_or(common, |own| status(table, place("status"), own, errors));
        let Some(regex) = value(table, place("match"), &rule.r#match, errors, regex) else { continue };
        let parse = |text: &str| {
            let absolute = text.starts_with("https://") || text.starts_with("http://");
            let local = text.starts_with('/') && !text[1..].starts_with(['/', '\\']);
            if absolute || local {
                return Template::parse(text, &regex);
            }
            let help = "write a URL with its scheme, or a path that begins with `/`";
            Err((format!("cannot redirect to `{text}`"), help))
        };
        let to = value(table, place("to"), &rule.to, errors, parse);
        all.extend(to.map(|to| CompiledRule { regex, to, status }));
    }
    all
}

/// A host name without a port, as clients send it.
fn site_host(text: &str) -> Result<String, Wrong> {
    let ascii = to_ascii(text).map(|host| host.to_ascii_lowercase());
    let part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ascii.filter(|host| !host.is_empty() && host.chars().all(part)).ok_or_else(|| {
        (format!("`{text}` is not a host"), "write `example.org`, without a scheme and a port")
    })
}

impl Redirect {
    /// Where the client must go instead; `None` if the request is right.
    fn target(&self, request: &Request) -> Option<(StatusCode, String)> {
        let uri = request.uri();
        if uri.path() == "*" {
            return None; // the whole server
        }
        let environ = request.extensions().get::<Environ>()?;
        if let Some((status, to)) = self.by_rule(uri) {
            return match to.starts_with('/') {
                true => Some((status, format!("{}{to}", environ.script_name))),
                false => Some((status, to)),
            };
        }
        let secure = environ.secure || self.options.https;
        let host = self.host(environ);
        let path = self.path(request.method(), uri.path());
        if (secure, host.as_str(), path.as_str()) == (environ.secure, &*environ.host, uri.path()) {
            return None;
        }
        let port = match environ.secure == secure {
            true => environ.port,
            false => Some(self.options.https_port).filter(|port| *port != 443),
        };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = if secure { "https" } else { "http" };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some((self.status, format!("{scheme}://{host}{port}{}{path}{query}", environ.script_name)))
    }

    fn by_rule(&self, uri: &Uri) -> Option<(StatusCode, String)> {
        if self.rules.is_empty() {
            return None;
        }
        let decoded = String::from_utf8(decode_path(uri.path())).ok()?;
        let expand =
            |rule: &CompiledRule| Some((rule.status, rule.to.expand(&rule.regex.captures(&decoded)?)));
        let (status, to) = self.rules.iter().find_map(expand)?;
        // A group may begin with a slash: `//evil.example` would be another host.
        let to = match to.starts_with('/') {
            true => format!("/{}", to.trim_start_matches(['/', '\\'])),
            false => to,
        };
        match uri.query().filter(|_| !to.contains('?')) {
            Some(query) => Some((status, format!("{to}?{query}"))),
            None => Some((status, to)),
        }
    }

    fn host(&self, environ: &Environ) -> String {
        let host = &*environ.host;
        if let Some(host) = &self.options.host {
            return host.clone();
        }
        let named =
            host.contains('.') && host.chars().any(|c| c.is_ascii_alphabetic()) && !host.starts_with('[');
        match (self.options.www, host.strip_prefix("www.")) {
            (Www::Add, None) if named => format!("www.{host}"),
            (Www::Remove, Some(rest)) => rest.to_owned(),
            _ => host.to_owned(),
        }
    }

    fn path(&self, method: &Method, path: &str) -> String {
        let safe = matches!(*method, Method::GET | Method::HEAD);
        let last = path.rsplit('/').next().unwrap_or_default();
        match self.options.trailing_slash {
            TrailingSlash::Add if safe && !last.is_empty() && !last.contains('.') => format!("{path}/"),
            TrailingSlash::Remove if safe && path.len() > 1 && last.is_empty() => {
                path.trim_end_matches('/').to_owned()
            }
            _ => path.to_owned(),
        }
    }
}
