//! Why an upstream gave no response, and the page that says so.

use std::io;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::body::{Response, text_response};
use crate::error::BoxError;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum FailureReason {
    /// No connection, or no program.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// No connection in time.
    #[error("it did not accept a connection in time")]
    ConnectTimeout,
    /// No head of a response in time.
    #[error("it did not respond in time")]
    HeadTimeout,
    /// The response body paused for too long.
    #[error("it paused too long in the middle of its response")]
    Stalled,
    /// The connection ended before the response.
    #[error("it closed the connection without a response")]
    Closed,
    /// The connection was reset before the response: the upstream has not read all of the request.
    #[error("it closed the connection without a response")]
    Reset,
    /// The connection ended in the middle of the response.
    #[error("it broke off its response")]
    BrokenOff,
    /// The connection broke.
    #[error("the connection to it broke")]
    Broken(#[source] io::Error),
    /// The response violates the protocol.
    #[error("its response is malformed: {0}")]
    Malformed(&'static str),
    /// The status of the response is not from 100 to 599 (RFC 9110 section 15).
    #[error("its response has the status {0}, which is not an HTTP status")]
    Status(u16),
    /// It refused the request by means of the protocol.
    #[error("it refused the request: {0}")]
    Refused(&'static str),
    /// HTTP/2 failed.
    #[error("the connection to it failed")]
    Http2(#[source] hyper::Error),
    /// All connections are in use.
    #[error("it has reached its limit of requests in flight")]
    Full,
    /// The names of all upstreams have no address.
    #[error("its name could not be resolved")]
    Unresolved,
    /// Health checks have failed, for all upstreams.
    #[error("it failed its health check")]
    Out,
}

impl FailureReason {
    /// Checks a status that an upstream sent.
    /// # Errors
    /// [`FailureReason::Status`].
    pub(in crate::app) fn check_status(code: u16) -> Result<StatusCode, FailureReason> {
        let status = StatusCode::from_u16(code).ok().filter(|_| code < 600);
        status.ok_or(FailureReason::Status(code))
    }

    fn status(&self) -> StatusCode {
        match self {
            FailureReason::ConnectTimeout | FailureReason::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            FailureReason::Full | FailureReason::Out => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// A failure, and the upstream that failed.
#[derive(Debug, thiserror::Error)]
#[error("the upstream `{name}` ({address}) failed")]
pub(in crate::app) struct UpstreamFault {
    /// The public name: that of the app in the config, with a number if the app has several upstreams.
    pub(in crate::app) name: String,
    /// Its address, for the log and developers.
    pub(in crate::app) address: String,
    #[source]
    pub(in crate::app) reason: FailureReason,
}

impl UpstreamFault {
    /// Logs the failure.
    pub(in crate::app) fn log(&self) {
        let mut text = self.reason.to_string();
        let mut next = std::error::Error::source(&self.reason);
        while let Some(cause) = next {
            text += ": ";
            text += &cause.to_string();
            next = cause.source();
        }
        tracing::warn!(upstream = self.name, address = self.address, "{text}");
    }

    /// The response in place of the upstream's: 502, 503 or 504 (RFC 9110, sections 15.6.3 to 15.6.5). In
    /// development it also names the address and the cause.
    pub(in crate::app) fn answer(&self, development: bool) -> Response {
        let status = self.reason.status();
        let mut text = format!("The upstream `{}` failed: {}.\n", self.name, self.reason);
        if development {
            text += &format!("Its address is {}.\n", self.address);
            if let Some(cause) = std::error::Error::source(&self.reason) {
                text += &format!("The cause: {cause}.\n");
            }
        }
        let mut response = text_response(status, text);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// Why a request got no response from an upstream.
pub(in crate::app) enum UpstreamFailure {
    /// The last upstream that was tried failed.
    Upstream(UpstreamFault),
    /// The request's body failed.
    Client(BoxError),
}

impl UpstreamFailure {
    /// The response, or the error for the server; the upstream's failure is logged. In development the
    /// response also names the address and the cause.
    pub(in crate::app) fn settle(self, development: bool) -> Result<Response, BoxError> {
        match self {
            UpstreamFailure::Upstream(fault) => {
                fault.log();
                Ok(fault.answer(development))
            }
            UpstreamFailure::Client(error) => Err(error),
        }
    }
}
