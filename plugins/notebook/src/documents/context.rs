//! What every document uses.

use std::path::PathBuf;
use std::sync::Arc;

use crate::files::Files;
use crate::kernel::link::Link;
use crate::kernel::specs::KernelSpecs;
use crate::sessions::Sessions;
use crate::settings::Limits;

/// The prefix of the keys of locks and records in the kernel host.
pub(super) const PREFIX: &str = "document/";

/// What every document uses.
pub(super) struct DocumentContext {
    pub(super) link: Link,
    pub(super) files: Files,
    pub(super) sessions: Sessions,
    pub(super) kernel_specs: Arc<KernelSpecs>,
    /// The folder for outputs that are too long for the notebook.
    pub(super) outputs: PathBuf,
    pub(super) limits: Limits,
}
