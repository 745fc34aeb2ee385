//! What processes count, as values that can be added up, and what parts of a stack count while they serve.
//!
//! A worker counts with plain atomics ([`PartMetrics`], the servers' `Load`) and turns them into [`Counts`] on
//! request. The supervisor adds up the counts of all workers and keeps those of ended workers, so that no sum
//! decreases over a reload or a crash. [`prometheus`] writes them out. No sockets or processes here.

pub mod families;
mod parts;
pub mod prometheus;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub use families::{MetricFamily, MetricKind, MetricUnit};
pub use parts::{CLASSES, CountedPartBody, PartMetrics, PartPosition, StackMetrics, class_of};
use serde::{Deserialize, Serialize};

/// Upper bounds of a histogram's buckets, in seconds; there is one more above the last.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The same in nanoseconds.
const BOUNDS_NANOS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A histogram of durations with lock-free counting.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [AtomicU64; 15],
    nanos: AtomicU64,
}

impl Times {
    /// Counts one duration.
    #[inline]
    pub fn add(&self, time: Duration) {
        let (bucket, nanos) = bucket(time);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> Value {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Value::Times { count: buckets.iter().sum(), nanos: self.nanos.load(Relaxed), buckets }
    }
}

/// The bucket of a duration, and its nanoseconds.
fn bucket(time: Duration) -> (usize, u64) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let bucket = BOUNDS_NANOS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS_NANOS.len());
    (bucket, nanos)
}

/// A histogram of durations with a single writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [u64; 15],
    nanos: u64,
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn add(&mut self, time: Duration) {
        let (bucket, nanos) = bucket(time);
        self.buckets[bucket] += 1;
        self.nanos = self.nanos.saturating_add(nanos);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        self.nanos = self.nanos.saturating_add(other.nanos);
    }

    /// The current value.
    pub fn value(&self) -> Value {
        Value::Times { count: self.buckets.iter().sum(), nanos: self.nanos, buckets: self.buckets.to_vec() }
    }
}

/// One value of [`Counts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// Only increases.
    Count(u64),
    /// The current level; it disappears with its process.
    Level(i64),
    /// Durations: their number, their sum, and the number in each bucket of [`BOUNDS`]. Without buckets: only
    /// a sum.
    Times {
        /// Their number.
        count: u64,
        /// Their sum in nanoseconds.
        nanos: u64,
        /// The number in each bucket, not cumulative.
        buckets: Vec<u64>,
    },
}

/// The identity of a value: the family (`paster_requests_total`) and its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    /// Name of the family, as [`prometheus`] writes it.
    pub family: Cow<'static, str>,
    /// Names and values of the labels, in output order.
    pub labels: Vec<(Cow<'static, str>, String)>,
}

/// Values of many series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Series, Value)>", into = "Vec<(Series, Value)>")]
pub struct Counts(BTreeMap<Series, Value>);

impl From<Vec<(Series, Value)>> for Counts {
    fn from(list: Vec<(Series, Value)>) -> Counts {
        Counts(list.into_iter().collect())
    }
}

impl From<Counts> for Vec<(Series, Value)> {
    fn from(counts: Counts) -> Self {
        counts.0.into_iter().collect()
    }
}

impl Counts {
    /// Adds a value to its series.
    pub fn put(&mut self, family: &MetricFamily, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|(name, value)| (Cow::Borrowed(*name), (*value).to_owned())).collect();
        self.add_one(Series { family: family.name.into(), labels }, value);
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Counts) {
        for (series, value) in &other.0 {
            self.add_one(series.clone(), value.clone());
        }
    }

    fn add_one(&mut self, series: Series, value: Value) {
        match self.0.entry(series) {
            Entry::Vacant(place) => drop(place.insert(value)),
            Entry::Occupied(mut place) => match (place.get_mut(), value) {
                (Value::Count(sum), Value::Count(more)) => *sum = sum.saturating_add(more),
                (Value::Level(sum), Value::Level(more)) => *sum = sum.saturating_add(more),
                (
                    Value::Times { count, nanos, buckets },
                    Value::Times { count: more, nanos: longer, buckets: others },
                ) => {
                    *count += more;
                    *nanos += longer;
                    buckets.resize(buckets.len().max(others.len()), 0);
                    buckets.iter_mut().zip(others).for_each(|(sum, more)| *sum += more);
                }
                // A program of another version used this family differently: the first one is kept.
                _ => {}
            },
        }
    }

    /// What remains of an ended process: neither levels, nor values of its generation, so that generations do
    /// not accumulate.
    #[must_use]
    pub fn ended(mut self) -> Counts {
        self.0.retain(|series, value| {
            !matches!(value, Value::Level(_)) && series.labels.iter().all(|(name, _)| name != "generation")
        });
        self
    }

    /// The value of a series.
    pub fn find(&self, family: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let same = |series: &&Series| {
            series.family == family
                && series.labels.len() == labels.len()
                && series.labels.iter().zip(labels).all(|(a, b)| a.0 == b.0 && a.1 == b.1)
        };
        self.0.iter().find(|(series, _)| same(series)).map(|(_, value)| value)
    }

    /// All series, grouped by family.
    pub fn iter(&self) -> impl Iterator<Item = (&Series, &Value)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_outlive_their_process() {
        let times = Times::default();
        times.add(Duration::from_micros(500));
        times.add(Duration::from_secs(60));
        let mut one = Counts::default();
        one.put(&families::APP_ERRORS, &[("app", "x")], Value::Count(2));
        one.put(&families::GENERATION_REQUESTS, &[("generation", "1")], Value::Count(2));
        one.put(&families::CONNECTIONS_OPEN, &[], Value::Level(3));
        one.put(&families::TURN_WAIT_SECONDS, &[], times.value());
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&json).unwrap(), one);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!(sum.find("paster_app_errors_total", &[("app", "x")]), Some(&Value::Count(4)));
        assert_eq!(sum.find("paster_connections_open", &[]), Some(&Value::Level(6)));
        let Some(Value::Times { count, nanos, buckets }) = sum.find("paster_turn_wait_seconds", &[]) else {
            panic!()
        };
        assert_eq!((*count, *nanos), (4, 2 * 60_000_500_000));
        assert_eq!((buckets[0], buckets[14]), (2, 2));
        let ended = sum.ended();
        assert_eq!(ended.iter().count(), 2);
        assert!(ended.find("paster_app_errors_total", &[("app", "x")]).is_some());
    }
}
