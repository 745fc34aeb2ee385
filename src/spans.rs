//! The spans of one traced request, which parts of its stack write while it is under way.
//!
//! The `trace` middleware puts a [`Recorder`] on a request that is sampled; every counted part then opens a span
//! inside the one around it. A request without a recorder costs one look.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::body::Response;
use crate::error::BoxError;

/// Most spans of one request; parts beyond have none.
const MOST: usize = 128;

/// A finished span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Eight bytes that name it within its trace.
    pub id: [u8; 8],
    /// The span around it.
    pub parent: [u8; 8],
    /// `app main`, `middleware compress`.
    pub name: String,
    /// Name of the app.
    pub app: Arc<str>,
    /// Name of the middleware, unless it is the app with its stack.
    pub middleware: Option<Arc<str>>,
    /// From the beginning of the request.
    pub began: Duration,
    /// How long it took to the head of the response.
    pub took: Duration,
    /// Status of the response, when there was one.
    pub status: Option<u16>,
    /// What it failed with, when there was none.
    pub error: Option<String>,
}

/// Gathers the spans of one request: in the request's extensions, with the span that is around the next part.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    around: [u8; 8],
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    spans: Mutex<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    count: usize,
    done: Vec<Span>,
}

impl Recorder {
    /// For a request that began at `began` and whose own span is `around`.
    pub fn new(began: Instant, around: [u8; 8]) -> Recorder {
        Recorder { shared: Arc::new(Shared { began, spans: Mutex::default() }), around }
    }

    /// Opens a span for a part, which is from then on around the parts inside.
    pub fn open(&mut self, app: &Arc<str>, middleware: Option<&Arc<str>>) -> Open {
        let id = new_id();
        let parent = std::mem::replace(&mut self.around, id);
        Open {
            id,
            parent,
            app: app.clone(),
            middleware: middleware.cloned(),
            began: Instant::now(),
            shared: self.shared.clone(),
        }
    }

    /// The spans that have ended, in the order in which they did.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.shared.spans().done)
    }
}

impl Shared {
    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A span under way.
#[derive(Debug)]
pub struct Open {
    id: [u8; 8],
    parent: [u8; 8],
    app: Arc<str>,
    middleware: Option<Arc<str>>,
    began: Instant,
    shared: Arc<Shared>,
}

impl Open {
    /// Ends it.
    pub fn close(self, result: &Result<Response, BoxError>) {
        let name = match &self.middleware {
            Some(middleware) => format!("middleware {middleware}"),
            None => format!("app {}", self.app),
        };
        let span = Span {
            id: self.id,
            parent: self.parent,
            name,
            app: self.app,
            middleware: self.middleware,
            began: self.began.saturating_duration_since(self.shared.began),
            took: self.began.elapsed(),
            status: result.as_ref().ok().map(|response| response.status().as_u16()),
            error: result.as_ref().err().map(ToString::to_string),
        };
        let mut spans = self.shared.spans();
        spans.count += 1;
        if spans.count <= MOST {
            spans.done.push(span);
        }
    }
}

/// A random name for a span; never zeros alone.
pub fn new_id() -> [u8; 8] {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    // These bytes have none of the fixed bits but two, which keep it from being zero.
    let mut id = [0; 8];
    id.copy_from_slice(&bytes[8..]);
    id
}
