//! The errors of handlers, as responses.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request fails.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// An error of the client: a status, and a sentence for the user.
    Refused(StatusCode, String),
    /// An internal error. It is logged, and not shown to the client.
    Internal(String),
}

impl ApiError {
    pub(crate) fn refused(status: StatusCode, why: &str) -> ApiError {
        ApiError::Refused(status, why.to_owned())
    }

    pub(crate) fn unprocessable(why: &str) -> ApiError {
        ApiError::refused(StatusCode::UNPROCESSABLE_ENTITY, why)
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> ApiError {
        ApiError::Internal(cause.to_string())
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(cause: rusqlite::Error) -> ApiError {
        ApiError::internal(cause)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            ApiError::Refused(status, why) => (status, why),
            ApiError::Internal(cause) => {
                tracing::error!(%cause, "a request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong.".to_owned())
            }
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}
