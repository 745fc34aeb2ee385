//! The table `[process]`: how the processes of `paster serve` start, reload and end.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::Result;

/// Options of the table `[process]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Watch the files and reload on every change, with pages for developers (`--reload`, `--no-reload`).
    pub reload: bool,
    /// Threads that serve requests in each worker; 0: the largest `threads` of the servers, else one for each
    /// processor.
    pub threads: usize,
    /// Longest time in which a new generation must be ready, builds not counted.
    pub start_secs: u64,
    /// How long connections of an old generation may stay after a reload (WebSockets, streams) before they are
    /// closed and their clients asked to come back.
    pub drain_secs: u64,
    /// How long requests may still run when the server ends on TERM.
    pub grace_secs: u64,
    /// How many old generations may stay for the sake of their connections; past that the oldest is drained.
    pub max_lingering: usize,
}

impl Default for Process {
    fn default() -> Self {
        Process {
            reload: false,
            threads: 0,
            start_secs: 30,
            drain_secs: 300,
            grace_secs: 30,
            max_lingering: 8,
        }
    }
}

impl Process {
    /// Reads the table `[process]` of `config`, and `threads` of its servers.
    /// # Errors
    /// Unknown and ill-typed keys.
    pub fn read(config: &Config) -> Result<Process> {
        let mut process: Process = match config.section("process") {
            Some(table) => table.options()?,
            None => Process::default(),
        };
        if process.threads == 0 {
            let servers = config.names("server").into_iter().filter_map(|name| config.table("server", name));
            let threads = servers.filter_map(|table| table.value().get("threads")?.as_u64());
            process.threads = threads.max().map_or(0, |threads| threads as usize);
        }
        Ok(process)
    }

    pub(super) fn start(&self) -> Duration {
        Duration::from_secs(self.start_secs.max(1))
    }

    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_secs)
    }
}
