//! Times.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Converts an instant, which would mean nothing to another program.
pub(crate) fn time_of(instant: Instant) -> SystemTime {
    SystemTime::now() - instant.elapsed()
}

/// The inverse of [`time_of`].
pub(crate) fn instant_of(time: SystemTime) -> Instant {
    let now = Instant::now();
    now.checked_sub(time.elapsed().unwrap_or_default()).unwrap_or(now)
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
