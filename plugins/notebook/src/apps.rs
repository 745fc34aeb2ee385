//! Kernels for the readers of apps and of published notebooks: who gets one, and with which limits.
//!
//! Such a kernel is a sandboxed copy for one reader. It always runs in bubblewrap, even if other kernels do not, and ends with
//! the reader's connection.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use crate::documents::{AppLaunch, AppSession, SessionLimits, choose_kernel, describe_kernel};
use crate::files::Files;
use crate::format::NotebookFile;
use crate::kernel::link::Link;
use crate::kernel::sandbox::{self, Sandbox, SandboxFiles};
use crate::kernel::specs::{KernelSpecs, Spec};
use crate::kernel::wire::KernelLimits;
use crate::settings::Settings;

/// The prefix of the keys of running kernels in the kernel host, and the lock for starting them.
const PREFIX: &str = "app/";
const LOCK: &str = "apps";
/// How long another process of the server may have that lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many kernels one reader may start per minute.
const STARTS: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// How many readers' starts are remembered.
const READERS: usize = 10_000;
/// Variables of these kernels. Libraries with many threads reserve much memory, and the library of Bokeh comes with its outputs.
const VARIABLES: [(&str, &str); 5] = [
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
    ("MKL_NUM_THREADS", "1"),
    ("MALLOC_ARENA_MAX", "2"),
    ("BOKEH_RESOURCES", "inline"),
];
/// What readers see if there is no sandbox.
const NO_SANDBOX: &str =
    "The controls show their saved state, because this server cannot run them in a sandbox.";

/// A request for an app's kernel.
pub(crate) struct AppRequest {
    /// The title of the notebook.
    pub(crate) title: String,
    /// The notebook.
    pub(crate) file: NotebookFile,
    /// The folder that its kernel may read; `None`: it sees no files of users, and has no network.
    pub(crate) folder: Option<PathBuf>,
    /// The account or the address of the reader.
    pub(crate) reader: String,
    /// Why the session must end, for the reader; `None`: the reader still has the right to it.
    pub(crate) refusal: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Why there is no kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppRefusal {
    /// The server cannot run it, or its kernel does not start.
    #[error("{0}")]
    Unavailable(String),
    /// A limit is reached.
    #[error("{0}")]
    Busy(String),
}

/// Starts kernels for readers.
pub struct Apps {
    link: Link,
    kernel_specs: std::sync::Arc<KernelSpecs>,
    files: Files,
    settings: Settings,
    limits: KernelLimits,
    /// Why there is no sandbox; `None`: there is one.
    problem: Option<String>,
    /// Kernels are started one after the other, so that their number is known.
    starting: tokio::sync::Mutex<()>,
    starts: Mutex<HashMap<String, VecDeque<Instant>>>,
}

impl Apps {
    /// `limits` are those of other kernels.
    pub(crate) fn new(
        link: Link,
        kernel_specs: std::sync::Arc<KernelSpecs>,
        files: Files,
        settings: Settings,
        limits: &KernelLimits,
    ) -> Apps {
        let problem = match settings.kernel_gateway {
            Some(_) => Some("a gateway runs the kernels".to_owned()),
            None => sandbox::probe().err(),
        };
        if let Some(why) = &problem {
            tracing::info!("apps and published notebooks show only the saved state of controls: {why}");
        }
        let limits = settings.limits.of_app(limits);
        let (starting, starts) = Default::default();
        Apps { link, kernel_specs, files, settings, limits, problem, starting, starts }
    }

    /// Why controls cannot be used on this server, for readers.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        self.problem.as_ref().map(|_| NO_SANDBOX)
    }

