//! What all documents share.

use std::path::PathBuf;
use std::sync::Arc;

use crate::access::Access;
use crate::files::Files;
use crate::kernel::link::Link;
use crate::kernel::specs::KernelSpecs;
use crate::prewarm::PrewarmedKernels;
use crate::sessions::Sessions;
use crate::settings::Limits;
use crate::store::Store;

/// The prefix of the keys of locks and records in the kernel host.
pub(super) const PREFIX: &str = "document/";

/// What all documents share.
pub(crate) struct DocumentContext {
    pub(crate) link: Link,
    pub(crate) files: Files,
    pub(crate) sessions: Sessions,
    pub(crate) kernel_specs: Arc<KernelSpecs>,
    pub(crate) prewarmed: PrewarmedKernels,
    /// The folder for outputs that are too long for the notebook.
    pub(crate) outputs: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) access: Access,
    /// The address at which people reach this server.
    pub(crate) address: String,
}
