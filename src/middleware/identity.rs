//! What the kinds that authenticate have in common.

use http::StatusCode;
use http::header::{HeaderValue, WWW_AUTHENTICATE};

use super::refusal::refusal;
use crate::body::{App, BoxFuture, Request, Response};
use crate::environ::RemoteUser;
use crate::error::{BoxError, Result};

/// Passes the request on as this user, whom an access log outside also learns.
pub(super) fn pass_as(
    user: RemoteUser,
    mut request: Request,
    next: &App,
) -> BoxFuture<Result<Response, BoxError>> {
    request.extensions_mut().insert(user.clone());
    let response = next.handle(request);
    Box::pin(async move {
        let mut response = response.await?;
        response.extensions_mut().insert(user);
        Ok(response)
    })
}

/// A response that asks for credentials (RFC 9110, section 15.5.2).
pub(super) fn unauthorized(challenge: HeaderValue, text: &'static str) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, "no valid credentials", text);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// A value for a quoted parameter of a challenge.
pub(super) fn quoted(text: &str) -> String {
    text.replace(['\\', '"'], "'")
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that an even number of hexadecimal digits stands for.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
