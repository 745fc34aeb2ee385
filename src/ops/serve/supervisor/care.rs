//! What is looked at regularly: workers that hang, that have served long enough, that should be gone; processes that
//! nobody waits for.

use std::time::{Duration, Instant};

use super::super::crew::Hung;
use super::super::event::Event;
use super::super::message::ToWorker;
use super::super::terminal::Terminal;
use super::{SLACK, Supervisor, millis};

/// How often.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// What a retired worker gets beyond `drain_secs`: its own farewell, and some.
const FAREWELL: Duration = Duration::from_secs(8);

impl Supervisor {
    /// Looks at every worker.
    pub(super) fn look(&mut self) {
        self.shared.notify.live(&mut self.told_alive);
        self.terminal.iter_mut().for_each(Terminal::look);
        let gap = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        // Was this process stopped itself? Then signs of life wait in the sockets, to be read first.
        if gap > EVERY * 4 || self.stopping.is_some() {
            return;
        }
        self.look_for_ended();
        self.look_for_hung();
        self.look_for_spent();
        self.look_at_lingering();
    }

    fn look_for_ended(&mut self) {
        // Builds have processes that are not known here, and may wait for what these have written before them.
        if self.attempt.is_some() {
            return self.sweeper.rest();
        }
        let workers = self.workers().map(|worker| worker.child.pid);
        let known: Vec<_> = workers.chain(self.shared.sides.pids()).collect();
        self.sweeper.sweep(&known);
    }

    fn look_for_hung(&mut self) {
        let Some(crew) = &mut self.crew else { return };
        let Some(limit) = crew.plan.process.heartbeat() else { return };
        let mut hung = Vec::new();
        for (index, post) in crew.posts.iter_mut().enumerate() {
            let Some(worker) = &mut post.worker else { continue };
            let Some((how, time)) = worker.silence(limit) else { continue };
            if worker.hung.replace(how).is_none() {
                self.shared.tell(&Event::WorkerHung {
                    generation: worker.child.name.generation,
                    worker: index,
                    pid: worker.child.pid,
                    ms: millis(time),
                    doing: worker.beat.doing.clone(),
                });
            }
            hung.push(index);
        }
        hung.into_iter().for_each(|post| self.supersede(post));
    }

    /// One at a time, so that never more than one is there twice for this reason.
    fn look_for_spent(&mut self) {
        let Some(crew) = &self.crew else { return };
        if self.attempt.is_some() || crew.posts.iter().any(|post| post.making.is_some()) {
            return;
        }
        let spent = crew.posts.iter().enumerate().find_map(|(index, post)| {
            let worker = post.worker.as_ref()?;
            worker.spent(&crew.plan.process).map(|why| (index, why))
        });
        if let Some((post, why)) = spent {
            self.recycle(post, why);
        }
    }

    fn look_at_lingering(&mut self) {
        let Some(crew) = &self.crew else { return };
        let process = &crew.plan.process;
        let (longest, limit) = (process.drain() + FAREWELL, process.heartbeat());
        for worker in &mut self.lingering {
            let overdue = worker.retired.is_some_and(|(since, _)| since.elapsed() > longest);
            let silent = limit.and_then(|limit| worker.silence(limit));
            if overdue || matches!(silent, Some((Hung::Whole, _))) {
                worker.child.strike();
            }
        }
    }

    /// Ends a worker that hangs, now that another one has its post.
    pub(super) fn dismiss(&mut self, id: u64) {
        let grace = self.crew.as_ref().map_or(SLACK, |crew| crew.plan.process.grace());
        let Some(worker) = self.lingering.iter_mut().find(|worker| worker.id() == id) else { return };
        match worker.hung {
            Some(Hung::Whole) => worker.child.strike(),
            // Its other threads finish what they have.
            Some(Hung::Partly) => worker.child.tell(&ToWorker::Drain(millis(grace))),
            None => {}
        }
    }
}
