//! Switches from one generation to the next.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::attempt::{PreparedWorkers, ReadyWorker};
use super::event::Event;
use super::inbox::Notification;
use super::pool::{Announcing, Worker, WorkerPool, WorkerSlot};
use super::shared::SupervisorShared;
use super::sockets::{self, Bound};
use super::state::{Supervisor, Trying};
use crate::ops::routes;
use crate::ops::serve::ipc::message::WorkerCommand;
use crate::ops::serve::ipc::wire;
use crate::ops::serve::process::clock::millis;

/// The time limit for an old worker to report that it accepts no more connections.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time that connections of an old generation get when there are too many old generations.
const CROWDED: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Lets the new generation serve and retires the old one; in a rolling reload, only the worker of its
    /// first slot.
    pub(super) fn switch(&mut self, prepared: PreparedWorkers, running: &Trying) {
        let PreparedWorkers { generation, plan, bound, apps, workers, cargo, pid_file } = prepared;
        if self.stopping.is_some() {
            return; // dropping the workers ends them
        }
        self.shared.log_as(&plan);
        self.export(&plan);
        let before = self.pool.take();
        let first = before.as_ref().is_none_or(|pool| pool.generation == 0);
        let (previous, mut slots) =
            before.map_or_else(Default::default, |pool| (Some(pool.plan), pool.slots));
        if !first {
            self.previous = previous;
        }
        for one in bound.iter().filter(|one| one.new) {
            self.shared.emit(&Event::Listening { server: one.server.clone(), url: one.url() });
        }
        if plan.process.pid_file.is_none() || pid_file.is_some() {
            self.pid_file = pid_file;
        }
        if first
            && generation > 0
            && plan.credentials.is_root()
            && plan.process.user.is_none()
            && !self.reload
        {
            let message = "the applications run as root: set a `user` in `[process]`";
            self.shared.emit(&Event::Warning { message: message.into() });
        }
        let wanted = plan.workers(&bound);
        self.bind(bound);
        slots.iter_mut().for_each(|slot| slot.starting = None);
        slots.resize_with(slots.len().max(wanted), WorkerSlot::default);
        let together = workers.len() == wanted;
        let mut old = Vec::new();
        for (slot, ready) in slots.iter_mut().zip(workers) {
            old.extend(slot.worker.replace(self.adopt_ready(ready)));
            slot.backoff = Default::default();
        }
        if together {
            old.extend(slots.drain(wanted..).filter_map(|slot| slot.worker));
        }
        if generation > 0 {
            self.generation = generation;
        }
        self.open_configured(plan.process.control.as_deref());
        self.scheduler.set(plan.tasks.clone());
        self.pool = Some(WorkerPool { generation, plan, apps, slots });
        let waiting = old.iter().map(Worker::id).collect();
        self.retire(old);
        if generation == 0 {
            return;
        }
        self.announce();
        self.announcing = Some(Announcing { first, generation, since: running.since, cargo, waiting });
        self.roll();
    }

    /// Continues a rolling reload.
    pub(super) fn roll(&mut self) {
        let Some(pool) = &mut self.pool else { return };
        let wanted = pool.plan.workers(&self.bound);
        match pool.behind() {
            Some(slot) if slot < wanted => return self.renew(slot),
            Some(_) => {
                let old: Vec<_> = pool.slots.drain(wanted..).filter_map(|slot| slot.worker).collect();
                self.wait_for(&old);
                self.retire(old);
            }
            None => {}
        }
        self.announce_when_due();
    }

    /// The switch does not end before these workers stop accepting.
    pub(super) fn wait_for(&mut self, old: &[Worker]) {
        if let Some(one) = &mut self.announcing {
            one.waiting.extend(old.iter().map(Worker::id));
        }
    }

    /// Makes a worker of one that is ready, and passes its messages on to the supervisor.
    pub(super) fn adopt_ready(&self, (child, mut news): ReadyWorker) -> Worker {
        let (shared, id): (Arc<SupervisorShared>, u64) = (self.shared.clone(), child.name.id);
        tokio::spawn(async move {
            while let Some(one) = news.recv().await {
                shared.send(Notification::News(id, one));
            }
        });
        Worker::new(child)
    }

    /// Retires `old`, whose slots now have other workers, and lets these serve.
    pub(super) fn retire(&mut self, old: Vec<Worker>) {
        self.turns += 1;
        let turn = self.turns;
        let now = Instant::now();
        self.lingering.extend(old.into_iter().map(|worker| Worker { retired: Some((now, turn)), ..worker }));
        self.connect();
        let Some(pool) = &self.pool else { return };
        let used = pool.workers().map(|worker| &worker.child.apps).chain([&pool.apps]);
        let used: Vec<_> = used.collect();
        self.lingering.iter().for_each(|worker| worker.child.apps.retire_unless_in(&used));
        // Too many turns: drain the workers of the oldest ones.
        let mut turns: Vec<u64> =
            self.lingering.iter().filter_map(|worker| worker.retired).map(|(_, turn)| turn).collect();
        turns.dedup();
        let excess = turns.len().saturating_sub(pool.plan.process.max_lingering);
        let leaves =
            |worker: &&Worker| worker.retired.is_some_and(|(_, turn)| turns[..excess].contains(&turn));
        for worker in self.lingering.iter().filter(leaves) {
            worker.child.tell(WorkerCommand::Drain(millis(CROWDED)));
        }
    }

    /// Gives every retired worker a receiver for its idle connections, and lets every worker in a slot serve.
    fn connect(&mut self) {
        let Some(pool) = &mut self.pool else { return };
        let mut adopt: BTreeMap<usize, Vec<OwnedFd>> = BTreeMap::new();
        for old in &mut self.lingering {
            if old.receiver.is_some_and(|receiver| pool.slot_of(receiver).is_some()) {
                continue;
            }
            let receiver = pool.receiver_of(old.child.name.index);
            old.receiver = receiver.and_then(|slot| pool.slots[slot].worker.as_ref()).map(Worker::id);
            // Without a hand-over, the old worker keeps its connections until they end.
            let fds = match (receiver, wire::pair()) {
                (Some(receiver), Ok((out, into))) => {
                    adopt.entry(receiver).or_default().push(into);
                    vec![out]
                }
                _ => Vec::new(),
            };
            old.child.tell_with(WorkerCommand::Retire, fds);
        }
        for (index, slot) in pool.slots.iter_mut().enumerate() {
            let fds = adopt.remove(&index);
            if let Some(worker) = &mut slot.worker
                && (!worker.serving || fds.is_some())
            {
                worker.serving = true;
                // Files may have changed since its start.
                worker.child.tell(WorkerCommand::Refresh(self.shared.refreshes.load(Ordering::Relaxed)));
                worker.child.tell_with(WorkerCommand::Serve, fds.unwrap_or_default());
            }
        }
    }

    /// Takes over the sockets of a new generation, and closes those that it no longer has.
    fn bind(&mut self, bound: Vec<Bound>) {
        let kept = |old: &Bound| bound.iter().any(|new| Arc::ptr_eq(&old.socket, &new.socket));
        let gone: Vec<_> =
            self.bound.iter().filter(|old| !kept(old)).map(|old| old.socket.listen.clone()).collect();
        self.bound = bound.into_iter().map(|one| Bound { new: false, ..one }).collect();
        gone.iter().for_each(sockets::unlink);
    }

    /// Handles a worker that accepts no more connections.
    pub(super) fn retired(&mut self, id: u64) {
        if let Some(one) = &mut self.announcing {
            one.waiting.retain(|waiting| *waiting != id);
        }
        self.announce_when_due();
    }

    fn announce_when_due(&mut self) {
        let (Some(one), Some(pool)) = (&self.announcing, &self.pool) else { return };
        if pool.behind().is_some() {
            return;
        }
        if one.waiting.is_empty() {
            return self.announce();
        }
        let (shared, generation) = (self.shared.clone(), one.generation);
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            shared.send(Notification::Late(generation));
        });
    }

    /// The address for the user to open: the one that an app has announced, otherwise the first one.
    fn address(&self) -> Option<String> {
        let announced = self.shared.announced.lock();
        let config = &self.pool.as_ref()?.plan.config;
        let of_app = announced.iter().find_map(|(app, path)| {
            let (server, prefix) = routes::place_of(config, app)?;
            let base = self.bound.iter().filter(|one| one.server == server).find_map(Bound::page)?;
            Some(format!("{base}{prefix}{path}"))
        });
        of_app.or_else(|| self.bound.iter().find_map(Bound::page))
    }

    /// Reports the last switch, if it has not been reported yet.
    pub(super) fn announce(&mut self) {
        if let Some(one) = self.announcing.take() {
            let generation = one.generation;
            self.shared.emit(&if one.first {
                let ms = millis(self.began.elapsed());
                Event::Ready { generation, ms, open: self.address() }
            } else {
                let (ms, cargo_ms) = (millis(one.since.elapsed()), millis(one.cargo));
                Event::Reloaded { generation, ms, cargo_ms }
            });
        }
    }

    /// Handles the end of a worker.
    pub(super) fn ended(&mut self, id: u64, status: ExitStatus) {
        let slot = self.pool.as_ref().and_then(|pool| pool.slot_of(id));
        let worker = match (slot, &mut self.pool) {
            (Some(slot), Some(pool)) => pool.slots[slot].worker.take(),
            _ => {
                let place = self.lingering.iter().position(|worker| worker.id() == id);
                place.map(|place| self.lingering.remove(place))
            }
        };
        let Some(worker) = worker else { return };
        self.totals.ended(id);
        self.shared.emit(&Event::WorkerExit {
            generation: worker.generation(),
            worker: worker.child.name.index,
            pid: worker.child.pid,
            status: status.to_string(),
            expected: slot.is_none() || self.stopping.is_some(),
        });
        if let Some(slot) = slot {
            self.on_exit(slot, worker.since.elapsed(), status);
        }
        self.retired(id);
    }
}
