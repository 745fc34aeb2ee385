//! Times as RFC 3339 strings.

use std::num::NonZeroU8;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

/// Six digits after the point, also if they are zeros.
const MICROSECONDS: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(6) })
    .set_year_is_six_digits(false)
    .encode();

/// `time` as RFC 3339 in UTC with microseconds: `2026-01-02T03:04:05.678901Z`. All results have the same length, so they sort
/// as text.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Iso8601::<MICROSECONDS>).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fractions_keep_their_zeros() {
        let at = |nanos| rfc3339(SystemTime::UNIX_EPOCH + Duration::new(1_767_323_045, nanos));
        assert_eq!(at(0), "2026-01-02T03:04:05.000000Z");
        assert_eq!(at(580_000_999), "2026-01-02T03:04:05.580000Z");
    }
}
