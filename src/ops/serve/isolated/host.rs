//! Services that the process of an isolated app requests from the supervisor over the control socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::app::process::ControlMessage;
use crate::context::Host;
use crate::error::Error;
use crate::ops::serve::ipc::message::{FromWorker, HostReply, HostRequest, Report};

/// How long to wait for a side process.
const STARTING: Duration = Duration::from_secs(10);

/// Services that the process of an isolated app requests from the supervisor.
pub(super) struct IsolatedHost {
    /// What is to be sent.
    outbox: mpsc::UnboundedSender<ControlMessage>,
    requests: Mutex<HostRequests>,
}

/// The requests that wait for a reply. The callers block their threads, which may be those of a runtime.
#[derive(Default)]
struct HostRequests {
    last: u64,
    waiting: BTreeMap<u64, std::sync::mpsc::Sender<HostReply>>,
}

impl IsolatedHost {
    /// The second value receives what is to be sent.
    pub(super) fn new() -> (IsolatedHost, mpsc::UnboundedReceiver<ControlMessage>) {
        let (outbox, messages) = mpsc::unbounded_channel();
        (IsolatedHost { outbox, requests: Mutex::default() }, messages)
    }

    /// Sends a message to the supervisor.
    pub(super) fn send(&self, message: &FromWorker, raw: Bytes) {
        let text = serde_json::to_vec(message).unwrap_or_default().into(); // plain data: cannot fail
        let _ = self.outbox.send(ControlMessage { text, raw }); // the process may be ending
    }

    /// Passes a reply of the supervisor on.
    pub(super) fn answered(&self, id: u64, reply: HostReply) {
        if let Some(waiting) = self.requests.lock().waiting.remove(&id) {
            let _ = waiting.send(reply); // it may have given up
        }
    }

    /// Sends a request, and waits for the reply: `None` if it does not come in `time`. Must not be called on the thread of the
    /// control socket.
    fn request(&self, body: HostRequest, time: Duration) -> Option<HostReply> {
        let (sender, reply) = std::sync::mpsc::channel();
        let id = {
            let mut requests = self.requests.lock();
            requests.last += 1;
            let id = requests.last;
            requests.waiting.insert(id, sender);
            id
        };
        self.send(&FromWorker::Request { id, body }, Bytes::new());
        let reply = reply.recv_timeout(time).ok();
        self.requests.lock().waiting.remove(&id);
        reply
    }
}

impl Host for IsolatedHost {
    fn side_process(&self, app: &str, name: &str, library: &Path) -> Result<PathBuf, Error> {
        let request = HostRequest::SideProcess {
            app: app.to_owned(),
            name: name.to_owned(),
            library: library.to_owned(),
        };
        match self.request(request, STARTING) {
            Some(HostReply::SideProcess(answer)) => answer,
            _ => Err(Error::new(format!(
                "the side process `{name}` of app `{app}` did not start in {} s",
                STARTING.as_secs()
            ))),
        }
    }

    fn announce(&self, app: &str, path: &str) {
        let report = Report::Announce { app: app.to_owned(), path: path.to_owned() };
        self.send(&FromWorker::Notice(report), Bytes::new());
    }
}
