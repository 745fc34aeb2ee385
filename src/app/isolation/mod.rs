//! `isolation = "process"`: an app of any kind, in processes of its own.
//!
//! Such a process (`paster __isolated`) serves one app over HTTP/1.1 on a Unix socket that only the workers can reach, so that
//! WebSockets, streams and trailers pass as they are. The facts about a request come in a field of their own (`facts`),
//! which no client can send.
//!
//! - here: the option, how the processes are started, and the app that forwards to them
//! - `facts`: the facts about a request besides its head
//! - `host`: the other end; `calls`: the tasks of a plugin

pub(super) mod calls;
pub(super) mod facts;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::calls::{isolated_tasks, run_isolated_task};
pub use self::host::{IsolatedCounts, serve as serve_isolated};
use super::process::{ProcessLimits, ProcessSpec, Uncompared};
use super::upstream::{HealthOptions, PoolOptions, Timeouts, UpstreamOptions, secs};
use super::{AppKind, Builder, proxy};
use crate::body::App;
use crate::config::{Config, ConfigAddress, PathAccess, Table};
use crate::context::ProcessAddress;
use crate::error::{Error, Result};
use crate::plugin::MIDDLEWARE_PREFIX;

/// The key `isolation` of an `[app.NAME]` table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Isolation {
    /// `process`
    Name(IsolationName),
    /// With options.
    Options(IsolationOptions),
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum IsolationName {
    Process,
}

/// The number of processes of an app, and when one is replaced.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
struct IsolationOptions {
    processes: NonZeroU32,
    start_secs: NonZeroU32,
    max_requests: u64,
    max_growth_mib: u64,
    stuck_secs: u64,
}

impl Default for IsolationOptions {
    fn default() -> Self {
        IsolationOptions {
            processes: NonZeroU32::MIN,
            start_secs: secs(30),
            max_requests: 0,
            max_growth_mib: 0,
            stuck_secs: 300,
        }
    }
}

/// The settings for the process of an isolated app.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IsolatedSettings {
    /// Name of the app.
    pub(crate) app: String,
    /// The config, reduced to what the app needs.
    pub(crate) config: Config,
    /// Private copies of the libraries.
    pub(crate) libraries: BTreeMap<String, PathBuf>,
    /// Whether pages for developers may be shown.
    pub(crate) development: bool,
}

/// The option of `table`; `None` without it.
/// # Errors
/// Another value.
fn read(table: &Table) -> Result<Option<IsolationOptions>, Error> {
    let Some(value) = table.value().get("isolation") else { return Ok(None) };
    let schema = schemars::schema_for!(IsolationOptions).to_value();
    let options = value.is_object().then(|| table.resolve(&schema, "isolation").ok()).flatten();
    match serde_json::from_value(options.unwrap_or_else(|| value.clone())) {
        Ok(Isolation::Name(IsolationName::Process)) => Ok(Some(IsolationOptions::default())),
        Ok(Isolation::Options(options)) => Ok(Some(options)),
        Err(_) => {
            let error = table.error("isolation", "`isolation` must be \"process\" or a table of its options");
            Err(error.help(
                "the options are `processes`, `start_secs`, `max_requests`, `max_growth_mib` and `stuck_secs`",
            ))
        }
    }
}

/// Whether the app of `table` is to be isolated, and its kind does not already run in processes.
/// # Errors
/// A wrong value.
pub fn is_isolated(table: &Table) -> Result<bool, Error> {
    let has_processes = AppKind::of(table).is_ok_and(|entry| entry.kind.has_processes());
    Ok(read(table)?.is_some() && !has_processes)
}

/// How to start the processes of the app `table`; `None` if it is not isolated. `own` is the config with only the `apps` that
/// the app needs, and their middleware.
/// # Errors
/// A wrong value of `isolation`.
pub fn isolated_spec(
    table: &Table,
    own: Config,
    apps: &BTreeSet<String>,
    libraries: &BTreeMap<String, PathBuf>,
    development: bool,
) -> Result<Option<ProcessSpec>, Error> {
    let Some(options) = read(table)?.filter(|_| is_isolated(table).unwrap_or(false)) else { return Ok(None) };
    let libraries: BTreeMap<_, _> = libraries
        .iter()
        .filter(|(name, _)| match name.strip_prefix(MIDDLEWARE_PREFIX) {
            Some(middleware) => own.table("middleware", middleware).is_some(),
            None => apps.contains(*name),
        })
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    let tables = |section: &str| own.tree().get(section).cloned().unwrap_or(Value::Null);
    // The parts that matter for equality. The places of values in their files do not.
    let identity = serde_json::json!([
        tables("app"),
        tables("middleware"),
        tables("resource"),
        own.folder(),
        libraries,
        development
    ]);
    let watched = apps.iter().filter_map(|name| own.table("app", name)).flat_map(|table| files_of(&table));
    let (watched, folder) = (watched.collect(), own.folder().to_owned());
    let settings = IsolatedSettings { app: table.name().to_owned(), config: own, libraries, development };
    let settings = serde_json::to_string(&settings)
        .map_err(|cause| Error::new("cannot pass the config to a process").because(cause))?;
    Ok(Some(ProcessSpec {
        program: PathBuf::from("/proc/self/exe"),
        args: vec!["__isolated".to_owned()],
        folder,
        settings: vec![("identity".to_owned(), identity.to_string())],
        details: Uncompared(vec![("isolated".to_owned(), settings)]),
        count: options.processes.get() as usize,
        forwarded: true,
        runs_plugins: true,
        start_secs: u64::from(options.start_secs.get()),
        limits: ProcessLimits {
            requests: options.max_requests,
            growth_mb: options.max_growth_mib,
            stuck_secs: options.stuck_secs,
        },
        watched,
        ..ProcessSpec::default()
    }))
}

/// The files that the app reads once.
fn files_of(table: &Table) -> Vec<PathBuf> {
    let Ok(entry) = AppKind::of(table) else { return Vec::new() };
    let schema = (entry.options)();
    let paths = table.paths(schema.as_value());
    let read = paths.into_iter().filter(|named| named.access == PathAccess::Read && named.path.is_file());
    read.map(|named| named.path).collect()
}

/// The app that forwards to the processes at `addresses`.
/// # Errors
/// None that the checks have not found.
pub fn build_isolated(table: &Table, addresses: &[ProcessAddress], builder: &mut Builder<'_>) -> Result<App> {
    let upstreams = addresses.iter().filter_map(|address| match address {
        ProcessAddress::Unix(path) => Some(ConfigAddress::from(&*format!("unix:{}", path.display()))),
        ProcessAddress::Tcp(_) => None, // they have sockets
    });
    // The app is as close as one in this process, so there are no additional limits.
    let ever = secs(u32::MAX);
    let upstream = UpstreamOptions {
        timeouts: Timeouts {
            connect_secs: secs(30),
            head_secs: ever,
            pause_secs: ever,
            queue_secs: secs(30),
        },
        pool: PoolOptions { max_connections: secs(65_536), max_idle: 1024, idle_secs: secs(3600) },
        health: HealthOptions { max_fails: ever, ..HealthOptions::default() },
        patience: std::time::Duration::from_secs(30),
        ..UpstreamOptions::default()
    };
    proxy::build_isolated(upstreams.collect(), upstream, table, builder)
}