    /// Starts a kernel for a reader, and runs the notebook in it.
    /// # Errors
    /// [`AppRefusal`].
    pub(crate) async fn open(&self, request: AppRequest) -> Result<AppSession, AppRefusal> {
        if let Some(problem) = self.problem() {
            return Err(AppRefusal::Unavailable(problem.to_owned()));
        }
        self.count_start(&request.reader)?;
        let specs = self.kernel_specs.specs().await;
        let spec = choose_kernel(&specs, &request.file.metadata, None).map_err(AppRefusal::Unavailable)?;
        let unreachable = |problem: crate::kernel::wire::Problem| {
            tracing::warn!(%problem, "cannot start a kernel for the reader of a notebook");
            AppRefusal::Unavailable("The kernel could not be started.".to_owned())
        };
        let id = self.start(spec, &request).await?;
        let attachment = self.link.attach(&id, Some(1), false).await.map_err(unreachable)?;
        let AppRequest { title, file, refusal, .. } = request;
        let seconds = |limit: NonZeroU64| Duration::from_secs(limit.get());
        let limits = &self.settings.limits;
        let limits = SessionLimits { run: seconds(limits.app_run_secs), idle: seconds(limits.app_idle_secs) };
        let kernel = describe_kernel(&specs, &file.metadata, Some(&attachment.model));
        let link = self.link.clone();
        Ok(AppSession::start(AppLaunch { title, file, kernel, link, attachment, limits, refusal }))
    }

    /// Starts a kernel if the limits allow it. Returns its id.
    async fn start(&self, spec: &Spec, request: &AppRequest) -> Result<String, AppRefusal> {
        let _starting = self.starting.lock().await;
        let lost = |problem: crate::kernel::wire::Problem| {
            tracing::warn!(%problem, "cannot start a kernel for the reader of a notebook");
            AppRefusal::Unavailable("The kernel could not be started.".to_owned())
        };
        if !self.link.lock(LOCK, Some(PATIENCE)).await.map_err(lost)? {
            return Err(AppRefusal::Busy("The server is busy. Try again in a moment.".to_owned()));
        }
        let started = self.start_locked(spec, request, lost).await;
        let _ = self.link.unlock(LOCK).await;
        started
    }

    async fn start_locked(
        &self,
        spec: &Spec,
        request: &AppRequest,
        lost: impl Fn(crate::kernel::wire::Problem) -> AppRefusal,
    ) -> Result<String, AppRefusal> {
        let limits = &self.settings.limits;
        let running = self.link.kept(PREFIX).await.map_err(&lost)?;
        if running.len() >= limits.app_kernels {
            let message = "Too many readers use controls at the moment. Try again later.";
            return Err(AppRefusal::Busy(message.to_owned()));
        }
        if running.values().filter(|other| other["reader"] == request.reader).count()
            >= limits.reader_app_kernels
        {
            let message = "You use the controls of other notebooks. Close one of their pages first.";
            return Err(AppRefusal::Busy(message.to_owned()));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let folder = request.folder.as_deref().unwrap_or(self.files.path());
        let env = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let launch = spec.launch(folder, &env, self.limits.clone(), Some(self.sandbox(request)));
        self.link.start_temporary(launch, id.clone()).await.map_err(&lost)?;
        let record = json!({"kernel_id": id, "reader": request.reader});
        self.link.put(format!("{PREFIX}{id}"), Some(record)).await.map_err(lost)?;
        Ok(id)
    }

    fn sandbox(&self, request: &AppRequest) -> Sandbox {
        let read_only = self.settings.kernel_read_only.iter();
        Sandbox {
            network: request.folder.is_some() && self.settings.kernel_network,
            home: String::new(),
            read_only: read_only.map(|path| path.to_string_lossy().into_owned()).collect(),
            files: match request.folder {
                Some(_) => SandboxFiles::ReadOnly,
                None => SandboxFiles::Nothing,
            },
        }
    }

    /// Counts a start of a reader.
    fn count_start(&self, reader: &str) -> Result<(), AppRefusal> {
        let mut starts = self.starts.lock();
        let recent = |at: &Instant| at.elapsed() < MINUTE;
        if starts.len() >= READERS {
            starts.retain(|_, times| times.back().is_some_and(recent));
        }
        if starts.len() >= READERS && !starts.contains_key(reader) {
            return Err(AppRefusal::Busy("The server is busy. Try again in a minute.".to_owned()));
        }
        let times = starts.entry(reader.to_owned()).or_default();
        times.retain(recent);
        if times.len() >= STARTS {
            return Err(AppRefusal::Busy(
                "You have started controls too often. Try again in a minute.".to_owned(),
            ));
        }
        times.push_back(Instant::now());
        Ok(())
    }
}
