//! The resources of a config: their stores, their addresses for other programs, and whether they can be reached.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::resource::{Resource, ResourceKind, shared_memory};
use crate::store::Stores;

/// Builds every `[resource.NAME]`; connects to nothing. Faults of the tables go to `errors`.
pub(super) fn stores(config: &Config, context: &Context, errors: &mut Vec<Error>) -> Stores {
    let mut stores = Stores::default();
    for name in config.names("resource") {
        let built = build(config, name, context).map_err(|faults| errors.extend(faults));
        stores.add(name, built.ok().flatten().map(|resource| resource.store));
    }
    let context = context.clone();
    stores.set_memory(move || shared_memory(&context));
    stores
}

/// The resource `name`; `None` if the config has no such table.
fn build(config: &Config, name: &str, context: &Context) -> Result<Option<Resource>> {
    let Some(table) = config.table("resource", name) else { return Ok(None) };
    ResourceKind::of(&table)?.kind.build(&table, context).map(Some)
}

/// The addresses of the resources, as variables for the processes of applications: `PASTER_RESOURCE_DB_URL`. Without
/// those of tables with faults, which are reported elsewhere.
pub(crate) fn variables(config: &Config) -> BTreeMap<String, String> {
    // Nothing is started or written for an address.
    let context = Context { checking: true, ..Context::alone(false) };
    let mut variables = BTreeMap::new();
    for name in config.names("resource") {
        if let Ok(Some(Resource { url: Some(url), .. })) = build(config, name, &context) {
            let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
            let name: String = name.chars().map(upper).collect();
            variables.insert(format!("PASTER_RESOURCE_{name}_URL"), url);
        }
    }
    variables
}

/// Asks every resource what it is. Returns a sentence about each, and an error for each that cannot be reached.
pub(super) fn probe(config: &Config, context: &Context) -> (Vec<String>, Vec<Error>) {
    let (mut facts, mut errors) = (Vec::new(), Vec::new());
    let names = config.names("resource");
    if names.is_empty() {
        return (facts, errors);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return (facts, vec![Error::new("cannot start the runtime").because(cause)]),
    };
    for name in names {
        let Some(table) = config.table("resource", name) else { continue };
        let Ok(Some(resource)) = build(config, name, context) else { continue }; // reported already
        match runtime.block_on(async { resource.store.probe().await }) {
            Ok(what) => facts.push(format!("`[resource.{name}]`: {what}")),
            Err(cause) => {
                let error = table.error("", format!("the resource `{name}` cannot be reached"));
                errors.push(error.because(cause).help("start it, or correct its address"));
            }
        }
    }
    runtime.shutdown_background();
    (facts, errors)
}
