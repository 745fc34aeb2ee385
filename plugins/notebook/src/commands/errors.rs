//! The commands for recent errors.

use serde_json::{Value, json};

use super::table::table;
use super::words::Words;
use super::{CommandError, Printed, Result, fail, time};
use crate::error_reports::RecentError;
use crate::state::Notebook;

pub(super) async fn errors(notebook: &Notebook, words: &mut Words) -> Result<Printed> {
    let command = words.need("the command")?;
    words.end()?;
    match command.as_str() {
        "list" => list(notebook).await,
        "test" => {
            notebook
                .errors
                .send_test()
                .await
                .map_err(|error| CommandError(format!("the test email was not sent: {error}")))?;
            let addresses = notebook.errors.addresses();
            notebook.audit_command("send test email", &addresses.join(", ")).await?;
            let text = format!("a test email was sent to {}", addresses.join(", "));
            Ok(Printed::new(text, json!({"to": addresses})))
        }
        other => fail(format!("there is no command `errors {other}`: `help` lists them")),
    }
}

async fn list(notebook: &Notebook) -> Result<Printed> {
    let errors = notebook.errors.clone();
    let errors = tokio::task::spawn_blocking(move || errors.recent()).await;
    let errors = errors.map_err(|error| CommandError(error.to_string()))?;
    let row = |error: &RecentError| {
        vec![
            time(error.last)[..19].to_owned(),
            time(error.first)[..19].to_owned(),
            error.count.to_string(),
            error.message.clone(),
            error.detail.clone(),
            error.request_id.clone().unwrap_or_default(),
        ]
    };
    let heads = ["LAST", "FIRST", "TIMES", "ERROR", "CAUSE", "REQUEST"];
    let shown: Value = errors.iter().map(RecentError::to_json).collect();
    Ok(Printed::new(table(&heads, errors.iter().map(row).collect()), shown))
}
