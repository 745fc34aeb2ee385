//! When a task runs.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, Utc};
use croner::Cron;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The shortest `every`.
const SHORTEST: Duration = Duration::from_millis(100);

/// The time zone of `cron`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Zone {
    /// The machine's (`TZ`, `/etc/localtime`).
    #[default]
    Local,
    /// UTC.
    Utc,
}

/// When a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Schedule {
    /// Repeatedly, with this interval.
    Every(Duration),
    /// According to a cron pattern.
    Cron(#[serde(with = "pattern")] Box<Cron>, Zone),
    /// Only by `paster task run`.
    ByHand,
}

/// A cron pattern for another process: its text.
mod pattern {
    use std::str::FromStr;

    use croner::Cron;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(cron: &Cron, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(cron.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Box<Cron>, D::Error> {
        Cron::from_str(&String::deserialize(from)?).map(Box::new).map_err(D::Error::custom)
    }
}

impl Schedule {
    /// # Errors
    /// Why the text is not a time span.
    pub(crate) fn every(text: &str) -> Result<Schedule, String> {
        let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        match span >= SHORTEST {
            true => Ok(Schedule::Every(span)),
            false => Err("it must be at least 100ms".to_owned()),
        }
    }

    /// # Errors
    /// Why the text is not a pattern, or that no time matches it.
    pub(crate) fn cron(text: &str, zone: Zone) -> Result<Schedule, String> {
        let cron = Cron::from_str(text).map_err(|error| error.to_string())?;
        let schedule = Schedule::Cron(Box::new(cron), zone);
        let now = SystemTime::now();
        match schedule.next(now, now) {
            Some(_) => Ok(schedule),
            None => Err("no time matches it".to_owned()),
        }
    }

    /// The first time after `now`, for a schedule that started at `began`. Times in between are skipped.
    pub(crate) fn next(&self, began: SystemTime, now: SystemTime) -> Option<SystemTime> {
        match self {
            Schedule::ByHand => None,
            Schedule::Every(span) => {
                // The clock was set back.
                let Ok(passed) = now.duration_since(began) else { return now.checked_add(*span) };
                let rounds = passed.as_nanos() / span.as_nanos() + 1;
                let nanos = u64::try_from(rounds.checked_mul(span.as_nanos())?).ok()?;
                began.checked_add(Duration::from_nanos(nanos))
            }
            Schedule::Cron(cron, Zone::Local) => {
                cron.find_next_occurrence(&DateTime::<Local>::from(now), false).ok().map(Into::into)
            }
            Schedule::Cron(cron, Zone::Utc) => {
                cron.find_next_occurrence(&DateTime::<Utc>::from(now), false).ok().map(Into::into)
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Every(span) => write!(f, "every {}", humantime::format_duration(*span)),
            Schedule::Cron(cron, Zone::Local) => write!(f, "cron {}", cron.as_str()),
            Schedule::Cron(cron, Zone::Utc) => write!(f, "cron {} UTC", cron.as_str()),
            Schedule::ByHand => f.write_str("by hand"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn every_goes_by_its_beginning_and_leaves_out_what_was_missed() {
        let schedule = Schedule::every("5m").unwrap();
        let began = at("2030-01-01T00:00:00Z");
        assert_eq!(schedule.next(began, began), Some(at("2030-01-01T00:05:00Z")));
        assert_eq!(schedule.next(began, at("2030-01-01T00:05:00Z")), Some(at("2030-01-01T00:10:00Z")));
        assert_eq!(schedule.next(began, at("2030-01-02T13:01:00Z")), Some(at("2030-01-02T13:05:00Z")));
        assert_eq!(schedule.next(began, at("2029-01-01T00:00:00Z")), Some(at("2029-01-01T00:05:00Z")));
        assert!(Schedule::every("soon").is_err() && Schedule::every("1ms").is_err());
    }

    #[test]
    fn cron_goes_by_the_calendar() {
        let schedule = Schedule::cron("0 3 * * *", Zone::Utc).unwrap();
        let now = at("2030-01-31T03:00:00Z");
        assert_eq!(schedule.next(now, now), Some(at("2030-02-01T03:00:00Z")));
        assert_eq!(schedule.to_string(), "cron 0 3 * * * UTC");
        for wrong in ["", "0 3 * *", "61 * * * *", "0 0 30 2 *", "tomorrow"] {
            assert!(Schedule::cron(wrong, Zone::Local).is_err(), "{wrong}");
        }
    }
}
