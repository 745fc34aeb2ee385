//! The table `[log]`, and the log output of a process: one line per event.
//!
//! `lines` formats them, `sink` writes them, `own` is the supervisor's log.

mod lines;
mod own;
mod sink;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use self::lines::Lines;
pub(super) use self::own::Own;
pub(super) use self::sink::{LogFile, open};
use self::sink::{Sink, Sinks};
use crate::config::{AppendPath, Config, join};
use crate::context::Reopen;
use crate::error::{Error, Errors, Result};

/// Options of the table `[log]`: the messages of workers and plugins, apart from the access log. The
/// supervisor's events are included if the table exists and no terminal shows them; in a file, always. The
/// variable `PASTER_LOG` takes precedence over its levels (`debug`, `paster=trace,hyper=off`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The format of a line.
    format: Format,
    /// The lowest level to write.
    level: Level,
    /// Levels by target prefix, such as `paster::server`, `paster::supervisor`, `hyper` or `plugin`.
    levels: BTreeMap<String, Level>,
    /// File to append to instead of standard error; reopened on USR1.
    file: Option<AppendPath>,
}

/// The format of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Time, level, target, message and fields.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// How much is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// Also conditions that may lead to failures.
    Warn,
    /// Also rare events.
    #[default]
    Info,
    /// Also the steps of each request.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl Log {
    /// Reads the table `[log]` of `config`.
    /// # Errors
    /// Unknown and ill-typed keys; invalid target names.
    pub fn read(config: &Config) -> Result<Log> {
        let Some(table) = config.section("log") else { return Ok(Log::default()) };
        let log: Log = table.options()?;
        let mut errors = Vec::new();
        for target in log.levels.keys() {
            let fits =
                target.chars().all(|c| c.is_alphanumeric() || "_:-.".contains(c)) && !target.is_empty();
            if !fits {
                let error = table.error(&join("levels", target), format!("`{target}` is not a log target"));
                errors.push(error.help("write the beginning of a target, such as `paster::server`"));
            }
        }
        Errors::check(errors)?;
        Ok(log)
    }

    /// The log file.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// `info,paster::server=debug`
    fn filter(&self) -> String {
        let levels = self.levels.iter().map(|(target, level)| format!(",{target}={}", level.name()));
        std::iter::once(self.level.name().to_owned()).chain(levels).collect()
    }
}

/// The process that each line names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Whose {
    pub(super) generation: u64,
    pub(super) worker: usize,
}

/// Starts the log; without `whose`, lines do not name a process. Each line also goes to `copy` while it has
/// room. `given` is the file if this process may not open it.
/// # Errors
/// When the file cannot be opened.
pub(super) fn start(
    log: &Log,
    whose: Option<Whose>,
    copy: Option<mpsc::Sender<Vec<u8>>>,
    reopen: Reopen,
    given: Option<File>,
) -> Result<Option<LogFile>, Error> {
    let sink = match (given, &log.file) {
        (Some(given), Some(path)) => Sink::given(path, given, reopen),
        _ => Sink::of(log, reopen, None)?,
    };
    let file = sink.file();
    let _ = subscriber(log, whose, copy, sink).try_init(); // an error means that a log was started already
    Ok(file)
}

fn subscriber(
    log: &Log,
    whose: Option<Whose>,
    copy: Option<mpsc::Sender<Vec<u8>>>,
    sink: Sink,
) -> impl Subscriber + Send + Sync {
    let filter = EnvFilter::try_from_env("PASTER_LOG").unwrap_or_else(|_| EnvFilter::new(log.filter()));
    let colours = log.file.is_none()
        && log.format == Format::Text
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Sinks { sink, copy })
        .with_ansi(colours)
        .event_format(Lines { format: log.format, whose })
        .finish()
}
