//! Responses: redirects, and pages about logins that have failed.

use handlebars::html_escape;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION, SET_COOKIE};

use crate::body::{Response, text_response};
use crate::environ::RefusalReason;

/// What a page is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum OidcPage {
    /// The login is not known: it took too long, or another browser began it.
    Unknown,
    /// The provider or the config does not let the user pass.
    Refused,
    /// The claims do not fit into a cookie.
    TooLarge,
}

/// The page, with links below `base`.
pub(super) fn page(kind: OidcPage, base: &str) -> Response {
    let (status, reason, text) = match kind {
        OidcPage::Unknown => (
            StatusCode::BAD_REQUEST,
            "an unknown login",
            "The login took too long, or was started in another browser.",
        ),
        OidcPage::Refused => {
            (StatusCode::FORBIDDEN, "a refused login", "You may not use this site with this account.")
        }
        OidcPage::TooLarge => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "a session that is too large",
            "The login failed: the login service sends too much data about this account.",
        ),
    };
    let base = html_escape(base);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>Login failed</title>\n<h1>Login failed</h1>\n<p>{text}\n\
         <p><a href=\"{base}/login\">Log in again</a> or <a href=\"{base}/logout\">log out</a>, to use another \
         account.\n</html>\n"
    );
    let mut response = text_response(status, html);
    response.extensions_mut().insert(RefusalReason(reason));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A redirect that sets cookies.
pub(super) fn redirect_to<const N: usize>(target: &str, cookies: [Option<HeaderValue>; N]) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::try_from(target).unwrap_or(HeaderValue::from_static("/")));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with_cookies(response, cookies)
}

/// The response with cookies.
pub(super) fn with_cookies<const N: usize>(
    mut response: Response,
    cookies: [Option<HeaderValue>; N],
) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
