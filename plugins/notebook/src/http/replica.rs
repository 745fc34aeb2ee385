//! With several servers, a request sees what a request to another server has written before.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::error::ApiError;
use crate::state::Shared;

/// How long a request waits for files that are being copied.
const WAIT: Duration = Duration::from_secs(30);
/// What shows or changes no files.
const WITHOUT_FILES: &[&str] =
    &["/static/", "/login", "/metrics", "/api/kernels/", "/api/servers", "/favicon.ico"];

/// Copies to the folder what other servers have written, and then answers the request.
pub(super) async fn bring_up_to_date(
    State(notebook): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if !notebook.files.is_replicated() || WITHOUT_FILES.iter().any(|start| path.starts_with(start)) {
        return next.run(request).await;
    }
    match tokio::time::timeout(WAIT, notebook.files.catch_up()).await {
        Ok(Ok(())) => next.run(request).await,
        Ok(Err(error)) => unavailable(&error.to_string()),
        Err(_) => unavailable("the files of the other servers are still being copied: try again"),
    }
}

fn unavailable(why: &str) -> Response {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
