//! The cookies of logins and against forged requests.

use axum::response::Response;
use http::header::{self, HeaderMap, HeaderValue};

use super::location::RequestLocation;
use crate::accounts::SESSION;
use crate::identity::{Authentication, Principal};
use crate::state::Shared;

/// The name of the cookie against forged requests, as in Jupyter Server.
const XSRF_COOKIE: &str = "_xsrf";

/// The value of a request's cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Who a request's login cookie belongs to.
pub(super) fn logged_in(notebook: &Shared, headers: &HeaderMap) -> Option<Principal> {
    let value = cookie(headers, notebook.auth.cookie_name())?;
    match &notebook.accounts {
        Some(accounts) => accounts.of_cookie(value).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot look up a session");
            None
        }),
        None => notebook.auth.check_cookie(value).then(|| Principal::owner(Authentication::Cookie)),
    }
}

/// The `_xsrf` cookie of a request, if this notebook made it.
pub(super) fn valid_xsrf<'a>(notebook: &Shared, headers: &'a HeaderMap) -> Option<&'a str> {
    cookie(headers, XSRF_COOKIE).filter(|value| notebook.auth.check_xsrf(value))
}

pub(super) fn login_cookie(notebook: &Shared, place: &RequestLocation) -> String {
    let (value, life) = notebook.auth.new_cookie();
    set_cookie(notebook, place, &value, life)
}

/// The login cookie of an account's session.
pub(super) fn session_cookie(notebook: &Shared, place: &RequestLocation, secret: &str) -> String {
    set_cookie(notebook, place, secret, SESSION.as_secs())
}

fn set_cookie(notebook: &Shared, place: &RequestLocation, value: &str, life: u64) -> String {
    let secure = if place.secure { "; Secure" } else { "" };
    format!(
        "{}={value}; Path={}; Max-Age={life}; HttpOnly; SameSite=Lax{secure}",
        notebook.auth.cookie_name(),
        place.base()
    )
}

pub(super) fn logout_cookie(notebook: &Shared, place: &RequestLocation) -> String {
    format!("{}=; Path={}; Max-Age=0; HttpOnly; SameSite=Lax", notebook.auth.cookie_name(), place.base())
}

pub(super) fn xsrf_cookie(notebook: &Shared, place: &RequestLocation) -> String {
    let secure = if place.secure { "; Secure" } else { "" };
    format!("{XSRF_COOKIE}={}; Path={}; SameSite=Lax{secure}", notebook.auth.new_xsrf(), place.base())
}

/// Adds a cookie to a response.
pub(super) fn add_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}
