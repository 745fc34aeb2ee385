//! The table `[process]`: how the processes of `paster serve` start, reload and stop.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::app::process::ResourceLimits;
use crate::config::{Config, OutputPath};
use crate::error;

/// Options of the table `[process]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Watch files, reload on changes, and show development pages (`--reload`, `--no-reload`).
    pub reload: bool,
    /// Worker processes that share the listening sockets: a number, or "auto" for one per processor. Each worker has its own
    /// copy of an application's data in memory.
    pub workers: Workers,
    /// On a reload, replace the workers one by one instead of all at once. Meanwhile, old and new workers serve side by side.
    /// If the first new worker fails, the reload fails. A later worker is retried while the old one keeps serving.
    pub rolling: bool,
    /// Threads per worker that serve requests; 0 means the largest `threads` of the servers, or one per processor.
    pub threads: usize,
    /// Path of an additional control socket, besides the one in the user's directory. With `paster ps --control PATH`, root
    /// can use it to control servers of other users.
    pub control: Option<OutputPath>,
    /// Maximum time for a new generation to become ready, not counting builds.
    pub start_secs: u64,
    /// How long connections of an old generation (WebSockets, streams) may continue after a reload. After that, they are
    /// closed, and clients are asked to reconnect.
    pub drain_secs: u64,
    /// How long requests may keep running after TERM.
    pub grace_secs: u64,
    /// Maximum number of old generations with open connections. Beyond that, the oldest one is drained. A worker that is
    /// replaced individually counts as one.
    pub max_lingering: usize,
    /// What happens to WebSockets after a reload.
    pub websockets: WebSockets,
    /// Replace a worker if it, or one of its serving threads, has not responded for this long; 0 means never.
    /// Increase it for applications that compute or block longer.
    pub heartbeat_secs: u64,
    /// Replace a worker after about this many requests (up to a tenth more, so that workers are not all replaced at once); 0
    /// means never.
    pub max_requests: u64,
    /// Replace a worker when its memory has grown by this many MiB since it became ready; 0 means never.
    #[schemars(extend("x-renamed-from" = ["max_growth_mb"]))]
    pub max_growth_mib: u64,
    /// Replace a worker after this many seconds; 0 means never.
    pub max_age_secs: u64,
    /// The user, by name or number, for workers and side processes. The supervisor keeps its own user, so that it can bind new
    /// addresses on a reload. It does not run applications. Only root can set another user.
    pub user: Option<String>,
    /// Their group, by name or number. Default: the user's primary group. The user's supplementary groups
    /// apply too.
    pub group: Option<String>,
    /// Their file mode creation mask, as three or four octal digits: "027".
    pub umask: Option<String>,
    /// Their resource limits.
    pub limits: ResourceLimits,
    /// File for the supervisor's process id. It is locked while the server runs, and removed when it ends.
    pub pid_file: Option<OutputPath>,
}

/// What becomes of WebSockets after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WebSockets {
    /// They stay with the old generation until they end or `drain_secs` is over.
    #[default]
    Keep,
    /// Their clients are asked to reconnect as soon as all other requests have ended.
    Drain,
}

/// How many workers: a number from 1, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// This many.
    Count(NonZeroUsize),
    /// One for each CPU that the program may use.
    Auto,
}

impl Workers {
    /// The number on this machine.
    pub(crate) fn count(self) -> usize {
        match self {
            Workers::Count(count) => count.get(),
            Workers::Auto => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Workers::Count(NonZeroUsize::MIN)
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Workers::Count(count) => count.serialize(serializer),
            Workers::Auto => serializer.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WantedProcess;
        impl Visitor<'_> for WantedProcess {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of processes from 1 to {MOST_WORKERS}, or \"auto\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Workers, E> {
                let number = usize::try_from(count).ok().filter(|count| *count <= MOST_WORKERS);
                let number = number.and_then(NonZeroUsize::new);
                number
                    .map(Workers::Count)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Workers, E> {
                match u64::try_from(count) {
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(count), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                match text {
                    "auto" => Ok(Workers::Auto),
                    // A number as a string, from an environment variable or `-D`.
                    _ => match text.parse() {
                        Ok(count) => self.visit_u64(count),
                        Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                    },
                }
            }
        }
        deserializer.deserialize_any(WantedProcess)
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": MOST_WORKERS }, { "const": "auto" }]
        })
    }
}

/// A higher number is probably a mistake, and one message carries a descriptor for each worker.
const MOST_WORKERS: usize = 200;

impl Default for Process {
    fn default() -> Self {
        Process {
            reload: false,
            workers: Workers::default(),
            rolling: false,
            threads: 0,
            control: None,
            start_secs: 30,
            drain_secs: 300,
            grace_secs: 30,
            max_lingering: 8,
            websockets: WebSockets::default(),
            heartbeat_secs: 30,
            max_requests: 0,
            max_growth_mib: 0,
            max_age_secs: 0,
            user: None,
            group: None,
            umask: None,
            limits: ResourceLimits::default(),
            pid_file: None,
        }
    }
}

impl Process {
    /// Reads the table `[process]` of `config`, and `threads` of its servers.
    /// # Errors
    /// Unknown and ill-typed keys.
    pub fn read(config: &Config) -> error::Result<Process> {
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

    /// How long a worker may go without a heartbeat.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        (self.heartbeat_secs > 0).then(|| Duration::from_secs(self.heartbeat_secs))
    }

    /// The time between two heartbeats.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        let second = Duration::from_secs(1);
        self.heartbeat().map_or(second, |unresponsive_for| (unresponsive_for / 4).min(second))
    }

    pub(crate) fn start(&self) -> Duration {
        Duration::from_secs(self.start_secs.max(1))
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_secs)
    }
}
