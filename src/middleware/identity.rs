//! What the kinds that authenticate have in common.

use base64::Engine;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

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

/// Name and password of an `Authorization: Basic` field.
pub(super) fn basic_credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let (scheme, rest) = field.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    // bcrypt does not accept NUL.
    let password = decoded[colon + 1..].to_vec();
    (!password.contains(&0)).then_some((name, password))
}

/// A response that asks for credentials (RFC 9110, section 15.5.2).
pub(super) fn unauthorized(challenge: HeaderValue, text: &'static str) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, "no valid credentials", text);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// A claim as the value of a field.
pub(super) fn plain(claim: &Value) -> String {
    match claim {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The names in a claim: a list of strings, or one string with spaces or commas between the names.
pub(super) fn names(claim: &Value) -> Vec<String> {
    match claim {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => text.split([' ', ',']).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
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
