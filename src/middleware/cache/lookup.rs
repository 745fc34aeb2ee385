//! Requests: which ones the cache answers, and with what.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, HeaderMap, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE,
    LOCATION, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode, Uri};

use super::answer::{CACHE_STATUS, CacheOutcome, CacheRequest};
use super::directives::{split, unquoted};
use super::entry::{CacheEntry, CacheKey};
use super::flights::Flown;
use super::policy::StoredUse;
use super::{CacheState, UNCACHEABLE};
use crate::body::{BoxFuture, Request, Response};
use crate::caches::Purge;
use crate::environ::Environ;
use crate::error::{BoxError, Result};
use crate::middleware::refusal::refusal;

const INVALIDATED_GROUPS: HeaderName = HeaderName::from_static("cache-group-invalidation");

impl CacheState {
    /// Answers a request.
    pub(super) fn call(self: Arc<Self>, request: Request) -> BoxFuture<Result<Response, BoxError>> {
        let Some(origin) = origin(&request) else { return self.next.handle(request) };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let script = request.extensions().get::<Environ>().map(|environ| environ.script_name.clone());
        let url = format!("{origin}{}{path}", script.as_deref().unwrap_or_default());
        let key = CacheKey { app: self.app.clone(), url: url.into() };
        match *request.method() {
            Method::GET | Method::HEAD if is_usual(request.headers()) => {
                Box::pin(async move { self.look_up(request, key).await })
            }
            Method::GET | Method::HEAD => self.pass("bypass", request),
            Method::OPTIONS | Method::TRACE => self.pass("method", request),
            _ => Box::pin(async move { self.change(request, key, &origin).await }),
        }
    }

    fn pass(
        self: Arc<Self>,
        reason: &'static str,
        request: Request,
    ) -> BoxFuture<Result<Response, BoxError>> {
        let response = self.next.handle(request);
        Box::pin(async move {
            Ok(self.marked(response.await?, CacheOutcome::Forwarded { reason, stored: false }))
        })
    }

    /// An unsafe method: what it may have changed is deleted (RFC 9111, section 4.4).
    async fn change(&self, request: Request, key: CacheKey, origin: &str) -> Result<Response, BoxError> {
        let response = self.next.handle(request).await?;
        if response.status().is_success() || response.status().is_redirection() {
            let mut urls = vec![key.url.to_string()];
            for name in [LOCATION, CONTENT_LOCATION] {
                let named = response.headers().get(name).and_then(|value| value.to_str().ok());
                urls.extend(named.and_then(|named| resolved(origin, named)));
            }
            let app = self.app.to_string();
            let mut purges: Vec<_> =
                urls.into_iter().map(|url| Purge::Url { app: app.clone(), url }).collect();
            let groups = response.headers().get_all(INVALIDATED_GROUPS).iter();
            let groups = groups.filter_map(|value| value.to_str().ok()).flat_map(split);
            let groups: Vec<_> = groups.map(|group| unquoted(group).to_owned()).collect();
            if !groups.is_empty() {
                purges.push(Purge::Groups { app, origin: origin.to_owned(), groups });
            }
            for purge in purges {
                if !self.store.is_remote() {
                    self.host.invalidate(&purge);
                }
                self.delete(purge).await;
            }
        }
        Ok(self.marked(response, CacheOutcome::Forwarded { reason: "method", stored: false }))
    }

