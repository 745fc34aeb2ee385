//! What surrounds the apps of one generation: its number, the mode, built libraries, saved state, host
//! services.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::body::BoxFuture;
use crate::caches::{Caches, Purge};
use crate::error::Error;
use crate::health::HealthProbes;
use crate::metrics::{Counts, StackMetrics};
use crate::profilers::Profilers;
use crate::store::Stores;

/// The context in which `build` functions create parts.
#[derive(Clone)]
pub struct Context {
    /// Number of the generation, from 1.
    pub generation: u64,
    /// Whether pages for developers (causes, live reload) may be shown.
    pub development: bool,
    /// Whether the config is only checked: nothing may be started, created or written, and no plugin creates
    /// its app.
    pub checking: bool,
    /// The private copy of each plugin's built library, by the app's name, or `middleware.NAME`.
    pub libraries: BTreeMap<String, PathBuf>,
    /// The addresses of the processes that the supervisor has started for an app, by the app's name. None for an app that
    /// runs in the worker.
    pub processes: BTreeMap<String, Vec<ProcessAddress>>,
    /// The app that this process runs, if it is the process of an isolated app.
    pub inside: Option<String>,
    /// The state that the same plugin of the previous generation saved, by the app's name, or `middleware.NAME`.
    pub states: BTreeMap<String, Vec<u8>>,
    /// The whole merged config, for parts that need more than their own table.
    pub config: Arc<serde_json::Value>,
    /// Services of the supervisor.
    pub host: Arc<dyn Host>,
    /// Asks the writers of log files to reopen them.
    pub reopen: Reopen,
    /// The counters of the parts of all stacks.
    pub parts: Arc<StackMetrics>,
    /// The health of the apps.
    pub health: Arc<HealthProbes>,
    /// The stores of the config's resources.
    pub stores: Stores,
    /// The addresses of the resources, as variables for programs: `PASTER_RESOURCE_DB_URL`.
    pub variables: Arc<BTreeMap<String, String>>,
    /// The caches of all stacks.
    pub caches: Arc<Caches>,
    /// The apps whose Python stacks can be sampled.
    pub profilers: Arc<Profilers>,
}

/// Where a process of an application listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessAddress {
    /// At this Unix socket.
    Unix(PathBuf),
    /// At this port of 127.0.0.1.
    Tcp(u16),
}

/// A request to reopen log files, because they were moved (USR1). Clones share the counter.
#[derive(Debug, Clone, Default)]
pub struct Reopen(Arc<AtomicU64>);

impl Reopen {
    /// Requests it.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many times it was requested: a file that was opened at a lower count must be reopened.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Services that the supervisor provides to workers.
pub trait Host: Send + Sync {
    /// Ensures that the side process `name` of the plugin app `app` runs, from `library`, and returns the
    /// path of its Unix socket. A side process outlives workers and generations: one of that name that
    /// already runs is kept, even if it came from an older library.
    /// # Errors
    /// If there is no supervisor (`request`, `check`), or the process could not be started.
    fn side_process(&self, app: &str, name: &str, library: &Path) -> Result<PathBuf, Error>;

    /// A directory for what all workers keep until the server stops; `None` without a supervisor, or if it could not
    /// be made.
    fn memory_dir(&self) -> Option<PathBuf> {
        None
    }

    /// Reports which plugin code runs next in the start of a worker, so that the supervisor can name it if
    /// the process crashes or hangs there. Blocks until the report is sent.
    fn starting(&self, step: &str) {
        let _ = step;
    }

    /// Reports source files of an application that runs in this process, as it began to load them at `began`: changing one
    /// causes a reload in development.
    fn sources(&self, app: &str, sources: Vec<PathBuf>, began: SystemTime) {
        let _ = (app, sources, began); // nobody watches
    }

    /// Shows the address of `path` of the plugin app `app` on the terminal once the generation serves. The
    /// address may contain a token, so it is never logged.
    fn announce(&self, app: &str, path: &str) {
        let _ = (app, path); // nothing serves
    }

    /// Deletes cached responses in the other workers.
    fn invalidate(&self, purge: &Purge) {
        let _ = purge; // there are no others
    }

    /// The counts of all workers and the supervisor.
    /// # Errors
    /// If there is no supervisor, or it does not respond.
    fn counts(&self) -> BoxFuture<Result<Counts, Error>> {
        Box::pin(std::future::ready(Err(Error::new("there is no supervisor to collect counts"))))
    }
}

/// A host without a supervisor: `paster request`, `check` and tests.
pub struct NoHost;

impl Host for NoHost {
    fn side_process(&self, app: &str, name: &str, _: &Path) -> Result<PathBuf, Error> {
        Err(Error::new(format!("app `{app}` asked for the side process `{name}`, which needs a supervisor"))
            .help("start it with `paster serve`"))
    }
}

impl Context {
    /// A context for one process without a supervisor.
    pub fn alone(development: bool) -> Self {
        Context {
            generation: 1,
            development,
            checking: false,
            libraries: BTreeMap::new(),
            processes: BTreeMap::new(),
            inside: None,
            states: BTreeMap::new(),
            config: Arc::default(),
            host: Arc::new(NoHost),
            reopen: Reopen::default(),
            parts: Arc::default(),
            health: Arc::default(),
            stores: Stores::default(),
            variables: Arc::default(),
            caches: Arc::default(),
            profilers: Arc::default(),
        }
    }
}
