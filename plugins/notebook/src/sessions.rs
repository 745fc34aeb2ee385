//! Jupyter's sessions: which file has which kernel. The kernel host keeps them for as long as the kernels
//! live.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::files::{Files, RelativePath};
use crate::identity::Principal;
use crate::kernel::SESSION_NAME;
use crate::kernel::link::Link;
use crate::kernel::sandbox::{Sandbox, SandboxFiles};
use crate::kernel::specs::{KernelSpecs, Spec};
use crate::kernel::wire::{KernelLimits, KernelModel, Launch, Problem, ProblemKind};
use crate::quota::Quota;

const PREFIX: &str = "session/";
/// The setting that makes Bokeh embed its library.
const BOKEH: &str = "BOKEH_RESOURCES";
/// The type of a session for another language of a notebook.
const LANGUAGE: &str = "language";
/// Who started a kernel that has no session.
const STARTED: &str = "started/";

/// A file (or anything with a path) and its kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Path below the served folder, or the name of a console.
    pub path: String,
    /// A display name, if the client gave one.
    pub name: String,
    /// `notebook`, `console`, …
    pub r#type: String,
    /// Its kernel.
    pub kernel_id: String,
}

/// Why a session cannot be created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// No such kernelspec.
    #[error("there is no kernel named `{0}` on this machine")]
    UnknownSpec(String),
    /// There are no kernelspecs. The text explains what to do.
    #[error("{0}")]
    NoSpecs(String),
    /// From the kernel host.
    #[error(transparent)]
    Host(#[from] Problem),
}

/// How kernels are kept apart.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Whether they have the network.
    pub network: bool,
    /// What else they may read.
    pub read_only: Vec<PathBuf>,
    /// The folder with the homes of kernels.
    pub homes: PathBuf,
    /// Whether a kernel may have the whole served folder.
    pub whole_folder: bool,
}

/// All sessions.
#[derive(Clone)]
pub struct Sessions {
    link: Link,
    kernel_specs: Arc<KernelSpecs>,
    files: Files,
    limits: KernelLimits,
    sandbox: Option<SandboxSettings>,
    quota: Option<Quota>,
    /// One change at a time, so that two pages that open one file get one kernel.
    changing: Arc<Mutex<()>>,
}

impl Sessions {
    pub(crate) fn new(
        link: Link,
        kernel_specs: Arc<KernelSpecs>,
        files: Files,
        limits: KernelLimits,
        sandbox: Option<SandboxSettings>,
        quota: Option<Quota>,
    ) -> Sessions {
        Sessions { link, kernel_specs, files, limits, sandbox, quota, changing: Arc::default() }
    }

