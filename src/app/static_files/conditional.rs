//! Preconditions of RFC 9110, section 13: whether the client already has the content, or wants a different
//! one.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

/// The result of a request's preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Respond as if there were none.
    Proceed,
    /// 304: the client has this content.
    NotModified,
    /// 412: the client wants a version of the content that is gone.
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD for content with this strong entity tag and modification
/// time, in the order of section 13.2.2. If the time is unknown, conditions that compare it are ignored
/// (sections 13.1.3 and 13.1.4).
pub(super) fn judge(headers: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> Verdict {
    let modified = modified.map(whole_seconds);
    let compare = |name, holds: fn(&SystemTime, &SystemTime) -> bool| {
        modified.zip(date(headers, name)).is_some_and(|(modified, since)| holds(&modified, &since))
    };
    if headers.contains_key(IF_MATCH) {
        if !lists(headers, IF_MATCH, etag, false) {
            return Verdict::Failed;
        }
    } else if compare(IF_UNMODIFIED_SINCE, SystemTime::gt) {
        return Verdict::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if lists(headers, IF_NONE_MATCH, etag, true) {
            return Verdict::NotModified;
        }
    } else if compare(IF_MODIFIED_SINCE, SystemTime::le) {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether a `Range` field applies: there is no `If-Range`, or it names exactly this content (section
/// 13.1.5).
pub(super) fn range_holds(headers: &HeaderMap, etag: &str, modified: Option<SystemTime>) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    let Ok(value) = value.to_str() else { return false };
    if value.starts_with('"') {
        return value == etag;
    }
    let Some(modified) = modified.map(whole_seconds) else { return false };
    httpdate::parse_http_date(value).is_ok_and(|date| date == modified)
}

/// Whether one of the tags in all fields with this name is `etag` or `*`. A weak tag equals a strong one only
/// if `weak` is set.
fn lists(headers: &HeaderMap, name: http::HeaderName, etag: &str, weak: bool) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        // Our own tags contain no comma; a foreign tag with a comma matches nothing either way.
        value.split(',').map(str::trim).any(|tag| {
            tag == "*" || tag == etag || (weak && tag.strip_prefix("W/").is_some_and(|tag| tag == etag))
        })
    })
}

/// HTTP dates have whole seconds.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let changed = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let changed = changed + Duration::from_millis(500);
        let check = |fields: &[(&'static str, &'static str)], expected: Verdict| {
            let headers = fields.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            assert_eq!(judge(&headers.collect(), "\"a\"", Some(changed)), expected, "{fields:?}");
        };
        use Verdict::{Failed, NotModified, Proceed};
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        check(&[], Proceed);
        check(&[("if-none-match", "\"a\"")], NotModified);
        check(&[("if-none-match", "\"b\", W/\"a\"")], NotModified);
        check(&[("if-none-match", "*")], NotModified);
        check(&[("if-none-match", "\"b\"")], Proceed);
        check(&[("if-none-match", "\"b\""), ("if-modified-since", SAME)], Proceed);
        check(&[("if-modified-since", SAME)], NotModified);
        check(&[("if-modified-since", BEFORE)], Proceed);
        check(&[("if-modified-since", "yesterday")], Proceed);
        check(&[("if-match", "\"a\"")], Proceed);
        check(&[("if-match", "W/\"a\"")], Failed);
        check(&[("if-match", "\"b\"")], Failed);
        check(&[("if-match", "*"), ("if-none-match", "\"a\"")], NotModified);
        check(&[("if-unmodified-since", BEFORE)], Failed);
        check(&[("if-unmodified-since", SAME)], Proceed);
        for name in ["if-modified-since", "if-unmodified-since"] {
            for date in [SAME, "Thu, 01 Jan 1970 00:00:00 GMT"] {
                let headers = HeaderMap::from_iter([(
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(date),
                )]);
                assert_eq!(judge(&headers, "\"a\"", None), Proceed, "no known time: {name}: {date}");
            }
        }
    }
}
