//! One generation in its own process: loads, builds, probes, serves, retires, drains, ends.
//!
//! Its standard input is the control socket. It ends when the supervisor does.
//!
//! - here: the start, and the supervisor's messages
//! - `build`: assembles the generation; `generation`: serves it to its end
//! - `host`: requests to the supervisor
//! - `inspect`, `counting`, `heartbeat`: what it reports about itself; `tasks`: scheduled work
//! - `handover`: idle connections of older workers; `live_page`: pages of development

mod build;
mod counting;
mod generation;
mod handover;
mod heartbeat;
mod host;
mod inspect;
mod live_page;
pub(super) mod tasks;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::build::{Built, build};
use self::counting::Counting;
use self::generation::{Generation, SLACK};
use self::heartbeat::HeartbeatMonitor;
use self::host::WorkerHost;
use self::live_page::Live;
use super::ipc::message::{
    self, FromWorker, Report, Start, ToWorker, WorkerCommand, WorkerReply, WorkerRequest,
};
use super::ipc::wire::{self, Outbox, Packet};
use super::process::log::Whose;
use super::process::{descriptors, log, orphans};
use crate::caches::Caches;
use crate::config::Files;
use crate::context::Reopen;
use crate::error::Error;
use crate::health::HealthProbes;
use crate::metrics::StackMetrics;
use crate::ops::schema::deprecations;
use crate::plugin::python;

/// How many log lines may wait to be sent to the supervisor.
const LINES: usize = 512;
/// Log lines are sent in batches up to this length, in bytes.
const BATCH: usize = 64 << 10;
/// How often the worker sends its counts to the supervisor.
const REPORT: Duration = Duration::from_secs(5);

/// How long applications in this process may take to end.
const LEAVING: Duration = Duration::from_secs(5);

/// Runs the worker of this process to its end; returns the exit code.
pub fn worker() -> u8 {
    descriptors::close_inherited();
    // The supervisor recognizes what is started here by the session, even when this process has ended; see
    // `orphans`.
    let _ = rustix::process::setsid(); // fails if it was started by hand
    let Ok(control) = descriptors::take_over_stdin() else { return 2 };
    let parent = rustix::process::getppid();
    die_with_parent(true);
    // The name in `ps` and `top`; the default would be the name of the link that started this process.
    let _ = std::fs::write("/proc/self/comm", "paster worker");
    // Messages and deadlines are handled on a separate thread, because plugin code may block the others.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(control, parent)),
        // It can report nothing but the exit code.
        Err(_) => 1,
    }
}

/// The worker also notices the end of the control socket, but a plugin may block every thread. Repeat this
/// after a change of the user, which makes the kernel forget it.
fn die_with_parent(yes: bool) {
    let _ = rustix::process::set_parent_process_death_signal(yes.then_some(Signal::KILL));
}

/// Ends what is started here with the supervisor too, if the kernel can report that the supervisor has ended.
/// Returns whether the supervisor is still running.
fn end_with(parent: Option<Pid>) -> bool {
    die_with_parent(true);
    if parent.is_some_and(|parent| orphans::end_with(parent).is_ok()) {
        die_with_parent(false);
    }
    rustix::process::getppid() == parent
}

/// The serving threads: one per CPU, or the number in the config.
fn threads(count: usize) -> std::io::Result<Handle> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("serve");
    if count > 0 {
        builder.worker_threads(count);
    }
    let runtime = builder.build()?;
    let handle = runtime.handle().clone();
    // It lives as long as the process, which can end even if plugin code blocks a thread.
    std::mem::forget(runtime);
    Ok(handle)
}

