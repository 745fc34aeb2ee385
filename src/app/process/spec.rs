//! What to start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use paster_frames::push_pair;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::AddressKind;
use crate::context::ProcessAddress;

/// How to start the processes of an application. Equal values mean the same processes, unless the application's files have
/// changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub folder: PathBuf,
    /// Variables that are added to the environment.
    pub env: BTreeMap<String, String>,
    /// The settings that the program gets over its control socket.
    pub settings: Vec<(String, String)>,
    /// Further settings that are ignored when values are compared.
    pub details: Uncompared<Vec<(String, String)>>,
    /// The number of processes; 0 if the application runs in the worker.
    pub count: usize,
    /// Where each of them listens.
    pub address: AddressKind,
    /// Whether requests are forwarded to that address instead of being sent as frames. Such a process cannot inform the
    /// workers about its replacement.
    pub forwarded: bool,
    /// The processes run plugins: they exchange messages with the supervisor, as workers do.
    pub runs_plugins: bool,
    /// The processes can send the stacks of their threads.
    pub has_stacks: bool,
    /// Maximum time for loading the application, in seconds.
    pub start_secs: u64,
    /// Maximum time for a process to end, in seconds; 0 means the default.
    pub stop_secs: u64,
    /// When a process is replaced.
    pub limits: ProcessLimits,
    /// What to do when a process ends unexpectedly.
    pub restart: Restart,
    /// The process ends when it has done its work, and is ready then.
    pub once: bool,
    /// Names of programs and apps that must be ready before these processes start.
    pub after: Vec<String>,
    /// Files and directories: when one has changed, the processes are replaced.
    pub watched: Vec<PathBuf>,
    /// Their user, if it is not that of the workers.
    pub user: Option<String>,
    /// Their group, if it is not that of the workers.
    pub group: Option<String>,
    /// The resource limits that are not those of the workers.
    pub resources: ResourceLimits,
}

/// A value that is equal to every other one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uncompared<T>(pub T);

impl<T> PartialEq for Uncompared<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Uncompared<T> {}

/// When a process is replaced. 0 means never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// After about this many requests.
    pub requests: u64,
    /// When its memory has grown by this many MiB.
    pub growth_mb: u64,
    /// When a request has neither sent nor received anything for this many seconds.
    pub stuck_secs: u64,
}

/// What to do when a program ends unexpectedly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Restart {
    /// It is started again.
    #[default]
    Always,
    /// It is started again if it has failed.
    OnFailure,
    /// It is not started again before the next reload.
    Never,
}

/// Resource limits of processes (setrlimit(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ResourceLimits {
    /// Maximum number of open files and connections. Default: the system's hard limit.
    pub open_files: Option<u64>,
    /// Maximum size of a core dump in MiB; 0 means none. Default: inherited.
    #[schemars(extend("x-renamed-from" = ["core_mb"]))]
    pub core_mib: Option<u64>,
    /// Maximum address space in MiB. Beyond it, allocations fail and the process ends. Default: inherited.
    #[schemars(extend("x-renamed-from" = ["address_space_mb"]))]
    pub address_space_mib: Option<u64>,
}

impl ResourceLimits {
    /// These, and those of `other` where these have none.
    #[must_use]
    pub fn or(&self, other: &ResourceLimits) -> ResourceLimits {
        ResourceLimits {
            open_files: self.open_files.or(other.open_files),
            core_mib: self.core_mib.or(other.core_mib),
            address_space_mib: self.address_space_mib.or(other.address_space_mib),
        }
    }
}

impl ProcessSpec {
    /// The same with more variables. Those of the application's own table take precedence.
    #[must_use]
    pub fn with_variables(mut self, variables: &BTreeMap<String, String>) -> ProcessSpec {
        for (name, value) in variables {
            self.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// The command, without its standard streams.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).envs(&self.env);
        command
    }

    /// The payload of the first frame, for a process that listens at `address`.
    pub(super) fn encode(&self, address: Option<&ProcessAddress>) -> Vec<u8> {
        let mut payload = Vec::new();
        for (name, value) in self.settings.iter().chain(&self.details.0) {
            push_pair(&mut payload, name.as_bytes(), value.as_bytes());
        }
        if let Some(address) = address.and_then(|address| serde_json::to_vec(address).ok()) {
            push_pair(&mut payload, b"address", &address);
        }
        payload
    }
}
