//! `/api/spec.yaml`: the interface, for programs that make clients. `/api/security/csp-report`: what browsers blocked.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{StatusCode, header};

use super::location::RequestLocation;

/// OpenAPI 3.0.
const SPEC: &str = include_str!("api.yaml");
/// How much of a report is logged, in bytes.
const LOGGED: usize = 2000;

pub(super) async fn show(place: RequestLocation) -> impl IntoResponse {
    let spec = SPEC.replace("{{base}}", &place.base());
    ([(header::CONTENT_TYPE, "text/x-yaml; charset=utf-8")], spec)
}

pub(super) async fn blocked(body: Bytes) -> StatusCode {
    let report = String::from_utf8_lossy(&body[..body.len().min(LOGGED)]).into_owned();
    tracing::info!(report, "a browser blocked something on a page of the notebook");
    StatusCode::NO_CONTENT
}
