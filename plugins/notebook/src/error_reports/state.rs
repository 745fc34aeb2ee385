//! Recent errors and the times of sent emails, in a file that all workers of a server share.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;

/// How many different errors are kept.
const KEPT: usize = 100;
/// How long an error is kept after it last occurred, in milliseconds.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
const HOUR_MS: i64 = 3600 * 1000;

/// An error that occurred once or several times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentError {
    /// The module that logged it.
    pub target: String,
    /// The text, which is the same each time.
    pub message: String,
    /// The cause and the place, as of the last time.
    pub detail: String,
    /// The id of the last request in which it occurred.
    pub request_id: Option<String>,
    /// How often it occurred.
    pub count: u64,
    /// When it first occurred, in milliseconds since 1970.
    pub first: i64,
    /// When it last occurred.
    pub last: i64,
    /// How often it occurred since the last email that has it.
    unsent: u64,
    unsent_first: i64,
}

impl RecentError {
    pub(super) fn new(
        target: &str,
        message: String,
        detail: String,
        request_id: Option<String>,
        is_sent: bool,
        at: i64,
    ) -> RecentError {
        let (target, unsent) = (target.to_owned(), u64::from(is_sent));
        RecentError {
            target,
            message,
            detail,
            request_id,
            count: 1,
            first: at,
            last: at,
            unsent,
            unsent_first: at,
        }
    }

    /// As the API and the command line show it.
    pub(crate) fn to_json(&self) -> Value {
        let time = |millis: i64| {
            clock::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis.max(0).cast_unsigned()))
        };
        json!({
            "message": self.message, "detail": self.detail, "count": self.count, "first": time(self.first),
            "last": time(self.last), "request_id": self.request_id, "module": self.target,
        })
    }

    fn is_same(&self, other: &RecentError) -> bool {
        self.target == other.target && self.message == other.message
    }
}

/// The limits of emails about errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct MailLimits {
    /// The time between two of them.
    pub(super) interval_ms: u64,
    /// How many there may be in an hour.
    pub(super) per_hour: usize,
}

/// What the file has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ErrorState {
    /// When emails were sent in the last hour, in milliseconds since 1970.
    mails: Vec<i64>,
    pub(super) errors: Vec<RecentError>,
}

impl ErrorState {
    /// Adds an error, which may have occurred several times.
    pub(super) fn add(&mut self, new: RecentError) {
        let Some(known) = self.errors.iter_mut().find(|known| known.is_same(&new)) else {
            self.errors.push(new);
            return self.forget();
        };
        if known.unsent == 0 {
            known.unsent_first = new.unsent_first;
        }
        known.count += new.count;
        known.unsent += new.unsent;
        known.first = known.first.min(new.first);
        if new.last >= known.last {
            (known.last, known.detail) = (new.last, new.detail);
            known.request_id = new.request_id.or(known.request_id.take());
        }
    }

    /// Forgets old errors, and the oldest of too many: first those that were sent.
    fn forget(&mut self) {
        let newest = self.errors.iter().map(|error| error.last).max().unwrap_or_default();
        self.errors.retain(|error| error.unsent > 0 || newest - error.last < KEPT_MS);
        while self.errors.len() > KEPT {
            let oldest =
                self.errors.iter().enumerate().min_by_key(|(_, error)| (error.unsent > 0, error.last));
            let Some((at, _)) = oldest else { return };
            self.errors.remove(at);
        }
    }

    /// When an email may be sent, in milliseconds from now; `None` if there is nothing to send.
    pub(super) fn due(&self, now: i64, limits: MailLimits) -> Option<u64> {
        if self.errors.iter().all(|error| error.unsent == 0) {
            return None;
        }
        // Times after `now` are from before the clock was set back.
        let sent: Vec<i64> = self.mails.iter().copied().filter(|at| *at <= now).collect();
        let interval = i64::try_from(limits.interval_ms).unwrap_or(i64::MAX);
        let after_last = sent.last().map_or(now, |last| last.saturating_add(interval));
        let crowded = sent.len().checked_sub(limits.per_hour).and_then(|at| sent.get(at));
        let after_hour = crowded.map_or(now, |at| at + HOUR_MS);
        Some(u64::try_from(after_last.max(after_hour) - now).unwrap_or_default())
    }

