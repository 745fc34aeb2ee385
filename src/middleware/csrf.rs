//! `csrf`: refuses requests with effects that a page of another site makes a browser send.

use http::header::{HeaderName, ORIGIN, UPGRADE};
use http::{HeaderMap, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tower::Layer;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use super::refusal::{at_once, refusal};
use crate::body::{App, Response};
use crate::config::{Table, item};
use crate::context::Context;
use crate::environ::Environ;
use crate::error::{Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "csrf"`.
///
/// Browsers send the site that a request comes from in `Sec-Fetch-Site` or `Origin`. If it is another site, requests other
/// than GET, HEAD and OPTIONS, and WebSocket handshakes, get 403. Programs that are not browsers send neither field and pass.
/// Forms do not need tokens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Other origins that may send such requests: `https://example.org`, as browsers write them.
    #[serde(default)]
    trusted_origins: Vec<String>,
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Wraps `next`.
/// # Source
/// Go 1.25, `net/http.CrossOriginProtection`.
pub(super) fn build(options: Options, table: &Table, _: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let mut layer = CsrfLayer::new();
    for (index, origin) in options.trusted_origins.iter().enumerate() {
        match layer.clone().add_trusted_origin(origin) {
            Ok(more) => layer = more,
            Err(cause) => {
                let error =
                    table.error(item("trusted_origins", index), format!("`{origin}` is not an origin"));
                errors.push(error.because(cause).help("write `https://example.org`"));
            }
        }
    }
    Errors::check(errors)?;
    let layer = layer.with_rejection_response(|_: ProtectionError| refused());
    let checked = App::new(layer.layer(next));
    let trusted = options.trusted_origins;
    Ok(App::from_call(move |request| {
        match is_handshake(request.method(), request.headers())
            && !is_own(request.headers(), request.extensions().get::<Environ>(), &trusted)
        {
            true => at_once(refused()),
            // The layer compares `Origin` with `Host`: behind the gate, the effective host.
            false => checked.handle(request),
        }
    }))
}

fn refused() -> Response {
    let text = "The request comes from a page of another site.\n";
    refusal(StatusCode::FORBIDDEN, "a request from another site", text)
}

/// A WebSocket handshake is a GET request, and browsers send it to any site with its cookies.
pub(super) fn is_handshake(method: &Method, headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) || method == Method::CONNECT
}

/// Whether the handshake comes from a page of this site, of a trusted one, or not from a browser.
pub(super) fn is_own(headers: &HeaderMap, environ: Option<&Environ>, trusted: &[String]) -> bool {
    let authority = environ.map(Environ::authority);
    let field = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(origin) = field(ORIGIN) else { return true };
    let same = field(SEC_FETCH_SITE) == Some("same-origin");
    let host = origin.split_once("://").map(|(_, host)| host);
    same || trusted.iter().any(|trusted| trusted == origin)
        || (host.is_some() && host == authority.as_deref())
}
