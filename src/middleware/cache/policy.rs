//! What may be stored, and when it may be used: RFC 9111, sections 3 and 4. No I/O.
//!
//! Own code: http-cache-semantics knows neither stale-while-revalidate, stale-if-error nor targeted fields, and it
//! keeps only one of several fields with the same name.

use std::time::{Duration, SystemTime};

use http::header::{AGE, AUTHORIZATION, DATE, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED, SET_COOKIE};
use http::header::{PRAGMA, TRAILER};
use http::{HeaderValue, StatusCode};

use super::directives::{Directives, seconds, split};
use super::entry::{CacheEntry, Freshness, has_validator, selecting};

/// Statuses whose responses may be stored without explicit freshness (RFC 9110, section 15.1).
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
/// Statuses that this cache understands, for `must-understand`.
const UNDERSTOOD: [u16; 15] = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501];
/// The longest time for which a heuristic may hold, in seconds.
const LONGEST_HEURISTIC: u64 = 24 * 3600;

/// The choices of a cache's options.
#[derive(Debug, Clone, Default)]
pub(super) struct Policy {
    /// Fields that replace `Cache-Control`.
    pub(super) targets: Vec<HeaderName>,
    /// The part of the time since the last change for which a response without explicit freshness is fresh.
    pub(super) heuristic_percent: u64,
    /// Whether requests may ask for validation.
    pub(super) client_directives: bool,
    /// The default for a response without this information, in seconds.
    pub(super) while_revalidate: u64,
    pub(super) if_error: u64,
}

/// What is stored of a response.
#[derive(Debug)]
pub(super) struct Storable {
    pub(super) freshness: Freshness,
    pub(super) initial_age: Duration,
    pub(super) selecting: Vec<(HeaderName, Option<String>)>,
    pub(super) unstored: Vec<HeaderName>,
}

/// How a stored response may be used for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredUse {
    /// As it is.
    Fresh,
    /// Stale, as the client accepts it.
    Accepted,
    /// Stale, while it is validated in the background.
    WhileRevalidate,
    /// After validation.
    AfterValidation,
}

impl Policy {
    /// What to store of a response to a GET; `None` if it must not be stored or could never be used.
    ///
    /// `asked` is when the request was sent, `now` when the head of the response arrived.
    pub(super) fn storable(
        &self,
        request: &HeaderMap,
        (status, headers): (StatusCode, &HeaderMap),
        (asked, now): (SystemTime, SystemTime),
    ) -> Option<Storable> {
        let (directives, is_targeted) = Directives::of_response(headers, &self.targets);
        let understood = UNDERSTOOD.contains(&status.as_u16());
        let partial = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let refused = status.is_informational()
            || partial
            || (directives.must_understand && !understood)
            || (directives.no_store && !directives.must_understand)
            || Directives::read(request).no_store
            || directives.private
            || headers.contains_key(TRAILER);
        // Section 3.5.
        let shared = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
        if refused || (request.contains_key(AUTHORIZATION) && !shared) {
            return None;
        }
        if headers.contains_key(SET_COOKIE) && !directives.unstored.contains(&SET_COOKIE) {
            return None;
        }
        let explicit = directives.s_maxage.or(directives.max_age);
        let explicit = explicit.or_else(|| if is_targeted { None } else { expires(headers, now) });
        let heuristic = HEURISTIC.contains(&status.as_u16()) || directives.public;
        let lifetime = match explicit {
            Some(lifetime) => lifetime,
            None if heuristic => self.heuristic(headers, now),
            None if directives.no_cache => 0,
            None => return None,
        };
        let freshness = self.freshness(&directives, lifetime, explicit.is_some());
        let says_nothing = explicit.is_none() && lifetime == 0 && !directives.no_cache && !directives.public;
        let later = freshness.while_revalidate > 0 || freshness.if_error > 0 || has_validator(headers);
        if says_nothing || (lifetime == 0 && !later) {
            return None;
        }
        let initial_age = initial_age(headers, asked, now);
        // Already stale, and nothing to validate it with.
        if initial_age.as_secs() >= lifetime && !later {
            return None;
        }
        let selecting = selecting(headers, request)?;
        Some(Storable { freshness, initial_age, selecting, unstored: directives.unstored })
    }

