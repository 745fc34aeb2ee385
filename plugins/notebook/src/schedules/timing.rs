//! When a schedule runs: a cron expression in a time zone, as in paster's table `[task]`.

use std::str::FromStr;

use chrono::{DateTime, Local, Utc};
use croner::Cron;
use serde::{Deserialize, Serialize};

/// The time zone of an expression.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// The server's (`TZ`, `/etc/localtime`).
    #[default]
    Local,
    /// UTC.
    Utc,
}

impl Zone {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Zone::Local => "local",
            Zone::Utc => "utc",
        }
    }

    /// The zone with this name.
    pub fn parse(name: &str) -> Option<Zone> {
        [Zone::Local, Zone::Utc].into_iter().find(|zone| zone.name() == name)
    }
}

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Timing {
    cron: Cron,
    zone: Zone,
}

impl Timing {
    /// # Errors
    /// What is wrong with the expression, for users.
    pub fn parse(text: &str, zone: Zone) -> Result<Timing, String> {
        let cron = Cron::from_str(text.trim()).map_err(|error| {
            format!(
                "`{text}` is not a cron expression such as `0 3 * * 1-5` (3 o'clock on weekdays): {error}"
            )
        })?;
        let timing = Timing { cron, zone };
        match timing.next(crate::store::now()) {
            Some(_) => Ok(timing),
            None => Err(format!("no time matches `{text}`")),
        }
    }

    /// The first time after `after`, both in milliseconds since 1970.
    pub fn next(&self, after: i64) -> Option<i64> {
        let after = DateTime::<Utc>::from_timestamp_millis(after)?;
        match self.zone {
            Zone::Utc => {
                self.cron.find_next_occurrence(&after, false).ok().map(|time| time.timestamp_millis())
            }
            Zone::Local => {
                let after = after.with_timezone(&Local);
                self.cron.find_next_occurrence(&after, false).ok().map(|time| time.timestamp_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time() {
        let timing = Timing::parse("30 3 * * *", Zone::Utc).unwrap();
        let day = 24 * 3600 * 1000;
        let first = timing.next(0).unwrap();
        assert_eq!(first, (3 * 60 + 30) * 60 * 1000);
        assert_eq!(timing.next(first), Some(first + day));
        for wrong in ["", "soon", "61 * * * *", "0 0 30 2 *"] {
            assert!(Timing::parse(wrong, Zone::Local).is_err(), "{wrong}");
        }
    }
}
