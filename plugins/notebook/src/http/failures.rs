//! Logs requests that failed because of the server.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

use super::error::ErrorMessage;

/// Logs a response that says that the server failed. The route is logged instead of the path, whose query may have a secret.
pub(super) async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    if matches!(response.status(), StatusCode::INTERNAL_SERVER_ERROR | StatusCode::INSUFFICIENT_STORAGE)
        && let Some(ErrorMessage(error)) = response.extensions().get()
    {
        let route = route.as_ref().map_or("", MatchedPath::as_str);
        tracing::error!(error, %method, route, "a request failed");
    }
    response
}
