//! The texts of the emails to administrators.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::state::{MailLimits, RecentError};
use crate::clock;
use crate::mail::Mailer;

/// How many different errors an email has.
const SHOWN: usize = 20;

/// The subject of an email about `count` errors.
pub(super) fn subject(count: u64) -> String {
    match count {
        1 => "An error of the notebook".to_owned(),
        count => format!("{count} errors of the notebook"),
    }
}

/// The text of an email about these errors.
pub(super) fn text(errors: &[RecentError], mailer: &Mailer, limits: MailLimits) -> String {
    let mut text = format!("Errors that the notebook at {} logged on {}:\n", mailer.link(""), machine());
    for error in errors.iter().take(SHOWN) {
        let _ = write!(text, "\n{}\n", error.message);
        if !error.detail.is_empty() {
            let _ = writeln!(text, "  {}", error.detail);
        }
        let _ = match error.count {
            1 => write!(text, "  {}", time(error.last)),
            count => write!(text, "  {count} times, from {} to {}", time(error.first), time(error.last)),
        };
        if let Some(id) = &error.request_id {
            let _ = write!(text, "; request {id}");
        }
        let _ = writeln!(text, "; {}", error.target);
    }
    if let Some(more) = errors.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "\nand {more} other errors.");
    }
    let _ = write!(
        text,
        "\nTimes are in UTC. The log has more about each error, and {} lists recent ones.\n\
         The next of these emails is sent in {} seconds at the earliest, and at most {} in one hour.\n",
        mailer.link("admin"),
        limits.interval_ms / 1000,
        limits.per_hour
    );
    text
}

/// The text of a test.
pub(super) fn test(mailer: &Mailer) -> String {
    format!(
        "This is a test. Errors of the notebook at {} on {} are sent to this address.\n",
        mailer.link(""),
        machine()
    )
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn time(millis: i64) -> String {
    let since = Duration::from_millis(millis.max(0).cast_unsigned());
    let text = clock::rfc3339(SystemTime::UNIX_EPOCH + since);
    text.get(..19).unwrap_or(&text).replace('T', " ")
}
