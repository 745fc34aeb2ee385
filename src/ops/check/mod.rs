//! `paster check`: finds every fault of a config without binding a socket.

mod fix;
mod online;
mod ports;
mod recommended;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::app::{AppKind, process};
use crate::config::{Config, Sources};
use crate::context::Context;
use crate::error::{Error, Errors, Result};
use crate::ops::assemble::assemble;
use crate::ops::build;
use crate::ops::resources;
use crate::ops::schema::deprecations;
use crate::ops::sections::log::Log;
use crate::ops::sections::otlp::Otlp;
use crate::ops::sections::process::Process;
use crate::ops::sections::program;
use crate::ops::sections::task;
use crate::ops::serve::check_user;
use crate::plugin::{Library, MIDDLEWARE_PREFIX};
pub use fix::fix;
pub use ports::TakenAddress;

/// What was checked, without a fault.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Names of the `[server.NAME]` tables.
    pub servers: Vec<String>,
    /// Names of the `[app.NAME]` tables.
    pub apps: Vec<String>,
    /// Names of the `[middleware.NAME]` tables.
    pub middleware: Vec<String>,
    /// Names of the `[resource.NAME]` tables.
    pub resources: Vec<String>,
    /// All files that were read.
    pub files: Vec<PathBuf>,
    /// The plugins that were loaded, by the name of their app, or `middleware.NAME`.
    pub plugins: BTreeMap<String, CheckedPlugin>,
    /// Addresses at which other processes listen.
    pub taken: Vec<TakenAddress>,
    /// What applications run on, and what could not be checked.
    pub notes: Vec<String>,
}

/// A plugin that was loaded.
#[derive(Debug, Serialize)]
pub struct CheckedPlugin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of the ABI that it was built with.
    pub abi_version: u32,
}

/// Reads the config and builds everything, without binding. `online`: also connects to upstreams and stores.
/// # Errors
/// All faults of all files and tables.
pub fn check(sources: &Sources, online: bool) -> Result<Checked> {
    let (config, mut errors) = Config::read(sources);
    let Some(config) = config else {
        Errors::check(errors)?;
        return Err(Error::config("the config is invalid").into());
    };
    let built = build::built(&config);
    errors.extend(built.errors);
    errors.extend(Process::read(&config).err().into_iter().flatten());
    errors.extend(Log::read(&config).err().into_iter().flatten());
    errors.extend(Otlp::read(&config).err().into_iter().flatten());
    errors.extend(task::check(&config).err().into_iter().flatten());
    errors.extend(program::check(&config).err().into_iter().flatten());
    let about_user = check_user(&config).unwrap_or_else(|found| {
        errors.extend(found);
        Vec::new()
    });
    let libraries = built.libraries;
    let context = Context { checking: true, libraries: libraries.clone(), ..Context::alone(false) };
    // A fault that was found while reading occurs again while building: report it once.
    let known = errors.len();
    let (assembly, found) = match assemble(&config, &context) {
        Ok(assembly) => (Some(assembly), None),
        Err(found) => (None, Some(found)),
    };
    let warnings = assembly.iter().flat_map(|assembly| &assembly.servers).flat_map(|(name, server, _)| {
        server.warnings().into_iter().map(move |warning| format!("`[server.{name}]`: {warning}"))
    });
    let warnings: Vec<String> = warnings.collect();
    let file = sources.named().and_then(|file| file.canonicalize().ok());
    let servers = assembly.iter().flat_map(|assembly| &assembly.servers);
    let taken = ports::taken(servers.map(|(name, server, _)| (name.as_str(), &**server)), file);
    for error in found.into_iter().flatten() {
        let told = errors[..known].iter().any(|other| same_place(other, &error));
        let follows = known > 0 && inherits(&error);
        if !told && !follows {
            errors.push(error);
        }
    }
    let mut loaded = Vec::new();
    if errors.is_empty() {
        let (facts, unreachable) = resources::probe(&config, &context);
        loaded.extend(facts);
        errors.extend(unreachable);
        for (name, library) in &libraries {
            match load(&config, name, library) {
                Ok(fact) => loaded.extend(fact),
                Err(found) => errors.extend(found),
            }
        }
    }
    if online && errors.is_empty() {
        errors.extend(online::unreachable(&config));
    }
    config.sort(&mut errors);
    Errors::check(errors)?;
    let names = |section| config.names(section).into_iter().map(str::to_owned).collect();
    Ok(Checked {
        servers: names("server"),
        apps: names("app"),
        middleware: names("middleware"),
        resources: names("resource"),
        files: config.files().to_vec(),
        plugins: plugins(&config, &libraries),
        notes: built
            .missing
            .iter()
            .map(|name| {
                if name.starts_with(MIDDLEWARE_PREFIX) {
                    return format!(
                        "the settings of `[{name}]` are not checked: its plugin is not built yet"
                    );
                }
                let table = config.table("app", name);
                match table
                    .is_some_and(|table| AppKind::of(&table).is_ok_and(|entry| entry.kind.has_processes()))
                {
                    true => format!(
                        "the application of `[app.{name}]` was not loaded: its library is not built yet"
                    ),
                    false => {
                        format!("the settings of `[app.{name}]` are not checked: its plugin is not built yet")
                    }
                }
            })
            .chain(built.notes)
            .chain(deprecations(&config))
            .chain(loaded)
            .chain(warnings)
            .chain(recommended::recommendations(&config, &libraries))
            .chain(about_user)
            .chain(secrets::open_secrets(&config).iter().map(secrets::OpenSecret::note))
            .chain(taken.iter().map(TakenAddress::note))
            .collect(),
        taken,
    })
}

