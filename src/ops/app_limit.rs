//! Limits the requests in flight of an app: to `max_in_flight` in its table, and by default to all but the
//! last tenth of what its server allows ([`Shares`](crate::inflight::Shares)).

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::body::{App, BoxFuture, Observer, Refused, RefusedHead, Request, Response, Watch};
use crate::config::Table;
use crate::environ::Environ;
use crate::error::{BoxError, Error};
use crate::server::gate::reply;

/// The limit of an app's requests in flight.
pub(super) enum AppLimit {
    /// This many.
    Fixed(usize),
    /// The share of the app with this number.
    Share(u32),
}

/// Reads `max_in_flight` of an app's table; faults go to `errors`.
pub(super) fn read(table: &Table, errors: &mut Vec<Error>) -> Option<usize> {
    let value = table.value().get("max_in_flight")?;
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let number = number.and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0);
    if number.is_none() {
        let error = table.error("max_in_flight", "`max_in_flight` must be a whole number of at least 1");
        errors.push(
            error.help("set it to the maximum number of requests in flight, such as `max_in_flight = 100`"),
        );
    }
    number
}

/// Wraps `app`, so that requests beyond `limit` get 503 with `Retry-After`. An observer of the app's calls
/// sees them; if there is none, `log` gets them.
pub(super) fn wrap(app: App, limit: AppLimit, log: Option<Arc<dyn Observer>>) -> App {
    let log = log.filter(|_| app.follower().is_none());
    app.within(|inner| match limit {
        AppLimit::Share(number) => App::from_call(move |request| {
            let environ = request.extensions().get::<Environ>();
            match environ.is_none_or(|environ| environ.handle.pass(Some(number))) {
                true => inner.handle(request),
                false => refuse(
                    "the app has used up its share of the requests in flight",
                    &request,
                    log.as_deref(),
                ),
            }
        }),
        AppLimit::Fixed(limit) => {
            let count = Arc::new(AtomicUsize::new(0));
            App::from_call(move |request| {
                let Some(place) = LimitPermit::take(&count, limit) else {
                    return refuse("the app has too many requests in flight", &request, log.as_deref());
                };
                if let Some(environ) = request.extensions().get::<Environ>() {
                    environ.handle.pass(None); // it has its own limit
                }
                let answered = inner.handle(request);
                Box::pin(async move { Ok(answered.await?.map(|body| body.watched(place))) })
            })
        }
    })
}

fn refuse(
    reason: &'static str,
    request: &Request,
    log: Option<&dyn Observer>,
) -> BoxFuture<Result<Response, BoxError>> {
    let response = reply::full(reason);
    tracing::debug!(status = 503, reason, "request refused");
    if let Some(log) = log {
        log.refused(&Refused {
            came: Instant::now(),
            client: request.extensions().get::<Environ>().and_then(|environ| environ.client),
            head: RefusedHead::of_request(request),
            status: response.status(),
            reason,
            bytes: http_body::Body::size_hint(response.body()).lower(),
        });
    }
    Box::pin(ready(Ok(response)))
}

/// One request in an app's count, until its response's body has ended.
struct LimitPermit(Arc<AtomicUsize>);

impl LimitPermit {
    fn take(count: &Arc<AtomicUsize>, limit: usize) -> Option<LimitPermit> {
        let place = LimitPermit(count.clone());
        let free = count.fetch_add(1, Relaxed) < limit;
        free.then_some(place) // dropping it decrements the count
    }
}

impl Drop for LimitPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Watch for LimitPermit {
    fn taken(&mut self, _: u64) {}
}
