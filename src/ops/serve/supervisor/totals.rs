//! The sum of all workers' counts, and the supervisor's own counts.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

use super::event::Event;
use crate::metrics::{Counts, Value, families};

/// The time limit for a worker's counts; after that, its last known counts are used.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Receives a sum.
pub(super) type Asker = Box<dyn FnOnce(Counts) + Send>;

/// The counts of all workers.
#[derive(Default)]
pub(super) struct Totals {
    /// The counts of workers that have ended.
    ended: Counts,
    /// The last counts of each worker, by its id.
    last: BTreeMap<u64, Counts>,
    /// How often workers were asked.
    rounds: u64,
    /// The callers that wait for the sum of the last round.
    askers: Vec<Asker>,
}

/// The state that an upgraded program needs, so that no sum decreases.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct TotalsSnapshot {
    pub(super) ended: Counts,
    pub(super) last: Vec<(u64, Counts)>,
}

impl Totals {
    /// Continues from the counts of the previous program.
    pub(super) fn inherit(left: TotalsSnapshot) -> Totals {
        let TotalsSnapshot { ended, last } = left;
        Totals { ended, last: last.into_iter().collect(), ..Totals::default() }
    }

    /// The state for an upgrade.
    pub(super) fn leave(&self) -> TotalsSnapshot {
        let last = self.last.iter().map(|(worker, counts)| (*worker, counts.clone()));
        TotalsSnapshot { ended: self.ended.clone(), last: last.collect() }
    }

    /// The workers whose counts are known.
    pub(super) fn known(&self) -> Vec<u64> {
        self.last.keys().copied().collect()
    }

    /// Whether a sum was requested.
    pub(super) fn is_asked(&self) -> bool {
        !self.askers.is_empty()
    }

    /// Registers a request for the sum. If it returns the number of a round, ask the workers for their counts.
    pub(super) fn ask(&mut self, asker: Asker) -> Option<u64> {
        self.askers.push(asker);
        if self.askers.len() > 1 {
            return None;
        }
        self.rounds += 1;
        Some(self.rounds)
    }

    /// Stores a worker's counts.
    pub(super) fn counted(&mut self, worker: u64, counts: Counts) {
        self.last.insert(worker, counts);
    }

    /// Keeps the counts of a worker that has ended.
    pub(super) fn ended(&mut self, worker: u64) {
        if let Some(last) = self.last.remove(&worker) {
            self.ended.add(&last.ended());
        }
    }

    /// Whether a task waits for the sum of this round.
    pub(super) fn waits(&self, round: u64) -> bool {
        self.is_asked() && self.rounds == round
    }

    /// Sends the sum, including `own`, to everyone who asked.
    pub(super) fn tell(&mut self, own: &Counts) {
        let askers = std::mem::take(&mut self.askers);
        if askers.is_empty() {
            return;
        }
        let sum = self.sum(own);
        askers.into_iter().for_each(|asker| asker(sum.clone()));
    }

    /// The sum as far as it is known, including `own`.
    pub(super) fn sum(&self, own: &Counts) -> Counts {
        let mut sum = self.ended.clone();
        self.last.values().for_each(|counts| sum.add(counts));
        sum.add(own);
        sum
    }
}

/// Counts the supervisor's events.
pub(super) struct EventCounts {
    began: SystemTime,
    counts: Mutex<Counts>,
}

impl EventCounts {
    /// Continues from counts since `began`; without it, starts now.
    pub(super) fn new(began: Option<SystemTime>, before: &Counts) -> EventCounts {
        let mut counts = Counts::default();
        // Create both series now: a series that starts with its first event would hide that event from
        // `rate()`.
        for outcome in ["done", "failed"] {
            counts.put(&families::RELOADS, &[("outcome", outcome)], Value::Count(0));
        }
        for expected in ["true", "false"] {
            counts.put(&families::WORKER_EXITS, &[("expected", expected)], Value::Count(0));
        }
        counts.add(before);
        EventCounts { began: began.unwrap_or_else(SystemTime::now), counts: Mutex::new(counts) }
    }

    /// The counts and their start, for an upgrade.
    pub(super) fn leave(&self) -> (SystemTime, Counts) {
        (self.began, self.counts.lock().clone())
    }

    /// Counts an event.
    pub(super) fn note(&self, event: &Event) {
        let mut counts = self.counts.lock();
        let one = Value::Count(1);
        match event {
            Event::Reloaded { .. } => counts.put(&families::RELOADS, &[("outcome", "done")], one),
            Event::ReloadFailed { .. } => counts.put(&families::RELOADS, &[("outcome", "failed")], one),
            Event::WorkerExit { expected, .. } => {
                let expected = if *expected { "true" } else { "false" };
                counts.put(&families::WORKER_EXITS, &[("expected", expected)], one);
            }
            Event::WorkerReady { reason, .. } => {
                let reason = serde_json::to_value(reason).unwrap_or_default();
                let reason = reason.as_str().unwrap_or("other");
                counts.put(&families::WORKER_RESTARTS, &[("reason", reason)], one);
            }
            Event::SideExit { app, .. } => {
                counts.put(&families::SIDE_PROCESS_EXITS, &[("app", app)], one);
            }
            Event::AppExit { app, .. } => {
                counts.put(&families::APP_PROCESS_EXITS, &[("app", app)], one);
            }
            _ => {}
        }
    }

    /// All counts, with the generation that serves and the generation of each worker.
    pub(super) fn counts(&self, serving: u64, workers: impl Iterator<Item = u64>) -> Counts {
        let mut counts = self.counts.lock().clone();
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        counts.put(&families::START_TIME_SECONDS, &[], Value::Level(began.cast_signed()));
        counts.put(&families::INFO, &[("version", env!("CARGO_PKG_VERSION"))], Value::Level(1));
        counts.put(&families::GENERATION, &[], Value::Level(serving.cast_signed()));
        for generation in workers {
            counts.put(&families::WORKERS, &[("generation", &generation.to_string())], Value::Level(1));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn counts(count: u64, level: i64) -> Counts {
        let mut counts = Counts::default();
        counts.put(&families::RELOADS, &[], Value::Count(count));
        counts.put(&families::GENERATION, &[], Value::Level(level));
        counts
    }

    #[test]
    fn sums_never_go_backwards() {
        let mut totals = Totals::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let asker = || {
            let told = told.clone();
            Box::new(move |sum: Counts| {
                told.lock().push((
                    sum.find("paster_reloads_total", &[]).cloned(),
                    sum.find("paster_generation", &[]).cloned(),
                ))
            }) as Asker
        };
        assert_eq!(totals.ask(asker()), Some(1));
        assert_eq!(totals.ask(asker()), None, "the second request joins the first");
        totals.counted(1, counts(5, 1));
        totals.counted(2, counts(7, 1));
        totals.tell(&Counts::default());
        // The first ends; the second is late, so its last counts are used.
        totals.ended(1);
        assert_eq!(totals.ask(asker()), Some(2));
        assert!(totals.waits(2) && !totals.waits(1));
        totals.tell(&Counts::default());
        assert!(!totals.waits(2), "the sum was sent");
        totals.counted(2, counts(9, 3));
        assert_eq!(totals.ask(asker()), Some(3));
        totals.ended(2);
        totals.tell(&Counts::default());
        let told = told.lock();
        let both = (Some(Value::Count(12)), Some(Value::Level(2)));
        assert_eq!(told[..2], [both.clone(), both]);
        assert_eq!(told[2], (Some(Value::Count(12)), Some(Value::Level(1))));
        assert_eq!(told[3], (Some(Value::Count(14)), None));
    }
}
