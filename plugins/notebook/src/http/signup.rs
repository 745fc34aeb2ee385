//! `/signup`: creates an account, with an invitation or without one, or sets a new password, with a link from an administrator.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::cookies::session_cookie;
use super::error::{ApiError, Result};
use super::forms::{agent, problem};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use super::plain;
use crate::accounts::{AccountError, Accounts, hash_of};
use crate::files::{FileError, RelativePath};
use crate::identity::Role;
use crate::settings::{Question, SignUp};
use crate::state::{Notebook, Shared};
use crate::store::Account;

#[derive(Deserialize)]
pub(super) struct SignUpQuery {
    code: Option<String>,
}

/// What a visitor may do here.
enum SignupOffer {
    NewAccount(Role),
    NewPassword(Account),
}

fn offer(notebook: &Notebook, code: Option<&str>) -> Result<(Accounts, SignupOffer)> {
    let Some(accounts) = notebook.accounts.clone() else {
        return Err(ApiError::missing("there is nothing at this address"));
    };
    let offer = match code {
        Some(code) => match notebook.store.invitation(hash_of(code))? {
            Some((_, Some(account))) => SignupOffer::NewPassword(account),
            Some((role, None)) => SignupOffer::NewAccount(role),
            None => {
                let message = "this link was already used or has expired: ask an administrator for a new one";
                return Err(ApiError::new(StatusCode::FORBIDDEN, message));
            }
        },
        None if notebook.settings.sign_up == SignUp::Open => SignupOffer::NewAccount(Role::User),
        None => {
            let message = "you need an invitation to create an account: ask an administrator for one";
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
    };
    Ok((accounts, offer))
}

pub(super) async fn form(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Query(query): Query<SignUpQuery>,
) -> Result<Response> {
    let (_, offer) = offer(&notebook, query.code.as_deref())?;
    let code = query.code.as_deref();
    Ok(page(&place, (code, question(&notebook, code)), &offer, "", None))
}

/// The question for users without an invitation.
fn question<'a>(notebook: &'a Notebook, code: Option<&str>) -> Option<&'a Question> {
    notebook.settings.sign_up_question.as_ref().filter(|_| code.is_none())
}

fn page(
    place: &RequestLocation,
    (code, question): (Option<&str>, Option<&Question>),
    offer: &SignupOffer,
    name: &str,
    error: Option<&str>,
) -> Response {
    let question = question.map(|question| {
        format!(
            "<label for=\"answer\">{}</label><input id=\"answer\" name=\"answer\" autocomplete=\"off\" required>",
            escape(&question.question)
        )
    });
    let question = question.unwrap_or_default();
    let action = match code {
        Some(code) => format!("{}signup?code={}", place.base(), encode(code)),
        None => format!("{}signup", place.base()),
    };
    let (title, name, button) = match offer {
        SignupOffer::NewAccount(_) => (
            "New account",
            format!(
                "<label for=\"name\">Login name</label><input id=\"name\" name=\"name\" value=\"{}\" autocomplete=\"username\" \
                 autocapitalize=\"none\" spellcheck=\"false\" required autofocus>\
                 <p class=\"faint\">Letters a-z, digits, - and _. It is also the name of your folder.</p>",
                escape(name)
            ),
            "Create the account",
        ),
        SignupOffer::NewPassword(account) => (
            "New password",
            format!("<p>For the account <b>{}</b>.</p>", escape(&account.name)),
            "Set the password",
        ),
    };
    let body = format!(
        "{}<form method=\"post\" action=\"{}\">{name}<label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" minlength=\"8\" autocomplete=\"new-password\" required>{question}\
         <button>{button}</button></form><p class=\"faint\">At least 8 characters.</p>",
        error.map(problem).unwrap_or_default(),
        escape(&action)
    );
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    (status, plain::page(place, title, &body)).into_response()
}

#[derive(Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    name: String,
    password: String,
    #[serde(default)]
    answer: String,
}

pub(super) async fn submit(
    State(notebook): State<Shared>,
    place: RequestLocation,
    headers: HeaderMap,
    Query(query): Query<SignUpQuery>,
    body: std::result::Result<Form<Entered>, FormRejection>,
) -> Result<Response> {
    let Form(Entered { name, password, answer }) =
        body.map_err(|rejection| ApiError::bad(rejection.body_text()))?;
    let code = query.code.as_deref();
    let (accounts, offer) = offer(&notebook, code)?;
    let name = name.trim();
    let question = question(&notebook, code);
    if question.is_some_and(|question| !question.is_answered(&answer)) {
        return Ok(page(&place, (code, question), &offer, name, Some("the answer to the question is wrong")));
    }
    let done = match &offer {
        SignupOffer::NewAccount(role) => add(&notebook, &accounts, name, *role, password, code).await,
        SignupOffer::NewPassword(account) => change(&notebook, &accounts, account, password, code).await,
    };
    let (user, name, what) = match done {
        Ok(done) => done,
        Err(AccountError::Store(error)) => return Err(error.into()),
        Err(error) => return Ok(page(&place, (code, question), &offer, name, Some(&error.to_string()))),
    };
    notebook.store.audit(&name, &place.client_text(), what, &name).await?;
    if notebook.store.second_factor(user)?.is_some_and(|factor| factor.confirmed) {
        return Ok(Redirect::to(&format!("{}login", place.base())).into_response());
    }
    let secret = accounts.log_in(user, place.client, agent(&headers)).await?;
    let cookie = [(header::SET_COOKIE, session_cookie(&notebook, &place, &secret))];
    Ok((cookie, Redirect::to(&place.base())).into_response())
}

/// Checks that the code, if there is one, was not used in the meantime.
async fn take(notebook: &Notebook, code: Option<&str>) -> Result<(), AccountError> {
    match code {
        Some(code) if !notebook.store.take_invitation(hash_of(code)).await? => {
            Err(AccountError::Unfit("this link was used in the meantime".to_owned()))
        }
        _ => Ok(()),
    }
}

type Done = Result<(i64, String, &'static str), AccountError>;

async fn add(
    notebook: &Notebook,
    accounts: &Accounts,
    name: &str,
    role: Role,
    password: String,
    code: Option<&str>,
) -> Done {
    let hash = accounts.prepare(name, password).await?;
    let home = RelativePath::parse(name).map_err(|error| AccountError::Unfit(error.to_string()))?;
    let taken = || AccountError::Unfit(format!("the name `{name}` is taken"));
    // The folder must not exist yet, because the account would get the files in it.
    if notebook.store.account(name)?.is_some() || (role != Role::Admin && notebook.files.facts(&home).is_ok())
    {
        return Err(taken());
    }
    take(notebook, code).await?;
    let user = notebook.store.add_account(name, role, hash).await?.ok_or_else(taken)?;
    if role != Role::Guest {
        match notebook.files.make_dir(&home) {
            Ok(()) | Err(FileError::Exists(_)) => {}
            Err(error) => return Err(AccountError::Unfit(format!("cannot create your folder: {error}"))),
        }
    }
    Ok((user, name.to_owned(), "create account"))
}

async fn change(
    notebook: &Notebook,
    accounts: &Accounts,
    account: &Account,
    password: String,
    code: Option<&str>,
) -> Done {
    let hash = accounts.prepare(&account.name, password).await?;
    take(notebook, code).await?;
    notebook.store.set_password(account.id, hash).await?;
    Ok((account.id, account.name.clone(), "set password by link"))
}
