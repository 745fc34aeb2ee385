//! `/account/email` and `/confirm`: the email address of an account. `/forgot`: sends a link for a new password by email.

use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::error::{ApiError, Result};
use super::forms::{Visitor, problem};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use super::plain;
use crate::accounts::{hash_of, in_future, new_secret};
use crate::mail::{Mailer, is_address};
use crate::state::{Notebook, Shared};
use crate::store::{NewNotice, StoreError};

/// How long a confirmation is valid.
const CONFIRMATION: Duration = Duration::from_secs(2 * 24 * 3600);

fn mailer(notebook: &Notebook) -> Result<&Mailer> {
    notebook.mailer.as_ref().ok_or_else(|| ApiError::missing("there is nothing at this address"))
}

/// The part of the page `/account` about the email address.
pub(super) fn section(visitor: &Visitor) -> Result<String> {
    if visitor.notebook.mailer.is_none() {
        return Ok(String::new());
    }
    let present = match visitor.notebook.store.email_of(visitor.user)? {
        Some(address) => format!("<p>Email goes to <b>{}</b>.</p>", escape(&address)),
        None => "<p>With an address, you can reset your password yourself, and you get an email when someone mentions you.</p>".to_owned(),
    };
    Ok(format!(
        "<h2>E-mail</h2>{present}{}<label>Address <input name=\"email\" type=\"email\" maxlength=\"254\" required></label>\
         <button class=\"plain\">Send a confirmation</button></form>",
        visitor.form("account/email")
    ))
}

#[derive(Deserialize)]
pub(super) struct EmailForm {
    email: String,
}

/// Sends a link that confirms an address.
pub(super) async fn change(visitor: Visitor, Form(form): Form<EmailForm>) -> Result<Response> {
    let mailer = mailer(&visitor.notebook)?;
    let address = form.email.trim();
    if !is_address(address) {
        return Ok(visitor.page("E-mail", &problem("this is not an email address")));
    }
    let store = &visitor.notebook.store;
    if !store.take_mail(visitor.user).await? {
        return Ok(
            visitor.page("E-mail", &problem("an email was sent a moment ago: try again in five minutes"))
        );
    }
    let code = new_secret();
    store.add_email_code(visitor.user, address, hash_of(&code), in_future(CONFIRMATION)).await?;
    let text = format!(
        "Hello {},\n\nthis address was entered for your notebook account. To confirm it, open\n\n{}\n\nIf you did not enter it, ignore this email.\n",
        visitor.principal.name,
        mailer.link(&format!("confirm?code={code}"))
    );
    mailer.send_later(address.to_owned(), "Confirm your address", text);
    visitor.audit("change e-mail", address).await?;
    let body = format!("<p>An email was sent to <b>{}</b>. Open the link in it.</p>", escape(address));
    Ok(visitor.page("E-mail", &body))
}

#[derive(Deserialize)]
pub(super) struct ConfirmQuery {
    code: String,
}

/// Asks for a confirmation, because mail scanners open the links in emails.
pub(super) async fn ask_confirm(visitor: Visitor, Query(query): Query<ConfirmQuery>) -> Result<Response> {
    let action = format!("confirm?code={}", encode(&query.code));
    Ok(visitor.page("E-mail", &visitor.button(&action, &[], "Confirm the address", "")))
}

pub(super) async fn confirm(visitor: Visitor, Query(query): Query<ConfirmQuery>) -> Result<Response> {
    match visitor.notebook.store.confirm_email(visitor.user, hash_of(&query.code)).await? {
        Some(address) => {
            visitor.audit("confirm e-mail", &address).await?;
            Ok(visitor.back("account"))
        }
        None => {
            Err(ApiError::missing("this link has expired, was already used, or belongs to another account"))
        }
    }
}

/// Asks for the login name or address.
pub(super) async fn forgot(State(notebook): State<Shared>, place: RequestLocation) -> Result<Response> {
    mailer(&notebook)?;
    let body = format!(
        "<form method=\"post\" action=\"{}forgot\"><label for=\"name\">Login name or e-mail</label>\
         <input id=\"name\" name=\"name\" autocomplete=\"username\" required autofocus><button>Send a link</button></form>",
        escape(&place.base())
    );
    Ok(plain::page(&place, "New password", &body).into_response())
}

#[derive(Deserialize)]
pub(super) struct ForgotForm {
    name: String,
}

/// Sends a link for a new password. The response is the same whether or not there is such an account.
pub(super) async fn send_link(
    State(notebook): State<Shared>,
    place: RequestLocation,
    Form(form): Form<ForgotForm>,
) -> Result<Response> {
    mailer(&notebook)?;
    let body = "<p>If there is such an account with an address, an email is on its way.</p>";
    let page = plain::page(&place, "New password", body).into_response();
    // Later, so that the response takes the same time for every name.
    let (notebook, name) = (notebook.clone(), form.name.trim().to_owned());
    tokio::spawn(async move {
        if let Err(error) = mail_link(&notebook, &place.client_text(), &name).await {
            tracing::error!(%error, "cannot send a link for a new password");
        }
    });
    Ok(page)
}

async fn mail_link(notebook: &Notebook, client: &str, name: &str) -> Result<(), StoreError> {
    let (Some(mailer), Some(accounts)) = (&notebook.mailer, &notebook.accounts) else { return Ok(()) };
    let Some((account, address)) = notebook.store.account_of_email(name)? else { return Ok(()) };
    let Some(account) = notebook.store.active_account(account)? else { return Ok(()) };
    if !notebook.store.take_mail(account.id).await? {
        return Ok(());
    }
    let code = accounts.invite(account.role, Some(account.id)).await?;
    let text = format!(
        "Hello {},\n\nsomeone requested a new password for your notebook account. To set one, open\n\n{}\n\nIf it was not you, ignore this email.\n",
        account.name,
        mailer.link(&format!("signup?code={code}"))
    );
    mailer.send_later(address, "A new password", text);
    notebook.store.audit("", client, "send password link", &account.name).await
}

/// Emails people the notices in their inbox, if they have an address.
pub(super) fn mail_notice(notebook: &Notebook, path: &str, accounts: &[i64], notice: &NewNotice) {
    let Some(mailer) = &notebook.mailer else { return };
    let (subject, what) = match notice.kind {
        "mention" => ("You were mentioned", "mentioned you in"),
        "offer" => ("A notebook is offered to you", "offers you"),
        "request" => ("Someone asks for access", "asks for access to"),
        _ => return,
    };
    for account in accounts {
        let address = match notebook.store.email_of(*account) {
            Ok(Some(address)) => address,
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%error, "cannot look up an address");
                continue;
            }
        };
        let text =
            format!("{} {what} {path}.\n\n{}\n\n{}\n", notice.author, notice.text, mailer.link("inbox"));
        mailer.send_later(address, subject, text);
    }
}
