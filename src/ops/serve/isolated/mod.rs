//! `paster __isolated`: a process that runs one app of the config for all workers.
//!
//! The supervisor starts it like the processes of Python applications, with the same messages. How
//! requests reach it is in `app::isolation`.
//!
//! - here: its life; `host`: what its plugins request from the supervisor; `plugins`: what the supervisor asks of them

mod host;
mod plugins;

use std::sync::Arc;
use std::time::Duration;

use paster_frames::ProcessStatus;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use self::host::IsolatedHost;
use self::plugins::LoadedPlugins;
use super::ipc::message::{self, PluginStart};
use super::process::{descriptors, log};
use crate::app::isolation::{IsolatedCounts, IsolatedSettings, serve_isolated};
use crate::app::process::{ControlMessage, LoadFailure, Settings, Starter, StarterOrder};
use crate::body::App;
use crate::context::Context;
use crate::error::{Error, Errors, Result};
use crate::ops::assemble::{Assembly, assemble_apps};
use crate::plugin::Instance;

/// The pause between two reports.
const REPORTS: Duration = Duration::from_secs(1);

/// Runs one app until the supervisor asks this process to end; returns the exit code.
/// # Errors
/// When this process was not started by a supervisor.
pub fn isolated() -> Result<u8> {
    let socket = descriptors::take_over_stdin().map_err(lost)?;
    let _ = std::fs::write("/proc/self/comm", "paster app"); // for `ps`
    log::start(&Default::default(), None, None, Default::default(), None)?;
    // The app may block its own threads.
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(lost)?;
    let code = own.block_on(async {
        let mut starter = Starter::new(socket).map_err(lost)?;
        let settings = starter.settings().await.map_err(lost)?;
        run(starter, settings, &threads).await
    });
    threads.shutdown_background();
    own.shutdown_background();
    code
}

fn lost(cause: std::io::Error) -> Error {
    Error::usage("the process has no control socket").because(cause)
}

/// Loads the app, and serves it to its end; returns the exit code.
async fn run(starter: Starter, settings: Settings, threads: &Runtime) -> Result<u8> {
    let text = settings.text("isolated").unwrap_or_default();
    let told: IsolatedSettings = serde_json::from_str(text).map_err(|cause| lost(cause.into()))?;
    let listener = settings.listener.ok_or_else(|| lost(std::io::ErrorKind::NotFound.into()))?;
    let listener = std::os::unix::net::UnixListener::from(listener);
    let (host, outbox) = IsolatedHost::new();
    let mut link = SupervisorLink { starter, host: Arc::new(host), outbox, stopped: false };
    let context = context(&told, settings.state.unwrap_or_default(), &link.host)?;
    let name = told.app.clone();
    let (app, instances) = match link.during(load(told, context, threads), threads).await {
        Ok(loaded) => loaded,
        Err(errors) => {
            let summaries: Vec<_> = errors.iter().map(Error::in_one_line).collect();
            let failure = LoadFailure { summary: summaries.join("; "), ..LoadFailure::default() };
            let _ = link.starter.failed(&failure).await; // the supervisor may have ended
            return Ok(1);
        }
    };
    let counts = Arc::<IsolatedCounts>::default();
    let entered = threads.enter();
    let listener = tokio::net::UnixListener::from_std(listener).map_err(lost)?;
    drop(entered);
    let plugin = instances.iter().find(|instance| instance.name() == name).cloned();
    threads.spawn(serve_isolated(listener, app, plugin, counts.clone()));
    let _ = link.starter.ready(&[]).await; // its end is noticed next
    let plugins = LoadedPlugins::new(instances);
    link.until_stopped(&plugins, &counts, threads).await;
    let ended = threads.spawn_blocking(move || plugins.shutdown());
    let _ = link.during(ended, threads).await; // a panic in it is logged
    Ok(0)
}

/// What surrounds the apps here. `state` is what the plugins continue with.
fn context(told: &IsolatedSettings, state: ControlMessage, host: &Arc<IsolatedHost>) -> Result<Context> {
    let begin: PluginStart = match &*state.text {
        [] => PluginStart::default(),
        text => serde_json::from_slice(text).map_err(|cause| lost(cause.into()))?,
    };
    Ok(Context {
        generation: begin.generation.max(1),
        libraries: told.libraries.clone(),
        inside: Some(told.app.clone()),
        states: message::split(&begin.states, state.raw),
        host: host.clone(),
        ..Context::alone(told.development)
    })
}

/// The control socket.
struct SupervisorLink {
    starter: Starter,
    host: Arc<IsolatedHost>,
    /// What is to be sent.
    outbox: mpsc::UnboundedReceiver<ControlMessage>,
    /// Whether the supervisor has asked this process to end.
    stopped: bool,
}

impl SupervisorLink {
    /// Exchanges messages with the supervisor until `work` has ended, because a plugin may wait for a reply in it.
    async fn during<T>(&mut self, work: impl Future<Output = T>, threads: &Runtime) -> T {
        let nobody = LoadedPlugins::default();
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                order = self.starter.next(), if !self.stopped => match order {
                    StarterOrder::Stop => self.stopped = true,
                    StarterOrder::Message(message) => nobody.handle(&message, &self.host, threads.handle()),
                },
                Some(message) = self.outbox.recv() => {
                    let _ = self.starter.send_message(&message).await; // its end is noticed next
                }
            }
        }
    }

    /// Exchanges messages with the supervisor and sends reports, until this process is to end.
    async fn until_stopped(&mut self, plugins: &LoadedPlugins, counts: &IsolatedCounts, threads: &Runtime) {
        let mut reports = tokio::time::interval(REPORTS);
        while !self.stopped {
            tokio::select! {
                order = self.starter.next() => match order {
                    StarterOrder::Stop => self.stopped = true,
                    StarterOrder::Message(message) => plugins.handle(&message, &self.host, threads.handle()),
                },
                Some(message) = self.outbox.recv() => {
                    let _ = self.starter.send_message(&message).await; // its end is noticed next
                }
                _ = reports.tick() => {
                    let stuck_ms = u64::try_from(counts.stuck().as_millis()).unwrap_or(u64::MAX);
                    let status = ProcessStatus { requests: counts.requests(), stuck_ms };
                    let _ = self.starter.status(status).await; // its end is noticed next
                }
            }
        }
    }
}

/// Builds the app, and checks that its plugins are healthy.
async fn load(told: IsolatedSettings, context: Context, threads: &Runtime) -> Result<(App, Vec<Instance>)> {
    let built = threads.spawn_blocking(move || {
        let IsolatedSettings { app, config, .. } = told;
        let Assembly { mut apps, instances, .. } = assemble_apps(&config, &context, None)?;
        let Some(found) = apps.remove(&app) else {
            return Err(Errors::from(Error::new(format!("the config has no app `{app}`"))));
        };
        Ok((found, instances))
    });
    let panicked = |panic| Err(Error::new("the start panicked").because(panic).into());
    let (app, instances) = built.await.unwrap_or_else(panicked)?;
    for instance in &instances {
        let probed = instance.clone();
        let probe = threads.spawn(async move { probed.health().await });
        let health = probe.await.unwrap_or_else(|panic| Err(panic.to_string()));
        health.map_err(|why| Error::new(format!("{} is not healthy: {why}", instance.noun())))?;
    }
    Ok((app, instances))
}
