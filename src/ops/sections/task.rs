//! Scheduled tasks, `[task.NAME]`: when each runs, and what it runs.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{Schedule, Zone};
use crate::config::{Config, Table};
use crate::error::{Error, Errors, Result};
use crate::ops::assemble::unknown_app;

/// Options of a `[task.NAME]` table: when to run (`every` or `cron`; without either, only by
/// `paster task run`), and what to run (`task`, `request` or `command`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskOptions {
    /// Interval: `30s`, `5m`, `1h 30m`, at least `100ms`. The first run starts one interval after the start.
    /// Runs that are due while the machine sleeps are skipped.
    every: Option<String>,
    /// Schedule: minute, hour, day of month, month, day of week, as in `0 3 * * *`. An optional additional field at the
    /// beginning is the second.
    cron: Option<String>,
    /// The time zone of `cron`.
    #[serde(default)]
    time_zone: Zone,
    /// The app for `task` or `request`.
    #[serde(default = "main")]
    app: String,
    /// Name of a task of the plugin of `app`.
    task: Option<String>,
    /// Arguments for the plugin's task.
    #[serde(default)]
    arguments: serde_json::Value,
    /// A request to `app`, through its middleware: `POST /sweep`. A status of 400 or above is a failure.
    request: Option<String>,
    /// A program with its arguments, run in the config file's directory. A nonzero exit status is a failure.
    command: Option<Vec<String>>,
    /// Start a run even if the previous one is still running; otherwise it is skipped.
    #[serde(default)]
    overlap: bool,
    /// Stop a run after this many seconds, as a failure.
    #[serde(default = "hour")]
    timeout_secs: u64,
    /// Delay each run by a random time of up to this many seconds, so that machines do not all start at the same time.
    #[serde(default)]
    jitter_secs: u64,
}

fn main() -> String {
    "main".into()
}

fn hour() -> u64 {
    3600
}

/// A task, as the supervisor stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduledTask {
    pub(crate) name: String,
    pub(crate) schedule: Schedule,
    pub(crate) order: Order,
    pub(crate) overlap: bool,
    pub(crate) jitter: Duration,
}

/// The tasks of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) timeout: Duration,
}

/// The action of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// A task of a plugin.
    Plugin { app: String, task: String, arguments: serde_json::Value },
    /// A request to an app.
    Request { app: String, method: String, target: String },
    /// A program.
    Command { words: Vec<String>, folder: PathBuf },
    /// The command line of a plugin.
    PluginCommand { app: String, words: Vec<String> },
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Work::Plugin { app, task, .. } => write!(f, "task {task} of {app}"),
            Work::Request { app, method, target } => write!(f, "{method} {target} of {app}"),
            // Arguments may contain secrets.
            Work::Command { words, .. } => write!(f, "{}", words.first().map_or("", String::as_str)),
            Work::PluginCommand { app, .. } => write!(f, "a command of {app}"),
        }
    }
}

/// Reads every `[task.NAME]`.
/// # Errors
/// All faults of all tables.
pub(crate) fn read(config: &Config) -> Result<Vec<ScheduledTask>> {
    let mut tasks = Vec::new();
    let mut errors = Vec::new();
    for name in config.names("task") {
        let Some(table) = config.table("task", name) else { continue };
        if !table.value().is_object() {
            continue; // a fault of the config's structure, already reported
        }
        match read_one(config, &table) {
            Ok(task) => tasks.push(task),
            Err(faults) => errors.extend(faults),
        }
    }
    Errors::check(errors)?;
    Ok(tasks)
}

/// Finds the faults of every `[task.NAME]`, for `paster check`.
/// # Errors
/// All of them.
pub fn check(config: &Config) -> Result<()> {
    read(config).map(drop)
}

fn read_one(config: &Config, table: &Table) -> Result<ScheduledTask> {
    let options: TaskOptions = table.options()?;
    let mut errors = Vec::new();
    let schedule = match (&options.every, &options.cron) {
        (None, None) => Ok(Schedule::ByHand),
        (Some(every), None) => Schedule::every(every).map_err(|why| {
            let error = table.error("every", format!("`{every}` is not a time span: {why}"));
            error.help("write `30s`, `5m` or `1h 30m`")
        }),
        (None, Some(cron)) => Schedule::cron(cron, options.time_zone).map_err(|why| {
            let error = table.error("cron", format!("`{cron}` is not a cron pattern: {why}"));
            error.help(
                "write minute, hour, day of month, month, day of week: `0 3 * * *` is every day at 3:00",
            )
        }),
        (Some(_), Some(_)) => Err(table
            .error("cron", "`every` and `cron` cannot be combined")
            .help("keep one, or use two tables")),
    };
    let schedule = schedule.map_err(|error| errors.push(error)).ok();
    let app = options.app.clone();
    let work = match (options.task, options.request, options.command) {
        (Some(task), None, None) => Ok(Work::Plugin { app, task, arguments: options.arguments }),
        (None, Some(request), None) => read_request(table, app, &request),
        (None, None, Some(words)) if words.first().is_none_or(String::is_empty) => Err(table
            .error("command", "`command` does not name a program")
            .help("write `command = [\"program\", \"argument\"]`")),
        (None, None, Some(words)) => Ok(Work::Command { words, folder: config.folder().to_owned() }),
        (None, None, None) => Err(table
            .error("", format!("`[{}]` does not set what to run", table.path()))
            .help("add a plugin's `task`, a `request` such as \"POST /sweep\", or a `command`")),
        (task, request, _) => {
            let key = if request.is_some() && task.is_some() { "request" } else { "command" };
            Err(table
                .error(key, "`task`, `request` and `command` cannot be combined")
                .help("keep one of them"))
        }
    };
    let work = work.map_err(|error| errors.push(error)).ok();
    if let Some(Work::Plugin { app, .. } | Work::Request { app, .. }) = &work
        && config.table("app", app).is_none()
    {
        errors.push(unknown_app(config, app).at(table.origin("app")));
    }
    if options.timeout_secs == 0 {
        errors.push(table.error("timeout_secs", "`timeout_secs` must be at least 1"));
    }
    Errors::check(errors)?;
    let (Some(schedule), Some(work)) = (schedule, work) else {
        return Err(table.error("", "the task is invalid").into());
    };
    let name = table.name().to_owned();
    Ok(ScheduledTask {
        order: Order { name: name.clone(), work, timeout: Duration::from_secs(options.timeout_secs) },
        name,
        schedule,
        overlap: options.overlap,
        jitter: Duration::from_secs(options.jitter_secs),
    })
}

fn read_request(table: &Table, app: String, request: &str) -> Result<Work, Error> {
    let read = request.split_once(' ').and_then(|(method, target)| {
        let target = target.trim();
        http::Method::from_bytes(method.as_bytes()).ok()?;
        let good = target.starts_with('/') && target.parse::<http::Uri>().is_ok();
        good.then(|| Work::Request { app, method: method.to_owned(), target: target.to_owned() })
    });
    read.ok_or_else(|| {
        let error = table.error("request", format!("`{request}` is not a request"));
        error.help("write a method and a path: `POST /sweep`")
    })
}
