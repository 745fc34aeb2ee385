//! Queries of the supervisor to its workers, and the receivers of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::ops::serve::ipc::message::{Query, QueryReply, ToWorker};
use crate::ops::serve::ipc::wire::{Outbox, Packet};

/// How long a worker may take for an answer that needs no work.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Queries that are waiting for their answers.
#[derive(Debug, Default)]
pub(super) struct Queries(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// By number: the process that was asked, and the receiver.
    open: BTreeMap<u64, (u32, oneshot::Sender<QueryReply>)>,
}

impl Queries {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }

    /// A number for a new query.
    pub(super) fn number(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.last += 1;
        waiting.last
    }

    /// The last number.
    pub(super) fn last(&self) -> u64 {
        self.waiting().last
    }

    /// Continues after the last number of the previous program.
    pub(super) fn go_on_from(&self, last: u64) {
        self.waiting().last = last;
    }

    /// Waits for the answer to the query with this number, from the worker with this process id. The receiver
    /// fails if the worker ends first.
    pub(super) fn expect(&self, number: u64, pid: u32) -> oneshot::Receiver<QueryReply> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        // Forget queries that nobody waits for, because their workers may never answer.
        waiting.open.retain(|_, (_, sender)| !sender.is_closed());
        waiting.open.insert(number, (pid, sender));
        answer
    }

    /// Sends a query to the worker with this process id, and waits as [`expect`](Queries::expect) does.
    pub(super) fn ask(&self, pid: u32, outbox: &Outbox, query: Query) -> oneshot::Receiver<QueryReply> {
        let number = self.number();
        let answer = self.expect(number, pid);
        outbox.send(Packet::new(&ToWorker::Ask(number, query)));
        answer
    }

    /// Passes an answer on.
    pub(super) fn answered(&self, number: u64, answer: QueryReply) {
        if let Some((_, sender)) = self.waiting().open.remove(&number) {
            let _ = sender.send(answer); // the receiver may be gone
        }
    }

    /// Handles the end of a process: it sends no more answers.
    pub(super) fn ended(&self, pid: u32) {
        self.waiting().open.retain(|_, (asked, _)| *asked != pid);
    }
}
