//! `/admin/delete`: deletes an account, and asks what happens to its notebooks.

use axum::extract::{Form, Query};
use axum::response::Response;
use serde::Deserialize;

use super::error::{ApiError, Result};
use super::forms::{Visitor, problem};
use super::pages::escape;
use crate::account_removal::Notebooks;
use crate::store::Account;

#[derive(Deserialize)]
pub(super) struct AccountDeleteQuery {
    id: i64,
}

fn found(visitor: &Visitor, id: i64) -> Result<Account> {
    visitor.administrator()?;
    let account = visitor.notebook.store.accounts()?.into_iter().find(|account| account.id == id);
    account.ok_or_else(|| ApiError::missing("there is no such account"))
}

pub(super) async fn ask(visitor: Visitor, Query(query): Query<AccountDeleteQuery>) -> Result<Response> {
    let account = found(&visitor, query.id)?;
    Ok(page(&visitor, &account, ""))
}

fn page(visitor: &Visitor, account: &Account, notice: &str) -> Response {
    let id = account.id.to_string();
    let body = format!(
        "{notice}<p>Its sessions, tokens and rights end now. What happens to its notebooks?</p>\
         {give}<input type=\"hidden\" name=\"id\" value=\"{id}\"><label>Give them to <input name=\"to\" placeholder=\"login name\" maxlength=\"60\" required></label>\
         <button>Delete the account, and keep its notebooks</button></form>\
         <p>{trash}</p><p><a href=\"{base}admin\">Do not delete it</a></p>",
        give = visitor.form("admin/delete"),
        trash = visitor.button(
            "admin/delete",
            &[("id", &id)],
            "Delete the account, and move its notebooks to the trash",
            "plain"
        ),
        base = escape(&visitor.place.base()),
    );
    visitor.page(&format!("Delete {}", account.name), &body)
}

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    id: i64,
    /// The account that gets the notebooks; if empty, they go to the trash.
    #[serde(default)]
    to: String,
}

pub(super) async fn delete(visitor: Visitor, Form(form): Form<DeleteForm>) -> Result<Response> {
    let account = found(&visitor, form.id)?;
    let notebooks = match form.to.trim() {
        "" => Notebooks::Trash,
        to => match visitor.notebook.store.account(to)? {
            Some(to) => Notebooks::To(to),
            None => return Ok(page(&visitor, &account, &problem(&format!("there is no account `{to}`")))),
        },
    };
    match visitor.notebook.remove_account(&account, notebooks, &visitor.principal.name).await {
        Ok(_) => {
            visitor.audit("delete account", &account.name).await?;
            Ok(visitor.back("admin"))
        }
        Err(message) => Ok(page(&visitor, &account, &problem(&message))),
    }
}
