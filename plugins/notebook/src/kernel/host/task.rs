//! The task of one kernel: starts its process, connects, records every message, restarts it, reports why it
//! died.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::Host;
use super::handshake::connect;
use super::incoming::KernelEvent;
use super::queue::Queue;
use super::running::{KernelOrder, Running};
use super::unused::until_unused;
use crate::kernel::gateway::RemoteKernel;
use crate::kernel::kernel_process::KernelProcess;
use crate::kernel::message::{Channel, Message};
use crate::kernel::process::Process;
use crate::kernel::transport::{self, HOST_SESSION, PendingTransport, Sink, Transport};
use crate::kernel::wire::{Event, KernelModel, Launch, Problem, ProblemKind};
use crate::protocol::KernelState;

/// Maximum time for a kernel to end on its own.
const GRACE: Duration = Duration::from_secs(3);
/// How long a busy kernel's cell may take to end after the interrupt. A cell may catch it and continue.
const INTERRUPTED: Duration = Duration::from_millis(250);
/// How long it may take after the SIGTERM that follows.
const TERMINATED: Duration = Duration::from_millis(200);

/// How a process ended.
enum ProcessEnd {
    Died(String),
    Restart(oneshot::Sender<Result<(), Problem>>),
    Shutdown(oneshot::Sender<()>),
    /// It was shut down because nobody used it.
    Unused,
}

/// Why a connection to a kernel is no longer served.
enum Served {
    Ended(ProcessEnd),
    /// A gateway has started the kernel again; this connects to it.
    Restarted(PendingTransport),
}

impl From<ProcessEnd> for Served {
    fn from(end: ProcessEnd) -> Served {
        Served::Ended(end)
    }
}

/// Starts a kernel. Its process is started by its task. A `temporary` one ends with its last attachment.
pub(super) fn start(
    host: Arc<Host>,
    id: String,
    launch: Launch,
    (folder, temporary): (PathBuf, bool),
) -> Arc<Running> {
    let (kernel, orders, sends) = Running::new(id, &launch, folder.clone());
    let kernel = Arc::new(kernel);
    let (kernel_of_task, next) = (kernel.clone(), None);
    let task = KernelTask { host, kernel: kernel_of_task, launch, folder, temporary, orders, sends, next };
    tokio::spawn(task.run());
    kernel
}

/// The task behind a [`Running`].
struct KernelTask {
    host: Arc<Host>,
    kernel: Arc<Running>,
    launch: Launch,
    folder: PathBuf,
    temporary: bool,
    orders: mpsc::UnboundedReceiver<KernelOrder>,
    sends: mpsc::Receiver<Message>,
    /// The process of a restart, which was started while the old one ended.
    next: Option<Launched>,
}

/// A process that was started, with its private folder.
struct Launched {
    /// The number of the start.
    start: u32,
    folder: PathBuf,
    pending: PendingTransport,
    process: KernelProcess,
}

impl KernelTask {
    async fn run(mut self) {
        let mut restarting: Option<oneshot::Sender<Result<(), Problem>>> = None;
        let shutdown = loop {
            match self.process(&mut restarting).await {
                ProcessEnd::Shutdown(reply) => break Some(reply),
                ProcessEnd::Unused => break None,
                ProcessEnd::Restart(reply) => restarting = Some(reply),
                ProcessEnd::Died(reason) => {
                    self.dead(&reason);
                    if self.temporary {
                        break None;
                    }
                    if let Some(reply) = restarting.take() {
                        let _ = reply.send(Err(Problem::new(
                            ProblemKind::LaunchFailed,
                            format!("the kernel {reason}"),
                        )));
                    }
                    match self.wait_dead().await {
                        Some(KernelOrder::Restart(reply)) => restarting = Some(reply),
                        Some(KernelOrder::Shutdown(reply)) => break Some(reply),
                        Some(KernelOrder::Interrupt | KernelOrder::Cancel(_)) | None => break None,
                    }
                }
            }
            self.state(KernelState::Restarting, |model| model.exit = None);
            self.record_status("restarting", None);
        };
        self.host.forget(&self.kernel.model().id);
        self.kernel.closed.send_replace(true);
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some(reply) = shutdown {
            let _ = reply.send(());
        }
    }

