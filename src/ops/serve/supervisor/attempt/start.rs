//! Starts one worker and waits until it is ready.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::outcome::ReadyWorker;
use crate::error::Error;
use crate::ops::serve::ipc::message::{FromWorker, Report, Role, SavedStates, Start, WorkerRequest};
use crate::ops::serve::supervisor::app_process::AppProcesses;
use crate::ops::serve::supervisor::child::{Child, Name, News, WorkerHandle};
use crate::ops::serve::supervisor::plan::GenerationPlan;
use crate::ops::serve::supervisor::saved_state::saved_state;
use crate::ops::serve::supervisor::services::Services;
use crate::ops::serve::supervisor::shared::SupervisorShared;
use crate::ops::serve::supervisor::sockets::Bound;

/// The states of the apps in a worker, if there is one.
pub(in crate::ops::serve::supervisor) async fn state_of(
    shared: &SupervisorShared,
    worker: Option<WorkerHandle>,
) -> SavedStates {
    let Some(worker) = worker else { return SavedStates::default() };
    saved_state(shared, "an old worker", worker.request(WorkerRequest::SaveState)).await
}

/// Starts a worker and waits until it is ready.
pub(in crate::ops::serve::supervisor) async fn start(
    shared: &Arc<SupervisorShared>,
    services: &Services,
    (plan, apps): (&GenerationPlan, &AppProcesses),
    bound: &[Bound],
    name: Name,
    (states, raw): SavedStates,
    role: Role,
) -> Result<ReadyWorker, Vec<Error>> {
    let fail = |error: Error| vec![error];
    services.open_to(&plan.credentials);
    shared.open_files.allow(&plan.config);
    let (mut child, mut news) = Child::start(
        name,
        &plan.credentials,
        shared.options.json,
        (shared.orphans.clone(), shared.requests.clone()),
    )
    .map_err(Vec::from)?;
    child.apps = apps.of_worker();
    let log_file = plan.log_file();
    let start = Start {
        generation: name.generation,
        worker: name.index,
        run: shared.run.clone(),
        refreshes: shared.refreshes.load(Ordering::Relaxed),
        tickets: shared.tickets.clone(),
        development: plan.process.reload,
        config: plan.config.clone(),
        process: plan.process.clone(),
        credentials: plan.credentials.clone(),
        libraries: plan.libraries.clone(),
        processes: apps.addresses(),
        states,
        log: plan.log.clone().unwrap_or_default(),
        has_log_file: log_file.is_some(),
        tasks: plan.tasks.iter().map(|task| task.order.clone()).collect(),
        sockets: bound.iter().map(|one| (one.server.clone(), one.socket.listen.to_string())).collect(),
        role,
    };
    let fds = bound.iter().map(|one| one.socket.fd.try_clone()).collect::<Result<Vec<_>, _>>();
    let mut fds =
        fds.map_err(|cause| fail(Error::new("cannot hand a socket to the worker").because(cause)))?;
    fds.extend(log_file.map(OwnedFd::from));
    child.begin(&start, raw, fds);

    let mut step = None;
    let ready = async {
        loop {
            match news.recv().await {
                Some(News::Said(said, raw)) => match services.handle(&child, &plan.credentials, said, raw) {
                    Some((FromWorker::Notice(Report::Starting(next)), _)) => step = Some(next),
                    Some((FromWorker::Notice(Report::Ready), _)) => return StartEnd::Ready,
                    Some((FromWorker::Notice(Report::Failed(faults)), _)) => return StartEnd::Failed(faults),
                    _ => {}
                },
                Some(News::Ended(status)) => return StartEnd::Crashed(status.to_string()),
                None => return StartEnd::Crashed("it is gone".to_owned()),
            }
        }
    };
    let ended = tokio::time::timeout(plan.process.start(), ready).await;
    let last = step.map(|step| format!("the last step was {step}"));
    match ended {
        Ok(StartEnd::Ready) => Ok((child, news)),
        Ok(StartEnd::Failed(faults)) => Err(faults),
        Ok(StartEnd::Crashed(status)) => {
            let error = Error::new(format!("the new worker crashed while starting ({status})"));
            Err(fail(tag_failure(error, last)))
        }
        Err(_) => {
            let seconds = plan.process.start().as_secs();
            let error = Error::new(format!("the new worker was not ready within {seconds} s"));
            let help = "a plugin's `create` or health probe takes too long; increase `start_secs` of `[process]` if it needs more time";
            Err(fail(tag_failure(error, last).help(help)))
        }
    }
}

/// How the start of a worker has ended.
enum StartEnd {
    Ready,
    Failed(Vec<Error>),
    Crashed(String),
}

/// Adds the last step that a worker has reported, if it has reported one.
fn tag_failure(error: Error, last: Option<String>) -> Error {
    match last {
        Some(last) => error.because(last),
        None => error,
    }
}
