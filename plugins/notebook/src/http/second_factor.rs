//! `/account/second-factor`: sets up and removes codes from an app as the second factor of the login.

use axum::extract::Form;
use axum::response::Response;
use serde::Deserialize;

use super::error::{ApiError, Result};
use super::forms::{Visitor, problem};
use super::pages::escape;
use crate::second_factor::{check, generate, recovery_codes, setup};

const PATH: &str = "account/second-factor";

/// The part of the page `/account` about the second factor.
pub(super) fn section(visitor: &Visitor) -> Result<String> {
    let used = visitor.notebook.store.second_factor(visitor.user)?.is_some_and(|factor| factor.confirmed);
    let base = escape(&visitor.place.base());
    Ok(match used {
        true => format!(
            "<h2>Second factor</h2><p>A login asks for a code from your app.</p>{}{}<button class=\"plain\">Remove it</button></form>",
            visitor.form(PATH),
            code_field("remove")
        ),
        false => format!(
            "<h2>Second factor</h2><p>An app on your phone can show codes that a login asks for, in addition to the password. \
             <a href=\"{base}{PATH}\">Set it up</a></p>"
        ),
    })
}

fn code_field(action: &str) -> String {
    format!(
        "<input type=\"hidden\" name=\"action\" value=\"{action}\"><label>Code <input name=\"code\" inputmode=\"numeric\" \
         autocomplete=\"one-time-code\" maxlength=\"20\" required></label>"
    )
}

/// Shows a new secret.
pub(super) async fn begin(visitor: Visitor) -> Result<Response> {
    let store = &visitor.notebook.store;
    match store.second_factor(visitor.user)? {
        Some(factor) if factor.confirmed => return Ok(visitor.back("account")),
        // The page may be opened twice: both show the same secret.
        Some(_) => {}
        None => store.begin_second_factor(visitor.user, generate()).await?,
    }
    page(&visitor, "")
}

fn page(visitor: &Visitor, notice: &str) -> Result<Response> {
    let factor = visitor.notebook.store.second_factor(visitor.user)?;
    let factor = factor.ok_or_else(|| ApiError::missing("open the page again"))?;
    let shown = setup(factor.secret, &visitor.principal.name).map_err(ApiError::bad)?;
    let body = format!(
        "{notice}<p>Scan this picture with an app such as Aegis, FreeOTP or Google Authenticator, and type the code that it shows.</p>\
         <p role=\"img\" aria-label=\"QR code\">{}</p><p>Without a camera, type <code>{}</code> into the app.</p>\
         {}{}<button>Use it from now on</button></form>",
        shown.picture,
        shown.secret,
        visitor.form(PATH),
        code_field("confirm")
    );
    Ok(visitor.page("Second factor", &body))
}

#[derive(Deserialize)]
pub(super) struct FactorForm {
    action: String,
    code: String,
}

/// Confirms the first code, or removes the second factor.
pub(super) async fn change(visitor: Visitor, Form(form): Form<FactorForm>) -> Result<Response> {
    let store = &visitor.notebook.store;
    let confirmed = store.second_factor(visitor.user)?.is_some_and(|factor| factor.confirmed);
    let wrong = problem("the code is wrong: type the one that the app shows now");
    visitor.accounts.admit_code(&visitor.principal.name).map_err(|error| ApiError::bad(error.to_string()))?;
    if !check(store, visitor.user, &form.code).await? {
        visitor.accounts.count_code(&visitor.principal.name);
        return match confirmed {
            true => Ok(visitor.page("Second factor", &wrong)),
            false => page(&visitor, &wrong),
        };
    }
    if form.action == "remove" {
        store.remove_second_factor(visitor.user).await?;
        visitor.audit("remove second factor", "").await?;
        return Ok(visitor.back("account"));
    }
    let (codes, hashes): (Vec<String>, Vec<[u8; 32]>) = recovery_codes().into_iter().unzip();
    store.confirm_second_factor(visitor.user, hashes).await?;
    visitor.audit("set up second factor", "").await?;
    let list: String = codes.iter().map(|code| format!("<li><code>{code}</code></li>")).collect();
    let body = format!(
        "<p>From now on, a login asks for a code. If you lose your phone, you can use each of these codes once instead. \
         Print them, because they are not shown again.</p><ul>{list}</ul><p><a href=\"{}account\">Done</a></p>",
        escape(&visitor.place.base())
    );
    Ok(visitor.page("Recovery codes", &body))
}