    /// Waits for a restart or the end. Messages to a dead kernel are dropped.
    async fn wait_dead(&mut self) -> Option<KernelOrder> {
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(KernelOrder::Interrupt | KernelOrder::Cancel(_)) => {}
                    order => return order,
                },
                Some(_) = self.sends.recv() => {}
            }
        }
    }

    /// Runs one process from its start to its end.
    async fn process(&mut self, restarting: &mut Option<oneshot::Sender<Result<(), Problem>>>) -> ProcessEnd {
        let launched = self.next.take().map_or_else(|| self.start(), Ok);
        let Launched { start, folder, pending, mut process } = match launched {
            Ok(launched) => launched,
            Err(reason) => return ProcessEnd::Died(reason),
        };
        let id = process.id();
        self.state(KernelState::Starting, |model| {
            model.pid = id;
            model.starts = start;
        });
        let end = self.drive(pending, &mut process, restarting).await;
        process.end_within(Duration::from_millis(100)).await;
        id.into_iter().for_each(|id| self.host.reaper.remove(id));
        self.kernel.control_requests.clear();
        self.kernel.model.lock().pid = None;
        let _ = std::fs::remove_dir_all(&folder);
        end
    }

    /// Starts a process.
    fn start(&mut self) -> Result<Launched, String> {
        if let Some(launch) = self.kernel.relaunch.lock().take() {
            self.launch = launch;
        }
        let start = self.kernel.model().starts + 1;
        let folder = self.folder.join(start.to_string());
        let launched = self.launch_in(&folder);
        let (pending, process) = launched.inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&folder);
        })?;
        process.id().into_iter().for_each(|id| self.host.reaper.add(id));
        Ok(Launched { start, folder, pending, process })
    }

    /// Starts the process of a restart. The old one takes a moment to end, in which the new one imports its modules. With a control
    /// group, which ends all its processes together, and on a gateway, the new one starts after the old one.
    fn start_next(&mut self) {
        if self.launch.gateway.is_none() && self.launch.limits.cgroup.is_none() {
            // An error is reported by the second attempt.
            self.next = self.start().ok();
        }
    }

    fn launch_in(&self, folder: &PathBuf) -> Result<(PendingTransport, KernelProcess), String> {
        let failed =
            |what: &str, error: std::io::Error| format!("could not be started: cannot {what}: {error}");
        std::fs::create_dir(folder).map_err(|error| failed("create its private folder", error))?;
        if let Some(gateway) = &self.launch.gateway {
            let kernel = RemoteKernel::start(gateway, &self.launch);
            return Ok((kernel.transport(), KernelProcess::Remote(kernel)));
        }
        let mut launch = self.launch.clone();
        let pending = match &launch.built_in {
            Some(source) => {
                let file = folder.join("paster_kernel.py");
                transport::write_private(&file, source.as_bytes())
                    .map_err(|error| failed("write its source", error))?;
                launch.argv.push(file.to_string_lossy().into_owned());
                PendingTransport::lines(folder)
            }
            None => {
                // A sandbox without network has no ports.
                let tcp = launch.sandbox.is_none() && transport::needs_tcp(&launch.argv);
                PendingTransport::zmq(folder, &launch.name, tcp)
            }
        };
        let pending = pending.map_err(|error| failed("create its connection file", error))?;
        let process = Process::start(&launch, pending.path()).map_err(|error| {
            failed(&format!("run `{}` in {}", launch.argv.first().map_or("", |a| a), launch.folder), error)
        })?;
        Ok((pending, KernelProcess::Local(process)))
    }

    /// Connects to a process and serves it until its end. Connects again when a gateway has started the kernel again: requests
    /// and output could be lost until the gateway is connected to the new process.
    async fn drive(
        &mut self,
        mut pending: PendingTransport,
        process: &mut KernelProcess,
        restarting: &mut Option<oneshot::Sender<Result<(), Problem>>>,
    ) -> ProcessEnd {
        loop {
            let (told, mut kernel_events) = mpsc::unbounded_channel();
            let kernel = self.kernel.clone();
            let sink: Sink = Arc::new(move |message| {
                if let Some(kernel_event) = kernel.take(message) {
                    let _ = told.send(kernel_event);
                }
            });
            let connecting = connect(pending, sink, &mut kernel_events);
            let transport = tokio::select! {
                transport = connecting => match transport {
                    Ok(transport) => transport,
                    Err(reason) => return ProcessEnd::Died(reason),
                },
                reason = process.ended() => return ProcessEnd::Died(reason),
                end = until_end(&mut self.orders) => return end,
            };
            self.state(KernelState::Idle, |_| {});
            if let Some(reply) = restarting.take() {
                let _ = reply.send(Ok(()));
            }
            match self.serve(&transport, process, &mut kernel_events).await {
                Served::Ended(end) => return end,
                Served::Restarted(again) => pending = again,
            }
        }
    }

    /// Transfers messages and carries out orders until the process ends or starts again.
    async fn serve(
        &mut self,
        transport: &Transport,
        process: &mut KernelProcess,
        kernel_events: &mut mpsc::UnboundedReceiver<KernelEvent>,
    ) -> Served {
        let mut queue = Queue::default();
        let (kernel, limit) = (self.kernel.clone(), self.launch.limits.idle_secs.map(Duration::from_secs));
        loop {
            tokio::select! {
                reason = process.ended() => {
                    // Its last messages are still on their way through our sockets.
                    self.settle().await;
                    return ProcessEnd::Died(reason).into();
                }
                order = self.orders.recv() => match order {
                    Some(KernelOrder::Interrupt) => {
                        self.abort(&mut queue);
                        self.interrupt(transport, process);
                    }
                    Some(KernelOrder::Cancel(messages)) => self.record_all(queue.cancel(&messages)),
                    Some(KernelOrder::Restart(reply)) => {
                        self.start_next();
                        self.stop(transport, process, true).await;
                        return ProcessEnd::Restart(reply).into();
                    }
                    Some(KernelOrder::Shutdown(reply)) => {
                        self.stop(transport, process, false).await;
                        return ProcessEnd::Shutdown(reply).into();
                    }
                    None => return ProcessEnd::Died("was cancelled".to_owned()).into(),
                },
                Some(kernel_event) = kernel_events.recv() => match kernel_event {
                    KernelEvent::Replied { msg_id, failed } => {
                        if failed {
                            self.abort(&mut queue);
                        }
                        queue.replied(&msg_id).into_iter().for_each(|next| transport.send(next));
                    }
                    KernelEvent::Restarted(message) => {
                        self.kernel.control_requests.clear();
                        self.state(KernelState::Restarting, |_| {});
                        self.record_all(vec![message]);
                        self.abort(&mut queue);
                        if let KernelProcess::Remote(kernel) = process {
                            return Served::Restarted(kernel.transport());
                        }
                    }
                    KernelEvent::Answered | KernelEvent::Heard => {}
                },
                () = until_unused(&kernel, limit, self.temporary) => {
                    tracing::info!(kernel = kernel.model().id, "shut down a kernel that was not used");
                    self.stop(transport, process, false).await;
                    return ProcessEnd::Unused.into();
                }
                Some(message) = self.sends.recv() => {
                    self.kernel.control_requests.sent(&message);
                    queue.push(message).into_iter().for_each(|message| transport.send(message));
                }
            }
        }
    }

    /// Drops the waiting runs, and records that as a kernel would report it.
    fn abort(&self, queue: &mut Queue) {
        self.record_all(queue.drop_waiting());
    }

    fn record_all(&self, messages: Vec<Message>) {
        for message in messages {
            self.kernel.journal.append(message.encode_v1());
        }
    }

    fn interrupt(&self, transport: &Transport, process: &KernelProcess) {
        if self.launch.interrupt_by_message {
            transport.send(transport::control_request("interrupt_request", &json!({})));
        } else {
            process.signal(Signal::INT);
        }
    }

    /// Ends the process. A busy one is interrupted first, and then terminated if its cell continues.
    async fn stop(&self, transport: &Transport, process: &mut KernelProcess, restart: bool) {
        let busy = self.is_busy();
        if busy {
            self.interrupt(transport, process);
        }
        if process.is_asked_to_end() {
            transport.send(transport::control_request("shutdown_request", &json!({"restart": restart})));
        }
        let runs_on = busy
            && tokio::select! {
                () = process.exited() => false,
                left = tokio::time::timeout(INTERRUPTED, self.until_not_busy()) => left.is_err(),
            };
        if runs_on {
            process.signal(Signal::TERM);
        }
        process.end_within(if runs_on { TERMINATED } else { GRACE }).await;
        self.settle().await;
    }

    fn is_busy(&self) -> bool {
        self.kernel.model.lock().state == KernelState::Busy
    }

    async fn until_not_busy(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while self.is_busy() {
            look.tick().await;
        }
    }

    /// Waits until nothing new has been recorded for a moment.
    async fn settle(&self) {
        let mut grown = self.kernel.journal.grown();
        let quiet = Duration::from_millis(40);
        while let Ok(Ok(())) = tokio::time::timeout(quiet, grown.changed()).await {}
    }

    fn dead(&self, reason: &str) {
        self.state(KernelState::Dead, |model| model.exit = Some(format!("the kernel {reason}")));
        self.record_status("dead", Some(reason));
    }

    fn state(&self, state: KernelState, change: impl FnOnce(&mut KernelModel)) {
        {
            let mut model = self.kernel.model.lock();
            model.state = state;
            change(&mut model);
        }
        let _ = self.host.events.send(Event::Kernel { model: self.kernel.model() });
    }

    /// Records a status message from the host itself, so that every reader sees it in order.
    fn record_status(&self, state: &str, reason: Option<&str>) {
        let mut content = json!({"execution_state": state});
        if let Some(reason) = reason {
            content["reason"] = format!("the kernel {reason}").into();
        }
        let id = format!("host-{}", uuid::Uuid::new_v4().simple());
        let message = Message::new(Channel::Iopub, "status", &id, HOST_SESSION, &content);
        self.kernel.journal.append(message.encode_v1());
    }
}

/// Waits for an order that ends a process before it is connected.
async fn until_end(orders: &mut mpsc::UnboundedReceiver<KernelOrder>) -> ProcessEnd {
    loop {
        match orders.recv().await {
            Some(KernelOrder::Restart(reply)) => return ProcessEnd::Restart(reply),
            Some(KernelOrder::Shutdown(reply)) => return ProcessEnd::Shutdown(reply),
            Some(KernelOrder::Interrupt | KernelOrder::Cancel(_)) => {}
            None => return ProcessEnd::Died("was cancelled".to_owned()),
        }
    }
}
