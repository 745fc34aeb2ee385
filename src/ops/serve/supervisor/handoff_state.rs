//! Counters and task records that a supervisor passes to the program that replaces it.
//!
//! The reader may be older or newer than the writer. Names are only ever added, and each part is read
//! separately: a program skips what it does not know or cannot read, and starts from zero there.

use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::scheduler::TaskSnapshot;
use super::{events, totals};
use crate::metrics::Counts;

/// Incremented when an existing name changes its meaning. A program that does not know the version starts
/// from zero.
const VERSION: u64 = 1;

/// Everything that is passed on, except what is running.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct HandoffState {
    /// When the first program in this process started.
    pub(super) began: Option<SystemTime>,
    /// The counters of the supervisors themselves.
    pub(super) seen: Counts,
    pub(super) totals: events::LifecycleCounts,
    pub(super) workers: totals::TotalsSnapshot,
    /// Id of the last request to a worker.
    pub(super) queries: u64,
    pub(super) tasks: Vec<TaskSnapshot>,
}

impl HandoffState {
    /// Encodes the state.
    pub(super) fn write(self) -> Value {
        let mut written = serde_json::to_value(self).unwrap_or_default(); // numbers and strings only: cannot fail
        written["version"] = VERSION.into();
        written
    }

    /// Decodes those parts of `written` that this program can read.
    pub(super) fn read(written: &Value) -> HandoffState {
        if written["version"] != VERSION {
            return HandoffState::default();
        }
        let workers = &written["workers"];
        HandoffState {
            began: part(&written["began"]),
            seen: counts(&written["seen"]),
            totals: part(&written["totals"]),
            workers: totals::TotalsSnapshot {
                ended: counts(&workers["ended"]),
                last: items(&workers["last"])
                    .filter_map(|one| Some((one[0].as_u64()?, counts(&one[1]))))
                    .collect(),
            },
            queries: part(&written["queries"]),
            tasks: list(&written["tasks"]),
        }
    }
}

fn part<T: DeserializeOwned + Default>(from: &Value) -> T {
    T::deserialize(from).unwrap_or_default()
}

fn items(from: &Value) -> impl Iterator<Item = &Value> {
    from.as_array().into_iter().flatten()
}

fn list<T: DeserializeOwned>(from: &Value) -> Vec<T> {
    items(from).filter_map(|one| T::deserialize(one).ok()).collect()
}

fn counts(from: &Value) -> Counts {
    list(from).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::metrics::{Value as Number, families};

    fn some() -> HandoffState {
        let mut counts = Counts::default();
        counts.put(&families::APP_ERRORS, &[("app", "x")], Number::Count(3));
        counts.put(&families::RELOADS, &[], Number::Count(5));
        HandoffState {
            began: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567)),
            seen: counts.clone(),
            totals: events::LifecycleCounts { switches: 3, failures: 2, crashes: 1 },
            workers: totals::TotalsSnapshot { ended: counts.clone(), last: vec![(7, counts)] },
            queries: 9,
            tasks: list(&json!([{ "name": "sweep", "schedule": "every 1h" }])),
        }
    }

    fn same(read: &HandoffState, written: &HandoffState) {
        assert_eq!(read.clone().write(), written.clone().write());
    }

    #[test]
    fn what_is_written_is_read() {
        same(&HandoffState::read(&some().write()), &some());
        assert_eq!(HandoffState::read(&Value::Null).queries, 0, "a program that passed nothing");
    }

    #[test]
    fn what_another_version_has_more_is_left_out() {
        let mut written = some().write();
        written["weather"] = json!({ "wind": 3 });
        written["totals"]["naps"] = json!(1);
        written["tasks"][0]["mood"] = json!("good");
        written["tasks"].as_array_mut().unwrap().push(json!("of another kind"));
        let strange = json!([{ "family": "c", "labels": [] }, { "Sketch": [1, 2] }]);
        written["seen"].as_array_mut().unwrap().push(strange.clone());
        written["workers"]["ended"].as_array_mut().unwrap().push(strange.clone());
        written["workers"]["last"][0][1].as_array_mut().unwrap().push(strange);
        same(&HandoffState::read(&written), &some());
    }

    #[test]
    fn what_another_version_lacks_begins_anew() {
        let mut written = some().write();
        for name in ["seen", "queries", "totals"] {
            written.as_object_mut().unwrap().remove(name);
        }
        written["tasks"][0] = json!({ "name": "sweep" });
        let read = HandoffState::read(&written);
        assert_eq!((read.totals.switches, read.queries, read.workers.last.len()), (0, 0, 1));
        assert_eq!((read.tasks[0].name.as_str(), read.tasks[0].schedule.as_str()), ("sweep", ""));
        written["version"] = json!(VERSION + 1);
        same(&HandoffState::read(&written), &HandoffState::default());
    }
}
