//! The login form: works without scripts.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use serde::Deserialize;

use super::guard::{encode, login_cookie, logout_cookie, throttled};
use super::pages::escape;
use super::place::Place;
use crate::auth::Verdict;
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct FormQuery {
    next: Option<String>,
    failed: Option<String>,
}

pub(super) async fn form(place: Place, Query(query): Query<FormQuery>) -> Html<String> {
    Html(page(&place, query.next.as_deref(), query.failed.is_some()))
}

fn page(place: &Place, next: Option<&str>, failed: bool) -> String {
    let problem = if failed { "<p role=\"alert\"><strong>That token is wrong.</strong></p>" } else { "" };
    let action = match next {
        Some(next) => format!("{}login?next={}", place.base(), encode(next)),
        None => format!("{}login", place.base()),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Log in · Notebook</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;\
         margin:15vh auto;padding:0 1rem;color-scheme:light dark}}input,button{{font:inherit;padding:.4rem .6rem}}\
         input{{width:100%;box-sizing:border-box;margin:.3rem 0 1rem}}</style></head><body><main><h1>Notebook</h1>{problem}\
         <form method=\"post\" action=\"{}\"><label for=\"password\">Token</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Log in</button></form><p>The address with the token was printed in the terminal when the server started.</p>\
         </main></body></html>\n",
        escape(&action)
    )
}

#[derive(Deserialize)]
pub(super) struct Password {
    password: String,
}

pub(super) async fn submit(
    State(notebook): State<Shared>,
    place: Place,
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
            tracing::warn!("a login with a wrong token was refused");
            (StatusCode::FORBIDDEN, Html(page(&place, query.next.as_deref(), true))).into_response()
        }
        Verdict::Throttled { wait_secs } => throttled(wait_secs),
    }
}

/// `next` where it is an address of ours, else the first page: nobody is sent elsewhere by a login.
fn own_address(place: &Place, next: Option<&str>) -> String {
    let base = place.base();
    let own = |next: &&str| {
        next.starts_with(&base)
            && !next.starts_with("//")
            && !next.contains(['\\', '\r', '\n', '\t'])
            && next.is_ascii()
    };
    next.filter(own).map_or(base.clone(), str::to_owned)
}

pub(super) async fn logout(State(notebook): State<Shared>, place: Place) -> Response {
    let cookie = [(header::SET_COOKIE, logout_cookie(&notebook, &place))];
    (cookie, Redirect::to(&format!("{}login", place.base()))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_nowhere_else() {
        let place = Place { prefix: "/nb".into(), ..Place::default() };
        for (next, to) in [
            ("/nb/tree/a", "/nb/tree/a"),
            ("//evil/nb/", "/nb/"),
            ("https://evil", "/nb/"),
            ("/other", "/nb/"),
        ] {
            assert_eq!(own_address(&place, Some(next)), to);
        }
        let root = Place::default();
        assert_eq!(own_address(&root, Some("//evil")), "/");
        assert_eq!(own_address(&root, Some("/\\evil")), "/");
        assert_eq!(own_address(&root, None), "/");
    }
}
