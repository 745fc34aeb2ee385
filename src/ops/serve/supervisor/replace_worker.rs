//! Replaces one worker by another of the same generation; its siblings keep serving.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::attempt::{self, ReadyWorker};
use super::event::{Event, Why};
use super::inbox::Notification;
use super::pool::{Starting, WorkerPool};
use super::state::Supervisor;
use crate::error::Error;
use crate::ops::serve::ipc::message::Role;
use crate::ops::serve::process::clock::millis;

/// The longest pause before a start while no worker serves.
const LONGEST_OUTAGE: Duration = Duration::from_millis(100);
/// The shortest pause after a failed start. Its cause, such as a database that is down, may take a while to
/// go away.
const SHORTEST_AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The longest pause after a failed start while no worker serves.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Handles the end of the worker at `slot` after `lasted`: another one takes its place.
    pub(super) fn on_exit(&mut self, slot: usize, lasted: Duration, status: ExitStatus) {
        let Some(pool) = &mut self.pool else { return };
        let (backoff, now) = (&mut pool.slots[slot].backoff, Instant::now());
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        let pause = if killed { backoff.next_of_killed(now) } else { backoff.next(now, lasted) };
        let pause = if pool.serves() {
            pause
        } else {
            // Without a ready worker, no request is answered: do not hold a start back for long.
            pool.slots.iter_mut().filter_map(|slot| slot.starting.as_mut()).for_each(Starting::start_now);
            pause.min(LONGEST_OUTAGE)
        };
        self.fill(slot, Why::Ended, pause);
    }

    /// Starts the worker that replaces one of an older generation, in a rolling reload.
    pub(super) fn renew(&mut self, slot: usize) {
        self.fill(slot, Why::Rolling, Duration::ZERO);
    }

    /// Starts the worker that replaces one that hangs.
    pub(super) fn supersede(&mut self, slot: usize) {
        self.fill(slot, Why::Hung, Duration::ZERO);
    }

    /// Starts the worker that replaces one that has served long enough.
    pub(super) fn recycle(&mut self, slot: usize, why: Why) {
        self.fill(slot, why, Duration::ZERO);
    }

    /// Starts a worker for `slot`, unless one is already starting.
    pub(super) fn fill(&mut self, slot: usize, why: Why, pause: Duration) {
        let number = self.next_task();
        let (shared, services, bound) = (self.shared.clone(), self.services.clone(), self.bound.clone());
        let Some(pool) = &mut self.pool else { return };
        // A placeholder is not restarted: the next attempt replaces it.
        if self.stopping.is_some() || pool.generation == 0 || pool.slots[slot].starting.is_some() {
            return;
        }
        let apps = pool.apps.clone();
        let (plan, name) = (pool.plan.clone(), shared.name(pool.generation, slot));
        // A worker that hangs cannot save its state.
        let old = pool.slots[slot].worker.as_ref().filter(|worker| worker.hung.is_none());
        let old = old.map(|worker| worker.child.handle().clone());
        let start_now = Arc::<Notify>::default();
        let hurried = start_now.clone();
        let task = tokio::spawn(async move {
            let _ = tokio::time::timeout(pause, hurried.notified()).await; // usually the pause runs to its end
            let state = attempt::state_of(&shared, old).await;
            let plan = (&plan, &apps);
            let result = attempt::start(&shared, &services, plan, &bound, name, state, Role::Serve)
                .await
                .map(Box::new);
            shared.send(Notification::Made { slot, number, result });
        });
        let _task = AbortOnDropHandle::new(task);
        pool.slots[slot].starting =
            Some(Starting { number, why, since: Instant::now(), pause, start_now, _task });
    }

    /// Puts a ready worker into its slot, or tries again.
    pub(super) fn made(&mut self, slot: usize, number: u64, result: Result<Box<ReadyWorker>, Vec<Error>>) {
        let serves = self.pool.as_ref().is_some_and(WorkerPool::serves);
        let place = self.pool.as_mut().and_then(|pool| pool.slots.get_mut(slot));
        // Ignore the result of a cancelled start; dropping the worker ends it.
        let Some(place) = place else { return };
        let Some(starting) = place.starting.take_if(|starting| starting.number == number) else { return };
        let ready = match result {
            Ok(ready) => *ready,
            Err(faults) => {
                let pause = place.backoff.next(Instant::now(), Duration::ZERO).max(SHORTEST_AFTER_FAILURE);
                let pause = if serves { pause } else { pause.min(LONGEST_AFTER_FAILURE) };
                let what: Vec<_> = faults.iter().map(Error::in_one_line).collect();
                let message = format!(
                    "worker {slot} could not be started: {}; retrying in {} ms",
                    what.join("; "),
                    pause.as_millis()
                );
                self.shared.emit(&Event::Warning { message });
                return self.fill(slot, starting.why, pause);
            }
        };
        let (name, pid) = (ready.0.name, ready.0.pid);
        let worker = self.adopt_ready(ready);
        let old: Vec<_> =
            self.pool.as_mut().and_then(|pool| pool.slots[slot].worker.replace(worker)).into_iter().collect();
        if starting.why == Why::Rolling {
            self.wait_for(&old);
        }
        let ids: Vec<_> = old.iter().map(|old| old.id()).collect();
        self.retire(old);
        ids.into_iter().for_each(|id| self.terminate_hung(id));
        self.shared.emit(&Event::WorkerReady {
            generation: name.generation,
            worker: name.index,
            pid,
            reason: starting.why,
            ms: millis(starting.since.elapsed()),
            pause_ms: millis(starting.pause),
        });
        self.roll();
    }
}
