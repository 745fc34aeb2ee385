//! Failures of processes, and the responses in place of the application's.

use std::fmt;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::body::{Response, text_response};
use crate::error::{BoxError, Traceback};

/// Separates the traceback of a failed request from the traceback with variables (`describe` of paster-python's loader.py).
const VARIABLES: &str = "\n\0variables\0\n";

/// Why there is no response, or why it is incomplete.
#[derive(Debug, Clone)]
pub(super) enum ProcessFailure {
    /// The application has failed: its error with the traceback.
    Application(String),
    /// The process ended or was stopped before it began the request.
    NotBegun,
    /// The process ended or was stopped.
    Ended,
    /// The process violated the protocol.
    Malformed(&'static str),
}

impl ProcessFailure {
    /// If the application has failed, the error for the server, which responds with 500 and logs it. Otherwise, the response
    /// 502 (RFC 9110 section 15.6.3), which is logged here.
    pub(super) fn into_response(self, app: &str) -> Result<Response, BoxError> {
        if let ProcessFailure::Application(_) = self {
            return Err(self.into_error());
        }
        tracing::warn!(app, "{self}");
        Ok(text_response(StatusCode::BAD_GATEWAY, format!("The application `{app}` failed: {self}.\n")))
    }

    /// The error of a response that failed midway.
    pub(super) fn into_error(self) -> BoxError {
        match self {
            ProcessFailure::Application(text) => {
                let (text, with_variables) = match text.split_once(VARIABLES) {
                    Some((text, more)) => (text.to_owned(), Some(more.to_owned())),
                    None => (text, None),
                };
                let summary = text.lines().next_back().unwrap_or("no reason was given").to_owned();
                let traceback = (text != summary).then(|| Traceback { text, with_variables }.into());
                ApplicationError { summary, traceback }.into()
            }
            other => other.to_string().into(),
        }
    }
}

impl fmt::Display for ProcessFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProcessFailure::Application(text) => {
                f.write_str(text.split(VARIABLES).next().unwrap_or_default())
            }
            ProcessFailure::NotBegun | ProcessFailure::Ended => {
                f.write_str("its process ended during the request")
            }
            ProcessFailure::Malformed(what) => write!(f, "its process sent {what}"),
        }
    }
}

/// No process accepted the request in time.
pub(super) fn unavailable(app: &str) -> Response {
    let text = format!("The application `{app}` does not accept requests at the moment.\n");
    let mut response = text_response(StatusCode::SERVICE_UNAVAILABLE, text);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// An exception: its last line, and the traceback as its cause.
#[derive(Debug, thiserror::Error)]
#[error("{summary}")]
pub(super) struct ApplicationError {
    pub(super) summary: String,
    #[source]
    pub(super) traceback: Option<BoxError>,
}
