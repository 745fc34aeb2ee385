//! The regular check for workers that hang, have reached a limit, or are overdue, and for processes without a waiting task.

use std::time::{Duration, Instant};

use super::event::Event;
use super::pool::Hung;
use super::state::{SLACK, Supervisor};
use super::terminal::Terminal;
use crate::ops::serve::ipc::message::WorkerCommand;
use crate::ops::serve::process::clock::millis;

/// The time between two checks.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// The time that a retired worker gets beyond `drain_secs`: it needs some to close its connections.
const FAREWELL: Duration = Duration::from_secs(8);

impl Supervisor {
    /// Checks every worker.
    pub(super) fn look(&mut self) {
        self.shared.notify.live(&mut self.told_alive);
        self.terminal.iter_mut().for_each(Terminal::look);
        let gap = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        // If this process itself was stopped, heartbeats wait in the sockets: read them first.
        if gap > EVERY * 4 || self.stopping.is_some() {
            return;
        }
        self.look_for_ended();
        self.look_for_hung();
        self.look_for_spent();
        self.look_at_lingering();
    }

    fn look_for_ended(&mut self) {
        // A build has child processes that are not known here, and reads their output before it waits for
        // them.
        if self.attempt.is_some() {
            return self.reaper.rest();
        }
        let workers = self.workers().map(|worker| worker.child.pid);
        let known: Vec<_> = workers.chain(self.sides.pids()).chain(self.apps.pids()).collect();
        self.reaper.sweep(&known);
    }

    fn look_for_hung(&mut self) {
        let Some(pool) = &mut self.pool else { return };
        let Some(limit) = pool.plan.process.heartbeat() else { return };
        let mut hung = Vec::new();
        for (index, slot) in pool.slots.iter_mut().enumerate() {
            let Some(worker) = &mut slot.worker else { continue };
            let Some((how, time)) = worker.unresponsive_for(limit) else { continue };
            if worker.hung.replace(how).is_none() {
                self.shared.emit(&Event::WorkerHung {
                    generation: worker.child.name.generation,
                    worker: index,
                    pid: worker.child.pid,
                    ms: millis(time),
                    doing: worker.heartbeat.doing.clone(),
                });
            }
            hung.push(index);
        }
        hung.into_iter().for_each(|slot| self.supersede(slot));
    }

    /// Recycles one worker at a time, so that there is never more than one additional worker for this reason.
    fn look_for_spent(&mut self) {
        let Some(pool) = &self.pool else { return };
        if self.attempt.is_some() || pool.slots.iter().any(|slot| slot.starting.is_some()) {
            return;
        }
        let recycle_reason = pool.slots.iter().enumerate().find_map(|(index, slot)| {
            let worker = slot.worker.as_ref()?;
            worker.recycle_reason(&pool.plan.process).map(|why| (index, why))
        });
        if let Some((slot, why)) = recycle_reason {
            self.recycle(slot, why);
        }
    }

    fn look_at_lingering(&mut self) {
        let Some(pool) = &self.pool else { return };
        let process = &pool.plan.process;
        let (longest, limit) = (process.drain() + FAREWELL, process.heartbeat());
        for worker in &mut self.lingering {
            let overdue = worker.retired.is_some_and(|(since, _)| since.elapsed() > longest);
            let silent = limit.and_then(|limit| worker.unresponsive_for(limit));
            if overdue || matches!(silent, Some((Hung::Whole, _))) {
                worker.child.kill_now();
            }
        }
    }

    /// Ends a worker that hangs, now that another one has its slot.
    pub(super) fn terminate_hung(&mut self, id: u64) {
        let grace = self.pool.as_ref().map_or(SLACK, |pool| pool.plan.process.grace());
        let Some(worker) = self.lingering.iter_mut().find(|worker| worker.id() == id) else { return };
        match worker.hung {
            Some(Hung::Whole) => worker.child.kill_now(),
            // Its other threads finish their requests.
            Some(Hung::Partly) => worker.child.tell(WorkerCommand::Drain(millis(grace))),
            None => {}
        }
    }
}
