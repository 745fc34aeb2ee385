//! Time, outcome and changes of each part of a stack, for one request at a time (`paster request --trace`), and the
//! name of the part in which a failure occurred.
//!
//! Parts are wrapped when a stack is built, so a stack without a trace has no overhead.

mod changes;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use self::changes::TracedHead;
use crate::body::{App, Response};
use crate::error::BoxError;
use crate::middleware::failure::{Failure, Panicked};
pub use changes::Changes;

/// One call of one part.
#[derive(Debug, Clone, Serialize)]
pub struct TraceStep {
    /// How many parts surround it.
    pub depth: usize,
    /// Name of the app.
    pub app: String,
    /// Name of the middleware in the app's stack; `None` for the app itself.
    pub middleware: Option<String>,
    /// From the first part's call to this one's, in microseconds.
    pub start_micros: u64,
    /// From the call to the response's head, in microseconds, including inner parts.
    pub micros: u64,
    /// The same, without inner parts.
    pub own_micros: u64,
    /// Status of the response, if there is one.
    pub status: Option<u16>,
    /// The error, if there is no response.
    pub error: Option<String>,
    /// The changes made by a middleware.
    pub changes: Changes,
}

/// The input and output of a part.
#[derive(Debug)]
struct TracedCall {
    request: TracedHead,
    response: Option<TracedHead>,
}

/// Collects the steps of a request. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<TraceState>>);

#[derive(Debug, Default)]
struct TraceState {
    steps: Vec<TraceStep>,
    /// For each step.
    seen: Vec<TracedCall>,
    /// Indices of the steps in progress, outermost first.
    open: Vec<usize>,
    /// When the first one started.
    began: Option<Instant>,
}

impl Trace {
    /// Takes the steps so far, in the order in which they started.
    pub fn take(&self) -> Vec<TraceStep> {
        let TraceState { mut steps, seen, .. } = std::mem::take(&mut *self.state());
        let inner: Vec<Vec<usize>> = (0..steps.len()).map(|index| inner(&steps, index).collect()).collect();
        for (index, step) in steps.iter_mut().enumerate().filter(|(_, step)| step.middleware.is_some()) {
            let own = &seen[index];
            if let Some(first) = inner[index].first() {
                step.changes.request = own.request.changes_to(&seen[*first].request);
            }
            if let Some((Some(inner), Some(own))) =
                inner[index].last().map(|last| (&seen[*last].response, &own.response))
            {
                step.changes.response = inner.changes_to(own);
            }
        }
        steps
    }

    /// Wraps a part so that this trace records its calls, and its failures carry its name.
    pub(crate) fn watch(&self, part: App, app: &str, middleware: Option<&str>) -> App {
        let trace = self.clone();
        let part = Trace::tag_failure(part, app, middleware);
        let (app, middleware) = (app.to_owned(), middleware.map(str::to_owned));
        App::from_call(move |request| {
            let (trace, part) = (trace.clone(), part.clone());
            let (app, middleware) = (app.clone(), middleware.clone());
            Box::pin(async move {
                let index = trace.begin(app, middleware, TracedHead::of_request(&request));
                let started = Instant::now();
                let result = part.handle(request).await;
                trace.end(index, started.elapsed(), &result);
                result
            })
        })
    }

    /// Wraps a part so that its failures and panics carry its name. A failure from an inner part keeps its
    /// name.
    pub(crate) fn tag_failure(part: App, app: &str, middleware: Option<&str>) -> App {
        let name: Arc<str> = match middleware {
            Some(middleware) => format!("the middleware `{middleware}` of the app `{app}`"),
            None => format!("the app `{app}`"),
        }
        .into();
        App::from_call(move |request| {
            let (part, name) = (part.clone(), name.clone());
            Box::pin(async move {
                let called = AssertUnwindSafe(async { part.handle(request).await }).catch_unwind().await;
                let result = called.unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()));
                result.map_err(|cause| match cause.is::<Failure>() {
                    true => cause,
                    false => Failure { part: name.to_string(), cause }.into(),
                })
            })
        })
    }

    fn begin(&self, app: String, middleware: Option<String>, request: TracedHead) -> usize {
        let mut state = self.state();
        let (index, depth) = (state.steps.len(), state.open.len());
        let began = *state.began.get_or_insert_with(Instant::now);
        state.steps.push(TraceStep {
            depth,
            app,
            middleware,
            start_micros: began.elapsed().as_micros() as u64,
            micros: 0,
            own_micros: 0,
            status: None,
            error: None,
            changes: Changes::default(),
        });
        state.seen.push(TracedCall { request, response: None });
        state.open.push(index);
        index
    }

    fn end(&self, index: usize, took: Duration, result: &Result<Response, BoxError>) {
        let mut state = self.state();
        if index >= state.steps.len() {
            return; // the steps of this request were taken already
        }
        let micros = took.as_micros() as u64;
        let inner: u64 = inner(&state.steps, index).map(|inner| state.steps[inner].micros).sum();
        let step = &mut state.steps[index];
        step.micros = micros;
        step.own_micros = micros.saturating_sub(inner);
        if let Ok(response) = result {
            state.seen[index].response = Some(TracedHead::of_response(response));
        }
        let step = &mut state.steps[index];
        match result {
            Ok(response) => step.status = Some(response.status().as_u16()),
            Err(error) => step.error = Some(error.to_string()),
        }
        // Inner steps whose future was dropped (`timeout`) never end.
        if let Some(position) = state.open.iter().position(|open| *open == index) {
            state.open.truncate(position);
        }
    }

    fn state(&self) -> MutexGuard<'_, TraceState> {
        // After a panic under the lock, the steps can still be shown.
        self.0.lock()
    }
}

/// The steps directly inside of the step `index`.
fn inner(steps: &[TraceStep], index: usize) -> impl Iterator<Item = usize> {
    let depth = steps[index].depth;
    let inside = steps.iter().enumerate().skip(index + 1).take_while(move |(_, step)| step.depth > depth);
    inside.filter(move |(_, step)| step.depth == depth + 1).map(|(index, _)| index)
}
