//! The input from which a generation is started.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::open_files;
use super::sockets::Bound;
use crate::config::{Config, Purpose};
use crate::ops::sections::log::Log;
use crate::ops::sections::process::Process;
use crate::ops::sections::task::ScheduledTask;
use crate::ops::serve::process::credentials::Credentials;

/// The input from which a generation is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GenerationPlan {
    pub(super) config: Config,
    pub(super) process: Process,
    /// `None` without the table.
    #[serde(default)]
    pub(super) log: Option<Log>,
    #[serde(default)]
    pub(super) tasks: Vec<ScheduledTask>,
    pub(super) credentials: Credentials,
    /// Private copy of each plugin app's library, by the app's name.
    pub(super) libraries: BTreeMap<String, PathBuf>,
    /// A hash of the files that the config names and a generation reads once.
    #[serde(default)]
    pub(super) read: u64,
}

impl GenerationPlan {
    /// Whether both plans would give the same generation.
    pub(super) fn is_same_as(&self, other: &GenerationPlan) -> bool {
        self.config.tree() == other.config.tree()
            && self.config.files() == other.config.files()
            && self.process == other.process
            && self.credentials == other.credentials
            && self.libraries == other.libraries
            && self.read == other.read
    }

    /// The file of `[log]`, if the workers run as another user, who may not be allowed to open it.
    pub(super) fn log_file(&self) -> Option<File> {
        let owner = self.credentials.owner()?;
        open_files::open(self.log.as_ref()?.file()?, Purpose::Append, owner).ok() // otherwise, workers try it
    }

    /// How many workers serve it. Without a listener (a console), one worker is enough.
    pub(super) fn workers(&self, bound: &[Bound]) -> usize {
        if bound.is_empty() { 1 } else { self.process.workers.count() }
    }
}
