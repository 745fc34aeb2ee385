//! The supervisor's tasks: when each is due, what is running, and the result of the last run.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use super::event::Event;
use super::inbox::Notification;
use super::shared::SupervisorShared;
use crate::error::Error;
use crate::ops::control::{TaskInfo, TaskRun};
use crate::ops::sections::task::{Order, ScheduledTask};
use crate::ops::serve::process::clock::now_ms;
use crate::registry::nearest;

/// How often to check the clock, which may be set or stand still.
const LOOK: Duration = Duration::from_secs(30);

/// All tasks of the generation that serves.
pub(super) struct Scheduler {
    shared: Arc<SupervisorShared>,
    entries: Mutex<BTreeMap<String, TaskEntry>>,
}

#[derive(Debug)]
struct TaskEntry {
    task: ScheduledTask,
    /// The time that its interval counts from.
    began: SystemTime,
    next: Option<SystemTime>,
    runs: Runs,
    /// Waits for the next time. Dropping the entry ends it.
    _timer: Option<AbortOnDropHandle<()>>,
}

/// The runs of a task.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Runs {
    going: Vec<RunningTask>,
    last: Option<TaskRun>,
    ended: u64,
    failed: u64,
    skipped: u64,
}

/// A run in progress: a worker has the request, and answers when it ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct RunningTask {
    /// Number of the query.
    pub(super) number: u64,
    /// The worker's process id.
    pub(super) pid: u32,
    began_ms: u64,
}

impl RunningTask {
    /// A run that starts now.
    pub(super) fn new(number: u64, pid: u32) -> RunningTask {
        RunningTask { number, pid, began_ms: now_ms() }
    }
}

/// A task, as the supervisor passes it to an upgraded program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TaskSnapshot {
    pub(super) name: String,
    pub(super) schedule: String,
    jitter: Duration,
    began: Option<SystemTime>,
    next: Option<SystemTime>,
    runs: Runs,
}

/// A run that has started, with the order for the worker. Pass it to [`Scheduler::end`].
#[derive(Debug)]
pub(super) struct StartedTask {
    pub(super) order: Order,
    pub(super) going: RunningTask,
    since: Instant,
}

impl StartedTask {
    /// The state of the run, still without a result.
    pub(super) fn run(&self) -> TaskRun {
        let began_ms = self.going.began_ms;
        TaskRun { name: self.order.name.clone(), began_ms, ..TaskRun::default() }
    }
}

impl TaskEntry {
    /// A task whose interval counts from `began`; `next` is its next time, if known.
    fn new(
        scheduler: &Arc<Scheduler>,
        task: ScheduledTask,
        began: SystemTime,
        next: Option<SystemTime>,
        runs: Runs,
    ) -> TaskEntry {
        let timer = tokio::spawn(wait(scheduler.clone(), task.clone(), began, next));
        TaskEntry { task, began, next, runs, _timer: Some(AbortOnDropHandle::new(timer)) }
    }
}

