//! `/api/spec.yaml`: the description of the API. `/api/security/csp-report`: reports of browsers that blocked something.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{StatusCode, header};

use super::location::RequestLocation;

/// OpenAPI 3.0.
const SPEC: &str = include_str!("api.yaml");
/// Maximum length of a logged report, in bytes.
const LOGGED: usize = 2000;

pub(super) async fn show(place: RequestLocation) -> impl IntoResponse {
    let spec = SPEC.replace("{{base}}", &place.base());
    ([(header::CONTENT_TYPE, "text/x-yaml; charset=utf-8")], spec)
}

pub(super) async fn blocked(body: Bytes) -> StatusCode {
    let report = String::from_utf8_lossy(&body[..body.len().min(LOGGED)]).into_owned();
    tracing::info!(report, "the content security policy blocked something on a page");
    StatusCode::NO_CONTENT
}
