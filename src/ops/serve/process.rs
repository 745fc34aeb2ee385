//! The table `[process]`: how the processes of `paster serve` start, reload and end.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{Config, OutputPath};
use crate::error;

/// Options of the table `[process]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Watch the files and reload on every change, with pages for developers (`--reload`, `--no-reload`).
    pub reload: bool,
    /// Worker processes that share the listening sockets: a number, or "auto" for one a processor. What an
    /// application keeps in memory, each of them keeps for itself.
    pub workers: Workers,
    /// Replace the workers one by one on a reload, so that at most one is there twice, instead of all at once when
    /// all new ones are ready. Old and new ones serve side by side meanwhile. When the first new one fails, the
    /// reload does; a later one is tried again while the old one in its place serves on.
    pub rolling: bool,
    /// Threads that serve requests in each worker; 0: the largest `threads` of the servers, else one for each
    /// processor.
    pub threads: usize,
    /// A control socket at this place, beside the usual one in the user's folder: for `paster ps --control PATH` of
    /// root, who controls servers of other users.
    pub control: Option<OutputPath>,
    /// Longest time in which a new generation must be ready, builds not counted.
    pub start_secs: u64,
    /// How long connections of an old generation may stay after a reload (WebSockets, streams) before they are
    /// closed and their clients asked to come back.
    pub drain_secs: u64,
    /// How long requests may still run when the server ends on TERM.
    pub grace_secs: u64,
    /// How many old generations may stay for the sake of their connections; past that the oldest is drained. A worker
    /// that is replaced alone counts as one.
    pub max_lingering: usize,
    /// What becomes of WebSockets after a reload: `keep` leaves them with the old generation until they end or
    /// `drain_secs` is over, `drain` asks their clients to come back as soon as nothing else is left.
    pub websockets: WebSockets,
    /// How long a worker, or one of its serving threads, may take up no work before it is replaced; 0: any time. An
    /// application that computes or blocks for longer in one go needs more.
    pub heartbeat_secs: u64,
    /// Replace a worker after about so many requests (up to a tenth more, so that not all are due at once); 0: never.
    pub max_requests: u64,
    /// Replace a worker once its memory has grown by so many MiB since it became ready; 0: never.
    pub max_growth_mb: u64,
    /// Replace a worker after so many seconds; 0: never.
    pub max_age_secs: u64,
    /// The user, by name or number, as whom workers and side processes run. The supervisor stays who it is, so that it
    /// can bind new addresses on a reload; it runs no application. Only root can name another than itself.
    pub user: Option<String>,
    /// Their group, by name or number; by default the user's own. The user's further groups come with it.
    pub group: Option<String>,
    /// Their file mode creation mask, as four or three octal digits: "027".
    pub umask: Option<String>,
    /// Their resource limits.
    pub limits: Limits,
    /// Where to write the supervisor's process id. The file is locked while the server runs and removed at its end.
    pub pid_file: Option<OutputPath>,
}

/// What becomes of WebSockets after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WebSockets {
    /// They stay until they end or `drain_secs` is over.
    #[default]
    Keep,
    /// Their clients are asked to come back as soon as nothing else is left.
    Drain,
}

/// Resource limits of workers and side processes (setrlimit(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct Limits {
    /// Most open files and connections; by default as many as the system's hard limit allows.
    pub open_files: Option<u64>,
    /// Largest core dump in MiB; 0: none. By default as the program was started.
    pub core_mb: Option<u64>,
    /// Most address space in MiB, beyond which an allocation fails and the process ends. By default as the program was
    /// started.
    pub address_space_mb: Option<u64>,
}

/// How many workers: a number from 1, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// So many.
    Count(NonZeroUsize),
    /// One for each processor that the program may run on.
    Auto,
}

impl Workers {
    /// How many that is here.
    pub(super) fn count(self) -> usize {
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
        struct Wanted;
        impl Visitor<'_> for Wanted {
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
                    // As the environment and `-D` may bring it.
                    _ => match text.parse() {
                        Ok(count) => self.visit_u64(count),
                        Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                    },
                }
            }
        }
        deserializer.deserialize_any(Wanted)
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

/// More than this is a slip of the hand, and one message carries a descriptor for each.
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
            max_growth_mb: 0,
            max_age_secs: 0,
            user: None,
            group: None,
            umask: None,
            limits: Limits::default(),
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

    /// How long a worker may give no sign of life.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        (self.heartbeat_secs > 0).then(|| Duration::from_secs(self.heartbeat_secs))
    }

    /// How often it gives one.
    pub(super) fn beat(&self) -> Duration {
        let second = Duration::from_secs(1);
        self.heartbeat().map_or(second, |silence| (silence / 4).min(second))
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
