//! Handles messages to the supervisor, from its own tasks and from the workers.

use futures_util::future::join_all;

use super::attempt::AttemptOutcome;
use super::attempts::summary;
use super::child::News;
use super::control::described;
use super::event::{Event, ReloadReason};
use super::inbox::Notification;
use super::otlp::OtlpExporter;
use super::plan::GenerationPlan;
use super::pool::{Worker, WorkerPool, WorkerSlot};
use super::state::{FAST, Supervisor};
use super::totals::{self, Asker};
use crate::error::Error;
use crate::metrics::Counts;
use crate::ops::sections::otlp::Otlp;
use crate::ops::serve::ipc::message::{
    FromWorker, HostReply, HostRequest, Report, Status, WorkerCommand, WorkerReply, WorkerRequest,
};

impl Supervisor {
    /// # Errors
    /// When the supervisor must end: nothing can be served, and no files are watched for a change.
    pub(super) fn handle(&mut self, message: Notification) -> Result<(), Vec<Error>> {
        match message {
            Notification::Attempted(number, outcome) => {
                // Ignore the result of a cancelled attempt.
                let Some(running) = self.attempt.take_if(|one| one.number == number) else { return Ok(()) };
                let AttemptOutcome { scope, result, placeholder, looks } = *outcome;
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
                let seen = |(reason, _): &mut (ReloadReason, String)| {
                    reason.is_watched() && looks == running.progress.looks()
                };
                self.again.take_if(seen);
                if let Some((reason, detail)) = self.again.take() {
                    self.make(reason, detail);
                }
            }
            Notification::PreflightDone(Ok(())) => self.succeeding = self.stopping.is_none(),
            Notification::PreflightDone(Err(error)) => self.not_succeeded(error),
            Notification::Made { slot, number, result } => self.made(slot, number, result),
            // The config has switched watching off since the watch started; a rollback may switch it on
            // again.
            Notification::Changed { .. } if !self.reload => {}
            Notification::Changed { paths, config, input, page } => {
                self.refresh |= page;
                match (config, input) {
                    (true, _) => self.make(ReloadReason::Config, summary(&paths)),
                    (false, true) => self.make(ReloadReason::Files, summary(&paths)),
                    (false, false) => self.refresh_when_due(),
                }
            }
            Notification::Loaded { number, scope, reload, done } => {
                if self.attempt.as_ref().is_some_and(|running| running.number == number) {
                    // No generation serves yet whose config decides this.
                    self.reload |= reload && self.serving() == 0;
                    self.follow(Some(*scope));
                }
                let _ = done.send(()); // the attempt may have been cancelled
            }
            Notification::Sources => self.follow_sources(),
            Notification::Restart(name, why) => {
                // If a reload is running, they are asked for again.
                let _ = self.restart(&name, &why);
            }
            Notification::Reloading(number) => {
                if self.attempt.as_ref().is_some_and(|running| running.number == number) {
                    self.live(Status::Building);
                }
            }
            Notification::Due(name) => self.run_task(&name, None),
            Notification::Control(ask, reply) => self.control(*ask, reply),
            Notification::Late(generation) => {
                if self.announcing.as_ref().is_some_and(|one| one.generation == generation) {
                    self.announce();
                }
            }
            Notification::News(id, news) => self.news(id, news),
            Notification::Counted(round) => {
                if self.totals.waits(round) {
                    self.tell_counts();
                }
            }
            // The asker may have gone.
            Notification::Sum(asker) => self.count(Box::new(move |sum| drop(asker.send(sum)))),
            Notification::Serving(asker) => {
                let slots = self.pool.iter().flat_map(|pool| &pool.slots);
                let handle = |slot: &WorkerSlot| Some(slot.worker.as_ref()?.child.handle().clone());
                let _ = asker.send(slots.map(handle).collect()); // the attempt may have been cancelled
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
                self.shared.requests.ended(worker.child.pid);
                return self.ended(id, status);
            }
        };
        match said {
            FromWorker::Reply { id: request, mut body } => {
                if let WorkerReply::Metrics(counts) = &mut body {
                    self.totals.counted(id, std::mem::take(counts));
                }
                self.shared.requests.answered(request, (body, raw));
            }
            FromWorker::Request { id: request, body: HostRequest::Metrics } => {
                let worker = worker.child.handle().clone();
                self.count(Box::new(move |sum| worker.reply(request, HostReply::Metrics(sum), Vec::new())));
            }
            FromWorker::Notice(Report::Heartbeat(heartbeat)) => worker.record(heartbeat),
            FromWorker::Notice(Report::Retired) => self.retired(id),
            FromWorker::Notice(Report::Done(code)) => self.stop("done", FAST, code),
            FromWorker::Notice(Report::Metrics(counts)) => self.totals.counted(id, counts),
            FromWorker::Notice(Report::Invalidated(purge)) => {
                for other in self.workers().filter(|other| other.id() != id) {
                    // No task waits for the reply.
                    let request = WorkerRequest::PurgeCache(purge.clone());
                    other.child.handle().send_request(self.shared.requests.new_id(), request);
                }
            }
            FromWorker::Request { .. } | FromWorker::Notice(_) => {} // of its start, or handled already
        }
    }

    /// Requests the counts of all workers, and sends the sum to the requester.
    pub(super) fn count(&mut self, asker: Asker) {
        let Some(round) = self.totals.ask(asker) else { return };
        let counts = self.workers().map(|worker| worker.child.handle().request(WorkerRequest::Metrics));
        let (counts, shared) = (join_all(counts.collect::<Vec<_>>()), self.shared.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(totals::PATIENCE, counts).await; // the last known counts are used then
            shared.send(Notification::Counted(round));
        });
    }

    pub(super) fn tell_counts(&mut self) {
        let own = self.own_counts();
        self.totals.tell(&own);
    }

    fn own_counts(&self) -> Counts {
        self.shared.seen.counts(self.serving(), self.workers().map(Worker::generation))
    }

    /// Sends the log and the metrics to the collector that the config of `plan` names, from now on.
    pub(super) fn export(&mut self, plan: &GenerationPlan) {
        match Otlp::read(&plan.config) {
            Ok(None) => self.exporter = None,
            Ok(Some((options, target))) => {
                if !self.exporter.as_ref().is_some_and(|exporter| exporter.is_of(&options, &target)) {
                    let old = self.exporter.take();
                    let first = old.is_none() && self.serving() == 0;
                    if let Some(old) = old {
                        tokio::spawn(old.finish(None)); // it sends the lines that it has
                    }
                    self.exporter = Some(OtlpExporter::start(&self.shared, options, target, first));
                }
            }
            Err(errors) => {
                let message = format!("the log and metrics are not sent: {}", described(&errors));
                self.shared.emit(&Event::Warning { message });
            }
        }
    }

    /// Sends what is left.
    pub(super) async fn finish_export(&mut self) {
        if let Some(exporter) = self.exporter.take() {
            exporter.finish(Some(self.totals.sum(&self.own_counts()))).await;
        }
    }

    /// Sends a status to the developers' pages.
    pub(super) fn live(&self, status: Status) {
        let workers = self.pool.iter().flat_map(WorkerPool::workers);
        workers.for_each(|worker| worker.child.tell(WorkerCommand::Live(status.clone())));
    }
}
