//! The login and logout forms, which work without scripts.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::cookies::{logged_in, login_cookie, logout_cookie, session_cookie, valid_xsrf};
use super::error::ApiError;
use super::forms::{agent, problem};
use super::guard::throttled;
use super::location::RequestLocation;
use super::pages::escape;
use super::passkeys;
use super::percent::encode;
use super::plain;
use crate::accounts::{AccountError, Accounts};
use crate::auth::Verdict;
use crate::identity::{Authentication, Principal};
use crate::second_factor::check;
use crate::settings::SignUp;
use crate::state::Shared;
use crate::store::Account;

#[derive(Deserialize)]
pub(super) struct FormQuery {
    next: Option<String>,
    failed: Option<String>,
}

pub(super) async fn form(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Query(query): Query<FormQuery>,
) -> Html<String> {
    let error = query.failed.map(|_| "the token is wrong");
    page(&notebook, &place, query.next.as_deref(), error)
}

fn page(notebook: &Shared, place: &RequestLocation, next: Option<&str>, error: Option<&str>) -> Html<String> {
    let base = escape(&place.base());
    let action = match next {
        Some(next) => format!("{base}login?next={}", encode(next)),
        None => format!("{base}login"),
    };
    let (fields, hint) = match &notebook.accounts {
        None => (
            "<label for=\"password\">Token</label>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required autofocus>",
            "When the server starts, it prints an address with the token.".to_owned(),
        ),
        Some(_) => (
            "<label for=\"name\">Login name</label>\
             <input id=\"name\" name=\"name\" autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required autofocus>\
             <label for=\"password\">Password</label>\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>",
            match notebook.settings.sign_up {
                _ if notebook.mailer.is_some() => {
                    let create = match notebook.settings.sign_up {
                        SignUp::Open => format!("No account yet? <a href=\"{base}signup\">Create one</a>. "),
                        SignUp::Invitation => String::new(),
                    };
                    format!("{create}<a href=\"{base}forgot\">Forgot your password?</a>")
                }
                SignUp::Open => format!("No account yet? <a href=\"{base}signup\">Create one</a>."),
                SignUp::Invitation => {
                    "For an account or a new password, ask an administrator for a link.".to_owned()
                }
            },
        ),
    };
    // The script shows the button if the browser supports passkeys.
    let passkey = match &notebook.accounts {
        Some(_) => format!(
            "<p id=\"passkey\" hidden><button type=\"button\">Log in with a passkey</button></p>\
             <p id=\"passkey-problem\" class=\"bad\" role=\"alert\" hidden></p>{}",
            passkeys::script(place)
        ),
        None => String::new(),
    };
    let body = format!(
        "{}<form method=\"post\" action=\"{action}\">{fields}<button>Log in</button></form>{passkey}<p class=\"faint\">{hint}</p>",
        error.map(problem).unwrap_or_default(),
    );
    plain::page(place, "Log in", &body)
}

/// Asks for the code of the second factor.
fn code_page(place: &RequestLocation, next: Option<&str>, ticket: &str, error: Option<&str>) -> Html<String> {
    let base = escape(&place.base());
    let action = match next {
        Some(next) => format!("{base}login?next={}", encode(next)),
        None => format!("{base}login"),
    };
    let body = format!(
        "{}<form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"ticket\" value=\"{}\">\
         <label for=\"code\">Code</label><input id=\"code\" name=\"code\" inputmode=\"numeric\" autocomplete=\"one-time-code\" required autofocus>\
         <button>Log in</button></form><p class=\"faint\">From the app on your phone, or one of your recovery codes.</p>",
        error.map(problem).unwrap_or_default(),
        escape(ticket),
    );
    plain::page(place, "Second factor", &body)
}

#[derive(Default, Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    /// Set by the first step, if this is the second.
    ticket: Option<String>,
    #[serde(default)]
    code: String,
}

pub(super) async fn submit(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
    Query(query): Query<FormQuery>,
    body: Result<Form<Login>, FormRejection>,
) -> Response {
    let login = body.map_or_else(|_| Login::default(), |Form(login)| login);
    let next = query.next.as_deref();
    if let Some(accounts) = &notebook.accounts {
        let way = Way { notebook: &notebook, accounts, place: &place, agent: agent(&headers), next };
        return match login.ticket.clone() {
            Some(ticket) => {
                way.second_step(&ticket, &login.code).await.unwrap_or_else(IntoResponse::into_response)
            }
            None => log_in(&way, login).await,
        };
    }
    match notebook.auth.check_token(login.password.trim()) {
        Verdict::Right => {
            let cookie = [(header::SET_COOKIE, login_cookie(&notebook, &place))];
            (cookie, Redirect::to(&own_address(&place, next))).into_response()
        }
        Verdict::Wrong => {
            tracing::warn!("refused a login with a wrong token");
            (StatusCode::FORBIDDEN, page(&notebook, &place, next, Some("the token is wrong"))).into_response()
        }
        Verdict::Throttled { wait_secs } => throttled(wait_secs),
    }
}

