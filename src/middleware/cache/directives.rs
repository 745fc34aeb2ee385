//! The fields `Cache-Control` and `CDN-Cache-Control`.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName};

/// The longest time in seconds: larger numbers mean as much (RFC 9111, section 1.2.2).
const LONGEST_SECS: u64 = 1 << 31;

/// The directives of a message, those that a cache uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    /// The fields that `no-cache="…"` and `private="…"` name: they are not stored.
    pub(super) unstored: Vec<HeaderName>,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    /// RFC 5861, section 3.
    pub(super) stale_while_revalidate: Option<u64>,
    /// RFC 5861, section 4.
    pub(super) stale_if_error: Option<u64>,
    /// Of a request; without a value any staleness is accepted.
    pub(super) max_stale: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    pub(super) only_if_cached: bool,
}

impl Directives {
    /// Those of `Cache-Control`.
    pub(super) fn read(headers: &HeaderMap) -> Directives {
        let mut directives = Directives::default();
        for value in headers.get_all(CACHE_CONTROL) {
            directives.add(&String::from_utf8_lossy(value.as_bytes()));
        }
        directives
    }

    /// Those of a response for this cache: of the first targeted field that it has, or else of `Cache-Control`.
    /// The second value is whether they come from a targeted field, which replaces `Expires` too (RFC 9213,
    /// section 2.2).
    pub(super) fn of_response(headers: &HeaderMap, targets: &[HeaderName]) -> (Directives, bool) {
        for target in targets {
            let values: Option<Vec<&str>> =
                headers.get_all(target).iter().map(|value| value.to_str().ok()).collect();
            let line = values.unwrap_or_default().join(",");
            if let Some(directives) = targeted(&line) {
                return (directives, true);
            }
        }
        (Directives::read(headers), false)
    }

    fn add(&mut self, line: &str) {
        for part in split(line) {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            self.set(&name.trim().to_ascii_lowercase(), value.map(str::trim));
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        let fields = value.map(unquoted).filter(|value| !value.is_empty());
        match name {
            "no-store" => self.no_store = true,
            "no-cache" | "private" if fields.is_some() => {
                let named = fields.into_iter().flat_map(|fields| fields.split(','));
                self.unstored.extend(named.filter_map(|name| HeaderName::try_from(name.trim()).ok()));
            }
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => set_secs(&mut self.max_age, value),
            "s-maxage" => set_secs(&mut self.s_maxage, value),
            "stale-while-revalidate" => set_secs(&mut self.stale_while_revalidate, value),
            "stale-if-error" => set_secs(&mut self.stale_if_error, value),
            "max-stale" if value.is_none() => self.max_stale = Some(LONGEST_SECS),
            "max-stale" => set_secs(&mut self.max_stale, value),
            "min-fresh" => set_secs(&mut self.min_fresh, value),
            _ => {} // unknown directives are ignored (section 5.2.3)
        }
    }
}

/// A time that is malformed, or that is there twice with different values, counts as zero: the response is stale
/// (RFC 9111, section 4.2.1).
fn set_secs(slot: &mut Option<u64>, value: Option<&str>) {
    let secs = value.map(unquoted).and_then(seconds).unwrap_or(0);
    *slot = match *slot {
        Some(before) if before != secs => Some(0),
        _ => Some(secs),
    };
}

/// A number of seconds (RFC 9111, section 1.2.2).
pub(super) fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(LONGEST_SECS).min(LONGEST_SECS))
}

/// The parts of a list: commas in quoted strings do not divide it (RFC 9110, section 5.6).
pub(super) fn split(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// A value without its quotes. (Escapes do not occur in the values that are used here.)
pub(super) fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// The directives of a targeted field, which is a dictionary of structured fields (RFC 9213, section 2.1, and RFC
/// 9651, section 3.2). `None` for an empty or a malformed one, which is ignored.
fn targeted(line: &str) -> Option<Directives> {
    let mut directives = Directives::default();
    let mut empty = true;
    for part in split(line) {
        empty = false;
        let member = part.split(';').next().unwrap_or_default().trim_end(); // parameters are ignored
        let (name, value) = match member.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (member, None),
        };
        let key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') || !name.chars().all(key) {
            return None;
        }
        let value = match value {
            Some("?0") => continue, // false: as if it were not there
            Some("?1") | None => None,
            Some(value) if seconds(value.trim_start_matches('-')).is_some() => Some(value),
            Some(value) if value.len() > 1 && value.starts_with('"') && value.ends_with('"') => {
                // A string where a number is expected makes the directive invalid.
                match name {
                    "max-age" | "s-maxage" => continue,
                    _ => Some(value),
                }
            }
            Some(value) if value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') => Some(value),
            Some(_) => return None,
        };
        // The last of several members with the same key holds.
        match name {
            "max-age" => directives.max_age = None,
            "s-maxage" => directives.s_maxage = None,
            _ => {}
        }
        directives.set(name, value);
    }
    (!empty).then_some(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Directives {
        let mut directives = Directives::default();
        directives.add(line);
        directives
    }

    #[test]
    fn directives_of_cache_control() {
        let max_age = |line: &str| read(line).max_age;
        assert_eq!(max_age("MaX-aGe=10"), Some(10));
        assert_eq!(max_age("max-age=\"10\""), Some(10));
        assert_eq!(max_age("max-age=010, extension=\"a, max-age=5\""), Some(10));
        assert_eq!(max_age("max-age=99999999999999999999"), Some(LONGEST_SECS));
        for wrong in
            ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age='9'", "max-age=1, max-age=2"]
        {
            assert_eq!(max_age(wrong), Some(0), "{wrong}");
        }
        assert_eq!(max_age("max-age=3, max-age=3"), Some(3));
        let fields = read("no-cache=\"Set-Cookie, x-a\", private=x-b");
        assert!(!fields.no_cache && !fields.private);
        assert_eq!(fields.unstored, ["set-cookie", "x-a", "x-b"]);
        assert!(read("NO-STORE").no_store && read("private=\"\"").private);
        assert_eq!(
            (read("max-stale").max_stale, read("max-stale=5").max_stale),
            (Some(LONGEST_SECS), Some(5))
        );
    }

    #[test]
    fn a_targeted_field_is_a_dictionary() {
        let max_age = |line: &str| targeted(line).map(|directives| directives.max_age);
        assert_eq!(max_age("max-age=60, no-cache"), Some(Some(60)));
        assert_eq!(max_age("max-age=60;a=b"), Some(Some(60)));
        assert_eq!(max_age("max-age=1, max-age=60"), Some(Some(60)));
        assert_eq!(max_age("max-age=\"60\""), Some(None));
        assert_eq!(max_age("max-age=-5"), Some(Some(0)));
        for ignored in ["", "Max-Age=60", "max-age =60", "max-age=6 0", "&"] {
            assert_eq!(max_age(ignored), None, "{ignored}");
        }
        assert!(!targeted("no-store=?0, max-age=1").unwrap().no_store);
    }
}
