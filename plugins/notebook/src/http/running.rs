//! `/api/running`: the kernels and terminals of a user with what they use. An administrator sees all.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking};
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::usage::ProcessTable;
use crate::kernel::wire::KernelModel;
use crate::sessions::{Session, kernel_json};
use crate::state::{Notebook, Shared};

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let sessions: HashMap<String, Session> =
        notebook.sessions.list().await?.into_iter().map(|(session, kernel)| (kernel.id, session)).collect();
    let started = notebook.sessions.started_by(&principal).await?;
    let is_shown = |kernel: &KernelModel| {
        notebook.may_everything(&principal)
            || started.contains(&kernel.id)
            || sessions.get(&kernel.id).is_some_and(|session| is_own(&principal, session))
    };
    let mut kernels = notebook.link.list().await?;
    kernels.retain(is_shown);
    let terminals = notebook.endable_terminals(&principal).await?;
    let processes = blocking(|| Ok::<_, ApiError>(ProcessTable::read())).await?;
    let specs = notebook.kernel_specs.specs().await;
    let kernels = kernels.iter().map(|kernel| {
        let session = sessions.get(&kernel.id);
        let mut shown = kernel_json(kernel);
        shown["display_name"] = json!(specs.specs.get(&kernel.name).map(|spec| &spec.display_name));
        shown["session"] = json!(session.map(|session| &session.id));
        shown["path"] = json!(session.map(|session| &session.path));
        shown["usage"] = json!(kernel.pid.and_then(|pid| processes.of(pid)));
        shown
    });
    let terminals = terminals.iter().map(|terminal| {
        json!({
            "name": notebook.terminal_name(&terminal.name), "owner": terminal.owner, "own": terminal.owner == principal.name,
            "folder": shown_folder(&notebook, &terminal.folder), "last_activity": terminal.last_activity,
            "usage": terminal.pid.and_then(|pid| processes.of(pid)),
        })
    });
    Ok(Json(json!({"kernels": kernels.collect::<Value>(), "terminals": terminals.collect::<Value>()})))
}

/// Whether a session is that of a file in the principal's folder.
fn is_own(principal: &Principal, session: &Session) -> bool {
    let home = principal.home().and_then(|home| RelativePath::parse(home).ok());
    let path = RelativePath::parse(&session.path).ok();
    home.zip(path).is_some_and(|(home, path)| path.is_below(&home))
}

/// The folder in which a terminal was started, below the served folder.
fn shown_folder(notebook: &Notebook, folder: &str) -> String {
    let path = std::path::Path::new(folder);
    path.strip_prefix(notebook.files.path()).unwrap_or(path).to_string_lossy().into_owned()
}
