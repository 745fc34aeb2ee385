//! The processes that a plan requires, and the order in which they start.

use std::collections::BTreeSet;
use std::path::Path;

use super::group::GroupOwner;
use crate::app::AppKind;
use crate::app::isolation::{is_isolated, isolated_spec};
use crate::app::process::ProcessSpec;
use crate::config::{Config, Table};
use crate::error::Error;
use crate::middleware::MiddlewareKind;
use crate::ops::resources;
use crate::ops::sections::program::{self, ProcessTable};
use crate::ops::serve::supervisor::plan::GenerationPlan;
use crate::ops::stack::stack;

/// The processes of `plan`'s applications and its programs, in groups: each needs only processes of earlier ones.
/// # Errors
/// Every fault of their tables.
pub(super) fn wanted(plan: &GenerationPlan) -> Result<Vec<Vec<ProcessTable>>, Vec<Error>> {
    let (mut tables, mut faults) = (Vec::new(), Vec::new());
    match program::read(&plan.config, plan.process.reload) {
        Ok(programs) => tables.extend(programs),
        Err(errors) => faults.extend(errors),
    }
    for name in plan.config.names("app") {
        let Some(table) = plan.config.table("app", name) else { continue };
        let Ok(entry) = AppKind::of(&table) else { continue }; // the workers report it
        match isolated(&table, plan) {
            Ok(Some(spec)) => tables.push(ProcessTable { table: table.clone(), is_program: false, spec }),
            Ok(None) => {}
            Err(error) => faults.push(error),
        }
        let library = plan.libraries.get(name);
        if !entry.kind.has_processes() || entry.kind.runs_library() && library.is_none() {
            continue;
        }
        let library = library.map_or(Path::new(""), |library| library);
        match entry.kind.processes(&table, library, plan.process.reload) {
            Ok(Some(spec)) => tables.push(ProcessTable { table, is_program: false, spec }),
            Ok(None) => {}
            Err(errors) => faults.extend(errors),
        }
    }
    let variables = resources::variables(&plan.config);
    for table in &mut tables {
        table.spec = std::mem::take(&mut table.spec).with_variables(&variables);
    }
    if faults.is_empty() { program::in_order(tables) } else { Err(faults) }
}

/// How the processes of the app `table` are started, if it is isolated.
/// # Errors
/// A wrong value of `isolation`.
fn isolated(table: &Table, plan: &GenerationPlan) -> Result<Option<ProcessSpec>, Error> {
    if !is_isolated(table)? {
        return Ok(None);
    }
    let (apps, middleware) = needed(table.name(), &plan.config);
    let mut own = plan.config.clone();
    own.retain("app", |name| apps.contains(name));
    own.retain("middleware", |name| middleware.contains(name));
    for section in ["server", "task", "program"] {
        own.retain(section, |_| false);
    }
    isolated_spec(table, own, &apps, &plan.libraries, plan.process.reload)
}

/// The app `name` with all apps that it passes requests to, and the middleware of those. Its own middleware stays in the
/// workers.
fn needed(name: &str, config: &Config) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut apps, mut middleware) = (BTreeSet::new(), BTreeSet::new());
    let mut left = vec![name.to_owned()];
    while let Some(app) = left.pop() {
        let Some(table) = config.table("app", &app).filter(|_| apps.insert(app.clone())) else { continue };
        if let Ok(entry) = AppKind::of(&table) {
            left.extend(entry.kind.links(&table).into_iter().map(|link| link.app));
        }
        if app == name {
            continue;
        }
        // The build of the app reports the faults of its stack.
        for layer in stack(config, &table, &mut Vec::new()) {
            if let Ok(entry) = MiddlewareKind::of(&layer.table) {
                left.extend(entry.kind.links(&layer.table).into_iter().map(|link| link.app));
            }
            middleware.insert(layer.name);
        }
    }
    (apps, middleware)
}

impl GroupOwner {
    /// The owner of the processes of `wanted`.
    pub(super) fn of(wanted: &ProcessTable) -> GroupOwner {
        GroupOwner { name: wanted.table.name().to_owned(), is_program: wanted.is_program }
    }
}