    /// The sessions whose kernels still exist, each with its kernel.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn list(&self) -> Result<Vec<(Session, KernelModel)>, Problem> {
        let kernels = self.link.list().await?;
        let kept = self.link.kept(PREFIX).await?;
        let sessions =
            kept.into_iter().filter_map(|(_, value)| serde_json::from_value::<Session>(value).ok());
        Ok(sessions
            .filter_map(|session| {
                let kernel = kernels.iter().find(|kernel| kernel.id == session.kernel_id)?.clone();
                Some((session, kernel))
            })
            .collect())
    }

    /// One session.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn find(&self, id: &str) -> Result<Option<(Session, KernelModel)>, Problem> {
        Ok(self.list().await?.into_iter().find(|(session, _)| session.id == id))
    }

    /// The session of a path.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn of_path(&self, path: &str) -> Result<Option<(Session, KernelModel)>, Problem> {
        Ok(self
            .list()
            .await?
            .into_iter()
            .find(|(session, _)| session.path == path && session.r#type != LANGUAGE))
    }

    /// Starts the kernel with this spec name (or the default one) in the folder of `path`.
    /// # Errors
    /// [`SessionError`].
    pub async fn start_kernel(
        &self,
        name: Option<&str>,
        path: Option<&str>,
        id: Option<String>,
    ) -> Result<KernelModel, SessionError> {
        let specs = self.kernel_specs.specs().await;
        let name = name.filter(|name| !name.is_empty());
        let spec = match name {
            Some(name) => specs.specs.get(name),
            None => specs.find(None, None),
        };
        // What old notebooks call the kernel of the server's own Python.
        let spec = spec.or_else(|| specs.find(None, Some("python")).filter(|_| name == Some("python")));
        let Some(spec) = spec else {
            return Err(match specs.message.clone() {
                Some(message) => SessionError::NoSpecs(message),
                None => SessionError::UnknownSpec(name.unwrap_or("default").to_owned()),
            });
        };
        Ok(self.start_spec(spec, path, id).await?)
    }

    /// Remembers that `principal` started a kernel.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn remember_starter(&self, principal: &Principal, kernel_id: &str) -> Result<(), Problem> {
        self.link.put(format!("{STARTED}{kernel_id}"), Some(json!(principal.name))).await
    }

    /// Who started a kernel without a session.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn starter(&self, kernel_id: &str) -> Result<Option<String>, Problem> {
        let kept = self.link.kept(&format!("{STARTED}{kernel_id}")).await?;
        Ok(kept.into_iter().next().and_then(|(_, name)| name.as_str().map(str::to_owned)))
    }

    /// The kernels that `principal` started without a session.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn started_by(&self, principal: &Principal) -> Result<Vec<String>, Problem> {
        let kept = self.link.kept(STARTED).await?;
        let own = kept.into_iter().filter(|(_, name)| principal.is_known() && *name == principal.name);
        Ok(own.filter_map(|(key, _)| key.strip_prefix(STARTED).map(str::to_owned)).collect())
    }

    async fn start_spec(
        &self,
        spec: &Spec,
        path: Option<&str>,
        id: Option<String>,
    ) -> Result<KernelModel, Problem> {
        if let Some(path) = path.and_then(|path| RelativePath::parse_internal(path).ok()) {
            self.admit(&path).await?;
        }
        self.link.start(self.launch(spec, path)?, id).await
    }

    /// How a kernel with this spec is started in the folder of `path`.
    /// # Errors
    /// [`ProblemKind::LaunchFailed`] if it could read everyone's files there.
    pub(crate) fn launch(&self, spec: &Spec, path: Option<&str>) -> Result<Launch, Problem> {
        let internal = path.and_then(|path| RelativePath::parse_internal(path).ok());
        let folder = internal.and_then(|path| {
            let is_dir = self.files.facts(&path).map(|facts| facts.is_dir).unwrap_or(false);
            let folder = if is_dir { Some(path) } else { path.parent() }?;
            self.files.facts(&folder).ok().filter(|facts| facts.is_dir).map(|_| self.files.absolute(&folder))
        });
        let folder = folder.unwrap_or_else(|| self.files.path().to_owned());
        let mut env: Vec<(String, String)> = Vec::new();
        if let Some(path) = path {
            let path = self.files.path().join(path).to_string_lossy().into_owned();
            env.push((SESSION_NAME.to_owned(), path));
        }
        // Frames of outputs load nothing from the network: Bokeh's library comes with its outputs.
        let is_set = std::env::var_os(BOKEH).is_some() || spec.env.iter().any(|(name, _)| name == BOKEH);
        if !is_set {
            env.push((BOKEH.to_owned(), "inline".to_owned()));
        }
        let sandbox = self.sandbox(&folder)?;
        Ok(spec.launch(&folder, &env, self.limits.clone(), sandbox))
    }

    /// How a program in `folder` is kept apart; `None`: not at all.
    /// # Errors
    /// [`ProblemKind::LaunchFailed`] if it could read everyone's files there.
    pub fn sandbox(&self, folder: &Path) -> Result<Option<Sandbox>, Problem> {
        self.sandbox.as_ref().map(|sandbox| self.sandbox_for(sandbox, folder)).transpose()
    }

    /// Refuses a kernel beyond what an account may use.
    pub(crate) async fn admit(&self, path: &RelativePath) -> Result<(), Problem> {
        let Some(quota) = self.quota.clone() else { return Ok(()) };
        let refused = |message: String| Problem::new(ProblemKind::Limit, message);
        if quota.kernels().is_some() {
            let running = self.list().await?;
            quota
                .admit_kernel(path, running.iter().map(|(session, _)| session.path.as_str()))
                .map_err(refused)?;
        }
        let path = path.clone();
        let admitted = tokio::task::spawn_blocking(move || quota.admit_bytes(&path, 0)).await;
        admitted.unwrap_or(Ok(())).map_err(refused)
    }

    /// The sandbox of a kernel in `folder`. A kernel's home belongs to the user whose folder it is.
    fn sandbox_for(&self, settings: &SandboxSettings, folder: &Path) -> Result<Sandbox, Problem> {
        let below = folder.strip_prefix(self.files.path()).ok().and_then(|path| path.components().next());
        let owner = match below {
            Some(first) => first.as_os_str().to_string_lossy().into_owned(),
            None if settings.whole_folder => "owner".to_owned(),
            None => {
                return Err(Problem::new(
                    ProblemKind::LaunchFailed,
                    "a kernel here could read everyone's files: move the notebook into a folder",
                ));
            }
        };
        Ok(Sandbox {
            network: settings.network,
            home: settings.homes.join(owner).to_string_lossy().into_owned(),
            read_only: settings.read_only.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            files: SandboxFiles::Writable,
        })
    }

    /// The session of `path`, or a new one with a kernel that is already running or is started.
    /// # Errors
    /// [`SessionError`].
    pub async fn open(
        &self,
        path: &str,
        name: &str,
        kind: &str,
        kernel_name: Option<&str>,
        kernel_id: Option<&str>,
    ) -> Result<(Session, KernelModel), SessionError> {
        let _changing = self.changing.lock().await;
        if let Some(present) = self.of_path(path).await? {
            return Ok(present);
        }
        // As in Jupyter Server, an id that no kernel has becomes that of the new one, if it can be.
        let running = match kernel_id {
            Some(id) => self.link.list().await?.into_iter().find(|kernel| kernel.id == id),
            None => None,
        };
        let kernel = match running {
            Some(kernel) => kernel,
            None => {
                let id = kernel_id.filter(|id| uuid::Uuid::parse_str(id).is_ok()).map(str::to_owned);
                self.start_kernel(kernel_name, Some(path), id).await?
            }
        };
        let session = Session {
            id: uuid::Uuid::new_v4().to_string(),
            path: path.to_owned(),
            name: name.to_owned(),
            r#type: kind.to_owned(),
            kernel_id: kernel.id.clone(),
        };
        self.keep(&session).await?;
        Ok((session, kernel))
    }

    /// The kernel with this spec name that cells in another language of the notebook at `path` use; starts one if there is none.
    /// # Errors
    /// [`SessionError`].
    pub async fn open_language(&self, path: &str, spec: &str) -> Result<KernelModel, SessionError> {
        let _changing = self.changing.lock().await;
        for (session, kernel) in self.list().await? {
            if session.path == path && session.r#type == LANGUAGE && kernel.name == spec {
                if kernel.state != crate::protocol::KernelState::Dead {
                    return Ok(kernel);
                }
                self.link.put(format!("{PREFIX}{}", session.id), None).await?;
                self.link.shutdown(&kernel.id).await?;
            }
        }
        let kernel = self.start_kernel(Some(spec), Some(path), None).await?;
        let session = Session {
            id: uuid::Uuid::new_v4().to_string(),
            path: path.to_owned(),
            name: spec.to_owned(),
            r#type: LANGUAGE.to_owned(),
            kernel_id: kernel.id.clone(),
        };
        self.keep(&session).await?;
        Ok(kernel)
    }

    /// Ends the kernels that cells in other languages of a notebook use.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn close_languages(&self, path: &str) -> Result<(), Problem> {
        let list = self.list().await?;
        for (session, _) in
            list.iter().filter(|(session, _)| session.path == path && session.r#type == LANGUAGE)
        {
            self.close(&session.id).await?;
        }
        Ok(())
    }

    async fn keep(&self, session: &Session) -> Result<(), Problem> {
        self.link.put(format!("{PREFIX}{}", session.id), Some(json!(session))).await
    }

    /// Changes a session. If it changes to another kernel, the old one ends.
    /// # Errors
    /// [`SessionError`]; [`ProblemKind::UnknownKernel`] if the session does not exist.
    pub async fn change(&self, id: &str, change: &Value) -> Result<(Session, KernelModel), SessionError> {
        let _changing = self.changing.lock().await;
        let unknown = || Problem::new(ProblemKind::UnknownKernel, format!("there is no session `{id}`"));
        let (mut session, mut kernel) = self.find(id).await?.ok_or_else(unknown)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        // Old clients send `notebook.path`.
        if let Some(path) = text(&change["path"]).or_else(|| text(&change["notebook"]["path"])) {
            session.path = path;
        }
        if let Some(name) = text(&change["name"]) {
            session.name = name;
        }
        if let Some(kind) = text(&change["type"]) {
            session.r#type = kind;
        }
        let before = session.kernel_id.clone();
        if let Some(kernel_id) = text(&change["kernel"]["id"]) {
            kernel = self.link.kernel(&kernel_id).await?;
        } else if let Some(name) = text(&change["kernel"]["name"]) {
            kernel = self.start_kernel(Some(&name), Some(&session.path), None).await?;
        }
        session.kernel_id = kernel.id.clone();
        self.keep(&session).await?;
        if before != session.kernel_id
            && !self.list().await?.iter().any(|(other, _)| other.kernel_id == before)
        {
            self.link.shutdown(&before).await?;
        }
        Ok((session, kernel))
    }

    /// Forgets a session, and ends its kernel if no other session has it.
    /// # Errors
    /// Same as [`Sessions::change`].
    pub async fn close(&self, id: &str) -> Result<(), Problem> {
        let _changing = self.changing.lock().await;
        let unknown = || Problem::new(ProblemKind::UnknownKernel, format!("there is no session `{id}`"));
        let (session, _) = self.find(id).await?.ok_or_else(unknown)?;
        self.link.put(format!("{PREFIX}{id}"), None).await?;
        if !self.list().await?.iter().any(|(other, _)| other.kernel_id == session.kernel_id) {
            self.link.shutdown(&session.kernel_id).await?;
        }
        Ok(())
    }

    /// Follows a renamed file or folder.
    /// # Errors
    /// [`ProblemKind::Lost`].
    pub async fn moved(&self, from: &RelativePath, to: &RelativePath) -> Result<(), Problem> {
        let _changing = self.changing.lock().await;
        for (mut session, _) in self.list().await? {
            let Ok(path) = RelativePath::parse_internal(&session.path) else { continue };
            if let Some(path) = path.moved(from, to) {
                session.path = path.to_string();
                self.keep(&session).await?;
            }
        }
        Ok(())
    }
}

/// A kernel as `/api/kernels` shows it.
pub fn kernel_json(kernel: &KernelModel) -> Value {
    use crate::protocol::KernelState;
    let state = match kernel.state {
        KernelState::None | KernelState::Starting => "starting",
        KernelState::Idle => "idle",
        KernelState::Busy => "busy",
        KernelState::Restarting => "restarting",
        KernelState::Dead => "dead",
    };
    json!({
        "id": kernel.id,
        "name": kernel.name,
        "last_activity": kernel.last_activity,
        "execution_state": state,
        "connections": kernel.connections,
        "reason": kernel.exit,
    })
}

/// A session as `/api/sessions` shows it.
pub fn session_json(session: &Session, kernel: &KernelModel) -> Value {
    let mut shown = json!({
        "id": session.id,
        "path": session.path,
        "name": session.name,
        "type": session.r#type,
        "kernel": kernel_json(kernel),
    });
    if session.r#type == "notebook" {
        shown["notebook"] = json!({"path": session.path, "name": session.name});
    }
    shown
}

/// The current time, for a `last_activity` that is unknown.
pub fn now() -> String {
    crate::clock::rfc3339(SystemTime::now())
}
