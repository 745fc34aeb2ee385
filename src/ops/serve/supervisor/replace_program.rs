//! USR2: passes the supervisor's state to a new program, and takes over from the previous one.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::app_process::AppProcesses;
use super::child::Child;
use super::control::ran;
use super::event::{Event, ReloadReason, Why};
use super::handoff_state::HandoffState;
use super::inbox::Notification;
use super::pool::{Worker, WorkerPool, WorkerSlot};
use super::sockets::Bound;
use super::state::Supervisor;
use super::totals::Totals;
use super::upgrade::{self, CarriedSocket, CarriedWorker, UpgradeState};
use crate::error::{Error, Result};
use crate::ops::serve::process::clock::{instant_of, time_of};
use crate::ops::serve::process::pid_file::PidFile;
use crate::server::listener::{Listen, Socket};

/// The time limit for the workers to finish sending their current messages.
const PAUSE: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Tests in a separate process whether the program's file can take over.
    pub(super) fn preflight(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let upgrade_state = match self.upgrade_state() {
            Ok(upgrade_state) => upgrade_state,
            Err(error) => return self.not_succeeded(error),
        };
        let shared = self.shared.clone();
        tokio::spawn(async move {
            shared.send(Notification::PreflightDone(upgrade::preflight(upgrade_state).await))
        });
    }

    /// Reports that the new program does not take over.
    pub(super) fn not_succeeded(&self, error: Error) {
        let errors = vec![error];
        self.shared.emit(&Event::ReloadFailed { generation: self.serving(), wanted: None, errors });
    }

    /// Executes the new program in place of this one.
    /// # Errors
    /// When that fails; nothing has changed then.
    pub(super) async fn succeed(
        &mut self,
        inbox: &mut mpsc::UnboundedReceiver<Notification>,
    ) -> Result<Infallible, Error> {
        self.hear_all(inbox);
        let failed = |cause| Error::new("cannot hand over to the new program").because(cause);
        // An attempt in progress would start workers of this program.
        let cut = self.attempt.take().map(|running| running.reason);
        let slots = self.pool.iter_mut().flat_map(|pool| &mut pool.slots);
        slots.for_each(|slot| slot.starting = None);
        let paused = async {
            let all = self.workers().map(|worker| worker.child.pause());
            futures_util::future::try_join_all(all).await
        };
        let late = |_| std::io::Error::other("a worker did not finish sending its messages in time");
        let paused = tokio::time::timeout(PAUSE, paused).await.map_err(late).and_then(|paused| paused);
        let outcome = match paused {
            Ok(paused) => {
                let (sockets, _guards): (Vec<_>, Vec<_>) = paused.into_iter().unzip();
                let settled = tokio::time::timeout(PAUSE, self.settle(inbox)).await.map_err(late);
                // From here on, nothing is awaited that could change the state.
                match settled.and_then(|()| self.descriptors(sockets)) {
                    Ok(_) if self.stopping.is_some() => Err(Error::new("the server is stopping")),
                    Ok(descriptors) => Err(match self.upgrade_state() {
                        Ok(upgrade_state) => upgrade::execute(&upgrade_state, descriptors).await,
                        Err(error) => error,
                    }),
                    Err(cause) => Err(failed(cause)),
                }
            }
            Err(cause) => Err(failed(cause)),
        };
        self.refill();
        self.make_again(cut);
        outcome
    }

    /// Repeats the attempt that was cancelled for a program that does not take over.
    fn make_again(&mut self, cut: Option<ReloadReason>) {
        match cut {
            Some(ReloadReason::Rollback) => {
                let _ = self.rollback(); // the previous generation exists; fails only if the server is stopping
            }
            Some(reason) => self.make(reason, "again, because the new program did not take over".to_owned()),
            None => {}
        }
    }

    /// Handles the waiting messages. Returns whether there were any.
    fn hear_all(&mut self, inbox: &mut mpsc::UnboundedReceiver<Notification>) -> bool {
        let mut any = false;
        while let Ok(message) = inbox.try_recv() {
            any = true;
            let _ = self.handle(message); // an error ends only a supervisor that serves nothing
        }
        if self.totals.is_asked() {
            // After the upgrade, pending requests for counts would get no reply.
            self.tell_counts();
        }
        any
    }

    /// Handles what the workers sent before they were paused, and sends the replies.
    async fn settle(&mut self, inbox: &mut mpsc::UnboundedReceiver<Notification>) {
        loop {
            // Let the tasks run that pass on what was read.
            tokio::task::yield_now().await;
            if !self.hear_all(inbox) {
                return;
            }
            futures_util::future::join_all(self.workers().map(|worker| worker.child.flush())).await;
        }
    }

    /// Starts workers for slots that have none, or one of an older generation.
    pub(super) fn refill(&mut self) {
        let Some(pool) = &self.pool else { return };
        let empty: Vec<_> = (0..pool.slots.len()).filter(|slot| pool.slots[*slot].worker.is_none()).collect();
        empty.into_iter().for_each(|slot| self.fill(slot, Why::Ended, Duration::ZERO));
        self.roll();
    }

    /// The whole state, except the descriptors.
    fn upgrade_state(&self) -> Result<Vec<u8>, Error> {
        let Some(pool) = self.pool.as_ref().filter(|pool| pool.generation > 0) else {
            return Err(Error::new(
                "the server is still starting: there is nothing to hand over to a new program",
            ));
        };
        let heirs = self.workers().map(|worker| CarriedWorker {
            name: worker.child.name,
            pid: worker.child.pid,
            slot: pool.slot_of(worker.id()),
            turn: worker.retired.map(|(_, turn)| turn),
            since: Some(time_of(worker.since)),
            retired: worker.retired.map(|(since, _)| time_of(since)),
            apps: self.apps.places(&worker.child.apps),
        });
        let held = self.bound.iter().map(|bound| CarriedSocket {
            server: bound.server.clone(),
            kind: bound.kind.clone(),
            listen: bound.socket.listen.to_string(),
        });
        let failed = |cause| Error::new("cannot list the side processes").because(cause);
        let sides = self.sides.leave().map_err(failed)?;
        let apps = self.apps.leave().map_err(failed)?;
        let upgrade_state = UpgradeState {
            run: self.shared.run.clone(),
            generation: self.generation,
            turns: self.turns,
            started: self.shared.started.load(Ordering::Relaxed),
            reload: self.reload,
            folder: self.shared.folder.made().map(|(path, _)| path.to_owned()),
            pid_file: self.pid_file.as_ref().map(|held| held.path.clone()),
            bound: held.collect(),
            serving: pool.generation,
            plan: pool.plan.clone(),
            previous: self.previous.clone(),
            slots: pool.slots.len(),
            workers: heirs.collect(),
            sides: sides.into_iter().map(|(kept, _)| kept).collect(),
            apps: apps.into_iter().map(|(kept, _)| kept).collect(),
            own_apps: self.apps.places(&pool.apps),
            orphans: self.shared.orphans.leave(),
            handoff_state: self.handoff_state().write(),
        };
        serde_json::to_vec(&upgrade_state)
            .map_err(|cause| Error::new("cannot write the state for the new program").because(cause))
    }

    fn handoff_state(&self) -> HandoffState {
        let shared = &self.shared;
        let (began, seen) = shared.seen.leave();
        HandoffState {
            began: Some(began),
            seen,
            totals: shared.events.lifecycle(),
            workers: self.totals.leave(),
            queries: shared.requests.last_id(),
            tasks: self.scheduler.leave(),
        }
    }

    /// The descriptors in the order of [`UpgradeState`], after standard input.
    fn descriptors(&self, workers: Vec<OwnedFd>) -> std::io::Result<Vec<OwnedFd>> {
        let mut all: Vec<OwnedFd> = Vec::new();
        if let Some((_, lock)) = self.shared.folder.made() {
            all.push(lock.try_clone()?.into());
        }
        if let Some(held) = &self.pid_file {
            all.push(held.file.try_clone()?.into());
        }
        for bound in &self.bound {
            all.push(bound.socket.fd.try_clone()?);
        }
        all.extend(workers);
        all.extend(self.sides.leave()?.into_iter().map(|(_, listener)| listener));
        all.extend(self.apps.leave()?.into_iter().flat_map(|(_, descriptors)| descriptors));
        Ok(all)
    }

    /// Takes over the state of the previous program, except the runtime directory.
    /// # Errors
    /// When there are fewer descriptors than the state names.
    pub(super) fn inherit(
        &mut self,
        upgrade_state: UpgradeState,
        handoff_state: HandoffState,
        mut descriptors: impl Iterator<Item = OwnedFd>,
    ) -> Result<()> {
        let mut next = || descriptors.next().ok_or_else(|| Error::new("received too few descriptors"));
        self.shared.log_as(&upgrade_state.plan);
        self.export(&upgrade_state.plan);
        self.generation = upgrade_state.generation;
        self.turns = upgrade_state.turns;
        self.reload = upgrade_state.reload;
        self.previous = upgrade_state.previous;
        if let Some(path) = upgrade_state.pid_file {
            self.pid_file = Some(PidFile { path, file: File::from(next()?) });
        }
        for CarriedSocket { server, kind, listen } in upgrade_state.bound {
            let listen = Listen::parse(&listen)?.absolute();
            let socket = Arc::new(Socket { listen, fd: next()? });
            self.bound.push(Bound { server, kind, socket, new: false });
        }
        let mut slots: Vec<WorkerSlot> = Vec::new();
        slots.resize_with(upgrade_state.slots, WorkerSlot::default);
        self.sides.set_credentials(&upgrade_state.plan.credentials);
        self.shared.open_files.allow(&upgrade_state.plan.config);
        let mut served_by = Vec::new();
        for receiver in upgrade_state.workers {
            let socket = next()?;
            served_by.push((receiver.name.id, receiver.apps));
            let watchers = (self.shared.orphans.clone(), self.shared.requests.clone());
            let Ok(ready) = Child::adopt(receiver.name, receiver.pid, socket, watchers) else {
                // The worker has just ended.
                self.shared.orphans.clear(receiver.pid, Duration::ZERO);
                continue;
            };
            let since = receiver.since.map_or_else(Instant::now, instant_of);
            let worker = Worker { serving: true, since, ..self.adopt_ready(ready) };
            match receiver.slot.and_then(|slot| slots.get_mut(slot)) {
                Some(slot) => slot.worker = Some(worker),
                None => {
                    let since = receiver.retired.map_or_else(Instant::now, instant_of);
                    let retired = Some((since, receiver.turn.unwrap_or_default()));
                    self.lingering.push(Worker { retired, ..worker });
                }
            }
        }
        for kept in upgrade_state.sides {
            self.sides.adopt(kept, next()?);
        }
        let mut apps = Vec::new();
        for carried in upgrade_state.apps {
            let adopted = self.apps.adopt(carried, &apps, &mut next)?;
            apps.push(adopted);
        }
        let gather = |places: &[usize]| {
            let mut all = AppProcesses::default();
            places.iter().filter_map(|place| apps.get(*place)).for_each(|one| all.extend(one));
            all
        };
        let workers = slots.iter_mut().filter_map(|slot| slot.worker.as_mut()).chain(&mut self.lingering);
        for worker in workers {
            let places = served_by.iter().find(|(id, _)| *id == worker.id());
            worker.child.apps = gather(places.map_or(&[], |(_, places)| places));
        }
        let own = gather(&upgrade_state.own_apps);
        let tasks = upgrade_state.plan.tasks.clone();
        self.open_configured(upgrade_state.plan.process.control.as_deref());
        let (generation, plan) = (upgrade_state.serving, upgrade_state.plan);
        self.pool = Some(WorkerPool { generation, plan, apps: own, slots });
        let known: Vec<_> = self.workers().map(|worker| worker.child.pid).collect();
        upgrade_state
            .orphans
            .into_iter()
            .for_each(|worker| self.shared.orphans.clear(worker, Duration::ZERO));
        self.totals = Totals::inherit(handoff_state.workers);
        let ids: Vec<_> = self.workers().map(Worker::id).collect();
        for gone in self.totals.known().into_iter().filter(|id| !ids.contains(id)) {
            self.totals.ended(gone);
        }
        self.shared.requests.go_on_from(handoff_state.queries);
        for begun in self.scheduler.inherit(tasks, handoff_state.tasks) {
            let pid = begun.going.pid;
            tokio::spawn(ran(&self.shared, &self.scheduler, begun));
            if !known.contains(&pid) {
                self.shared.requests.ended(pid);
            }
        }
        Ok(())
    }
}