/// Logs in to an account.
struct Way<'a> {
    notebook: &'a Shared,
    accounts: &'a Accounts,
    place: &'a RequestLocation,
    agent: &'a str,
    next: Option<&'a str>,
}

impl Way<'_> {
    /// Starts the session.
    async fn finish(&self, account: &Account) -> Result<Response, AccountError> {
        let secret = self.accounts.log_in(account.id, self.place.client, self.agent).await?;
        self.notebook.store.audit(&account.name, &self.place.client_text(), "log in", "").await?;
        let cookie = [(header::SET_COOKIE, session_cookie(self.notebook, self.place, &secret))];
        Ok((cookie, Redirect::to(&own_address(self.place, self.next))).into_response())
    }

    /// Checks the code of the second factor.
    async fn second_step(&self, ticket: &str, code: &str) -> Result<Response, ApiError> {
        let store = &self.notebook.store;
        let account = match self.notebook.auth.check_ticket(ticket) {
            Some(account) => store.active_account(account)?,
            None => None,
        };
        let Some(account) = account else {
            let page =
                page(self.notebook, self.place, self.next, Some("the login took too long: log in again"));
            return Ok((StatusCode::FORBIDDEN, page).into_response());
        };
        if let Err(error) = self.accounts.admit_code(&account.name) {
            let page = code_page(self.place, self.next, ticket, Some(&error.to_string()));
            return Ok((StatusCode::TOO_MANY_REQUESTS, page).into_response());
        }
        if check(store, account.id, code).await? {
            return self.finish(&account).await.map_err(|error| ApiError::bad(error.to_string()));
        }
        self.accounts.count_code(&account.name);
        store.audit("", &self.place.client_text(), "refuse code", &account.name).await?;
        let page = code_page(self.place, self.next, ticket, Some("the code is wrong, or was used before"));
        Ok((StatusCode::FORBIDDEN, page).into_response())
    }
}

async fn log_in(way: &Way<'_>, login: Login) -> Response {
    let Way { notebook, accounts, place, next, .. } = *way;
    let name = login.name.trim().to_owned();
    let done = async {
        let account = accounts.check(&name, login.password, place.client).await?;
        if notebook.store.second_factor(account.id)?.is_some_and(|factor| factor.confirmed) {
            let ticket = notebook.auth.new_ticket(account.id);
            return Ok(code_page(place, next, &ticket, None).into_response());
        }
        way.finish(&account).await
    };
    match done.await {
        Ok(response) => response,
        Err(AccountError::Store(error)) => ApiError::from(error).into_response(),
        Err(error) => {
            let name: String = name.chars().take(64).collect();
            let logged = notebook.store.audit("", &place.client_text(), "refuse login", &name).await;
            if let Err(error) = logged {
                return ApiError::from(error).into_response();
            }
            let status = match error {
                AccountError::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::FORBIDDEN,
            };
            (status, page(notebook, place, next, Some(&error.to_string()))).into_response()
        }
    }
}

/// `next` if it is one of our addresses, otherwise the first page, so that a login never redirects elsewhere.
pub(super) fn own_address(place: &RequestLocation, next: Option<&str>) -> String {
    let base = place.base();
    let own = |next: &&str| {
        next.starts_with(&base)
            && !next.starts_with("//")
            && !next.contains(['\\', '\r', '\n', '\t'])
            && next.is_ascii()
    };
    next.filter(own).map_or(base.clone(), str::to_owned)
}

/// Asks whether to log out. Opening the address alone must not log out, because another page can make a browser open any
/// address.
pub(super) async fn ask_logout(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
) -> Html<String> {
    if logged_in(&notebook, &headers).is_none() {
        return logged_out(&place);
    }
    let Some(xsrf) = valid_xsrf(&notebook, &headers).map(encode) else {
        // The response to this request sets the cookie.
        let body = format!("<p><a href=\"{}logout\">Log out of this browser</a></p>", escape(&place.base()));
        return plain::page(&place, "Log out", &body);
    };
    let body = format!(
        "<p>Your kernels keep running. To come back, you need the {secret}.</p>\
         <form method=\"post\" action=\"{base}logout?_xsrf={xsrf}\"><button>Log out</button></form>\
         <p><a href=\"{base}\">Stay logged in</a></p>",
        secret = if notebook.accounts.is_some() { "password" } else { "token" },
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

/// Removes the cookie. The guard has checked that the request comes from one of our pages.
pub(super) async fn logout(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
) -> Response {
    if let Authentication::Session(hash) = principal.authentication
        && let Err(error) = notebook.store.log_out(hash).await
    {
        return ApiError::from(error).into_response();
    }
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
