//! What the pages with forms share: the user, the token against forged requests, and the wording of times and levels.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::cookies::valid_xsrf;
use super::error::{ApiError, Result};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use super::plain;
use crate::access::Level;
use crate::accounts::Accounts;
use crate::clock;
use crate::identity::{Authentication, Principal, Role};
use crate::state::Shared;

/// A logged-in user who opens or sends a form.
pub(super) struct Visitor {
    pub(super) notebook: Shared,
    pub(super) accounts: Accounts,
    pub(super) principal: Principal,
    pub(super) user: i64,
    pub(super) place: RequestLocation,
    xsrf: String,
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, notebook: &Shared) -> Result<Visitor> {
        let missing = || ApiError::missing("there is nothing at this address");
        let accounts = notebook.accounts.clone().ok_or_else(missing)?;
        let principal = parts.extensions.get::<Principal>().cloned().unwrap_or_else(Principal::nobody);
        let user = principal.user.ok_or_else(missing)?;
        if matches!(principal.authentication, Authentication::ApiToken { .. }) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "a token cannot do this: log in with a browser",
            ));
        }
        let xsrf = valid_xsrf(notebook, &parts.headers).map(encode).unwrap_or_default();
        let place = RequestLocation::of(parts);
        Ok(Visitor { notebook: notebook.clone(), accounts, principal, user, place, xsrf })
    }
}

impl Visitor {
    /// The start of a form that posts to `path`, which is below the mount prefix and encoded.
    pub(super) fn form(&self, path: &str) -> String {
        format!("<form method=\"post\" action=\"{}\">", self.action(path))
    }

    /// A form on one line with one button.
    pub(super) fn button(&self, path: &str, fields: &[(&str, &str)], label: &str, class: &str) -> String {
        let fields: String = fields
            .iter()
            .map(|(name, value)| {
                format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value))
            })
            .collect();
        format!(
            "<form class=\"inline\" method=\"post\" action=\"{}\">{fields}<button class=\"{class}\">{}</button></form>",
            self.action(path),
            escape(label)
        )
    }

    fn action(&self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{}{}{mark}_xsrf={}", escape(&self.place.base()), escape(path), self.xsrf)
    }

    /// Redirects to a page after a form was sent.
    pub(super) fn back(&self, path: &str) -> Response {
        Redirect::to(&format!("{}{path}", self.place.base())).into_response()
    }

    /// A page with the links that all pages of an account have.
    pub(super) fn page(&self, title: &str, body: &str) -> Response {
        let base = escape(&self.place.base());
        let admin = match self.principal.role {
            Role::Admin => format!("<a href=\"{base}admin\">Administration</a>"),
            _ => String::new(),
        };
        let links = format!(
            "<nav><a href=\"{base}\">Notebooks</a><a href=\"{base}shared\">Shared with me</a>{admin}<a href=\"{base}account\">{}</a></nav>",
            escape(&self.principal.name)
        );
        plain::wide_page(&self.place, title, &links, body).into_response()
    }

    /// Adds an action of this user to the audit log.
    pub(super) async fn audit(&self, action: &str, target: &str) -> Result<()> {
        Ok(self.notebook.store.audit(&self.principal.name, &self.place.client_text(), action, target).await?)
    }

    /// # Errors
    /// 404 for anyone but an administrator.
    pub(super) fn administrator(&self) -> Result<()> {
        match self.principal.role {
            Role::Admin => Ok(()),
            _ => Err(ApiError::missing("there is nothing at this address")),
        }
    }
}

/// An error message above a form.
pub(super) fn problem(message: &str) -> String {
    format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(&plain::sentence(message)))
}

/// The name of the browser in a request.
pub(super) fn agent(headers: &HeaderMap) -> &str {
    headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A time in milliseconds since 1970 for a table: `2026-01-02 03:04`.
pub(super) fn shown_time(millis: i64) -> String {
    let since = std::time::Duration::from_millis(millis.max(0).cast_unsigned());
    let text = clock::rfc3339(std::time::SystemTime::UNIX_EPOCH + since);
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// The options of a choice between levels.
pub(super) fn level_options(levels: &[Level], chosen: Level) -> String {
    let option = |level: &Level| {
        let selected = if *level == chosen { " selected" } else { "" };
        format!("<option value=\"{}\"{selected}>{}</option>", level.name(), level.words())
    };
    levels.iter().map(option).collect()
}
