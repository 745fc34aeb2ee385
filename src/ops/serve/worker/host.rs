//! Services that a worker requests from the supervisor over the control socket.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;

use crate::body::BoxFuture;
use crate::caches::Purge;
use crate::config::{Opener, Purpose};
use crate::context::Host;
use crate::error::Error;
use crate::metrics::Counts;
use crate::ops::serve::ipc::message::{FromWorker, HostReply, HostRequest, Report};
use crate::ops::serve::ipc::requests::PendingRequests;
use crate::ops::serve::ipc::wire::{Outbox, Packet};

/// How long to wait for the counts of all workers: during an upgrade the supervisor answers late, and
/// Prometheus waits 10 s.
const COUNTING: Duration = Duration::from_secs(5);
/// How long to wait for a file: during an upgrade the supervisor answers late.
const OPENING: Duration = Duration::from_secs(5);
/// How long to wait for a side process.
const STARTING: Duration = Duration::from_secs(10);

/// The process that answers: the supervisor has no other peer here.
const SUPERVISOR: u32 = 0;

/// A reply with its descriptors.
type ReceivedReply = (HostReply, Vec<OwnedFd>);

/// Services that a worker requests from the supervisor over the control socket.
pub(super) struct WorkerHost {
    pub(super) outbox: Outbox,
    pub(super) requests: PendingRequests<ReceivedReply>,
    /// Runs on the thread of the control socket.
    control: Handle,
}

impl WorkerHost {
    /// Call this on the thread of the control socket.
    pub(super) fn new(outbox: Outbox) -> WorkerHost {
        WorkerHost { outbox, requests: PendingRequests::default(), control: Handle::current() }
    }

    /// Sends a request, and waits for the reply: `None` if it does not come in `time`.
    fn request(
        &self,
        body: HostRequest,
        time: Duration,
    ) -> impl Future<Output = Option<ReceivedReply>> + use<> {
        let id = self.requests.new_id();
        let reply = self.requests.expect(id, SUPERVISOR);
        self.outbox.send(Packet::new(&FromWorker::Request { id, body }));
        async move { tokio::time::timeout(time, reply).await.ok()?.ok() }
    }

    /// The same for a caller that blocks its thread, which must not be the one of the control socket. That
    /// thread may in turn wait for the caller, so the caller has its own clock.
    fn request_blocking(&self, body: HostRequest, time: Duration) -> Option<ReceivedReply> {
        let (sender, reply) = std::sync::mpsc::channel();
        let request = self.request(body, time);
        self.control.spawn(async move { sender.send(request.await) });
        reply.recv_timeout(time).ok()?
    }
}

impl Opener for WorkerHost {
    fn open(&self, path: &Path, purpose: Purpose) -> io::Result<File> {
        let request = HostRequest::Open { path: path.to_owned(), purpose };
        match self.request_blocking(request, OPENING) {
            Some((HostReply::Opened(Ok(())), fds)) => {
                fds.into_iter().next().map(File::from).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Some((HostReply::Opened(Err(why)), _)) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Host for WorkerHost {
    fn starting(&self, step: &str) {
        // Send it before the code runs that may end the process. The control socket's own thread sends it.
        let told = self.outbox.clone();
        let packet = Packet::new(&FromWorker::Notice(Report::Starting(step.to_owned())));
        Handle::current().block_on(async move { told.deliver(packet).await });
    }

    fn memory_dir(&self) -> Option<PathBuf> {
        match self.request_blocking(HostRequest::MemoryDir, OPENING) {
            Some((HostReply::MemoryDir(Ok(folder)), _)) => Some(folder),
            Some((HostReply::MemoryDir(Err(error)), _)) => {
                tracing::warn!(%error, "values in memory are not shared among workers, and are lost on a reload");
                None
            }
            _ => None,
        }
    }

    fn counts(&self) -> BoxFuture<Result<Counts, Error>> {
        let reply = self.request(HostRequest::Metrics, COUNTING);
        Box::pin(async move {
            match reply.await {
                Some((HostReply::Metrics(counts), _)) => Ok(counts),
                _ => Err(Error::new("the supervisor did not send the counts of the workers")),
            }
        })
    }

    fn invalidate(&self, purge: &Purge) {
        self.outbox.send(Packet::new(&FromWorker::Notice(Report::Invalidated(purge.clone()))));
    }

    fn sources(&self, app: &str, sources: Vec<PathBuf>, began: SystemTime) {
        let report = Report::Sources { app: app.to_owned(), sources, began };
        self.outbox.send(Packet::new(&FromWorker::Notice(report)));
    }

    fn announce(&self, app: &str, path: &str) {
        let report = Report::Announce { app: app.to_owned(), path: path.to_owned() };
        self.outbox.send(Packet::new(&FromWorker::Notice(report)));
    }

    fn side_process(&self, app: &str, name: &str, library: &Path) -> Result<PathBuf, Error> {
        let request = HostRequest::SideProcess {
            app: app.to_owned(),
            name: name.to_owned(),
            library: library.to_owned(),
        };
        match self.request_blocking(request, STARTING) {
            Some((HostReply::SideProcess(answer), _)) => answer,
            _ => Err(Error::new(format!(
                "the side process `{name}` of app `{app}` did not start in {} s",
                STARTING.as_secs()
            ))),
        }
    }
}
