//! The tasks of a supervisor: when each is due, what runs, what the last run said.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::task::AbortOnDropHandle;

use super::{Order, Task};
use crate::error::Error;
use crate::ops::control::{TaskInfo, TaskRun};
use crate::ops::serve::ring::now_ms;
use crate::ops::serve::{Event, Message, Shared};
use crate::registry::nearest;

/// The clock is looked at this often, as it may be set or stand still meanwhile.
const LOOK: Duration = Duration::from_secs(30);

/// All tasks of the generation that serves.
#[derive(Debug, Default)]
pub(in crate::ops::serve) struct Keeper(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    task: Task,
    next: Option<SystemTime>,
    running: usize,
    last: Option<TaskRun>,
    ended: u64,
    failed: u64,
    skipped: u64,
    /// Waits for the next time; ends with the entry.
    _timer: Option<AbortOnDropHandle<()>>,
}

/// A run that has begun: what a worker is to be told. [`Keeper::end`] takes it.
#[derive(Debug)]
pub(in crate::ops::serve) struct Begun {
    pub(in crate::ops::serve) order: Order,
    began_ms: u64,
    since: Instant,
}

impl Begun {
    /// The run as it is now.
    pub(in crate::ops::serve) fn run(&self) -> TaskRun {
        TaskRun { name: self.order.name.clone(), began_ms: self.began_ms, ..TaskRun::default() }
    }
}

impl Keeper {
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
                    let timer = AbortOnDropHandle::new(tokio::spawn(wait(shared.clone(), task.clone())));
                    let (running, last, ended, failed, skipped) = old.map_or_else(Default::default, |old| {
                        (old.running, old.last, old.ended, old.failed, old.skipped)
                    });
                    Entry { task, next: None, running, last, ended, failed, skipped, _timer: Some(timer) }
                }
            };
            entries.insert(name, entry);
        }
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
    pub(in crate::ops::serve) fn begin(&self, name: &str) -> Result<Begun, Error> {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            let error = Error::new(format!("the server has no task `{name}`"));
            return Err(match nearest(name, entries.keys().map(String::as_str)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("add a table `[task.{name}]` and reload")),
            });
        };
        if entry.running > 0 && !entry.task.overlap {
            entry.skipped += 1;
            return Err(Error::new(format!("the task `{name}` runs already"))
                .help("`overlap = true` in its table lets it run twice at once"));
        }
        entry.running += 1;
        Ok(Begun { order: entry.task.order.clone(), began_ms: now_ms(), since: Instant::now() })
    }

    /// Ends a run; tells of it and returns it.
    pub(in crate::ops::serve) fn end(
        &self,
        shared: &Shared,
        begun: &Begun,
        result: Result<String, String>,
    ) -> TaskRun {
        let ms = u64::try_from(begun.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = result.is_ok();
        let text = result.unwrap_or_else(|why| why);
        let run = TaskRun { ms: Some(ms), ok: Some(ok), text, ..begun.run() };
        if let Some(entry) = self.entries().get_mut(&run.name) {
            entry.running = entry.running.saturating_sub(1);
            entry.ended += 1;
            entry.failed += u64::from(!ok);
            entry.last = Some(run.clone());
        }
        shared.tell(&Event::TaskEnded { name: run.name.clone(), ok, ms, text: run.text.clone() });
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
            running: entry.running,
            last: entry.last.clone(),
            runs_ended: entry.ended,
            runs_failed: entry.failed,
            skipped: entry.skipped,
        };
        self.entries().iter().map(info).collect()
    }

    fn set_next(&self, name: &str, next: Option<SystemTime>) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.next = next;
        }
    }
}

/// Tells the supervisor whenever the task is due.
async fn wait(shared: Arc<Shared>, task: Task) {
    let began = SystemTime::now();
    loop {
        let next = task.schedule.next(began, SystemTime::now());
        let next = next.map(|next| next + by_chance(task.jitter));
        shared.tasks.set_next(&task.name, next);
        let Some(next) = next else { return };
        while let Ok(left) = next.duration_since(SystemTime::now()) {
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
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
