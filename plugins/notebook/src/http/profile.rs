//! `/account`: the password, the sessions and the tokens of an account.

use std::time::Duration;

use axum::extract::{Form, State};
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;

use super::cookies::{add_cookie, session_cookie};
use super::email;
use super::error::{ApiError, Result};
use super::forms::{Visitor, agent, level_options, problem, shown_time};
use super::pages::escape;
use super::passkeys;
use super::second_factor;
use crate::access::Level;
use crate::accounts::AccountError;
use crate::state::Shared;

/// Maximum lifetime of a token, in days.
const TOKEN_DAYS: std::ops::RangeInclusive<u64> = 1..=365;
const TOKENS: usize = 100;

pub(super) async fn show(visitor: Visitor) -> Result<Response> {
    page(&visitor, "")
}

fn page(visitor: &Visitor, notice: &str) -> Result<Response> {
    let (store, user) = (&visitor.notebook.store, visitor.user);
    let sessions: String = store
        .sessions_of(user)?
        .iter()
        .map(|session| {
            let end = visitor.button("account/sessions", &[("end", &session.id.to_string())], "End", "plain");
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{end}</td></tr>",
                escape(&session.agent),
                escape(&session.address),
                shown_time(session.created)
            )
        })
        .collect();
    let tokens: String = store
        .tokens_of(user)?
        .iter()
        .map(|token| {
            let remove =
                visitor.button("account/tokens", &[("remove", &token.id.to_string())], "Delete", "plain");
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{remove}</td></tr>",
                escape(&token.name),
                token.level.words(),
                shown_time(token.expires)
            )
        })
        .collect();
    let tokens = match tokens.is_empty() {
        true => String::new(),
        false => format!("<table><tr><th>Name</th><th>May</th><th>Ends</th><th></th></tr>{tokens}</table>"),
    };
    let body = format!(
        "{notice}<h2>Where you are logged in</h2>\
         <table><tr><th>Browser</th><th>Address</th><th>Since</th><th></th></tr>{sessions}</table>\
         <h2>Tokens for programs</h2>\
         <p>A program such as nbclient sends a token instead of your password. It can do with your notebooks what you allow here.</p>{tokens}\
         {token_form}<label>Name <input name=\"name\" maxlength=\"60\" required></label>\
         <label>It may <select name=\"level\">{levels}</select></label>\
         <label>Days <input name=\"days\" type=\"number\" min=\"1\" max=\"365\" value=\"90\" required></label><button>Create a token</button></form>\
         <h2>Password</h2><p>A new password ends all other sessions, and deletes your tokens.</p>\
         {password_form}<label>Current password <input name=\"current\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <label>New password <input name=\"password\" type=\"password\" minlength=\"8\" autocomplete=\"new-password\" required></label>\
         <button>Change the password</button></form>\
         {email}{factor}{passkeys}<h2>Log out</h2><p>{logout}</p>",
        email = email::section(visitor)?,
        factor = second_factor::section(visitor)?,
        passkeys = passkeys::section(visitor)?,
        token_form = visitor.form("account/tokens"),
        levels = level_options(&Level::ALL, Level::Edit),
        password_form = visitor.form("account/password"),
        logout = visitor.button("logout", &[], "Log out", ""),
    );
    Ok(visitor.page("Your account", &body))
}

#[derive(Deserialize)]
pub(super) struct EndSession {
    end: i64,
}

pub(super) async fn end_session(visitor: Visitor, Form(form): Form<EndSession>) -> Result<Response> {
    visitor.notebook.store.end_session(visitor.user, form.end).await?;
    visitor.audit("end session", "").await?;
    Ok(visitor.back("account"))
}

#[derive(Deserialize)]
pub(super) struct TokenForm {
    remove: Option<i64>,
    #[serde(default)]
    name: String,
    level: Option<String>,
    days: Option<u64>,
}

pub(super) async fn tokens(visitor: Visitor, Form(form): Form<TokenForm>) -> Result<Response> {
    let store = &visitor.notebook.store;
    if let Some(id) = form.remove {
        store.remove_token(visitor.user, id).await?;
        visitor.audit("delete token", "").await?;
        return Ok(visitor.back("account"));
    }
    let name = form.name.trim();
    let level = form.level.as_deref().and_then(Level::parse);
    let days = form.days.filter(|days| TOKEN_DAYS.contains(days));
    let (Some(level), Some(days), false) = (level, days, name.is_empty() || name.len() > 200) else {
        return Err(ApiError::bad("a token needs a name, a level, and 1 to 365 days"));
    };
    if store.tokens_of(visitor.user)?.len() >= TOKENS {
        return Err(ApiError::bad(format!("you have {TOKENS} tokens: delete one first")));
    }
    let life = Duration::from_secs(days * 24 * 3600);
    let token = visitor.accounts.add_token(visitor.user, name, level, life).await?;
    visitor.audit("create token", name).await?;
    let notice = format!(
        "<p class=\"good\" role=\"status\">Copy the token <b>{}</b> now. It will not be shown again: <code>{token}</code></p>",
        escape(name)
    );
    page(&visitor, &notice)
}

#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current: String,
    password: String,
}

pub(super) async fn password(
    visitor: Visitor,
    State(notebook): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response> {
    let (accounts, name, client) = (&visitor.accounts, &visitor.principal.name, visitor.place.client);
    let changed = async {
        accounts.check(name, form.current, client).await?;
        let hash = accounts.prepare(name, form.password).await?;
        notebook.store.set_password(visitor.user, hash).await?;
        Ok(accounts.log_in(visitor.user, client, agent(&headers)).await?)
    };
    match changed.await {
        Ok(secret) => {
            visitor.audit("change password", name).await?;
            let mut response = visitor.back("account");
            add_cookie(&mut response, &session_cookie(&notebook, &visitor.place, &secret));
            Ok(response)
        }
        Err(AccountError::Store(error)) => Err(error.into()),
        Err(AccountError::Wrong) => page(&visitor, &problem("the current password is wrong")),
        Err(error) => page(&visitor, &problem(&error.to_string())),
    }
}