async fn run(control: OwnedFd, parent: Option<Pid>) -> u8 {
    let Ok(stream) = wire::stream(control).map(Arc::new) else { return 2 };
    let outbox = Outbox::new(stream.clone());
    let Ok(Some(packet)) = wire::receive(&stream).await else { return 1 };
    let Ok(mut start) = packet.message::<Box<Start>>() else { return 2 };
    let mut sockets = packet.fds;
    // While there is only one thread, and nothing of an application is loaded.
    if let Err(error) = start.credentials.drop_privileges() {
        outbox.deliver(Packet::new(&FromWorker::Notice(Report::Failed(vec![error])))).await;
        return 1;
    }
    if !end_with(parent) {
        return 1;
    }
    let reopen = Reopen::default();
    let whose = Whose { generation: start.generation, worker: start.worker };
    let (copy, lines) = mpsc::channel(LINES);
    tokio::spawn(send_log(lines, outbox.clone()));
    let given = if start.has_log_file { sockets.pop().map(File::from) } else { None };
    let log_file = match log::start(&start.log, Some(whose), Some(copy), reopen.clone(), given) {
        Ok(file) => file,
        Err(error) => {
            outbox.deliver(Packet::new(&FromWorker::Notice(Report::Failed(vec![error])))).await;
            return 1;
        }
    };
    if start.worker == 0 {
        deprecations(&start.config).iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let states = message::split(&start.states, packet.raw);
    let host = Arc::new(WorkerHost::new(outbox.clone()));
    start.config.open_by(Files::by(host.clone()));
    let live = Live::new(&start);
    let (parts, health) = (Arc::<StackMetrics>::default(), Arc::<HealthProbes>::default());
    let caches = Arc::<Caches>::default();
    let counting = Counting::new(start.generation, parts.clone(), caches.clone());
    let (orders, mut inbox) = mpsc::unbounded_channel();
    tokio::spawn(read(stream, host.clone(), live.clone(), counting.clone(), orders));

    let threads = match threads(start.process.threads) {
        Ok(threads) => threads,
        Err(cause) => {
            let fault = Error::new("cannot start threads").because(cause);
            outbox.deliver(Packet::new(&FromWorker::Notice(Report::Failed(vec![fault])))).await;
            return 1;
        }
    };
    let Built { servers, instances, known, work } = match build(
        &start,
        states,
        host,
        (parts, health.clone(), caches.clone()),
        &live,
        &threads,
        reopen.clone(),
    )
    .await
    {
        Ok(built) => built,
        Err(faults) => {
            outbox.deliver(Packet::new(&FromWorker::Notice(Report::Failed(faults)))).await;
            return 1;
        }
    };
    let mut pulse = HeartbeatMonitor::new(threads.clone());
    let mut beats = tokio::time::interval(start.process.heartbeat_interval());
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    counting.plugins(&instances);
    let sight = (counting.clone(), health, caches);
    let mut generation =
        Generation::new(start, instances, (known, work), live, sight, outbox.clone(), threads);
    let mut waiting = Some((servers, sockets));
    outbox.send(Packet::new(&FromWorker::Notice(Report::Ready)));

    let mut report = tokio::time::interval(REPORT);
    let code = loop {
        tokio::select! {
            // What a killed worker has counted since the last report is lost.
            _ = report.tick() => outbox.send(Packet::new(&FromWorker::Notice(Report::Metrics(counting.counts())))),
            order = inbox.recv() => match order {
                // Either the supervisor is gone, with its listeners, or a packet was incomplete: then the
                // supervisor clears what is left here.
                None => {
                    if has_ended(parent).await {
                        orphans::end_own();
                    }
                    break 1;
                }
                Some((ToWorker::Notice(WorkerCommand::Serve), fds)) => {
                    if let Some((servers, sockets)) = waiting.take() {
                        generation.serve(servers, sockets);
                    }
                    generation.adopt(fds);
                }
                Some((ToWorker::Notice(WorkerCommand::Retire), mut fds)) => generation.retire(fds.pop()),
                Some((ToWorker::Notice(WorkerCommand::Drain(ms)), _)) => {
                    if waiting.take().is_some() {
                        break 0;
                    }
                    generation.drain(Duration::from_millis(ms));
                }
                Some((ToWorker::Notice(WorkerCommand::Reopen), mut fds)) => {
                    if let (Some(log), Some(file)) = (&log_file, fds.pop()) {
                        log.replace(file.into());
                    }
                    reopen.ask();
                }
                Some((ToWorker::Request { id, body }, _)) => generation.answer(id, body),
                Some(_) => {}
            },
            _ = beats.tick() => outbox.send(Packet::new(&FromWorker::Notice(Report::Heartbeat(pulse.sample(&generation.loads))))),
            code = generation.turn() => break code,
        }
    };
    // Applications in this process may have to stop what they have started.
    let _ = tokio::task::spawn_blocking(|| python::end_applications(LEAVING)).await;
    let last = Packet::new(&FromWorker::Notice(Report::Metrics(counting.counts())));
    let _ = tokio::time::timeout(SLACK, outbox.deliver(last)).await; // the supervisor may be gone
    code
}

/// Waits for the end of the supervisor, whose sockets close slightly earlier; `false` if it continues.
async fn has_ended(parent: Option<Pid>) -> bool {
    let gone = async {
        while rustix::process::getppid() == parent {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SLACK, gone).await.is_ok()
}

/// Reads the control socket. Replies are passed on here, because `create` may be waiting for one.
async fn read(
    stream: Arc<UnixStream>,
    host: Arc<WorkerHost>,
    live: Live,
    counting: Counting,
    orders: mpsc::UnboundedSender<(ToWorker, Vec<OwnedFd>)>,
) {
    while let Ok(Some(packet)) = wire::receive(&stream).await {
        match packet.message() {
            Ok(ToWorker::Reply { id, body }) => host.requests.answered(id, (body, packet.fds)),
            Ok(ToWorker::Notice(WorkerCommand::Live(status))) => live.set(status),
            Ok(ToWorker::Notice(WorkerCommand::Refresh(refreshes))) => live.refresh(refreshes),
            // Also before the generation is built.
            Ok(ToWorker::Request { id, body: WorkerRequest::Metrics }) => {
                let body = WorkerReply::Metrics(counting.counts());
                host.outbox.send(Packet::new(&FromWorker::Reply { id, body }));
            }
            Ok(order) => {
                if orders.send((order, packet.fds)).is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "unknown message from the supervisor"),
        }
    }
}

/// Sends copies of log lines to the supervisor. If it does not keep up, new lines are dropped.
async fn send_log(mut lines: mpsc::Receiver<Vec<u8>>, outbox: Outbox) {
    while let Some(mut raw) = lines.recv().await {
        while raw.len() < BATCH
            && let Ok(more) = lines.try_recv()
        {
            raw.extend_from_slice(&more);
        }
        outbox.deliver(Packet { raw: raw.into(), ..Packet::new(&FromWorker::Notice(Report::Log)) }).await;
    }
}