    async fn look_up(self: Arc<Self>, request: Request, key: CacheKey) -> Result<Response, BoxError> {
        let until = tokio::time::Instant::now() + self.collapse;
        // Whether it has waited for another request, and whether it asks the app itself now.
        let (mut waited, mut alone) = (false, false);
        loop {
            let now = SystemTime::now();
            let flown = self.flights.find(&key, request.headers());
            let collapsed = flown.is_some();
            let found = match flown {
                Some(entry) => Some(entry),
                None => self.store.find(&key, request.headers()).await,
            };
            let stale = match found {
                Some(entry) => match self.policy.usable(&entry, request.headers(), now) {
                    StoredUse::Fresh | StoredUse::Accepted => {
                        let outcome = if collapsed || waited {
                            CacheOutcome::Collapsed
                        } else {
                            CacheOutcome::Hit(entry.ttl(now))
                        };
                        return Ok(self.answer(&entry, &asked(&request), outcome));
                    }
                    StoredUse::WhileRevalidate => {
                        self.clone().refresh(&request, &key, &entry);
                        return Ok(self.answer(&entry, &asked(&request), CacheOutcome::Hit(entry.ttl(now))));
                    }
                    StoredUse::AfterValidation => Some(entry),
                },
                None => None,
            };
            if self.policy.asked(request.headers()).only_if_cached {
                let text = "The response is not in the cache.\n";
                let response = refusal(StatusCode::GATEWAY_TIMEOUT, "not in the cache", text);
                return Ok(
                    self.marked(response, CacheOutcome::Forwarded { reason: "request", stored: false })
                );
            }
            if *request.method() == Method::HEAD || request.headers().contains_key(RANGE) {
                let reason = if stale.is_some() { "stale" } else { "miss" };
                return self.pass(reason, request).await;
            }
            if alone || !self.may_wait(&request, &key) {
                return self.fetch(request, key, stale, None).await;
            }
            match self.flights.join(&key) {
                Flown::Lead(guard) => return self.fetch(request, key, stale, Some(guard)).await,
                Flown::Follow(mut answered) => {
                    waited = true;
                    // If the other request has ended without a response, because its client has left, for example,
                    // one of those that wait asks the app.
                    let answered_before = *answered.borrow();
                    let ended = !answered_before
                        && matches!(tokio::time::timeout_at(until, answered.changed()).await, Ok(Err(_)));
                    alone = !ended;
                }
            }
        }
    }

    /// Whether the response to another request may be one for this request too.
    fn may_wait(&self, request: &Request, key: &CacheKey) -> bool {
        let uncacheable = || {
            let mut urls = self.uncacheable.lock();
            urls.get(key).is_some_and(|since| since.elapsed().is_ok_and(|since| since < UNCACHEABLE))
        };
        !self.collapse.is_zero() && !request.headers().contains_key(AUTHORIZATION) && !uncacheable()
    }

    /// The response from the cache.
    pub(super) fn answer(&self, entry: &CacheEntry, asked: &CacheRequest, outcome: CacheOutcome) -> Response {
        self.marked(entry.answer(asked, None), outcome)
    }

    /// Counts a request, and adds `Cache-Status` to its response.
    pub(super) fn marked(&self, mut response: Response, outcome: CacheOutcome) -> Response {
        let from_app = matches!(outcome, CacheOutcome::Forwarded { .. });
        let length = http_body::Body::size_hint(response.body()).exact().unwrap_or(0);
        self.counters.add(outcome, if from_app { 0 } else { length });
        if self.status_field {
            response.headers_mut().append(CACHE_STATUS, outcome.field());
        }
        response
    }
}

/// The scheme and the authority of a request. Without the gate's facts, it is not the cache's.
fn origin(request: &Request) -> Option<String> {
    let environ = request.extensions().get::<Environ>()?;
    let (scheme, default) = if environ.secure { ("https", 443) } else { ("http", 80) };
    Some(match environ.port {
        Some(port) if port != default => format!("{scheme}://{}:{port}", environ.host),
        _ => format!("{scheme}://{}", environ.host),
    })
}

/// Whether a request is one that a stored response can answer: without a body, an upgrade, or a condition for a
/// change.
fn is_usual(headers: &HeaderMap) -> bool {
    let body = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let other = [TRANSFER_ENCODING, UPGRADE, IF_MATCH, IF_UNMODIFIED_SINCE];
    !body && !other.iter().any(|name| headers.contains_key(name))
}

/// What a stored response depends on.
pub(super) fn asked(request: &Request) -> CacheRequest {
    CacheRequest { method: request.method().clone(), headers: request.headers().clone() }
}

/// The URL that a field names, if it belongs to the same origin.
fn resolved(origin: &str, named: &str) -> Option<String> {
    if named.starts_with('/') && !named.starts_with("//") {
        return Some(format!("{origin}{}", named.split('#').next()?));
    }
    let uri: Uri = named.parse().ok()?;
    let of = format!("{}://{}", uri.scheme_str()?, uri.authority()?.as_str().to_ascii_lowercase());
    (of == origin).then(|| format!("{origin}{}", uri.path_and_query().map_or("/", |path| path.as_str())))
}
