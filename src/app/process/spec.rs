//! What to start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use paster_frames::push_pair;
use serde::{Deserialize, Serialize};

/// How the processes of an application are started. Two equal values give the same processes, unless the application's
/// files have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub folder: PathBuf,
    /// Variables that are added to the environment.
    pub env: BTreeMap<String, String>,
    /// What the program is told over its control socket.
    pub settings: Vec<(String, String)>,
    /// How many processes there are.
    pub count: usize,
    /// How long loading the application may take, in seconds.
    pub start_secs: u64,
    /// When a process is replaced.
    pub limits: ProcessLimits,
}

/// When a process is replaced. 0: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// After about this many requests.
    pub requests: u64,
    /// When its memory has grown by this many MiB.
    pub growth_mb: u64,
    /// When a request has neither sent nor received anything for this many seconds.
    pub stuck_secs: u64,
}

impl ProcessSpec {
    /// The command, without its standard streams.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).envs(&self.env);
        command
    }

    /// The payload of the first frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for (name, value) in &self.settings {
            push_pair(&mut payload, name.as_bytes(), value.as_bytes());
        }
        payload
    }
}
