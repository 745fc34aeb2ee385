//! Questions of the supervisor to its workers, and who waits for the answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::message::ToWorker;
use super::tasks::Order;
use super::wire::{Outbox, Packet};
use crate::ops::control::{Counts, InFlight};

/// How long a worker may take for an answer that it has at hand.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// From the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Query {
    /// What are your servers busy with?
    Counts,
    /// Which requests are in flight?
    InFlight,
    /// Drop the requests that this id names.
    Cancel(String),
    /// Run a task; the answer comes at its end.
    Run(Box<Order>),
}

/// From a worker to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum QueryReply {
    /// To [`Query::Counts`].
    Counts(Counts),
    /// To [`Query::InFlight`].
    InFlight(Vec<InFlight>),
    /// To [`Query::Cancel`]: the ids of the requests that were dropped.
    Cancelled(Vec<String>),
    /// To [`Query::Run`].
    Ran(Result<String, String>),
}

/// The questions that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Queries(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// By their numbers: the process that was asked, and who waits.
    open: BTreeMap<u64, (u32, oneshot::Sender<QueryReply>)>,
}

impl Queries {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a question that is to be asked.
    pub(super) fn number(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.last += 1;
        waiting.last
    }

    /// The number that was given last.
    pub(super) fn last(&self) -> u64 {
        self.waiting().last
    }

    /// Goes on behind the number that another supervisor has given last.
    pub(super) fn go_on_from(&self, last: u64) {
        self.waiting().last = last;
    }

    /// Waits for the answer to the question of that number, which the worker with that process id is asked. The
    /// receiver fails when the worker ends first.
    pub(super) fn expect(&self, number: u64, pid: u32) -> oneshot::Receiver<QueryReply> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        // What nobody waits for any more is forgotten here, as its worker may never answer.
        waiting.open.retain(|_, (_, sender)| !sender.is_closed());
        waiting.open.insert(number, (pid, sender));
        answer
    }

    /// Asks the worker with that process id, and waits as [`expect`](Queries::expect) does.
    pub(super) fn ask(&self, pid: u32, outbox: &Outbox, query: Query) -> oneshot::Receiver<QueryReply> {
        let number = self.number();
        let answer = self.expect(number, pid);
        outbox.send(Packet::new(&ToWorker::Ask(number, query)));
        answer
    }

    /// Hears an answer.
    pub(super) fn answered(&self, number: u64, answer: QueryReply) {
        if let Some((_, sender)) = self.waiting().open.remove(&number) {
            let _ = sender.send(answer); // nobody waits any more
        }
    }

    /// The process has ended: nothing comes from it any more.
    pub(super) fn ended(&self, pid: u32) {
        self.waiting().open.retain(|_, (asked, _)| *asked != pid);
    }
}
