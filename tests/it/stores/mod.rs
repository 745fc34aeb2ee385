//! Resources and what middleware keeps in them: sessions, logins, limits. With real Redis and PostgreSQL servers.

mod cached;
mod logins;
mod outage;
mod resources;
mod servers;
mod sessions;
mod sites;
mod tickets;
pub(crate) mod visitor;

use std::path::Path;
use std::sync::Arc;

use paster::context::Context;
use paster::resource::RESOURCES;
use paster::store::Store;

pub(crate) use self::servers::Database;

use crate::local::load;

/// The store of a resource of this kind with these options, whose files are in `folder`.
fn store(folder: &Path, kind: &str, options: &str) -> Arc<dyn Store> {
    let config = format!("[resource.db]\nuse = \"{kind}\"\n{options}\n");
    std::fs::write(folder.join("server.toml"), config).unwrap();
    let table = load(folder).unwrap().table("resource", "db").unwrap();
    let entry = RESOURCES.iter().find(|entry| entry.name == kind).unwrap();
    entry.kind.build(&table, &Context::alone(false)).unwrap().store
}
