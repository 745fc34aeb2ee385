//! What the supervisor is told: by its own tasks, and by the workers.

use super::super::Message;
use super::super::attempt::Outcome;
use super::super::child::News;
use super::super::crew::{Crew, Worker};
use super::super::event::Reason;
use super::super::live::Status;
use super::super::message::{FromWorker, ToWorker};
use super::super::tally::{self, Asker};
use super::super::wire::Packet;
use super::attempts::summary;
use super::{FAST, Supervisor};
use crate::ops::fault::Fault;

impl Supervisor {
    /// # Errors
    /// What ends the supervisor: nothing can be served, and no change is waited for.
    pub(super) fn hear(&mut self, message: Message) -> Result<(), Vec<Fault>> {
        match message {
            Message::Attempted(number, outcome) => {
                // Of one that was cut off nothing is wanted any more.
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
                // It may have looked at these changes itself.
                let seen = |(reason, _): &mut (Reason, String)| {
                    reason.is_watched() && looks == running.progress.looks()
                };
                self.again.take_if(seen);
                if let Some((reason, detail)) = self.again.take() {
                    self.make(reason, detail);
                }
            }
            Message::Rehearsed(Ok(())) => self.succeeding = self.stopping.is_none(),
            Message::Rehearsed(Err(error)) => self.not_succeeded(&error),
            Message::Made { post, number, result } => self.made(post, number, result),
            // The config says so since the watch began; a rollback may want it again.
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
                    // Nothing serves yet whose config could say otherwise.
                    self.reload |= reload && self.serving() == 0;
                    self.follow(Some(*scope));
                }
                let _ = done.send(()); // it may have been cut off
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
                if self.tally.waits(round) {
                    self.tell_counts();
                }
            }
            Message::SaveState(post, wanted) => {
                // Without a worker the sender is dropped, which says that there is no state.
                let post = self.crew.as_mut().and_then(|crew| crew.posts.get_mut(post));
                if let Some(worker) = post.and_then(|post| post.worker.as_mut()) {
                    worker.child.tell(&ToWorker::SaveState);
                    worker.state_wanted = Some(wanted);
                }
            }
        }
        Ok(())
    }

    fn news(&mut self, id: u64, news: News) {
        let asks = matches!(news, News::Said(FromWorker::Open { .. }, _));
        let standing = self.crew.as_ref().filter(|_| asks).map(|crew| crew.plan.standing.clone());
        let crew =
            self.crew.iter_mut().flat_map(|crew| &mut crew.posts).filter_map(|post| post.worker.as_mut());
        let Some(worker) = crew.chain(&mut self.lingering).find(|worker| worker.id() == id) else { return };
        match news {
            News::Said(FromWorker::Answer(number, answer), _) => {
                self.shared.questions.answered(number, *answer)
            }
            News::Said(FromWorker::State(lengths), raw) => {
                if let Some(wanted) = worker.state_wanted.take() {
                    let _ = wanted.send((lengths, raw)); // the attempt has given up
                }
            }
            News::Said(FromWorker::Side { id, app, name, library }, _) => {
                self.shared.side(&worker.child, id, app, name, library);
            }
            News::Said(FromWorker::Open { id, path, purpose }, _) => {
                if let Some(standing) = &standing {
                    self.shared.open(&worker.child, id, path, purpose, standing);
                }
            }
            News::Said(FromWorker::Announce { app, path }, _) => self.shared.announced(app, path),
            News::Said(FromWorker::Beat(beat), _) => worker.hear(beat),
            News::Said(FromWorker::Retired, _) => self.retired(id),
            News::Said(FromWorker::Done(code), _) => self.stop("done", FAST, code),
            News::Said(FromWorker::Starting(_) | FromWorker::Ready | FromWorker::Failed(_), _) => {}
            News::Said(FromWorker::Counted(round, counts), _) => {
                if self.tally.counted(id, round, counts) {
                    self.tell_counts();
                }
            }
            News::Said(FromWorker::Counts(number), _) => {
                let reply = worker.child.replier();
                self.count(Box::new(move |sum| reply.send(Packet::new(&ToWorker::Counts(number, sum)))));
            }
            News::Said(FromWorker::Log, lines) => self.shared.worker_log(worker.child.pid, lines),
            News::Ended(status) => {
                self.shared.questions.ended(worker.child.pid);
                self.ended(id, status);
            }
        }
    }

    /// Has all workers count, and tells the sum.
    pub(super) fn count(&mut self, asker: Asker) {
        let ids: Vec<u64> = self.workers().map(Worker::id).collect();
        let Some(round) = self.tally.ask(asker, ids.into_iter()) else { return };
        self.workers().for_each(|worker| worker.child.tell(&ToWorker::Count(round)));
        let shared = self.shared.clone();
        tokio::spawn(async move {
            tokio::time::sleep(tally::PATIENCE).await;
            shared.send(Message::CountsLate(round));
        });
    }

    pub(super) fn tell_counts(&mut self) {
        let own = self.shared.seen.counts(self.serving(), self.workers().map(Worker::generation));
        self.tally.tell(&own);
    }

    /// Tells the developers' pages.
    pub(super) fn live(&self, status: Status) {
        let order = ToWorker::Live(status);
        self.crew.iter().flat_map(Crew::workers).for_each(|worker| worker.child.tell(&order));
    }
}
