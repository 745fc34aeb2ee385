//! Errors as clients receive them: a status and `{"message", "reason"}`.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::documents::MoveError;
use crate::files::FileError;
use crate::format;
use crate::kernel::wire::{Problem, ProblemKind};
use crate::sessions::SessionError;
use crate::store::StoreError;

/// An error response.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

pub(super) type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into() }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn bad(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }
}

/// In the extensions of an error response, for code that shows the error in a form other than JSON.
#[derive(Debug, Clone)]
pub(super) struct ErrorMessage(pub(super) String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"message": self.message, "reason": self.status.canonical_reason()});
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(ErrorMessage(self.message));
        response
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> ApiError {
        let status = match &error {
            FileError::NotFound(_) => StatusCode::NOT_FOUND,
            FileError::Exists(_) | FileError::Changed(_) => StatusCode::CONFLICT,
            FileError::Unfit(_) => StatusCode::BAD_REQUEST,
            FileError::Io { error, .. } => match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    StatusCode::FORBIDDEN
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    StatusCode::INSUFFICIENT_STORAGE
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        };
        ApiError::new(status, error.to_string())
    }
}

impl From<MoveError> for ApiError {
    fn from(error: MoveError) -> ApiError {
        match error {
            MoveError::File(error) => error.into(),
            MoveError::Busy(message) => ApiError::unavailable(message),
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> ApiError {
        let status = match problem.kind {
            ProblemKind::UnknownKernel | ProblemKind::UnknownTerminal => StatusCode::NOT_FOUND,
            ProblemKind::Malformed => StatusCode::BAD_REQUEST,
            ProblemKind::Limit | ProblemKind::Lost | ProblemKind::Version => StatusCode::SERVICE_UNAVAILABLE,
            ProblemKind::LaunchFailed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, problem.message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> ApiError {
        match error {
            SessionError::Host(problem) => problem.into(),
            // Jupyter Server responds like this if a kernelspec does not exist.
            other => ApiError::new(StatusCode::NOT_IMPLEMENTED, other.to_string()),
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> ApiError {
        ApiError::new(
            if rejection.status().is_success() { StatusCode::BAD_REQUEST } else { rejection.status() },
            rejection.body_text(),
        )
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> ApiError {
        ApiError::new(rejection.status(), rejection.body_text())
    }
}

/// Reads a body as JSON, whatever its `Content-Type`. An empty body counts as an empty object. Anything but an object is
/// refused.
pub(super) fn object(
    body: Result<bytes::Bytes, BytesRejection>,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    let body = body?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Map::new());
    }
    // Python programs write a bare NaN.
    match format::parse_value(&body) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad("the body must be a JSON object")),
        Err(error) => Err(ApiError::bad(format!("cannot read the body: {error}"))),
    }
}

/// Runs blocking work (on files) on a blocking thread.
pub(super) async fn blocking<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the operation failed: {error}")))
        }
    }
}

pub(super) async fn not_found() -> ApiError {
    ApiError::missing("there is nothing at this address")
}

pub(super) async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not support that method")
}
