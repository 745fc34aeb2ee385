//! `/api/resolvePath`: finds out whether a path that a program printed is a file, as seen by the notebook or by a kernel.
//!
//! # Source
//! Jupyter Server, `services/contents` (`resolvePath`).

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking};
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::wire::KernelModel;
use crate::protocol::KernelState;
use crate::settings::KernelSandbox;
use crate::state::{Notebook, Shared};

/// Maximum time until a kernel has a process, and the interval between checks.
const START: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Deserialize)]
pub(super) struct ResolveQuery {
    path: Option<String>,
    kernel: Option<String>,
}

pub(super) async fn resolve(
    State(notebook): State<Shared>,
    principal: Principal,
    Query(query): Query<ResolveQuery>,
) -> Result<Json<Value>> {
    let path = query.path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| ApiError::bad("`path` is missing"))?;
    let (mut resolved, mut unresolved) = (Vec::new(), Vec::new());
    if let Some(served) = served(&path, notebook.files.path()) {
        let files = notebook.files.clone();
        let looked = served.clone();
        let exists = blocking(move || Ok::<_, ApiError>(files.facts(&looked).is_ok())).await?;
        if exists && notebook.may(&principal, Level::View, &served).is_ok() {
            resolved.push(json!({"scope": "server", "path": served.as_str()}));
        }
    }
    if let Some(id) = query.kernel {
        let known = notebook.may_use_kernel(&principal, &id).await.is_ok();
        let kernel = if known { started(&notebook, &id).await? } else { None };
        if kernel.is_none() {
            let reason = format!("Kernel {id} could not be found");
            unresolved.push(json!({"scope": "kernel", "reason": reason}));
        }
        // A kernel in a sandbox may see other files at a path than the server.
        let same_view = notebook.settings.sandbox() == KernelSandbox::None;
        if let Some(pid) = kernel.and_then(|kernel| kernel.pid).filter(|_| same_view) {
            let found = blocking(move || Ok::<_, ApiError>(of_process(pid, &path)));
            resolved.extend(found.await?.map(|path| json!({"scope": "kernel", "path": path})));
        }
    }
    Ok(Json(json!({"resolved": resolved, "unresolved": unresolved})))
}

/// The kernel with this id. Waits for the process of a starting kernel.
async fn started(notebook: &Notebook, id: &str) -> Result<Option<KernelModel>> {
    let deadline = Instant::now() + START;
    loop {
        let kernel = notebook.link.list().await?.into_iter().find(|kernel| kernel.id == id);
        let starts = |kernel: &KernelModel| kernel.pid.is_none() && kernel.state == KernelState::Starting;
        if !kernel.as_ref().is_some_and(starts) || Instant::now() > deadline {
            return Ok(kernel);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The served path that `path` means; `None` if it leads elsewhere.
fn served(path: &str, root: &Path) -> Option<RelativePath> {
    let path = normal(&root.join(at_home(path)));
    RelativePath::parse(path.strip_prefix(root).ok()?.to_str()?).ok()
}

/// `path` as a process with this id sees it, if it is a file there.
fn of_process(pid: u32, path: &str) -> Option<String> {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let path = normal(&folder.join(at_home(path)));
    path.is_file().then(|| path.to_string_lossy().into_owned())
}

fn at_home(path: &str) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|_| path == "~" || path.starts_with("~/"));
    match home {
        Some(home) => Path::new(&home).join(path.trim_start_matches('~').trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

/// Removes `.` and `..` without following links.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_the_served_folder() {
        let root = Path::new("/srv/data");
        for (path, is) in [
            ("a.py", Some("a.py")),
            ("./x/../a.py", Some("a.py")),
            ("/srv/data/b/c.py", Some("b/c.py")),
            ("../secret", None),
            ("b/../../secret", None),
            ("/etc/passwd", None),
            (".hidden/x", None),
        ] {
            assert_eq!(served(path, root).as_ref().map(RelativePath::as_str), is, "{path}");
        }
    }
}