    /// If an email may be sent now, returns the errors for it: how often they occurred since the last email. They then count as
    /// sent.
    pub(super) fn claim(&mut self, now: i64, limits: MailLimits) -> Option<Vec<RecentError>> {
        self.due(now, limits).filter(|wait| *wait == 0)?;
        self.mails.retain(|at| {
            *at <= now && now - at < HOUR_MS.max(i64::try_from(limits.interval_ms).unwrap_or(i64::MAX))
        });
        self.mails.push(now);
        let mut claimed = Vec::new();
        for error in self.errors.iter_mut().filter(|error| error.unsent > 0) {
            claimed.push(RecentError { count: error.unsent, first: error.unsent_first, ..error.clone() });
            error.unsent = 0;
        }
        claimed.sort_by_key(|error| std::cmp::Reverse(error.count));
        Some(claimed)
    }

    /// The opposite of [`ErrorState::claim`], except that the attempt counts as an email.
    pub(super) fn restore(&mut self, claimed: &[RecentError]) {
        for error in claimed {
            if let Some(known) = self.errors.iter_mut().find(|known| known.is_same(error)) {
                known.unsent += error.count;
                known.unsent_first = error.first;
            }
        }
    }
}

/// Takes the lock for the file. It is released when the value is dropped.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let path = folder.join("errors.lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Reads the file. What cannot be read counts as empty, because nothing depends on it.
pub(super) fn read(folder: &Path) -> ErrorState {
    let text = std::fs::read(folder.join("errors.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Replaces the file.
pub(super) fn write(folder: &Path, state: &ErrorState) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.persist(folder.join("errors.json")).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MailLimits = MailLimits { interval_ms: 600_000, per_hour: 2 };
    const MINUTE: i64 = 60_000;

    fn error(message: &str, at: i64) -> RecentError {
        RecentError::new("t", message.to_owned(), format!("at {at}"), Some(format!("r{at}")), true, at)
    }

    #[test]
    fn emails_keep_their_distance_and_their_number_per_hour() {
        let mut state = ErrorState::default();
        assert_eq!(state.claim(0, LIMITS), None);
        state.add(error("a", 1));
        let first = state.claim(1, LIMITS).unwrap();
        assert_eq!((first.len(), first[0].count), (1, 1));
        for at in 2..12 {
            state.add(error("a", at));
        }
        state.add(error("b", 12));
        assert_eq!((state.claim(12, LIMITS), state.due(12, LIMITS)), (None, Some(599_989)));
        let second = state.claim(10 * MINUTE + 1, LIMITS).unwrap();
        let a = &second[0];
        assert_eq!((a.count, a.first, a.last, a.detail.as_str()), (10, 2, 11, "at 11"));
        assert_eq!(a.request_id.as_deref(), Some("r11"));
        assert_eq!(state.errors[0].count, 11);
        // Two in this hour.
        state.add(error("a", 11 * MINUTE));
        assert_eq!(state.claim(30 * MINUTE, LIMITS), None);
        assert_eq!(state.due(30 * MINUTE, LIMITS), Some(30 * 60_000 + 1));
        assert_eq!(state.claim(60 * MINUTE + 1, LIMITS).unwrap().len(), 1);
        // The clock was set back.
        state.add(error("a", 5));
        assert!(state.claim(5, LIMITS).is_some());
    }

    #[test]
    fn what_was_not_sent_is_in_the_next_email() {
        let mut state = ErrorState::default();
        state.add(error("a", 1));
        let claimed = state.claim(1, LIMITS).unwrap();
        state.add(error("a", 2));
        state.restore(&claimed);
        assert_eq!(state.claim(3, LIMITS), None, "the attempt counts");
        let again = state.claim(20 * MINUTE, LIMITS).unwrap();
        assert_eq!((again[0].count, again[0].first), (2, 1));
    }

    #[test]
    fn the_oldest_errors_are_forgotten() {
        let mut state = ErrorState::default();
        state.add(error("unsent", 0));
        for at in 1..300 {
            let sent = RecentError { unsent: 0, ..error(&at.to_string(), at) };
            state.add(sent);
        }
        assert_eq!(state.errors.len(), KEPT);
        assert!(state.errors[0].message == "unsent" && state.errors[1].message == "201");
        state.add(RecentError { unsent: 0, ..error("later", KEPT_MS + 1000) });
        assert_eq!(state.errors.len(), 2);
    }

    #[test]
    fn a_damaged_file_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = ErrorState::default();
        state.add(error("a", 1));
        write(folder.path(), &state).unwrap();
        assert_eq!(read(folder.path()), state);
        std::fs::write(folder.path().join("errors.json"), "{\"mails\": [").unwrap();
        assert_eq!(read(folder.path()), ErrorState::default());
    }
}
