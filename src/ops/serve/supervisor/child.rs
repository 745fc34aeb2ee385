//! The supervisor's end of a worker process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

use super::app_process::AppProcesses;
use crate::error::{Error, Result};
use crate::ops::serve::ipc::message::{
    FromWorker, HostReply, Start, ToWorker, WorkerCommand, WorkerReply, WorkerRequest,
};
use crate::ops::serve::ipc::requests::PendingRequests;
use crate::ops::serve::ipc::wire::{self, Outbox, Packet};
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::orphans::{AFTERWARDS, Orphans};
use crate::ops::serve::process::running::Running;

/// An event of a worker process.
#[derive(Debug)]
pub(super) enum News {
    /// A message, with its raw bytes.
    Said(FromWorker, Bytes),
    /// It has ended.
    Ended(ExitStatus),
}

/// The identity of a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    /// Distinguishes it from all other workers of this supervisor.
    pub(super) id: u64,
    /// Its generation.
    pub(super) generation: u64,
    /// Its slot, from 0.
    pub(super) index: usize,
}

/// The supervisor's requests to workers: each reply comes with its raw bytes.
pub(super) type WorkerRequests = PendingRequests<(WorkerReply, Bytes)>;

/// Sends to a worker process. It may outlive the process.
#[derive(Debug, Clone)]
pub(super) struct WorkerHandle {
    pid: u32,
    outbox: Outbox,
    requests: Arc<WorkerRequests>,
}

impl WorkerHandle {
    /// Sends a request, and waits for the reply: `None` if the worker ends first.
    pub(super) fn request(
        &self,
        body: WorkerRequest,
    ) -> impl Future<Output = Option<(WorkerReply, Bytes)>> + use<> {
        let id = self.requests.new_id();
        let reply = self.requests.expect(id, self.pid);
        self.send_request(id, body);
        async move { reply.await.ok() }
    }

    /// Sends a request whose reply is [expected](PendingRequests::expect) elsewhere.
    pub(super) fn send_request(&self, id: u64, body: WorkerRequest) {
        self.outbox.send(Packet::new(&ToWorker::Request { id, body }));
    }

    /// Answers a request of the worker.
    pub(super) fn reply(&self, id: u64, body: HostReply, fds: Vec<OwnedFd>) {
        self.outbox.send(Packet { fds, ..Packet::new(&ToWorker::Reply { id, body }) });
    }
}

