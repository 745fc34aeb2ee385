//! Requests to another process that wait for its reply.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Requests that wait for a reply of type `R`, by their ids.
#[derive(Debug)]
pub(crate) struct PendingRequests<R>(Mutex<WaitingReply<R>>);

#[derive(Debug)]
struct WaitingReply<R> {
    /// The last id.
    last: u64,
    /// The process that was asked, and the receiver.
    open: BTreeMap<u64, (u32, oneshot::Sender<R>)>,
}

impl<R> Default for PendingRequests<R> {
    fn default() -> Self {
        PendingRequests(Mutex::new(WaitingReply { last: 0, open: BTreeMap::new() }))
    }
}

impl<R> PendingRequests<R> {
    fn waiting(&self) -> MutexGuard<'_, WaitingReply<R>> {
        self.0.lock()
    }

    /// An id for a new request.
    pub(crate) fn new_id(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.last += 1;
        waiting.last
    }

    /// The last id.
    pub(crate) fn last_id(&self) -> u64 {
        self.waiting().last
    }

    /// Continues after the last id of the previous program.
    pub(crate) fn go_on_from(&self, last: u64) {
        self.waiting().last = last;
    }

    /// Waits for the reply to the request `id`, from the process `pid`. The receiver fails if that process
    /// ends first.
    pub(crate) fn expect(&self, id: u64, pid: u32) -> oneshot::Receiver<R> {
        let (sender, reply) = oneshot::channel();
        let mut waiting = self.waiting();
        // Forget requests that no task waits for, because they may never get a reply.
        waiting.open.retain(|_, (_, sender)| !sender.is_closed());
        waiting.open.insert(id, (pid, sender));
        reply
    }

    /// Passes a reply on.
    pub(crate) fn answered(&self, id: u64, reply: R) {
        let asked = self.waiting().open.remove(&id);
        if let Some((_, sender)) = asked {
            let _ = sender.send(reply); // the receiver may be gone
        }
    }

    /// Handles the end of a process: it sends no more replies.
    pub(crate) fn ended(&self, pid: u32) {
        self.waiting().open.retain(|_, (asked, _)| *asked != pid);
    }
}
