//! What the apps and middleware of one generation count.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::{Counts, Value, families};
use crate::body::{App, BoxFuture, Meter, Response};
use crate::error::BoxError;
use crate::spans::{OpenSpan, SpanRecorder};

/// The classes of responses, by status.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Index of a status in [`CLASSES`].
#[inline]
pub fn class_of(status: http::StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

/// Which part of an app's stack a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartPosition {
    /// The app with its whole stack.
    Whole,
    /// One middleware, with everything inside it.
    Middleware(Arc<str>),
    /// The app without its middleware.
    Inner,
}

/// The counters of one part of a stack.
#[derive(Debug)]
pub struct PartMetrics {
    app: Arc<str>,
    place: PartPosition,
    classes: [AtomicU64; CLASSES.len()],
    errors: AtomicU64,
    nanos: AtomicU64,
}

/// A custom counter of an app.
pub trait CountedPartBody: Send + Sync {
    /// Adds its current values to `counts`.
    fn count(&self, counts: &mut Counts);
}

/// The parts of a generation.
#[derive(Default)]
pub struct StackMetrics {
    list: Mutex<Vec<Arc<PartMetrics>>>,
    others: Mutex<Vec<Weak<dyn CountedPartBody>>>,
}

impl StackMetrics {
    /// Wraps a part of the app `app` so that its calls are counted, and are recorded as spans if a request is
    /// traced.
    pub fn watch(&self, inner: App, app: &str, place: PartPosition) -> App {
        let whole = place == PartPosition::Whole;
        let part = Arc::new(PartMetrics {
            app: app.into(),
            place,
            classes: Default::default(),
            errors: AtomicU64::default(),
            nanos: AtomicU64::default(),
        });
        self.list().push(part.clone());
        if whole {
            return inner.metered(part);
        }
        App::from_call(move |mut request| {
            let recorder = request.extensions_mut().get_mut::<SpanRecorder>();
            let span = recorder.map(|recorder| recorder.open(&part.app, part.middleware()));
            let part = part.clone();
            let began = Instant::now();
            let work = inner.handle(request);
            Box::pin(Timed { work, part, began, span })
        })
    }

    /// Also counts what `other` does, as long as it exists.
    pub fn add(&self, other: Weak<dyn CountedPartBody>) {
        self.others.lock().push(other);
    }

    /// Adds their current values to `counts`.
    pub fn count(&self, counts: &mut Counts) {
        for other in self.others.lock().iter().filter_map(Weak::upgrade) {
            other.count(counts);
        }
        for part in self.list().iter() {
            part.count(counts);
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<PartMetrics>>> {
        self.list.lock()
    }
}

impl PartMetrics {
    fn middleware(&self) -> Option<&Arc<str>> {
        match &self.place {
            PartPosition::Middleware(name) => Some(name),
            PartPosition::Whole | PartPosition::Inner => None,
        }
    }

    fn count(&self, counts: &mut Counts) {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let calls = self.classes.iter().map(read).sum::<u64>() + read(&self.errors);
        let times = Value::Times { count: calls, nanos: read(&self.nanos), buckets: Vec::new() };
        let app = ("app", &*self.app);
        match &self.place {
            PartPosition::Whole => {
                for (class, count) in CLASSES.iter().zip(&self.classes) {
                    let labels = [app, ("class", class)];
                    counts.put(&families::APP_REQUESTS, &labels, Value::Count(read(count)));
                }
                counts.put(&families::APP_ERRORS, &[app], Value::Count(read(&self.errors)));
                counts.put(&families::APP_DURATION_SECONDS, &[app], times);
            }
            PartPosition::Middleware(name) => {
                let labels = [app, ("middleware", &**name)];
                let failed = read(&self.errors) + read(&self.classes[CLASSES.len() - 1]);
                counts.put(&families::MIDDLEWARE_ERRORS, &labels, Value::Count(failed));
                counts.put(&families::MIDDLEWARE_DURATION_SECONDS, &labels, times);
            }
            PartPosition::Inner => counts.put(&families::APP_INNER_DURATION_SECONDS, &[app], times),
        }
    }
}

impl Meter for PartMetrics {
    fn ended(&self, took: Duration, result: &Result<Response, BoxError>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
        match result {
            Ok(response) => self.classes[class_of(response.status())].fetch_add(1, Relaxed),
            Err(_) => self.errors.fetch_add(1, Relaxed),
        };
    }
}

/// The future of a counted call. If the client leaves, it is dropped and not counted.
struct Timed {
    work: BoxFuture<Result<Response, BoxError>>,
    part: Arc<PartMetrics>,
    began: Instant,
    span: Option<OpenSpan>,
}

impl Future for Timed {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = ready!(this.work.as_mut().poll(cx));
        this.part.ended(this.began.elapsed(), &result);
        if let Some(span) = this.span.take() {
            span.close(&result);
        }
        Poll::Ready(result)
    }
}
