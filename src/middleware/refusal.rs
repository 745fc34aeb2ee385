//! The responses of a middleware that refuses a request.

use std::future::ready;

use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};

use crate::body::{BoxFuture, Response, text_response};
use crate::environ::RefusalReason;
use crate::error::{BoxError, Result};

/// A refusal. `reason` is for the access log, in a few words; the client gets it as a sentence in `text`.
pub(super) fn refusal(status: StatusCode, reason: &'static str, text: &'static str) -> Response {
    let mut response = text_response(status, text);
    response.extensions_mut().insert(RefusalReason(reason));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same, with the seconds after which the client may try again: at least one.
pub(super) fn refusal_for(
    secs: u64,
    status: StatusCode,
    reason: &'static str,
    text: &'static str,
) -> Response {
    let mut response = refusal(status, reason, text);
    response.headers_mut().insert(RETRY_AFTER, secs.max(1).into());
    response
}

/// A response without waiting.
pub(super) fn at_once(response: Response) -> BoxFuture<Result<Response, BoxError>> {
    Box::pin(ready(Ok(response)))
}
