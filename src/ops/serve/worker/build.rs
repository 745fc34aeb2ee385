//! Assembles a generation and checks that it is healthy.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::inspect::Inspector;
use super::live_page::Live;
use super::tasks::TaskContext;
use crate::body::{App, BoxFuture};
use crate::caches::Caches;
use crate::config::Config;
use crate::context::{Context, Host, Reopen};
use crate::error::{Error, Errors, Result};
use crate::health::HealthProbes;
use crate::metrics::StackMetrics;
use crate::ops::assemble::{self, Assembly, assemble};
use crate::ops::serve::ipc::message::{Role, Start};
use crate::plugin::Instance;
use crate::server::Server;
use crate::store::Stores;

/// A server by its name, and the app that it serves.
pub(super) type NamedServer = (String, Box<dyn Server>, App);

/// Creates every server of `config`, with a placeholder for its app.
/// # Errors
/// Every fault of the `[server.NAME]` tables.
pub(super) fn servers(config: &Config) -> Result<Vec<NamedServer>> {
    let mut errors = Vec::new();
    let made = assemble::build_servers(config, &mut errors);
    Errors::check(errors)?;
    let unset = || App::from_fn(|_| std::future::ready(crate::body::Response::default()));
    Ok(made.into_iter().map(|(name, server)| (name.to_owned(), server, unset())).collect())
}

/// What one generation serves with.
pub(super) struct Built {
    pub(super) servers: Vec<NamedServer>,
    pub(super) instances: Vec<Instance>,
    pub(super) known: Inspector,
    pub(super) work: TaskContext,
}

/// Assembles the generation and probes its plugins, within the deadline of the process options. A worker of
/// [`Role::Try`] ends without a fault if it finds none.
pub(super) async fn build(
    start: &Start,
    states: BTreeMap<String, Vec<u8>>,
    host: Arc<dyn Host>,
    (parts, health, caches): (Arc<StackMetrics>, Arc<HealthProbes>, Arc<Caches>),
    live: &Live,
    threads: &Handle,
    reopen: Reopen,
) -> Result<Built, Vec<Error>> {
    let tells = matches!(start.role, Role::Tell(_));
    let tries = matches!(start.role, Role::Try);
    let context = Context {
        generation: start.generation,
        development: start.development,
        checking: tries,
        libraries: start.libraries.clone(),
        processes: start.processes.clone(),
        inside: None,
        states,
        host,
        reopen,
        config: Arc::default(), // the assembler sets the merged one
        parts,
        health: health.clone(),
        // The assembler sets those of the resources.
        stores: Stores::default(),
        variables: Arc::default(),
        caches,
        profilers: Arc::default(),
    };
    let (config, orders) = (start.config.clone(), start.tasks.clone());
    let host = context.host.clone();
    // `create` of a plugin may block. Its panics are errors already, so a panic here is paster's own.
    let generation = start.generation;
    let built = threads.spawn_blocking(move || {
        if tells {
            let work = TaskContext::default();
            let known = Inspector::new(generation, Vec::new());
            let servers = servers(&config)?;
            return Ok(Some(Built { servers, instances: Vec::new(), known, work }));
        }
        let Assembly { servers, apps, instances, isolated, parts } = assemble(&config, &context)?;
        if tries {
            return Ok(None);
        }
        let work = TaskContext { instances: instances.clone(), isolated, apps };
        Handle::current().block_on(work.check(&config, &orders))?;
        let names: Vec<_> = instances.iter().map(Instance::noun).collect();
        if !names.is_empty() {
            host.starting(&format!("probing the health of {}", names.join(", ")));
        }
        let known = Inspector::new(generation, parts);
        Ok(Some(Built { servers, instances, known, work }))
    });
    let panicked = |panic| Err(Error::new("the start panicked").because(panic).into());
    let built: Result<Option<Built>> = built.await.unwrap_or_else(panicked);
    let Some(mut built) = built.map_err(Vec::from)? else { return Err(Vec::new()) };
    let mut probes = JoinSet::new();
    for instance in built.instances.clone() {
        let probe = async move {
            instance
                .health()
                .await
                .map_err(|why| Error::new(format!("{} is not healthy: {why}", instance.noun())))
        };
        probes.spawn_on(probe, threads);
    }
    let mut faults = Vec::new();
    while let Some(probe) = probes.join_next().await {
        match probe {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => faults.push(fault),
            Err(panic) => faults.push(Error::new("a health probe panicked").because(panic)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for instance in &built.instances {
        let probed = instance.clone();
        let probe = move || -> BoxFuture<_> {
            let instance = probed.clone();
            Box::pin(async move { instance.health().await })
        };
        health.add(instance.name(), Arc::new(probe));
    }
    for (_, _, app) in &mut built.servers {
        *app = live.wrap(if tells { live.placeholder() } else { app.clone() });
    }
    Ok(built)
}
