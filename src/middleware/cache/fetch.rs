//! Requests to the app, and what becomes of its responses.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{
    CONTENT_LENGTH, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::CacheState;
use super::answer::{CacheOutcome, CacheRequest};
use super::entry::{CacheEntry, CacheKey, StoredBody, stored_fields, tags};
use super::flights::{FlightGuard, Flown};
use super::growing::{Growing, ReceivedBody};
use super::lookup::asked;
use super::policy::{Storable, is_replaceable, may_replace_error};
use super::store::PurgeMark;
use crate::body::{Body, Request, Response};
use crate::environ::Environ;
use crate::error::{BoxError, Result};

/// Maximum time in which the body of a response is received that is stored.
const RECEIVING: Duration = Duration::from_secs(600);

/// A request to the app.
struct Fetch {
    key: CacheKey,
    asked: CacheRequest,
    /// When it was sent.
    at: SystemTime,
    /// What had been deleted.
    mark: PurgeMark,
    guard: Option<FlightGuard>,
    reason: &'static str,
}

impl CacheState {
    /// Asks the app, and stores its response if that is allowed. `stale` is the stored response, which is validated.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        mut request: Request,
        key: CacheKey,
        stale: Option<Arc<CacheEntry>>,
        guard: Option<FlightGuard>,
    ) -> Result<Response, BoxError> {
        let at = SystemTime::now();
        let reason = match &stale {
            Some(entry) if entry.ttl(at) > 0 && !entry.freshness.no_cache => "request",
            Some(_) => "stale",
            None => "miss",
        };
        let asked = asked(&request);
        let mark = PurgeMark { purges: self.purges.count(), deletions: self.store.deletions(&key).await };
        let fetch = Fetch { key, asked, at, mark, guard, reason };
        let validates = stale.as_ref().is_some_and(|entry| condition(request.headers_mut(), &entry.headers));
        let result = self.next.handle(request).await;
        let failed = result.as_ref().map_or(true, |response| is_replaceable(response.status()));
        if let Some(entry) =
            stale.as_ref().filter(|entry| failed && may_replace_error(entry, SystemTime::now()))
        {
            if let Err(error) = &result {
                tracing::warn!(url = &*fetch.key.url, "sent a stale response instead of an error: {error}");
            }
            let status = result.ok().map(|response| response.status());
            return Ok(self.answer(entry, &fetch.asked, CacheOutcome::StaleOnError(status)));
        }
        let response = result?;
        match stale {
            Some(entry) if validates && response.status() == StatusCode::NOT_MODIFIED => {
                Ok(self.validated(fetch, &entry, response.headers()).await)
            }
            stale => self.received(fetch, stale.is_some(), response).await,
        }
    }

    /// Validates a stale response in the background, unless that is happening already.
    pub(super) fn refresh(self: Arc<Self>, request: &Request, key: &CacheKey, entry: &Arc<CacheEntry>) {
        let Flown::Lead(guard) = self.flights.join(key) else { return };
        let mut own = Request::new(Body::empty());
        *own.method_mut() = Method::GET;
        *own.uri_mut() = request.uri().clone();
        *own.headers_mut() = request.headers().clone();
        [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE]
            .iter()
            .for_each(|name| drop(own.headers_mut().remove(name)));
        *own.extensions_mut() = request.extensions().clone();
        if let Some(environ) = own.extensions_mut().get_mut::<Environ>() {
            environ.handle = Default::default(); // the client's request ends before
        }
        let (key, entry) = (key.clone(), entry.clone());
        tokio::spawn(async move {
            let url = key.url.clone();
            match self.fetch(own, key, Some(entry), Some(guard)).await {
                // Its body must be read if nothing else reads it.
                Ok(response) => drop(response.into_body().collect().await),
                Err(error) => tracing::warn!(url = &*url, "cannot refresh a cached response: {error}"),
            }
        });
    }

    /// The stored response with the new fields (RFC 9111, section 4.3.4).
    async fn validated(&self, fetch: Fetch, stale: &Arc<CacheEntry>, new: &HeaderMap) -> Response {
        let mut headers = stale.headers.clone();
        let added = stored_fields(new, &[]);
        for name in added.keys().filter(|name| !is_of_body(name.as_str())) {
            headers.remove(name);
            for value in added.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let now = SystemTime::now();
        // A 304 without `Age` comes from the app itself, so the age of before does not count.
        if !new.contains_key(http::header::AGE) {
            headers.remove(http::header::AGE);
        }
        if !new.contains_key(http::header::DATE) {
            headers.remove(http::header::DATE);
        }
        let storable = self.policy.storable(&fetch.asked.headers, (stale.status, &headers), (fetch.at, now));
        let Some(Storable { freshness, initial_age, selecting, .. }) = storable else {
            self.delete(crate::caches::Purge::Url {
                app: self.app.to_string(),
                url: fetch.key.url.to_string(),
            })
            .await;
            return self.answer(
                &CacheEntry { headers, ..CacheEntry::clone(stale) },
                &fetch.asked,
                CacheOutcome::Validated,
            );
        };
        let tags = tags(&headers);
        let entry = CacheEntry {
            headers,
            selecting,
            tags,
            received: now,
            initial_age,
            freshness,
            ..CacheEntry::clone(stale)
        };
        let entry = Arc::new(entry);
        self.put(entry.clone(), fetch.mark).await;
        self.answer(&entry, &fetch.asked, CacheOutcome::Validated)
    }

    /// A new response: stored if that is allowed, passed on in any case.
    async fn received(
        self: &Arc<Self>,
        fetch: Fetch,
        replaces: bool,
        response: Response,
    ) -> Result<Response, BoxError> {
        let now = SystemTime::now();
        let (status, headers) = (response.status(), response.headers());
        let storable = self.policy.storable(&fetch.asked.headers, (status, headers), (fetch.at, now));
        let length = announced(&response);
        let Some(storable) = storable.filter(|_| length.is_none_or(|length| length <= self.max_entry_bytes))
        else {
            return Ok(self.unstored(fetch, replaces, response).await);
        };
        let (head, body) = response.into_parts();
        let entry = CacheEntry {
            key: fetch.key.clone(),
            status,
            headers: stored_fields(&head.headers, &storable.unstored),
            selecting: storable.selecting,
            tags: tags(&head.headers),
            received: now,
            initial_age: storable.initial_age,
            freshness: storable.freshness,
            body: StoredBody::Memory(bytes::Bytes::new()),
        };
        let outcome = CacheOutcome::Forwarded { reason: fetch.reason, stored: true };
        let entry = if body.is_whole() {
            let entry =
                Arc::new(CacheEntry { body: StoredBody::Memory(body.collect().await?.to_bytes()), ..entry });
            self.put(entry.clone(), fetch.mark).await;
            entry
        } else {
            let file = match self.store.file().await {
                Ok(file) => file,
                Err(error) => {
                    tracing::error!("cannot store a response: {error}");
                    let outcome = CacheOutcome::Forwarded { reason: fetch.reason, stored: false };
                    return Ok(self.marked(Response::from_parts(head, body), outcome));
                }
            };
            let growing = Growing::new(length, file);
            let entry = Arc::new(CacheEntry { body: StoredBody::Growing(growing.clone()), ..entry });
            // Without a length it may turn out to be too long, and then only one client could have it.
            if let Some(guard) = fetch.guard.as_ref().filter(|_| length.is_some()) {
                guard.answered(Some(entry.clone()));
            }
            self.keep(entry.clone(), growing, body, (fetch.mark, fetch.guard));
            entry
        };
        let mut answer = entry.answer(&fetch.asked, Some(head.headers));
        *answer.extensions_mut() = head.extensions;
        Ok(self.marked(answer, outcome))
    }

    /// Receives a body in a separate task, and then stores the response.
    fn keep(
        self: &Arc<Self>,
        entry: Arc<CacheEntry>,
        growing: Arc<Growing>,
        body: Body,
        (mark, guard): (PurgeMark, Option<FlightGuard>),
    ) {
        let cache = self.clone();
        tokio::spawn(async move {
            let receive = growing.receive(body, cache.max_entry_bytes);
            let body = match tokio::time::timeout(RECEIVING, receive).await {
                Ok(Some(ReceivedBody::Memory(bytes))) => StoredBody::Memory(bytes),
                Ok(Some(ReceivedBody::File(file, length))) => StoredBody::File(file, length),
                _ => {
                    cache.uncacheable.lock().put(entry.key.clone(), SystemTime::now());
                    return;
                }
            };
            cache.put(Arc::new(CacheEntry { body, ..CacheEntry::clone(&entry) }), mark).await;
            drop(guard);
        });
    }

    /// Stores a response, unless it was deleted since it was requested.
    async fn put(&self, entry: Arc<CacheEntry>, mark: PurgeMark) {
        if self.purges.names_since(mark.purges, &entry) {
            return;
        }
        self.store.put(entry.clone(), mark).await;
        if self.purges.names_since(mark.purges, &entry) {
            let purge =
                crate::caches::Purge::Url { app: self.app.to_string(), url: entry.key.url.to_string() };
            self.store.purge(purge).await;
        }
    }

    /// A response that is not stored. It replaces a stored one, unless it is an error.
    async fn unstored(&self, fetch: Fetch, replaces: bool, response: Response) -> Response {
        if replaces && !response.status().is_server_error() {
            let purge =
                crate::caches::Purge::Url { app: self.app.to_string(), url: fetch.key.url.to_string() };
            self.store.purge(purge).await;
        }
        if let Some(guard) = &fetch.guard {
            guard.answered(None);
        }
        if response.status() != StatusCode::NOT_MODIFIED {
            self.uncacheable.lock().put(fetch.key, SystemTime::now());
        }
        self.marked(response, CacheOutcome::Forwarded { reason: fetch.reason, stored: false })
    }
}

/// Makes the request conditional on the stored response's validators; `false` if it has none (RFC 9111, section
/// 4.3.1). The client's own conditions are compared with the result.
fn condition(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    let (etag, modified) = (stored.get(ETAG), stored.get(LAST_MODIFIED));
    if etag.is_none() && modified.is_none() {
        return false;
    }
    for (name, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, modified)] {
        match value {
            Some(value) => drop(request.insert(name, value.clone())),
            None => drop(request.remove(name)),
        }
    }
    true
}

/// Fields that describe the stored body, which a 304 does not change (RFC 9111, section 3.2).
fn is_of_body(name: &str) -> bool {
    ["content-encoding", "content-length", "content-range", "content-type"].contains(&name)
}

/// The length of the body, if it is known before it has arrived.
fn announced(response: &Response) -> Option<u64> {
    let field = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    response.body().size_hint().exact().or(field)
}
