//! What all requests share.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::access::Access;
use crate::accounts::Accounts;
use crate::apps::Apps;
use crate::auth::Auth;
use crate::content_origin::ContentOrigin;
use crate::documents::{DocumentContext, Documents};
use crate::error_reports::ErrorReports;
use crate::files::{FileError, Files};
use crate::http::Relay;
use crate::kernel::cgroup;
use crate::kernel::link::Link;
use crate::kernel::sandbox;
use crate::kernel::specs::{Environments, KernelSpecs};
use crate::kernel::wire::KernelLimits;
use crate::library::Library;
use crate::mail::Mailer;
use crate::objects::Objects;
use crate::objects::replica::Replica;
use crate::prewarm::PrewarmedKernels;
use crate::quota::Quota;
use crate::sessions::{SandboxSettings, Sessions};
use crate::settings::{FrontEnd, KernelSandbox, Settings, Users};
use crate::store::{Backend, Collected, Store, StoreError};

/// What all requests share. Cheap to clone.
pub type Shared = Arc<Notebook>;

/// The notebook of one settings table.
pub struct Notebook {
    /// Its settings.
    pub settings: Settings,
    /// Authentication.
    pub auth: Auth,
    /// The database.
    pub store: Store,
    /// The accounts; `None`: there is one user, with a token.
    pub accounts: Option<Accounts>,
    /// Who may do what.
    pub access: Access,
    /// The served folder.
    pub files: Files,
    /// All notebooks, for lists and searches.
    pub library: Library,
    /// The kernel host.
    pub link: Link,
    /// The kernels of this machine.
    pub kernel_specs: Arc<KernelSpecs>,
    /// Which file has which kernel.
    pub sessions: Sessions,
    /// What one account may use; `None`: there is one user.
    pub quota: Option<Quota>,
    /// Sends mail, if there is a mail server.
    pub mailer: Option<Mailer>,
    /// Recent errors.
    pub errors: ErrorReports,
    /// Open documents.
    pub documents: Documents,
    /// Kernels for the readers of apps and of published notebooks.
    pub apps: Apps,
    /// Relays requests to other servers; `None`: no other server shares the database.
    pub(crate) relay: Option<Arc<Relay>>,
    /// From where outputs of kernels come; `None`: from the notebook's own origin, in frames with an opaque one.
    pub content_origin: Option<ContentOrigin>,
    /// How the limits of kernels are enforced, for the log and the administrator.
    pub kernel_limits: String,
    /// When it was created.
    pub started: SystemTime,
    /// Open kernel WebSockets.
    pub(crate) channels: AtomicUsize,
}

impl Notebook {
    /// Opens the folders and the link. Must be called within a tokio runtime.
    /// # Errors
    /// If a folder cannot be created or read; names its path.
    pub fn open(settings: Settings, link: Link) -> io::Result<Shared> {
        if settings.front_end == FrontEnd::Lab && settings.users == Users::Accounts {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "`front_end = \"lab\"` is for a single user: JupyterLab shows outputs in its own page, so that a shared \
                 notebook could act as its reader; remove it, or set `users = \"single\"`",
            ));
        }
        let content_origin = settings.content_origin.as_deref().map(ContentOrigin::parse).transpose()?;
        let files = Files::open(&settings.data_dir)?;
        let mut auth = Auth::open(&settings, files.path())?;
        let objects = Objects::open(&settings).map_err(io::Error::other)?;
        let store = database(&settings, &auth)
            .and_then(|backend| Store::connect_with(backend, &auth.server_name(&host_name()), objects))
            .map_err(io::Error::other)?;
        let replica = Replica::open(&store, auth.state_dir())?;
        let files = files.with_replica(replica);
        // The environments of one user are nothing for the others.
        let environments =
            (settings.users == Users::Single).then(|| Environments::new(files.path().to_owned()));
        let kernel_specs =
            KernelSpecs::new(settings.python.clone(), settings.default_kernel.clone(), environments);
        let gateway = settings.gateway().map_err(io::Error::other)?;
        let kernel_specs = Arc::new(kernel_specs.with_gateway(gateway));
        let mailer = settings.mail.as_ref().map(Mailer::new).transpose()?;
        let errors = ErrorReports::open(&settings, auth.state_dir())?;
        let quota = (settings.users == Users::Accounts).then(|| Quota::new(files.clone(), &settings.limits));
        let mut limits = settings.limits.of_kernel();
        let kernel_limits = find_cgroup(&settings, &mut limits)?;
        let apps = Apps::new(link.clone(), kernel_specs.clone(), files.clone(), settings.clone(), &limits);
        let sessions = Sessions::new(
            link.clone(),
            kernel_specs.clone(),
            files.clone(),
            limits,
            sandbox(&settings, &auth)?,
            quota.clone(),
        );
        let outputs = auth.state_dir().join("outputs");
        if let Some(key) = store.shared_key().map_err(io::Error::other)? {
            auth.share_key(key);
        }
        let relay = Relay::open(&settings, &store)?;
        let accounts = match settings.users {
            Users::Single => None,
            Users::Accounts => Some(Accounts::new(store.clone())),
        };
        let access = Access::new(accounts.as_ref().map(|_| store.clone()));
        let library = Library::new(files.clone(), store.clone(), settings.limits.body_bytes);
        let prewarmed =
            PrewarmedKernels::new(&settings, link.clone(), kernel_specs.clone(), sessions.clone());
        let first = prewarmed.clone();
        tokio::spawn(async move { first.begin().await });
        let documents = Documents::new(DocumentContext {
            link: link.clone(),
            files: files.clone(),
            sessions: sessions.clone(),
            kernel_specs: kernel_specs.clone(),
            prewarmed,
            outputs,
            limits: settings.limits.clone(),
            store: store.clone(),
            access: access.clone(),
            address: settings.address.clone().unwrap_or_else(host_name),
        });
        let notebook = Arc::new(Notebook {
            settings,
            auth,
            store,
            accounts,
            access,
            files,
            library,
            link,
            kernel_specs,
            sessions,
            quota,
            mailer,
            errors,
            documents,
            apps,
            relay,
            content_origin,
            kernel_limits,
            started: SystemTime::now(),
            channels: AtomicUsize::new(0),
        });
        notebook.watch_schedules();
        if notebook.files.is_replicated() {
            tokio::spawn(replicate(Arc::downgrade(&notebook)));
        }
        Ok(notebook)
    }
}

