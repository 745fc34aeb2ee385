//! The login and logout forms, which work without scripts.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::guard::{is_logged_in, login_cookie, logout_cookie, throttled, valid_xsrf};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use super::plain;
use crate::auth::Verdict;
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct FormQuery {
    next: Option<String>,
    failed: Option<String>,
}

pub(super) async fn form(place: RequestLocation, Query(query): Query<FormQuery>) -> Html<String> {
    page(&place, query.next.as_deref(), query.failed.is_some())
}

fn page(place: &RequestLocation, next: Option<&str>, failed: bool) -> Html<String> {
    let problem = if failed { "<p class=\"bad\" role=\"alert\">That token is wrong.</p>" } else { "" };
    let action = match next {
        Some(next) => format!("{}login?next={}", place.base(), encode(next)),
        None => format!("{}login", place.base()),
    };
    let body = format!(
        "{problem}<form method=\"post\" action=\"{}\"><label for=\"password\">Token</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Log in</button></form>\
         <p class=\"faint\">The terminal shows an address with the token when the server starts.</p>",
        escape(&action)
    );
    plain::page(place, "Log in", &body)
}

#[derive(Deserialize)]
pub(super) struct Password {
    password: String,
}

pub(super) async fn submit(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Query(query): Query<FormQuery>,
    body: Result<Form<Password>, FormRejection>,
) -> Response {
    let verdict = match body {
        Ok(Form(Password { password })) => notebook.auth.check_token(password.trim()),
        Err(_) => Verdict::Wrong,
    };
    match verdict {
        Verdict::Right => {
            let cookie = [(header::SET_COOKIE, login_cookie(&notebook, &place))];
            (cookie, Redirect::to(&own_address(&place, query.next.as_deref()))).into_response()
        }
        Verdict::Wrong => {
            tracing::warn!("refused a login with a wrong token");
            (StatusCode::FORBIDDEN, page(&place, query.next.as_deref(), true)).into_response()
        }
        Verdict::Throttled { wait_secs } => throttled(wait_secs),
    }
}

/// `next` if it is one of our addresses, otherwise the first page: a login never redirects elsewhere.
fn own_address(place: &RequestLocation, next: Option<&str>) -> String {
    let base = place.base();
    let own = |next: &&str| {
        next.starts_with(&base)
            && !next.starts_with("//")
            && !next.contains(['\\', '\r', '\n', '\t'])
            && next.is_ascii()
    };
    next.filter(own).map_or(base.clone(), str::to_owned)
}

/// Asks whether to log out. Opening the address must not do it, because another page can make a browser open
/// any address.
pub(super) async fn ask_logout(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
) -> Html<String> {
    if !is_logged_in(&notebook, &headers) {
        return logged_out(&place);
    }
    let Some(xsrf) = valid_xsrf(&notebook, &headers).map(encode) else {
        // The response to this request sets the cookie.
        let body = format!("<p><a href=\"{}logout\">Log out of this browser</a></p>", escape(&place.base()));
        return plain::page(&place, "Log out", &body);
    };
    let body = format!(
        "<p>Your kernels keep running. To come back, you need the token.</p>\
         <form method=\"post\" action=\"{base}logout?_xsrf={xsrf}\"><button>Log out</button></form>\
         <p><a href=\"{base}\">Stay logged in</a></p>",
        base = escape(&place.base()),
    );
    plain::page(&place, "Log out", &body)
}

fn logged_out(place: &RequestLocation) -> Html<String> {
    let body = format!(
        "<p>This browser is logged out of the notebook.</p><p><a href=\"{}login\">Log in</a></p>",
        escape(&place.base())
    );
    plain::page(place, "Logged out", &body)
}

/// Removes the cookie. The guard has checked that one of our pages asks for it.
pub(super) async fn logout(State(notebook): State<Shared>, place: RequestLocation) -> Response {
    let cookie = [(header::SET_COOKIE, logout_cookie(&notebook, &place))];
    (cookie, Redirect::to(&format!("{}logout", place.base()))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_nowhere_else() {
        let place = RequestLocation { prefix: "/nb".into(), ..RequestLocation::default() };
        for (next, to) in [
            ("/nb/tree/a", "/nb/tree/a"),
            ("//evil/nb/", "/nb/"),
            ("https://evil", "/nb/"),
            ("/other", "/nb/"),
        ] {
            assert_eq!(own_address(&place, Some(next)), to);
        }
        let root = RequestLocation::default();
        assert_eq!(own_address(&root, Some("//evil")), "/");
        assert_eq!(own_address(&root, Some("/\\evil")), "/");
        assert_eq!(own_address(&root, None), "/");
    }
}
