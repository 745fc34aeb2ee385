//! `paster check`: finds every fault of a config without binding a socket.

use serde::Serialize;

use crate::config::{Config, Sources};
use crate::context::Context;
use crate::error::{Error, Errors, Result};
use crate::ops::assemble::assemble;
use crate::ops::build;
use crate::ops::schema::deprecations;
use crate::ops::sections::log::Log;
use crate::ops::sections::process::Process;
use crate::ops::sections::task;
use crate::ops::serve::check_user;

/// What was checked, without a fault.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Names of the `[server.NAME]` tables.
    pub servers: Vec<String>,
    /// Names of the `[app.NAME]` tables.
    pub apps: Vec<String>,
    /// Names of the `[middleware.NAME]` tables.
    pub middleware: Vec<String>,
    /// All files that were read.
    pub files: Vec<std::path::PathBuf>,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
}

/// Reads the config and builds everything, without binding.
/// # Errors
/// All faults of all files and tables.
pub fn check(sources: &Sources) -> Result<Checked> {
    let (config, mut errors) = Config::read(sources);
    let Some(config) = config else {
        Errors::check(errors)?;
        return Err(Error::config("the config is invalid").into());
    };
    let built = build::built(&config);
    errors.extend(built.errors);
    errors.extend(Process::read(&config).err().into_iter().flatten());
    errors.extend(Log::read(&config).err().into_iter().flatten());
    errors.extend(task::check(&config).err().into_iter().flatten());
    let about_user = check_user(&config).unwrap_or_else(|found| {
        errors.extend(found);
        Vec::new()
    });
    let context = Context { checking: true, libraries: built.libraries, ..Context::alone(false) };
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
    for error in found.into_iter().flatten() {
        let told = errors[..known].iter().any(|other| same_place(other, &error));
        let follows = known > 0 && inherits(&error);
        if !told && !follows {
            errors.push(error);
        }
    }
    config.sort(&mut errors);
    Errors::check(errors)?;
    let names = |section| config.names(section).into_iter().map(str::to_owned).collect();
    Ok(Checked {
        servers: names("server"),
        apps: names("app"),
        middleware: names("middleware"),
        files: config.files().to_vec(),
        notes: built
            .missing
            .iter()
            .map(|name| {
                format!("the settings of `[app.{name}]` are not checked: its plugin is not built yet")
            })
            .chain(built.notes)
            .chain(deprecations(&config))
            .chain(warnings)
            .chain(about_user)
            .collect(),
    })
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
    ["server:", "app:", "middleware:"]
        .iter()
        .any(|section| marked.trim_matches(['"', '\'']).starts_with(section))
}
