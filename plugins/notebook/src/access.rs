//! Who may do what: the one place that decides it, for the HTTP interface, live documents, kernels and files.

use crate::files::RelativePath;
use crate::identity::{Principal, Role};

/// What someone may do with a file or folder. Each level includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// See it, also live.
    View,
    /// Run its cells and use its kernel.
    Run,
    /// Change it.
    Edit,
    /// Rename, delete and share it.
    Manage,
}

/// Why something is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The principal must not even learn that it exists.
    Hidden,
    /// The principal may see it, but not do this.
    Insufficient,
}

/// Decides what principals may do. Cheap to clone.
#[derive(Clone, Default)]
pub struct Access;

impl Access {
    /// What `principal` may do with the file or folder at `path`; `None`: nothing.
    pub fn level(&self, principal: &Principal, _path: &RelativePath) -> Option<Level> {
        (principal.is_known() && principal.role == Role::Admin).then_some(Level::Manage)
    }

    /// Whether `principal` may do what needs `level` with the file or folder at `path`.
    /// # Errors
    /// [`Denied`].
    pub fn may(&self, principal: &Principal, level: Level, path: &RelativePath) -> Result<(), Denied> {
        match self.level(principal, path) {
            Some(granted) if granted >= level => Ok(()),
            Some(_) => Err(Denied::Insufficient),
            None => Err(Denied::Hidden),
        }
    }
}
