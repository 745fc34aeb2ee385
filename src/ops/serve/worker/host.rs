//! Services that a worker requests from the supervisor over the control socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::body::BoxFuture;
use crate::config::{Opener, Purpose};
use crate::context::Host;
use crate::error::Error;
use crate::metrics::Counts;
use crate::ops::serve::ipc::message::FromWorker;
use crate::ops::serve::ipc::wire::{Outbox, Packet};

/// How long to wait for the counts of all workers: during an upgrade the supervisor answers late, and
/// Prometheus waits 10 s.
const COUNTING: Duration = Duration::from_secs(5);
/// How long to wait for a file: during an upgrade the supervisor answers late.
const OPENING: Duration = Duration::from_secs(5);

/// Services that a worker requests from the supervisor over the control socket.
pub(super) struct WorkerHost {
    pub(super) outbox: Outbox,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, std::sync::mpsc::Sender<Result<PathBuf, Error>>>>,
    counts: Mutex<BTreeMap<u64, oneshot::Sender<Counts>>>,
    files: Mutex<BTreeMap<u64, std::sync::mpsc::Sender<io::Result<File>>>>,
}

impl WorkerHost {
    pub(super) fn new(outbox: Outbox) -> WorkerHost {
        let (waiting, counts, files) = Default::default();
        WorkerHost { outbox, next: AtomicU64::new(0), waiting, counts, files }
    }

    pub(super) fn answer(&self, id: u64, answer: Result<PathBuf, Error>) {
        let waiting = self.waiting.lock().remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer); // the caller may have given up
        }
    }

    pub(super) fn opened(&self, id: u64, outcome: Result<(), String>, file: Option<OwnedFd>) {
        let waiting = self.files.lock().remove(&id);
        let Some(waiting) = waiting else { return };
        let file = outcome
            .map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))
            .and_then(|()| file.map(File::from).ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        let _ = waiting.send(file); // the caller may have given up
    }

    pub(super) fn counted(&self, id: u64, counts: Counts) {
        let asker = self.counts.lock().remove(&id);
        if let Some(asker) = asker {
            let _ = asker.send(counts); // the caller may have given up
        }
    }
}

impl Opener for WorkerHost {
    fn open(&self, path: &Path, purpose: Purpose) -> io::Result<File> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = std::sync::mpsc::channel();
        self.files.lock().insert(id, sender);
        self.outbox.send(Packet::new(&FromWorker::Open { id, path: path.to_owned(), purpose }));
        answer.recv_timeout(OPENING).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Host for WorkerHost {
    fn starting(&self, step: &str) {
        // Send it before the code runs that may end the process. The control socket's own thread sends it.
        let told = self.outbox.clone();
        let packet = Packet::new(&FromWorker::Starting(step.to_owned()));
        tokio::runtime::Handle::current().block_on(async move { told.deliver(packet).await });
    }

    fn counts(&self) -> BoxFuture<Result<Counts, Error>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.counts.lock();
        // Forget callers that have given up.
        waiting.retain(|_, asker| !asker.is_closed());
        waiting.insert(id, sender);
        drop(waiting);
        self.outbox.send(Packet::new(&FromWorker::Counts(id)));
        Box::pin(async move {
            match tokio::time::timeout(COUNTING, answer).await {
                Ok(Ok(counts)) => Ok(counts),
                _ => Err(Error::new("the supervisor did not send the counts of the workers")),
            }
        })
    }

    fn announce(&self, app: &str, path: &str) {
        self.outbox.send(Packet::new(&FromWorker::Announce { app: app.to_owned(), path: path.to_owned() }));
    }

    fn side_process(&self, app: &str, name: &str, library: &Path) -> Result<PathBuf, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = std::sync::mpsc::channel();
        self.waiting.lock().insert(id, sender);
        self.outbox.send(Packet::new(&FromWorker::Side {
            id,
            app: app.to_owned(),
            name: name.to_owned(),
            library: library.to_owned(),
        }));
        match answer.recv_timeout(Duration::from_secs(10)) {
            Ok(answer) => answer,
            Err(_) => {
                Err(Error::new(format!("the side process `{name}` of app `{app}` did not start in 10 s")))
            }
        }
    }
}