impl Scheduler {
    pub(super) fn new(shared: Arc<SupervisorShared>) -> Arc<Scheduler> {
        Arc::new(Scheduler { shared, entries: Mutex::default() })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, TaskEntry>> {
        self.entries.lock()
    }

    /// Sets the tasks of a new generation. A task with the same schedule keeps its next time; all keep the
    /// records of their runs.
    pub(super) fn set(self: &Arc<Self>, tasks: Vec<ScheduledTask>) {
        let mut entries = self.entries();
        let mut before = std::mem::take(&mut *entries);
        for task in tasks {
            let name = task.name.clone();
            let entry = match before.remove(&name) {
                Some(entry) if entry.task.schedule == task.schedule && entry.task.jitter == task.jitter => {
                    TaskEntry { task, ..entry }
                }
                old => {
                    let runs = old.map(|old| old.runs).unwrap_or_default();
                    TaskEntry::new(self, task, SystemTime::now(), None, runs)
                }
            };
            entries.insert(name, entry);
        }
    }

    /// All tasks, for an upgrade.
    pub(super) fn leave(&self) -> Vec<TaskSnapshot> {
        let left = |(name, entry): (&String, &TaskEntry)| TaskSnapshot {
            name: name.clone(),
            schedule: entry.task.schedule.to_string(),
            jitter: entry.task.jitter,
            began: Some(entry.began),
            next: entry.next,
            runs: entry.runs.clone(),
        };
        self.entries().iter().map(left).collect()
    }

    /// Sets `tasks`, with the due times and runs of the previous program. Returns the runs in progress: the
    /// caller must wait for their ends.
    pub(super) fn inherit(
        self: &Arc<Self>,
        tasks: Vec<ScheduledTask>,
        left: Vec<TaskSnapshot>,
    ) -> Vec<StartedTask> {
        let mut left: BTreeMap<_, _> = left.into_iter().map(|one| (one.name.clone(), one)).collect();
        let mut begun = Vec::new();
        let mut entries = self.entries();
        for task in tasks {
            let left = left.remove(&task.name).unwrap_or_default();
            for going in &left.runs.going {
                let lasted = Duration::from_millis(now_ms().saturating_sub(going.began_ms));
                let since = Instant::now().checked_sub(lasted).unwrap_or_else(Instant::now);
                begun.push(StartedTask { order: task.order.clone(), going: *going, since });
            }
            let same = left.schedule == task.schedule.to_string() && left.jitter == task.jitter;
            let (began, next) = if same { (left.began, left.next) } else { (None, None) };
            let began = began.unwrap_or_else(SystemTime::now);
            entries.insert(task.name.clone(), TaskEntry::new(self, task, began, next, left.runs));
        }
        begun
    }

    /// Clears the timers, so that no task becomes due.
    pub(super) fn stop(&self) {
        self.entries().values_mut().for_each(|entry| {
            entry._timer = None;
            entry.next = None;
        });
    }

    /// Starts a run.
    /// # Errors
    /// If there is no such task, or if it is already running and may not overlap.
    pub(super) fn begin(&self, name: &str, going: RunningTask) -> Result<StartedTask, Error> {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            let error = Error::new(format!("the server has no task `{name}`"));
            return Err(match nearest(name, entries.keys().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("add a table `[task.{name}]` and reload")),
            });
        };
        if !entry.runs.going.is_empty() && !entry.task.overlap {
            entry.runs.skipped += 1;
            return Err(Error::new(format!("the task `{name}` is already running"))
                .help("`overlap = true` in its table allows overlapping runs"));
        }
        entry.runs.going.push(going);
        Ok(StartedTask { order: entry.task.order.clone(), going, since: Instant::now() })
    }

    /// Records the end of a run, emits the event and returns the run.
    pub(super) fn end(&self, begun: &StartedTask, result: Result<String, String>) -> TaskRun {
        let ms = u64::try_from(begun.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = result.is_ok();
        let text = result.unwrap_or_else(|why| why);
        let run = TaskRun { ms: Some(ms), ok: Some(ok), text, ..begun.run() };
        if let Some(entry) = self.entries().get_mut(&run.name) {
            entry.runs.going.retain(|one| one.number != begun.going.number);
            entry.runs.ended += 1;
            entry.runs.failed += u64::from(!ok);
            entry.runs.last = Some(run.clone());
        }
        self.shared.emit(&Event::TaskEnded { name: run.name.clone(), ok, ms, text: run.text.clone() });
        run
    }

    /// The state of all tasks.
    pub(super) fn infos(&self) -> Vec<TaskInfo> {
        let info = |(name, entry): (&String, &TaskEntry)| TaskInfo {
            name: name.clone(),
            schedule: entry.task.schedule.to_string(),
            runs: entry.task.order.work.to_string(),
            next_ms: entry
                .next
                .and_then(|next| u64::try_from(next.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()),
            running: entry.runs.going.len(),
            last: entry.runs.last.clone(),
            runs_ended: entry.runs.ended,
            runs_failed: entry.runs.failed,
            skipped: entry.runs.skipped,
        };
        self.entries().iter().map(info).collect()
    }

    fn set_next(&self, name: &str, next: Option<SystemTime>) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.next = next;
        }
    }
}

/// Notifies the supervisor whenever the task is due, at `first` to start with, if it is known.
async fn wait(
    scheduler: Arc<Scheduler>,
    task: ScheduledTask,
    began: SystemTime,
    mut first: Option<SystemTime>,
) {
    let from_now = || {
        let next = task.schedule.next(began, SystemTime::now());
        next.map(|next| next + by_chance(task.jitter))
    };
    loop {
        let next = first.take().or_else(from_now);
        scheduler.set_next(&task.name, next);
        let Some(mut next) = next else { return };
        let mut before = Duration::MAX;
        while let Ok(left) = next.duration_since(SystemTime::now()) {
            if left.is_zero() {
                break;
            }
            if left > before {
                // The clock was set back: there may be an earlier time now.
                next = from_now().map_or(next, |now| now.min(next));
                scheduler.set_next(&task.name, Some(next));
                before = Duration::MAX;
                continue;
            }
            before = left;
            tokio::time::sleep(left.min(LOOK)).await;
        }
        // After an upgrade it must not run again.
        scheduler.set_next(&task.name, None);
        scheduler.shared.send(Notification::Due(task.name.clone()));
        // Jitter must not make the same time due twice.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A random duration below `most`.
fn by_chance(most: Duration) -> Duration {
    let chance = std::hash::RandomState::new().build_hasher().finish() % 1_000_000;
    most.mul_f64(chance as f64 / 1e6)
}