    /// Section 4.2.
    fn freshness(&self, directives: &Directives, lifetime: u64, explicit: bool) -> Freshness {
        // Section 5.2.2.10: `s-maxage` has the effect of `proxy-revalidate`.
        let must_revalidate =
            directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
        let stale = |own: Option<u64>, default: u64| {
            let default = if explicit && !must_revalidate { default } else { 0 };
            own.unwrap_or(default)
        };
        Freshness {
            lifetime,
            no_cache: directives.no_cache,
            must_revalidate,
            // Their own directives permit what `s-maxage` forbids: servers send both.
            while_revalidate: match directives.must_revalidate || directives.proxy_revalidate {
                true => 0,
                false => stale(directives.stale_while_revalidate, self.while_revalidate),
            },
            if_error: match directives.must_revalidate || directives.proxy_revalidate {
                true => 0,
                false => stale(directives.stale_if_error, self.if_error),
            },
        }
    }

    /// Section 4.2.2.
    fn heuristic(&self, headers: &HeaderMap, now: SystemTime) -> u64 {
        let changed = headers.get(LAST_MODIFIED).and_then(date);
        let date = headers.get(DATE).and_then(date).unwrap_or(now);
        let since = changed.and_then(|changed| date.duration_since(changed).ok()).unwrap_or_default();
        (since.as_secs() * self.heuristic_percent / 100).min(LONGEST_HEURISTIC)
    }

    /// How a stored response may be used, with what the request asks for (section 4).
    pub(super) fn usable(&self, entry: &CacheEntry, request: &HeaderMap, now: SystemTime) -> StoredUse {
        let (ttl, age) = (entry.ttl(now), entry.age(now));
        let Freshness { no_cache, must_revalidate, while_revalidate, .. } = entry.freshness;
        let asked = self.asked(request);
        let too_old = asked.max_age.is_some_and(|most| age > most);
        let too_late = asked.min_fresh.is_some_and(|least| ttl < least as i64);
        if no_cache || asked.no_cache || too_old || too_late {
            return StoredUse::AfterValidation;
        }
        if ttl > 0 {
            return StoredUse::Fresh;
        }
        if !must_revalidate && asked.max_stale.is_some_and(|most| -ttl <= most as i64) {
            return StoredUse::Accepted;
        }
        match -ttl < while_revalidate as i64 {
            true => StoredUse::WhileRevalidate,
            false => StoredUse::AfterValidation,
        }
    }

    /// The directives of a request, if they are obeyed. `Pragma` counts only without `Cache-Control` (section 5.4).
    pub(super) fn asked(&self, request: &HeaderMap) -> Directives {
        if !self.client_directives {
            return Directives::default();
        }
        let mut asked = Directives::read(request);
        if !request.contains_key(http::header::CACHE_CONTROL) {
            let mut pragma = request.get_all(PRAGMA).iter().filter_map(|value| value.to_str().ok());
            asked.no_cache =
                pragma.any(|value| split(value).any(|word| word.eq_ignore_ascii_case("no-cache")));
        }
        asked
    }
}

/// Whether a stale response may replace an error (RFC 5861, section 4).
pub(super) fn may_replace_error(entry: &CacheEntry, now: SystemTime) -> bool {
    !entry.freshness.no_cache && -entry.ttl(now) < entry.freshness.if_error as i64
}

/// The statuses that a stale response may replace.
pub(super) fn is_replaceable(status: StatusCode) -> bool {
    [500, 502, 503, 504].contains(&status.as_u16())
}

/// The lifetime by `Expires`, in seconds: zero if it is malformed or there several times (section 5.3).
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let mut values = headers.get_all(EXPIRES).iter();
    let first = values.next()?;
    let expires = date(first).filter(|_| values.next().is_none());
    let since = headers.get(DATE).and_then(date).unwrap_or(now);
    let lifetime = expires.and_then(|expires| expires.duration_since(since).ok()).unwrap_or_default();
    Some(lifetime.as_secs())
}

/// `corrected_initial_age` of section 4.2.3.
fn initial_age(headers: &HeaderMap, asked: SystemTime, now: SystemTime) -> Duration {
    let apparent = headers.get(DATE).and_then(date).and_then(|date| now.duration_since(date).ok());
    // Section 5.1: the first member of the first field, if it is a number.
    let first = headers.get(AGE).and_then(|value| split(value.to_str().ok()?).next());
    let told = Duration::from_secs(first.and_then(seconds).unwrap_or(0));
    let delay = now.duration_since(asked).unwrap_or_default();
    apparent.unwrap_or_default().max(told + delay)
}

/// A date of HTTP.
pub(super) fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}