/// How often it is asked whether other servers have written files, and how often the folder is searched for files that other
/// programs have written.
const PULL: Duration = Duration::from_secs(1);
const SCAN: Duration = Duration::from_secs(10);

/// Keeps the folder up to date, so that kernels see what other servers have written, and the other way round.
async fn replicate(notebook: Weak<Notebook>) {
    let (mut failing, mut scanned) = (false, None::<Instant>);
    let mut pull = tokio::time::interval(PULL);
    pull.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pull.tick().await;
        let Some(files) = notebook.upgrade().map(|notebook| notebook.files.clone()) else { return };
        let scan = scanned.is_none_or(|at| at.elapsed() >= SCAN);
        let mut done = files.catch_up().await;
        if scan && done.is_ok() {
            let published = tokio::task::spawn_blocking(move || files.publish_changes().map(drop)).await;
            done = published.unwrap_or_else(|error| Err(FileError::Unfit(error.to_string())));
        }
        if scan {
            scanned = Some(Instant::now());
        }
        // Reported once.
        match &done {
            Err(error) if !failing => tracing::warn!(%error, "the files of other servers arrive later"),
            Ok(()) if failing => tracing::info!("the files of other servers have arrived"),
            _ => {}
        }
        failing = done.is_err();
    }
}

impl Notebook {
    /// Deletes what is too old.
    pub async fn tidy(&self) {
        if let Err(error) = self.purge_trash().await {
            tracing::warn!(error, "cannot delete old entries of the trash");
        }
        match self.store.collect_objects(OBJECTS_GRACE).await {
            Ok(collected) if collected != Collected::default() => {
                tracing::info!(unused = collected.unused, unknown = collected.unknown, "deleted objects");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "objects that nothing needs are deleted later"),
        }
    }
}

/// How long an object is kept to which nothing refers: longer than a backup or an upload takes.
const OBJECTS_GRACE: Duration = Duration::from_secs(24 * 3600);

/// The name of the machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Where the database is.
fn database(settings: &Settings, auth: &Auth) -> Result<Backend, StoreError> {
    match &settings.database {
        None => Ok(Backend::Sqlite(auth.state_dir().join("notebook.db"))),
        Some(url) => Backend::parse(url, settings.database_ca_file.as_deref()),
    }
}

/// Finds the folder for the cgroups of kernels. Logs how limits are enforced.
fn find_cgroup(settings: &Settings, limits: &mut KernelLimits) -> io::Result<String> {
    if settings.kernel_gateway.is_some() {
        return Ok("the gateway limits kernels".to_owned());
    }
    let folder = settings.kernel_cgroup.clone().or_else(cgroup::delegated);
    let why = match &folder {
        Some(folder) => match cgroup::probe(folder, limits) {
            Ok(()) => {
                limits.cgroup = Some(folder.to_string_lossy().into_owned());
                return Ok(format!("each kernel has a cgroup in {}", folder.display()));
            }
            Err(reason) if settings.kernel_cgroup.is_some() => {
                return Err(io::Error::other(format!(
                    "the setting `kernel_cgroup`: {reason}; it must be a folder of cgroup v2 that the server may write, without \
                     processes of its own, with the controllers memory, pids and cpu in its `cgroup.controllers`"
                )));
            }
            Err(reason) => reason,
        },
        None => "no cgroup v2 directory is delegated to the server".to_owned(),
    };
    if limits.cpu_percent.is_some() {
        return Err(io::Error::other(format!("`limits.kernel_cpu_percent` needs cgroups: {why}")));
    }
    Ok(format!("limits apply to each process of a kernel (rlimits): {why}"))
}

/// How kernels are kept apart.
fn sandbox(settings: &Settings, auth: &Auth) -> io::Result<Option<SandboxSettings>> {
    if settings.sandbox() == KernelSandbox::None {
        return Ok(None);
    }
    sandbox::probe().map_err(|reason| {
        io::Error::other(format!(
            "kernels cannot be kept apart: {reason}; install the package `bubblewrap`, or set `kernel_sandbox = \"none\"`, \
             with which everybody who may run cells can read everything that the server can read"
        ))
    })?;
    Ok(Some(SandboxSettings {
        network: settings.kernel_network,
        read_only: settings.kernel_read_only.clone(),
        homes: auth.state_dir().join("homes"),
        whole_folder: settings.users == Users::Single,
    }))
}
