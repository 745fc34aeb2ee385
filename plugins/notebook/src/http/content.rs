//! Requests to the second origin (`content_origin`). It serves only the frame for outputs, and ignores cookies.

use axum::response::{IntoResponse, Response};
use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use super::assets;
use super::error::ApiError;
use super::guard::authority;
use super::location::RequestLocation;
use crate::state::Shared;

/// Whether a request is for the second origin.
pub(super) fn is_content(notebook: &Shared, parts: &Parts, place: &RequestLocation) -> bool {
    let Some(origin) = &notebook.content_origin else { return false };
    authority(parts, place).is_some_and(|authority| origin.is_at(authority, place.secure))
}

/// The frame, or an error.
pub(super) async fn respond(notebook: &Shared, parts: &Parts) -> Response {
    let wanted =
        parts.uri.path() == "/static/frame.html" && matches!(parts.method, Method::GET | Method::HEAD);
    let found = match wanted {
        true => assets::frame(&ancestors(&notebook.settings.allowed_hosts), &parts.headers),
        false => Err(ApiError::missing("this origin serves only outputs of notebooks")),
    };
    let mut response = found.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
    set(HeaderName::from_static("origin-agent-cluster"), "?1");
    response
}

/// The origins whose pages may show the frame: those that serve the notebook.
fn ancestors(hosts: &[String]) -> String {
    let plain = |host: &&str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let named = hosts.iter().map(String::as_str).chain(["localhost", "*.localhost", "127.0.0.1"]);
    let named = named.filter(|host| plain(host) || *host == "*.localhost");
    named.map(|host| format!("http://{host}:* https://{host}:*")).collect::<Vec<String>>().join(" ")
}
