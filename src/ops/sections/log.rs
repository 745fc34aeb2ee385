//! The table `[log]`: what is logged, and where.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{AppendPath, Config, join};
use crate::error::{Errors, Result};

/// Options of the table `[log]`: the messages of workers and plugins, apart from the access log. The
/// supervisor's events are included if the table exists and no terminal shows them; in a file, always. The
/// variable `PASTER_LOG` takes precedence over its levels (`debug`, `paster=trace,hyper=off`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The format of a line.
    pub(crate) format: LogFormat,
    /// The lowest level to write.
    level: LogDetail,
    /// Levels by target prefix, such as `paster::server`, `paster::supervisor`, `hyper` or `plugin`.
    levels: BTreeMap<String, LogDetail>,
    /// File to append to, instead of standard error. It is reopened on USR1.
    pub(crate) file: Option<AppendPath>,
}

/// The format of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// Time, level, target, message and fields.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

/// How much is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LogDetail {
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

impl LogDetail {
    fn name(self) -> &'static str {
        match self {
            LogDetail::Off => "off",
            LogDetail::Error => "error",
            LogDetail::Warn => "warn",
            LogDetail::Info => "info",
            LogDetail::Debug => "debug",
            LogDetail::Trace => "trace",
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
                let error = table.error(join("levels", target), format!("`{target}` is not a log target"));
                errors.push(error.help("write the beginning of a target, such as `paster::server`"));
            }
        }
        Errors::check(errors)?;
        Ok(log)
    }

    /// The log file.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// `info,paster::server=debug`
    pub(crate) fn filter(&self) -> String {
        let levels = self.levels.iter().map(|(target, level)| format!(",{target}={}", level.name()));
        std::iter::once(self.level.name().to_owned()).chain(levels).collect()
    }
}
