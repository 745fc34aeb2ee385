//! Recent errors, for administrators: their part of the page *Administration*, and `/api/errors`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::admin;
use super::error::{ApiError, Result, blocking};
use super::forms::{Visitor, problem, shown_time};
use super::pages::escape;
use crate::error_reports::RecentError;
use crate::identity::{Principal, Role};
use crate::state::{Notebook, Shared};

/// `/api/errors`.
pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    if principal.role != Role::Admin {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "only an administrator may see the errors"));
    }
    let errors = recent(&notebook).await?;
    Ok(Json(json!({"errors": errors.iter().map(RecentError::to_json).collect::<Value>()})))
}

async fn recent(notebook: &Notebook) -> Result<Vec<RecentError>> {
    let errors = notebook.errors.clone();
    blocking(move || Ok::<_, ApiError>(errors.recent())).await
}

/// The errors on the page *Administration*.
pub(super) async fn section(visitor: &Visitor) -> Result<String> {
    let errors = recent(&visitor.notebook).await?;
    let rows: String = errors.iter().map(row).collect();
    let list = match rows.is_empty() {
        true => "<p>No errors in the last 30 days.</p>".to_owned(),
        false => format!(
            "<table><tr><th>Error</th><th>Times</th><th>Last (UTC)</th><th>First (UTC)</th><th>Request</th></tr>{rows}</table>"
        ),
    };
    let addresses = visitor.notebook.errors.addresses();
    let mail = match addresses.is_empty() {
        true => {
            "<p class=\"faint\">Errors are not sent by email. <code>mail.errors_to</code> in the settings sets the addresses.</p>"
                .to_owned()
        }
        false => format!(
            "<p class=\"faint\">Errors are sent to {}.</p>{}",
            escape(&addresses.join(", ")),
            visitor.button("admin/errors", &[], "Send a test email", "plain")
        ),
    };
    Ok(format!("<h2>Errors</h2>{list}{mail}"))
}

fn row(error: &RecentError) -> String {
    format!(
        "<tr><td>{}<br><code class=\"faint\">{}</code></td><td>{}</td><td>{}</td><td>{}</td><td><code>{}</code></td></tr>",
        escape(&error.message),
        escape(&error.detail),
        error.count,
        shown_time(error.last),
        shown_time(error.first),
        escape(error.request_id.as_deref().unwrap_or_default()),
    )
}

/// Sends an email without errors.
pub(super) async fn send_test(visitor: Visitor) -> Result<Response> {
    visitor.administrator()?;
    visitor.audit("send test email", &visitor.notebook.errors.addresses().join(", ")).await?;
    let notice = match visitor.notebook.errors.send_test().await {
        Ok(()) => "<p class=\"good\" role=\"status\">A test email was sent.</p>".to_owned(),
        Err(error) => problem(&format!("the test email was not sent: {error}")),
    };
    admin::page(&visitor, &notice).await
}