/// The plugins' descriptions of themselves.
fn plugins(config: &Config, libraries: &BTreeMap<String, PathBuf>) -> BTreeMap<String, CheckedPlugin> {
    let is_plugin = |name: &str| {
        if name.starts_with(MIDDLEWARE_PREFIX) {
            return true;
        }
        let table = config.table("app", name);
        table.is_some_and(|table| AppKind::of(&table).is_ok_and(|entry| !entry.kind.has_processes()))
    };
    let own = libraries.iter().filter(|(name, _)| is_plugin(name));
    let loaded = own.filter_map(|(name, path)| {
        let library = Library::load(path).ok()?; // its faults have been reported
        let info = library.info();
        let (version, abi_version) = (info.version.clone(), info.abi_version);
        Some((name.clone(), CheckedPlugin { name: info.name.clone(), version, abi_version }))
    });
    loaded.collect()
}

/// Loads the application of the app `name` in a process that then ends, if it runs in one. Returns what it runs on.
/// # Errors
/// When it cannot be loaded, with the traceback as the cause.
fn load(config: &Config, name: &str, library: &Path) -> Result<Option<String>> {
    let Some(table) = config.table("app", name) else { return Ok(None) };
    let Some(spec) = AppKind::of(&table)?.kind.processes(&table, library, false)? else { return Ok(None) };
    let spec = spec.with_variables(&resources::variables(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Error::new("cannot start the runtime").because(cause))?;
    let loaded = runtime.block_on(process::probe(&spec));
    runtime.shutdown_background();
    match loaded {
        Ok(facts) => {
            let fact = |name: &str| facts.get(name).map_or("", String::as_str);
            let place = if fact("in_environment") == "true" { fact("prefix") } else { fact("executable") };
            Ok(Some(format!("`[app.{name}]` runs on {} {} ({place})", fact("language"), fact("version"))))
        }
        Err(failure) => {
            let message = format!("the application `{name}` cannot be loaded: {}", failure.summary);
            let error = table.error("application", message);
            Err(if failure.traceback.is_empty() { error } else { error.because(failure.traceback) }.into())
        }
    }
}

/// Whether two errors mark the same text.
fn same_place(one: &Error, other: &Error) -> bool {
    let (Some(one), Some(other)) = (&one.origin, &other.origin) else { return one.message == other.message };
    let within = |column: u32, of: u32, width: u32| (of..of + width).contains(&column);
    one.source == other.source
        && one.line == other.line
        && (within(one.column, other.column, other.width) || within(other.column, one.column, one.width))
}

/// Whether an error marks a `use` that inherits: a fault in this chain of tables is reported already.
fn inherits(error: &Error) -> bool {
    let Some(origin) = &error.origin else { return false };
    let marked: String = origin.text.chars().skip(origin.mark as usize).take(origin.width as usize).collect();
    ["server:", "app:", "middleware:", "resource:"]
        .iter()
        .any(|section| marked.trim_matches(['"', '\'']).starts_with(section))
}
