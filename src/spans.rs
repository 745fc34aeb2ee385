//! The spans of one traced request, which parts of its stack write while the request is in progress.
//!
//! The `trace` middleware puts a [`SpanRecorder`] on a sampled request. Every counted part then opens a span
//! inside the enclosing one. A request without a recorder costs only one lookup.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::body::Response;
use crate::error::BoxError;

/// Maximum number of spans of one request; further parts get none.
const MOST: usize = 128;

/// A finished span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Eight bytes that identify it within its trace.
    pub id: [u8; 8],
    /// The enclosing span.
    pub parent: [u8; 8],
    /// `app main`, `middleware compress`.
    pub name: String,
    /// Name of the app.
    pub app: Arc<str>,
    /// Name of the middleware, unless it is the app with its stack.
    pub middleware: Option<Arc<str>>,
    /// Time since the beginning of the request.
    pub began: Duration,
    /// Time until the head of the response.
    pub took: Duration,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
    /// The error, if there was none.
    pub error: Option<String>,
}

/// Collects the spans of one request. It is in the request's extensions, with the span that encloses the next
/// part.
#[derive(Debug, Clone)]
pub struct SpanRecorder {
    shared: Arc<RecorderState>,
    around: [u8; 8],
}

#[derive(Debug)]
struct RecorderState {
    began: Instant,
    spans: Mutex<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    count: usize,
    done: Vec<Span>,
}

impl SpanRecorder {
    /// For a request that began at `began` and has the span `around`.
    pub fn new(began: Instant, around: [u8; 8]) -> SpanRecorder {
        SpanRecorder { shared: Arc::new(RecorderState { began, spans: Mutex::default() }), around }
    }

    /// Opens a span for a part; it encloses the spans of inner parts.
    pub fn open(&mut self, app: &Arc<str>, middleware: Option<&Arc<str>>) -> OpenSpan {
        let id = new_id();
        let parent = std::mem::replace(&mut self.around, id);
        OpenSpan {
            id,
            parent,
            app: app.clone(),
            middleware: middleware.cloned(),
            began: Instant::now(),
            shared: self.shared.clone(),
        }
    }

    /// The spans that have finished so far.
    pub fn seen(&self) -> Vec<Span> {
        self.shared.spans().done.clone()
    }

    /// The finished spans, in the order in which they ended.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut self.shared.spans().done)
    }
}

impl RecorderState {
    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock()
    }
}

/// A span in progress.
#[derive(Debug)]
pub struct OpenSpan {
    id: [u8; 8],
    parent: [u8; 8],
    app: Arc<str>,
    middleware: Option<Arc<str>>,
    began: Instant,
    shared: Arc<RecorderState>,
}

impl OpenSpan {
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

/// A random span id; never all zeros.
pub fn new_id() -> [u8; 8] {
    let bytes = *uuid::Uuid::new_v4().as_bytes();
    // These bytes contain only two of the fixed bits, which keep the id from being zero.
    let mut id = [0; 8];
    id.copy_from_slice(&bytes[8..]);
    id
}
