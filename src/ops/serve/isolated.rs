//! `paster __isolated`: a process that runs one app of the config for all workers.
//!
//! The supervisor starts it like the processes of Python applications, with the same messages. How
//! requests reach it is in `app::isolation`.

use std::sync::Arc;
use std::time::Duration;

use paster_frames::ProcessStatus;

use super::process::{descriptors, log};
use crate::app::isolation::{IsolatedCounts, IsolatedSettings, serve_isolated};
use crate::app::process::{LoadFailure, Starter};
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
    let lost = |cause: std::io::Error| Error::usage("the process has no control socket").because(cause);
    let socket = descriptors::take_over_stdin().map_err(lost)?;
    let _ = std::fs::write("/proc/self/comm", "paster app"); // for `ps`
    log::start(&Default::default(), None, None, Default::default(), None)?;
    // The app may block its own threads.
    let own = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(lost)?;
    let code = own.block_on(async {
        let mut starter = Starter::new(socket).map_err(lost)?;
        let settings = starter.settings().await.map_err(lost)?;
        let text = settings.text("isolated").unwrap_or_default();
        let told: IsolatedSettings = serde_json::from_str(text).map_err(|cause| lost(cause.into()))?;
        let listener = settings.listener.ok_or_else(|| lost(std::io::ErrorKind::NotFound.into()))?;
        let listener = std::os::unix::net::UnixListener::from(listener);
        let (app, instances) = match load(told, &threads).await {
            Ok(loaded) => loaded,
            Err(errors) => {
                let summaries: Vec<_> = errors.iter().map(Error::in_one_line).collect();
                let failure = LoadFailure { summary: summaries.join("; "), ..LoadFailure::default() };
                let _ = starter.failed(&failure).await; // the supervisor may have ended
                return Ok(1);
            }
        };
        let counts = Arc::<IsolatedCounts>::default();
        let entered = threads.enter();
        let listener = tokio::net::UnixListener::from_std(listener).map_err(lost)?;
        drop(entered);
        threads.spawn(serve_isolated(listener, app, counts.clone()));
        let _ = starter.ready(&[]).await; // its end is noticed next
        let mut reports = tokio::time::interval(REPORTS);
        loop {
            tokio::select! {
                () = starter.stopped() => break,
                _ = reports.tick() => {
                    let stuck_ms = u64::try_from(counts.stuck().as_millis()).unwrap_or(u64::MAX);
                    let status = ProcessStatus { requests: counts.requests(), stuck_ms };
                    let _ = starter.status(status).await; // its end is noticed next
                }
            }
        }
        let ended = threads.spawn_blocking(move || {
            instances.iter().for_each(Instance::retire);
            instances.iter().for_each(Instance::shutdown);
        });
        let _ = ended.await; // a panic in it is logged
        Ok(0)
    });
    threads.shutdown_background();
    own.shutdown_background();
    code
}

/// Builds the app, and checks that its plugins are healthy.
async fn load(told: IsolatedSettings, threads: &tokio::runtime::Runtime) -> Result<(App, Vec<Instance>)> {
    let built = threads.spawn_blocking(move || {
        let IsolatedSettings { app, config, libraries, development } = told;
        let context = Context { libraries, inside: Some(app.clone()), ..Context::alone(development) };
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
