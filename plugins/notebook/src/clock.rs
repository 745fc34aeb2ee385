//! Times as RFC 3339 strings.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `time` as RFC 3339 in UTC with microseconds: `2026-01-02T03:04:05.678901Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let micros = time.nanosecond() / 1000 * 1000;
    time.replace_nanosecond(micros).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}