/// A running worker process. Dropping this kills it.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Name,
    /// Its process id.
    pub(super) pid: u32,
    handle: WorkerHandle,
    stream: Arc<UnixStream>,
    /// Locked while a packet from the worker is read.
    reading: Arc<Mutex<()>>,
    /// The processes of the applications that it serves. They end after the last of their workers.
    pub(super) apps: AppProcesses,
    kill: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl Child {
    /// Starts a worker. Its messages come over the returned channel; [`News::Ended`] is the last one.
    ///
    /// Call this on the process's main thread only: the kernel ends a child with the *thread* that started
    /// it.
    /// # Errors
    /// When no process can be started.
    pub(super) fn start(
        name: Name,
        credentials: &Credentials,
        quiet: bool,
        (orphans, requests): (Arc<Orphans>, Arc<WorkerRequests>),
    ) -> Result<(Child, mpsc::UnboundedReceiver<News>)> {
        let failed = |cause: io::Error| Error::new("cannot start a worker process").because(cause);
        let (ours, theirs) = wire::pair().map_err(failed)?;
        // The running program, even if its file was replaced since.
        let mut command = std::process::Command::new("/proc/self/exe");
        // It will call setsid(2), so it must not lead a process group.
        command.arg0("paster").arg("__worker").stdin(Stdio::from(theirs));
        credentials.apply_to(&mut command);
        if quiet {
            command
                .stdout(Stdio::from(rustix::io::dup(io::stderr()).map_err(io::Error::from).map_err(failed)?));
        }
        let process = Running::start(&mut command).map_err(failed)?;
        let stream = wire::stream(ours).map(Arc::new).map_err(failed)?;
        Ok(Child::watch(name, process, stream, (orphans, requests)))
    }

    /// Exchanges messages with a process over `stream`, and waits for its end.
    fn watch(
        name: Name,
        mut process: Running,
        stream: Arc<UnixStream>,
        (orphans, requests): (Arc<Orphans>, Arc<WorkerRequests>),
    ) -> (Child, mpsc::UnboundedReceiver<News>) {
        let pid = process.pid();
        let handle = WorkerHandle { pid, outbox: Outbox::new(stream.clone()), requests };
        let turn = Arc::<Mutex<()>>::default();
        let (own, reader) = (stream.clone(), turn.clone());
        let (kill, killed) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let (sender, news) = mpsc::unbounded_channel();
        orphans.clone().watch(async move {
            let reading = tokio::spawn(read(stream, sender.clone(), reader));
            let status = tokio::select! {
                status = process.wait() => status,
                _ = killed => {
                    process.signal(Signal::KILL);
                    process.wait().await
                }
            };
            // Its last messages must come before its end.
            let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
            orphans.clear(pid, if status.success() { AFTERWARDS } else { Duration::ZERO });
            let _ = sender.send(News::Ended(status));
            let _ = end.send(());
        });
        let apps = AppProcesses::default();
        (Child { name, pid, handle, stream: own, reading: turn, apps, kill: Some(kill), ended }, news)
    }

    /// Takes over a worker that the previous program in this process has started.
    /// # Errors
    /// When it is not a child of this process.
    pub(super) fn adopt(
        name: Name,
        pid: u32,
        socket: OwnedFd,
        watchers: (Arc<Orphans>, Arc<WorkerRequests>),
    ) -> io::Result<(Child, mpsc::UnboundedReceiver<News>)> {
        Ok(Child::watch(name, Running::adopt(pid)?, Arc::new(wire::stream(socket)?), watchers))
    }

    /// Stops reading from the worker between two packets, for as long as the guard lives. Also returns the
    /// socket.
    /// # Errors
    /// When no descriptor is free.
    pub(super) async fn pause(&self) -> io::Result<(OwnedFd, OwnedMutexGuard<()>)> {
        self.handle.outbox.flush().await;
        let guard = self.reading.clone().lock_owned().await;
        Ok((self.stream.as_fd().try_clone_to_owned()?, guard))
    }

    /// Waits until all queued messages are sent.
    pub(super) async fn flush(&self) {
        self.handle.outbox.flush().await;
    }

    /// Kills the process and waits until it is reaped.
    pub(super) async fn kill(mut self) {
        self.kill_now();
        let _ = self.ended.await; // an error means that it was reaped already
    }

    /// Kills the process; its end is reported as usual.
    pub(super) fn kill_now(&mut self) {
        self.kill = None;
    }

    /// Sends the first packet.
    pub(super) fn begin(&self, start: &Start, raw: Bytes, fds: Vec<OwnedFd>) {
        self.handle.outbox.send(Packet { raw, fds, ..Packet::new(start) });
    }

    /// Sends a command.
    pub(super) fn tell(&self, command: WorkerCommand) {
        self.tell_with(command, Vec::new());
    }

    /// Sends a command with descriptors.
    pub(super) fn tell_with(&self, command: WorkerCommand, fds: Vec<OwnedFd>) {
        self.handle.outbox.send(Packet { fds, ..Packet::new(&ToWorker::Notice(command)) });
    }

    /// For requests and replies.
    pub(super) fn handle(&self) -> &WorkerHandle {
        &self.handle
    }
}

async fn read(stream: Arc<UnixStream>, news: mpsc::UnboundedSender<News>, turn: Arc<Mutex<()>>) {
    loop {
        wire::arriving(&stream).await;
        let _turn = turn.lock().await;
        let Ok(Some(packet)) = wire::receive(&stream).await else { break };
        let Ok(message) = packet.message() else { break };
        if news.send(News::Said(message, packet.raw)).is_err() {
            break;
        }
    }
}
