//! The tasks of a supervisor: when each is due, what runs, what the last run said.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use super::{Order, Task};
use crate::error::Error;
use crate::ops::control::{TaskInfo, TaskRun};
use crate::ops::serve::log_buffer::now_ms;
use crate::ops::serve::{Event, Message, Shared};
use crate::registry::nearest;

/// The clock is looked at this often, as it may be set or stand still meanwhile.
const LOOK: Duration = Duration::from_secs(30);

/// All tasks of the generation that serves.
#[derive(Debug, Default)]
pub(in crate::ops::serve) struct Scheduler(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    task: Task,
    /// Since when its times are counted.
    began: SystemTime,
    next: Option<SystemTime>,
    runs: Runs,
    /// Waits for the next time; ends with the entry.
    _timer: Option<AbortOnDropHandle<()>>,
}

/// What is known of a task's runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Runs {
    going: Vec<RunningTask>,
    last: Option<TaskRun>,
    ended: u64,
    failed: u64,
    skipped: u64,
}

/// A run that goes on: a worker was asked to, and answers at its end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::ops::serve) struct RunningTask {
    /// Number of the question.
    pub(in crate::ops::serve) number: u64,
    /// The worker's process id.
    pub(in crate::ops::serve) pid: u32,
    began_ms: u64,
}

impl RunningTask {
    /// One that begins now.
    pub(in crate::ops::serve) fn new(number: u64, pid: u32) -> RunningTask {
        RunningTask { number, pid, began_ms: now_ms() }
    }
}

/// A task as a supervisor leaves it to a successor.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::ops::serve) struct TaskSnapshot {
    pub(in crate::ops::serve) name: String,
    pub(in crate::ops::serve) schedule: String,
    jitter: Duration,
    began: Option<SystemTime>,
    next: Option<SystemTime>,
    runs: Runs,
}

/// A run that has begun: what a worker is to be told. [`Scheduler::end`] takes it.
#[derive(Debug)]
pub(in crate::ops::serve) struct StartedTask {
    pub(in crate::ops::serve) order: Order,
    pub(in crate::ops::serve) going: RunningTask,
    since: Instant,
}

impl StartedTask {
    /// The run as it is now.
    pub(in crate::ops::serve) fn run(&self) -> TaskRun {
        let began_ms = self.going.began_ms;
        TaskRun { name: self.order.name.clone(), began_ms, ..TaskRun::default() }
    }
}

impl Entry {
    /// A task whose times are counted since `began`; `next` is the first of them, where it is known.
    fn new(
        shared: &Arc<Shared>,
        task: Task,
        began: SystemTime,
        next: Option<SystemTime>,
        runs: Runs,
    ) -> Entry {
        let timer = tokio::spawn(wait(shared.clone(), task.clone(), began, next));
        Entry { task, began, next, runs, _timer: Some(AbortOnDropHandle::new(timer)) }
    }
}

impl Scheduler {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the tasks of a new generation. One that is as it was keeps its next time, and all keep what is known of
    /// their runs.
    pub(in crate::ops::serve) fn set(&self, shared: &Arc<Shared>, tasks: Vec<Task>) {
        let mut entries = self.entries();
        let mut before = std::mem::take(&mut *entries);
        for task in tasks {
            let name = task.name.clone();
            let entry = match before.remove(&name) {
                Some(entry) if entry.task.schedule == task.schedule && entry.task.jitter == task.jitter => {
                    Entry { task, ..entry }
                }
                old => {
                    let runs = old.map(|old| old.runs).unwrap_or_default();
                    Entry::new(shared, task, SystemTime::now(), None, runs)
                }
            };
            entries.insert(name, entry);
        }
    }

    /// All of them, for a successor.
    pub(in crate::ops::serve) fn leave(&self) -> Vec<TaskSnapshot> {
        let left = |(name, entry): (&String, &Entry)| TaskSnapshot {
            name: name.clone(),
            schedule: entry.task.schedule.to_string(),
            jitter: entry.task.jitter,
            began: Some(entry.began),
            next: entry.next,
            runs: entry.runs.clone(),
        };
        self.entries().iter().map(left).collect()
    }

    /// Takes `tasks`, with what another supervisor has left of them: due times, and what is known of their runs. Those
    /// that go on are returned: their ends are to be waited for.
    pub(in crate::ops::serve) fn inherit(
        &self,
        shared: &Arc<Shared>,
        tasks: Vec<Task>,
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
            entries.insert(task.name.clone(), Entry::new(shared, task, began, next, left.runs));
        }
        begun
    }

    /// Forgets all: nothing becomes due any more.
    pub(in crate::ops::serve) fn stop(&self) {
        self.entries().values_mut().for_each(|entry| {
            entry._timer = None;
            entry.next = None;
        });
    }

    /// Begins a run.
    /// # Errors
    /// There is no such task; it runs already and may not twice at once.
    pub(in crate::ops::serve) fn begin(&self, name: &str, going: RunningTask) -> Result<StartedTask, Error> {
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
            return Err(Error::new(format!("the task `{name}` runs already"))
                .help("`overlap = true` in its table lets it run twice at once"));
        }
        entry.runs.going.push(going);
        Ok(StartedTask { order: entry.task.order.clone(), going, since: Instant::now() })
    }

    /// Ends a run; tells of it and returns it.
    pub(in crate::ops::serve) fn end(
        &self,
        shared: &Shared,
        begun: &StartedTask,
        result: Result<String, String>,
    ) -> TaskRun {
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
        shared.emit(&Event::TaskEnded { name: run.name.clone(), ok, ms, text: run.text.clone() });
        run
    }

    /// What is known of each.
    pub(in crate::ops::serve) fn infos(&self) -> Vec<TaskInfo> {
        let info = |(name, entry): (&String, &Entry)| TaskInfo {
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

/// Tells the supervisor whenever the task is due; at `first` to begin with, where it is known.
async fn wait(shared: Arc<Shared>, task: Task, began: SystemTime, mut first: Option<SystemTime>) {
    let from_now = || {
        let next = task.schedule.next(began, SystemTime::now());
        next.map(|next| next + by_chance(task.jitter))
    };
    loop {
        let next = first.take().or_else(from_now);
        shared.tasks.set_next(&task.name, next);
        let Some(mut next) = next else { return };
        let mut before = Duration::MAX;
        while let Ok(left) = next.duration_since(SystemTime::now()) {
            if left.is_zero() {
                break;
            }
            if left > before {
                // The clock was set back: there may be a time before that one.
                next = from_now().map_or(next, |now| now.min(next));
                shared.tasks.set_next(&task.name, Some(next));
                before = Duration::MAX;
                continue;
            }
            before = left;
            tokio::time::sleep(left.min(LOOK)).await;
        }
        // For a successor it is no longer to come.
        shared.tasks.set_next(&task.name, None);
        shared.send(Message::Due(task.name.clone()));
        // Jitter must not make one time come twice.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A span below `most`.
fn by_chance(most: Duration) -> Duration {
    let chance = std::hash::RandomState::new().build_hasher().finish() % 1_000_000;
    most.mul_f64(chance as f64 / 1e6)
}
