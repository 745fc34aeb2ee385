//! `proxy_headers`: where clients reach the app, if a proxy in front changes the path, the scheme or the host.

use std::sync::Arc;

use http::header::{HOST, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::{App, Request};
use crate::codec::host_name::to_ascii;
use crate::config::Table;
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "proxy_headers"`.
///
/// The client's address, the scheme and the host come from the server's `trusted_proxies` and
/// `forwarded_fields`, and do not need a middleware. This middleware adds information that these fields do not contain: the
/// prefix that the proxy has removed from the path, and the scheme and host if the proxy does not send them.
///
/// ```toml
/// [middleware.behind_proxy]
/// use = "proxy_headers"
/// prefix = "/shop"               # the proxy passes /shop/cart on as /cart
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// The prefix that the proxy removes from paths. It becomes the start of `SCRIPT_NAME`.
    prefix: String,
    /// Header field in which one of the server's `trusted_proxies` sends the prefix. It takes precedence over `prefix`. The
    /// field is removed from other peers' requests. If empty, no field is read.
    prefix_header: String,
    /// The scheme that clients use, if the proxy does not send it.
    scheme: Option<Scheme>,
    /// The host that clients use, with its port unless it is the default, if the proxy does not send it.
    host: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let prefix_header = "x-forwarded-prefix".into();
        Options { prefix: String::new(), prefix_header, scheme: None, host: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    Http,
    Https,
}

struct ProxyHeaders {
    prefix: String,
    prefix_header: Option<HeaderName>,
    scheme: Option<Scheme>,
    host: Option<ForwardedHost>,
}

/// The host for `Host`, and its parts for the environ.
struct ForwardedHost {
    field: HeaderValue,
    name: Arc<str>,
    port: Option<u16>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    if !options.prefix.is_empty() && prefix(&options.prefix) != Some(&options.prefix) {
        let error = table.error("prefix", format!("`{}` is not a prefix of paths", options.prefix));
        errors.push(error.help("write `/prefix`, without a slash at the end"));
    }
    let prefix_header = match &*options.prefix_header {
        "" => None,
        name => super::options::value(table, "prefix_header", name, &mut errors, super::options::header),
    };
    let host = options.host.as_deref().and_then(|text| {
        let host = host(text);
        if host.is_none() {
            let error = table.error("host", format!("`{text}` is not a host"));
            errors.push(error.help("write `example.org` or `example.org:8443`"));
        }
        host
    });
    Errors::check(errors)?;
    let changes = ProxyHeaders { prefix: options.prefix, prefix_header, scheme: options.scheme, host };
    Ok(App::from_call(move |mut request| {
        changes.apply(&mut request);
        next.handle(request)
    }))
}

impl ProxyHeaders {
    fn apply(&self, request: &mut Request) {
        let sent = self.prefix_header.as_ref().and_then(|name| request.headers_mut().remove(name));
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.field.clone());
        }
        let Some(environ) = request.extensions_mut().get_mut::<Environ>() else { return };
        let sent = sent.as_ref().filter(|_| environ.trusted).and_then(|value| value.to_str().ok());
        let prefix = sent.and_then(prefix).unwrap_or(&self.prefix);
        if !prefix.is_empty() {
            environ.script_name = format!("{prefix}{}", environ.script_name).into();
        }
        if let Some(scheme) = self.scheme {
            environ.secure = scheme == Scheme::Https;
        }
        if let Some(host) = &self.host {
            (environ.host, environ.port) = (host.name.clone(), host.port);
        }
    }
}

/// A prefix without a slash at its end, if it is one.
fn prefix(text: &str) -> Option<&str> {
    let prefix = text.trim_end_matches('/');
    let segments = || prefix.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | ".."));
    let valid = prefix.parse::<PathAndQuery>().is_ok() && !prefix.contains(['?', '\\']);
    (prefix.starts_with('/') && valid && segments()).then_some(prefix)
}

fn host(text: &str) -> Option<ForwardedHost> {
    let ascii = to_ascii(text)?.to_ascii_lowercase();
    let authority: http::uri::Authority = ascii.parse().ok().filter(|_| !ascii.contains('@'))?;
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => None,
        _ => Some(authority.port_u16()?),
    };
    Some(ForwardedHost { field: HeaderValue::try_from(&ascii).ok()?, name: authority.host().into(), port })
}
