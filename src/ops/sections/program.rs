//! Programs that serve nothing, `[program.NAME]`, and the order in which programs and applications start.

use std::collections::BTreeSet;
use std::path::Path;

use crate::app::AppKind;
use crate::app::process::ProcessSpec;
use crate::app::program::background_spec;
use crate::config::{Config, Table, item};
use crate::error::{Error, Errors, Result};
use crate::registry::nearest;

/// A table whose processes the supervisor starts.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    pub(crate) table: Table,
    /// Whether it is a table `[program.NAME]`; otherwise `[app.NAME]`.
    pub(crate) is_program: bool,
    pub(crate) spec: ProcessSpec,
}

/// Reads every `[program.NAME]`. In `development`, their files are watched.
/// # Errors
/// All faults of all tables.
pub(crate) fn read(config: &Config, development: bool) -> Result<Vec<ProcessTable>> {
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in config.names("program") {
        let Some(table) = config.table("program", name) else { continue };
        if !table.value().is_object() {
            continue; // a fault of the config's structure, already reported
        }
        match background_spec(&table, development) {
            Ok(spec) => found.push(ProcessTable { table, is_program: true, spec }),
            Err(faults) => errors.extend(faults),
        }
    }
    Errors::check(errors)?;
    Ok(found)
}

/// Every `[program.NAME]`, and every app with processes.
/// # Errors
/// All faults of the programs. The build of an app reports its own.
pub(crate) fn tables(config: &Config) -> Result<Vec<ProcessTable>> {
    let mut tables = read(config, false)?;
    for name in config.names("app") {
        let Some(table) = config.table("app", name) else { continue };
        let Ok(entry) = AppKind::of(&table) else { continue };
        if let Ok(Some(spec)) = entry.kind.processes(&table, Path::new(""), false) {
            tables.push(ProcessTable { table, is_program: false, spec });
        }
    }
    Ok(tables)
}

/// Finds the faults of every `[program.NAME]`, and of every `after`.
/// # Errors
/// All of them.
pub(crate) fn check(config: &Config) -> Result<()> {
    in_order(tables(config)?).map(drop).map_err(|faults| Errors::check(faults).err().unwrap_or_else(no_order))
}

fn no_order() -> Errors {
    Error::config("the programs wait for one another").into()
}

/// Sorts `tables`: each group needs only processes of earlier groups.
/// # Errors
/// If `after` names something unknown, or contains a cycle.
pub(crate) fn in_order(tables: Vec<ProcessTable>) -> Result<Vec<Vec<ProcessTable>>, Vec<Error>> {
    let names: BTreeSet<String> = tables.iter().map(|one| one.table.name().to_owned()).collect();
    let mut faults = Vec::new();
    for one in &tables {
        for (index, name) in one.spec.after.iter().enumerate().filter(|(_, name)| !names.contains(*name)) {
            let error = one.table.error(
                item("after", index),
                format!("there is neither a program `{name}` nor an app `{name}` with processes"),
            );
            faults.push(match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("add a table `[program.{name}]`")),
            });
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let (mut groups, mut left) = (Vec::new(), tables);
    while !left.is_empty() {
        let waiting: BTreeSet<String> = left.iter().map(|one| one.table.name().to_owned()).collect();
        let (next, later): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|one| !one.spec.after.iter().any(|name| waiting.contains(name)));
        if next.is_empty() {
            return Err(vec![circle(&later)]);
        }
        groups.push(next);
        left = later;
    }
    Ok(groups)
}

/// The error for tables that wait for one another.
fn circle(tables: &[ProcessTable]) -> Error {
    let named = |name: &str| tables.iter().find(|one| one.table.name() == name);
    let mut chain: Vec<&ProcessTable> = tables.iter().take(1).collect();
    while let Some(last) = chain.last() {
        let Some(next) = last.spec.after.iter().find_map(|name| named(name)) else { break };
        let known = chain.iter().position(|one| one.table.name() == next.table.name());
        chain.push(next);
        if let Some(known) = known {
            chain.drain(..known);
            break;
        }
    }
    let words: Vec<_> = chain.iter().map(|one| format!("`{}`", one.table.name())).collect();
    let message = format!("programs wait for one another: {}", words.join(" after "));
    match chain.first() {
        Some(first) => first.table.error("after", message).help("remove one of these from `after`"),
        None => Error::config(message),
    }
}
