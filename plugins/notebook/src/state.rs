//! What all requests share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use crate::access::Access;
use crate::auth::Auth;
use crate::documents::{DocumentContext, Documents};
use crate::files::Files;
use crate::kernel::link::Link;
use crate::kernel::specs::KernelSpecs;
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::store::Store;

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
    /// Who may do what.
    pub access: Access,
    /// The served folder.
    pub files: Files,
    /// The kernel host.
    pub link: Link,
    /// The kernels of this machine.
    pub kernel_specs: Arc<KernelSpecs>,
    /// Which file has which kernel.
    pub sessions: Sessions,
    /// Open documents.
    pub documents: Documents,
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
        let files = Files::open(&settings.data_dir)?;
        let auth = Auth::open(&settings, files.path())?;
        let kernel_specs =
            Arc::new(KernelSpecs::new(settings.python.clone(), settings.default_kernel.clone()));
        let sessions =
            Sessions::new(link.clone(), kernel_specs.clone(), files.clone(), settings.limits.of_kernel());
        let outputs = auth.state_dir().join("outputs");
        let store = Store::open(&auth.state_dir().join("notebook.db")).map_err(io::Error::other)?;
        let access = Access;
        let documents = Documents::new(DocumentContext {
            link: link.clone(),
            files: files.clone(),
            sessions: sessions.clone(),
            kernel_specs: kernel_specs.clone(),
            outputs,
            limits: settings.limits.clone(),
            store: store.clone(),
            access: access.clone(),
        });
        Ok(Arc::new(Notebook {
            settings,
            auth,
            store,
            access,
            files,
            link,
            kernel_specs,
            sessions,
            documents,
            started: SystemTime::now(),
            channels: AtomicUsize::new(0),
        }))
    }
}
