//! The workers of one generation, as the supervisor sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::app_process::AppProcesses;
use super::child::Child;
use super::event::Why;
use super::plan::GenerationPlan;
use crate::ops::sections::process::Process;
use crate::ops::serve::ipc::message::Heartbeat;
use crate::ops::serve::process::backoff::Backoff;

/// One worker that is ready, serving, or retired.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) child: Child,
    /// When it became ready.
    pub(super) since: Instant,
    /// Whether it was asked to serve.
    pub(super) serving: bool,
    /// When it was retired, and in which turn.
    pub(super) retired: Option<(Instant, u64)>,
    /// The worker that takes its idle connections once it is retired.
    pub(super) receiver: Option<u64>,
    /// When the last heartbeat came, and the heartbeat.
    pub(super) heard: Instant,
    pub(super) heartbeat: Heartbeat,
    /// Its memory in the first heartbeat, in KiB.
    pub(super) first_kib: Option<u64>,
    /// How it hangs, if it does.
    pub(super) hung: Option<Hung>,
}

/// In which way a worker hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hung {
    /// None of its threads starts new work.
    Whole,
    /// Some threads still do.
    Partly,
}

impl Worker {
    pub(super) fn new(child: Child) -> Worker {
        Worker {
            child,
            since: Instant::now(),
            serving: false,
            retired: None,
            receiver: None,
            heard: Instant::now(),
            heartbeat: Heartbeat::default(),
            first_kib: None,
            hung: None,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.child.name.id
    }

    pub(super) fn generation(&self) -> u64 {
        self.child.name.generation
    }

    /// Stores a heartbeat.
    pub(super) fn record(&mut self, heartbeat: Heartbeat) {
        self.heard = Instant::now();
        self.first_kib.get_or_insert(heartbeat.memory_kib);
        self.heartbeat = heartbeat;
    }

    /// How it hangs and for how long, if it has started no work for `limit`.
    pub(super) fn unresponsive_for(&self, limit: Duration) -> Option<(Hung, Duration)> {
        let silent = self.heard.elapsed().max(Duration::from_millis(self.heartbeat.silent_ms));
        let held = Duration::from_millis(self.heartbeat.held_ms);
        let whole = (silent >= limit).then_some((Hung::Whole, silent));
        whole.or((held >= limit).then_some((Hung::Partly, held)))
    }

    /// Why it has served long enough, if it has.
    pub(super) fn recycle_reason(&self, process: &Process) -> Option<Why> {
        // Siblings that started together must not be due together.
        let spread = self.id().wrapping_mul(0x9E37_79B9_7F4A_7C15) % (process.max_requests / 10 + 1);
        let grown = self.heartbeat.memory_kib.saturating_sub(self.first_kib.unwrap_or(u64::MAX)) / 1024;
        let due = |limit: u64, reached: u64| limit > 0 && reached >= limit;
        if due(process.max_requests, self.heartbeat.requests.saturating_sub(spread)) {
            return Some(Why::Requests);
        }
        if due(process.max_growth_mib, grown) {
            return Some(Why::Growth);
        }
        due(process.max_age_secs, self.since.elapsed().as_secs()).then_some(Why::Age)
    }
}

/// A worker that is starting, to take a slot.
#[derive(Debug)]
pub(super) struct Starting {
    /// Distinguishes it from earlier ones, whose results may still arrive.
    pub(super) number: u64,
    pub(super) why: Why,
    pub(super) since: Instant,
    /// The delay of its start.
    pub(super) pause: Duration,
    /// Ends this delay.
    pub(super) start_now: Arc<Notify>,
    /// Dropping it ends the process that it starts.
    pub(super) _task: AbortOnDropHandle<()>,
}

impl Starting {
    /// Starts it without further delay.
    pub(super) fn start_now(&mut self) {
        self.pause = self.pause.min(self.since.elapsed());
        self.start_now.notify_one();
    }
}

/// One slot of the pool: the worker that serves there, and the one that is starting.
#[derive(Debug, Default)]
pub(super) struct WorkerSlot {
    /// Of an older generation while a rolling reload has not reached this slot. `None` after its end, or
    /// before the first.
    pub(super) worker: Option<Worker>,
    pub(super) starting: Option<Starting>,
    pub(super) backoff: Backoff,
}

/// The generation that serves.
#[derive(Debug)]
pub(super) struct WorkerPool {
    /// Its number; 0 for a placeholder that shows why nothing else can be served.
    pub(super) generation: u64,
    pub(super) plan: GenerationPlan,
    /// The processes of its applications.
    pub(super) apps: AppProcesses,
    /// One per worker; more while a rolling reload still has to retire workers of a larger generation.
    pub(super) slots: Vec<WorkerSlot>,
}

impl WorkerPool {
    /// All its workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.slots.iter().filter_map(|slot| slot.worker.as_ref())
    }

    /// Whether a worker takes requests.
    pub(super) fn serves(&self) -> bool {
        self.workers().any(|worker| worker.serving && worker.hung != Some(Hung::Whole))
    }

    /// The slot in which the worker `id` serves.
    pub(super) fn slot_of(&self, id: u64) -> Option<usize> {
        self.slots.iter().position(|slot| slot.worker.as_ref().is_some_and(|worker| worker.id() == id))
    }

    /// The slot whose worker takes the connections of a retired one with this `index`: the same slot if
    /// possible, so that the connections stay evenly spread.
    pub(super) fn receiver_of(&self, index: usize) -> Option<usize> {
        let count = self.slots.len();
        (0..count)
            .map(|step| (index + step) % count)
            .find(|slot| self.slots[*slot].worker.as_ref().is_some_and(|worker| worker.retired.is_none()))
    }

    /// The first slot whose worker is not of this generation, or is one too many.
    pub(super) fn behind(&self) -> Option<usize> {
        let behind = |slot: &WorkerSlot| {
            slot.worker.as_ref().is_none_or(|worker| worker.generation() != self.generation)
        };
        self.slots.iter().position(behind)
    }
}

/// A switch, to be reported once no worker of the old generation accepts: new connections then reach the new
/// one.
#[derive(Debug)]
pub(super) struct Announcing {
    /// Whether only a placeholder has served before.
    pub(super) first: bool,
    pub(super) generation: u64,
    pub(super) since: Instant,
    pub(super) cargo: Duration,
    /// The workers that have not yet reported that they are retired.
    pub(super) waiting: Vec<u64>,
}
