//! Why an upstream gave no answer, and the page that says so.

use std::io;

use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::app::respond::plain;
use crate::body::Response;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum Reason {
    /// No connection, or no program.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// No connection in time.
    #[error("it did not accept a connection in time")]
    ConnectTimeout,
    /// No head of an answer in time.
    #[error("it did not answer in time")]
    HeadTimeout,
    /// The body of the answer paused for too long.
    #[error("it paused too long in the middle of its answer")]
    Stalled,
    /// The connection ended where an answer should stand.
    #[error("it closed the connection without an answer")]
    Closed,
    /// The connection ended in the middle of the answer.
    #[error("it broke its answer off")]
    BrokenOff,
    /// The connection broke.
    #[error("the connection to it broke")]
    Broken(#[source] io::Error),
    /// The answer is not what the protocol says.
    #[error("its answer is malformed: {0}")]
    Malformed(&'static str),
    /// The status of the answer is not from 100 to 599 (RFC 9110 section 15).
    #[error("its answer has the status {0}, which is not a status of HTTP")]
    Status(u16),
    /// It refused in the protocol's own words.
    #[error("it refused the request: {0}")]
    Refused(&'static str),
    /// HTTP/2 failed.
    #[error("the connection to it failed")]
    Http2(#[source] hyper::Error),
    /// All connections are in use.
    #[error("it has as many requests in flight as it may have")]
    Full,
    /// Health checks say so, for all upstreams.
    #[error("it is out of order")]
    Out,
}

impl Reason {
    /// A status as an upstream has sent it.
    /// # Errors
    /// [`Reason::Status`].
    pub(in crate::app) fn check_status(code: u16) -> Result<StatusCode, Reason> {
        let status = StatusCode::from_u16(code).ok().filter(|_| code < 600);
        status.ok_or(Reason::Status(code))
    }

    fn status(&self) -> StatusCode {
        match self {
            Reason::ConnectTimeout | Reason::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            Reason::Full | Reason::Out => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// A failure with the upstream that it is of.
#[derive(Debug, thiserror::Error)]
#[error("the upstream `{name}` ({address}) failed")]
pub(in crate::app) struct Fault {
    /// The name that everyone may see: that of the app in the config, with a number where it has several upstreams.
    pub(in crate::app) name: String,
    /// Its address, for the log and developers.
    pub(in crate::app) address: String,
    #[source]
    pub(in crate::app) reason: Reason,
}

impl Fault {
    /// Writes the log's line.
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

    /// The answer in place of the upstream's: 502, 503 or 504 (RFC 9110, sections 15.6.3 to 15.6.5). In development
    /// it names the address and the cause too.
    pub(in crate::app) fn answer(&self, development: bool) -> Response {
        let status = self.reason.status();
        let mut text = format!("The upstream `{}` gave no answer: {}.\n", self.name, self.reason);
        if development {
            text += &format!("Its address is {}.\n", self.address);
            if let Some(cause) = std::error::Error::source(&self.reason) {
                text += &format!("The cause: {cause}.\n");
            }
        }
        let mut response = plain(status, text);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
