//! Handles messages to the supervisor, from its own tasks and from the workers.

use super::attempt::Outcome;
use super::attempts::summary;
use super::child::News;
use super::event::Reason;
use super::inbox::Message;
use super::pool::{Worker, WorkerPool};
use super::state::{FAST, Supervisor};
use super::totals::{self, Asker};
use crate::error::Error;
use crate::ops::serve::ipc::message::Status;
use crate::ops::serve::ipc::message::{FromWorker, ToWorker};
use crate::ops::serve::ipc::wire::Packet;

impl Supervisor {
    /// # Errors
    /// When the supervisor must end: nothing can be served, and no files are watched for a change.
    pub(super) fn handle(&mut self, message: Message) -> Result<(), Vec<Error>> {
        match message {
            Message::Attempted(number, outcome) => {
                // Ignore the result of a cancelled attempt.
                let Some(running) = self.attempt.take_if(|one| one.number == number) else { return Ok(()) };
                let Outcome { scope, result, placeholder, looks } = *outcome;
                let made = result.as_ref().ok().and_then(Option::as_ref);
                let serves = made.or(placeholder.as_ref());
                if let Some(serves) = serves {
                    self.reload = serves.plan.process.reload;
                }
                self.follow(scope);
                match result {
                    Ok(Some(prepared)) => self.made_new(prepared, &running),
                    Ok(None) => self.unchanged(&running),
                    Err(faults) => self.failed(faults, placeholder, &running)?,
                }
                self.refresh_when_due();
                // The attempt may have seen these changes itself.
                let seen = |(reason, _): &mut (Reason, String)| {
                    reason.is_watched() && looks == running.progress.looks()
                };
                self.again.take_if(seen);
                if let Some((reason, detail)) = self.again.take() {
                    self.make(reason, detail);
                }
            }
            Message::PreflightDone(Ok(())) => self.succeeding = self.stopping.is_none(),
            Message::PreflightDone(Err(error)) => self.not_succeeded(error),
            Message::Made { slot, number, result } => self.made(slot, number, result),
            // The config has switched watching off since the watch started; a rollback may switch it on
            // again.
            Message::Changed { .. } if !self.reload => {}
            Message::Changed { paths, config, input, page } => {
                self.refresh |= page;
                match (config, input) {
                    (true, _) => self.make(Reason::Config, summary(&paths)),
                    (false, true) => self.make(Reason::Files, summary(&paths)),
                    (false, false) => self.refresh_when_due(),
                }
            }
            Message::Loaded { number, scope, reload, done } => {
                if self.attempt.as_ref().is_some_and(|running| running.number == number) {
                    // No generation serves yet whose config decides this.
                    self.reload |= reload && self.serving() == 0;
                    self.follow(Some(*scope));
                }
                let _ = done.send(()); // the attempt may have been cancelled
            }
            Message::Reloading(number) => {
                if self.attempt.as_ref().is_some_and(|running| running.number == number) {
                    self.live(Status::Building);
                }
            }
            Message::Due(name) => self.run_task(&name, None),
            Message::Control(ask, reply) => self.control(*ask, reply),
            Message::Late(generation) => {
                if self.announcing.as_ref().is_some_and(|one| one.generation == generation) {
                    self.announce();
                }
            }
            Message::News(id, news) => self.news(id, news),
            Message::CountsLate(round) => {
                if self.totals.waits(round) {
                    self.tell_counts();
                }
            }
            Message::SaveState(slot, wanted) => {
                // Without a worker, the sender is dropped: there is no state.
                let slot = self.pool.as_mut().and_then(|pool| pool.slots.get_mut(slot));
                if let Some(worker) = slot.and_then(|slot| slot.worker.as_mut()) {
                    worker.child.tell(&ToWorker::SaveState);
                    worker.state_wanted = Some(wanted);
                }
            }
        }
        Ok(())
    }

    fn news(&mut self, id: u64, news: News) {
        let Some(pool) = &mut self.pool else { return };
        let serving = pool.slots.iter_mut().filter_map(|slot| slot.worker.as_mut());
        let Some(worker) = serving.chain(&mut self.lingering).find(|worker| worker.id() == id) else {
            return;
        };
        let (said, raw) = match news {
            News::Said(said, raw) => {
                match self.services.handle(&worker.child, &pool.plan.credentials, said, raw) {
                    Some(other) => other,
                    None => return,
                }
            }
            News::Ended(status) => {
                self.shared.queries.ended(worker.child.pid);
                return self.ended(id, status);
            }
        };
        match said {
            FromWorker::QueryReply(number, answer) => self.shared.queries.answered(number, *answer),
            FromWorker::State(lengths) => {
                if let Some(wanted) = worker.state_wanted.take() {
                    let _ = wanted.send((lengths, raw)); // the attempt has given up
                }
            }
            FromWorker::Heartbeat(heartbeat) => worker.record(heartbeat),
            FromWorker::Retired => self.retired(id),
            FromWorker::Done(code) => self.stop("done", FAST, code),
            FromWorker::Counted(round, counts) => {
                if self.totals.counted(id, round, counts) {
                    self.tell_counts();
                }
            }
            FromWorker::Counts(number) => {
                let reply = worker.child.replier();
                self.count(Box::new(move |sum| reply.send(Packet::new(&ToWorker::Counts(number, sum)))));
            }
            // Of its start, or handled by the services.
            FromWorker::Starting(_) | FromWorker::Ready | FromWorker::Failed(_) => {}
            FromWorker::Log | FromWorker::Announce { .. } => {}
            FromWorker::Side { .. } | FromWorker::Open { .. } => {}
        }
    }

    /// Asks all workers for their counts, and tells the asker the sum.
    pub(super) fn count(&mut self, asker: Asker) {
        let ids: Vec<u64> = self.workers().map(Worker::id).collect();
        let Some(round) = self.totals.ask(asker, ids.into_iter()) else { return };
        self.workers().for_each(|worker| worker.child.tell(&ToWorker::Count(round)));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(totals::PATIENCE).await;
            shared.send(Message::CountsLate(round));
        });
    }

    pub(super) fn tell_counts(&mut self) {
        let own = self.shared.seen.counts(self.serving(), self.workers().map(Worker::generation));
        self.totals.tell(&own);
    }

    /// Sends a status to the developers' pages.
    pub(super) fn live(&self, status: Status) {
        let order = ToWorker::Live(status);
        self.pool.iter().flat_map(WorkerPool::workers).for_each(|worker| worker.child.tell(&order));
    }
}
