//! `/api/environments`: the Python environments that the notebook found, and the installation of ipykernel in one.

use std::process::Stdio;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use super::error::{ApiError, Result, object};
use super::kernels::optional_text;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::specs::Environment;
use crate::settings::KernelSandbox;
use crate::state::Shared;

/// Maximum time for an installation.
const LIMIT: Duration = Duration::from_secs(600);

/// Whether the server may run the program of an environment, which it does outside of the kernels' sandbox.
fn may_install(notebook: &Shared) -> bool {
    notebook.accounts.is_none() && notebook.settings.sandbox() == KernelSandbox::None
}

pub(super) async fn list(State(notebook): State<Shared>) -> Json<Value> {
    let environments = notebook.kernel_specs.environments().await;
    Json(json!({"environments": environments, "can_install": may_install(&notebook)}))
}

/// Installs ipykernel into the environment `name`. Responds when this is done.
pub(super) async fn install(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    notebook.may(&principal, Level::Manage, &RelativePath::default())?;
    if !may_install(&notebook) {
        let message = "the server does not install packages when kernels run in a sandbox: install ipykernel from a cell";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    let body = object(body)?;
    let name = optional_text(&body, "name")?.ok_or_else(|| ApiError::bad("`name` is missing"))?;
    let mut environments = notebook.kernel_specs.environments().await.into_iter();
    let found = environments.find(|environment| environment.name == name);
    let found = found.ok_or_else(|| ApiError::missing(format!("there is no environment `{name}`")))?;
    if !found.has_ipykernel {
        run(&found).await.map_err(|said| {
            let message = format!("cannot install ipykernel into {}: {said}", found.prefix.display());
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
        notebook.kernel_specs.forget().await;
    }
    Ok(Json(json!({"name": name})))
}

async fn run(environment: &Environment) -> std::result::Result<(), String> {
    let mut command = match environment.made_by_uv {
        true => {
            let mut uv = Command::new("uv");
            uv.args(["pip", "install", "--python"]).arg(&environment.python).arg("ipykernel");
            uv
        }
        false => {
            let mut pip = Command::new(&environment.python);
            pip.args(["-m", "pip", "install", "--disable-pip-version-check", "ipykernel"]);
            pip
        }
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PASTER_")) {
        command.env_remove(name);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await;
    let output = output.map_err(|_| format!("it took longer than {} s", LIMIT.as_secs()))?;
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(lines[lines.len().saturating_sub(5)..].join("\n"))
}
