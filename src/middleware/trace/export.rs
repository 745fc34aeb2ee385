//! Sends spans in batches from a separate thread. Nothing here makes a request wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::encode::{self, FinishedRequest};
use crate::tls_client::OtlpTarget;

/// A batch is sent when it has this many spans, …
const BATCH: usize = 512;
/// … or this long after its first span.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a batch that could not be sent; doubled up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often dropped spans are logged.
const TELLING: Duration = Duration::from_secs(60);
/// Longest wait for the remaining spans when the generation ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where spans go, and attributes of all of them.
pub(super) struct ExportTarget {
    pub(super) collector: OtlpTarget,
    pub(super) service: String,
    pub(super) generation: u64,
}

/// Accepts spans. On drop, the spans that it holds are sent first, if the collector is quick enough.
pub(super) struct SpanExporter {
    shared: Arc<ExporterShared>,
    limit: usize,
}

struct ExporterShared {
    target: ExportTarget,
    state: Mutex<ExportState>,
    changed: Condvar,
}

#[derive(Default)]
struct ExportState {
    waiting: Vec<FinishedRequest>,
    spans: usize,
    dropped: u64,
    /// Started by the first span, so that a config that is only checked starts no thread.
    started: bool,
    closed: bool,
    ended: bool,
}

impl SpanExporter {
    /// `limit` is the maximum number of waiting spans.
    pub(super) fn new(target: ExportTarget, limit: usize) -> SpanExporter {
        let shared = ExporterShared { target, state: Mutex::default(), changed: Condvar::new() };
        SpanExporter { shared: Arc::new(shared), limit }
    }

    /// Accepts the spans of one request, or drops them if too many are waiting.
    pub(super) fn send(&self, request: FinishedRequest) {
        let mut state = self.shared.state();
        let spans = request.spans();
        if state.spans + spans > self.limit {
            state.dropped += spans as u64;
            return;
        }
        let before = state.spans;
        state.spans += spans;
        state.waiting.push(request);
        if !std::mem::replace(&mut state.started, true) {
            drop(state);
            let shared = self.shared.clone();
            if let Err(error) = std::thread::Builder::new().name("trace".into()).spawn(move || shared.run()) {
                self.shared.state().started = false; // the next span tries again
                tracing::error!("cannot start the thread that sends spans: {error}");
            }
        } else if before == 0 || (before < BATCH && before + spans >= BATCH) {
            drop(state);
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for SpanExporter {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        self.shared.changed.notify_all();
        if state.started {
            let waits = |state: &mut ExportState| !state.ended;
            self.shared.changed.wait_while_for(&mut state, waits, FAREWELL);
        }
    }
}

impl ExporterShared {
    fn state(&self) -> MutexGuard<'_, ExportState> {
        self.state.lock()
    }

    fn run(&self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => self.send_all(&runtime),
            Err(error) => tracing::error!("cannot send spans: {error}"),
        }
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn send_all(&self, runtime: &tokio::runtime::Runtime) {
        let mut pause = None;
        let (mut lost, mut told) = (0, None::<Instant>);
        loop {
            let (batch, dropped, closed) = self.batch(pause);
            lost += dropped;
            if !batch.is_empty() {
                let spans: usize = batch.iter().map(|request| request.spans()).sum();
                let message = encode::encode(&self.target.service, self.target.generation, &batch);
                let sent = runtime.block_on(self.target.collector.post(&message));
                match sent {
                    Ok(()) => pause = None,
                    Err(why) => {
                        lost += spans as u64;
                        if pause.is_none() {
                            tracing::warn!("cannot send spans to {}: {why}", self.target.collector.uri);
                        }
                        pause = Some(pause.map_or(PAUSE.0, |pause: Duration| (pause * 2).min(PAUSE.1)));
                    }
                }
            }
            if lost > 0 && (closed || told.is_none_or(|told| told.elapsed() >= TELLING)) {
                tracing::warn!("{lost} spans were dropped");
                (lost, told) = (0, Some(Instant::now()));
            }
            if closed {
                return;
            }
        }
    }

    /// Waits for the next batch or for the end; after a failure, first for `pause`.
    fn batch(&self, pause: Option<Duration>) -> (Vec<FinishedRequest>, u64, bool) {
        let mut state = self.state();
        if let Some(pause) = pause {
            self.changed.wait_while_for(&mut state, |state| !state.closed, pause);
        }
        while state.waiting.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        let fills = |state: &mut ExportState| state.spans < BATCH && !state.closed;
        self.changed.wait_while_for(&mut state, fills, PATIENCE);
        state.spans = 0;
        let batch = std::mem::take(&mut state.waiting);
        (batch, std::mem::take(&mut state.dropped), state.closed)
    }
}
