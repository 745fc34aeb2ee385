//! The state of one request, which its parts write without the table's lock, and the request of a thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::shares::{HoldingApp, Shares};

/// Maximum number of captured lines of the log; the oldest are dropped.
const MOST_LINES: usize = 200;

/// The state of one request. It is reused for later requests.
#[derive(Debug, Default)]
pub struct RequestProgress {
    pub(super) part: AtomicU32,
    pub(super) sending: AtomicU8,
    pub(super) cancelled: AtomicBool,
    pub(super) waker: AtomicWaker,
    pub(super) waits: AtomicBool,
    pub(super) shares: OnceLock<Arc<Shares>>,
    pub(super) holder: HoldingApp,
    /// Whether `logged` has something.
    named: AtomicBool,
    logged: Mutex<LoggedIds>,
    /// The lines of the log since they are captured.
    captured: Mutex<Option<CapturedLines>>,
}

/// What identifies a request in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoggedIds {
    /// The id that `request_id` gave it.
    pub request: Option<Arc<str>>,
    /// The span that `trace` gave it.
    pub trace: Option<TraceIds>,
}

/// A span of a trace (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace.
    pub trace: [u8; 16],
    /// The span within it.
    pub span: [u8; 8],
}

impl TraceIds {
    /// Both in lower-case hexadecimal digits.
    pub fn hex(&self) -> (String, String) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        (hex(&self.trace), hex(&self.span))
    }
}

/// Lines of the log, without line breaks.
pub type CapturedLines = VecDeque<String>;

thread_local! {
    /// The request that this thread works on.
    static CURRENT: RefCell<Option<Arc<RequestProgress>>> = const { RefCell::new(None) };
}

/// The request that this thread works on; empty if it works on none.
pub fn current() -> RequestHandle {
    RequestHandle(CURRENT.try_with(|current| current.borrow().clone()).ok().flatten())
}

/// A request's handle to its [`RequestProgress`], in its environ; empty if there is no table.
#[derive(Debug, Clone, Default)]
pub struct RequestHandle(Option<Arc<RequestProgress>>);

impl RequestHandle {
    pub(super) fn of(progress: Arc<RequestProgress>) -> RequestHandle {
        RequestHandle(Some(progress))
    }

    /// Records that the part with this number was called (the assembler numbers parts from 1).
    #[inline]
    pub fn enter(&self, part: u32) {
        if let Some(progress) = &self.0 {
            progress.part.store(part, Relaxed);
        }
    }

    /// Counts the request for the app with this number only, or for none. `false`: that app already has its
    /// share of all requests in flight.
    pub fn pass(&self, app: Option<u32>) -> bool {
        let Some(progress) = &self.0 else { return true };
        progress.shares.get().is_none_or(|shares| progress.holder.pass(shares, app))
    }

    /// Records the id that `request_id` gave to the request.
    pub fn name(&self, id: &Arc<str>) {
        self.log_with(|logged| logged.request = Some(id.clone()));
    }

    /// Records the span that `trace` gave to the request.
    pub fn trace(&self, ids: TraceIds) {
        self.log_with(|logged| logged.trace = Some(ids));
    }

    fn log_with(&self, set: impl FnOnce(&mut LoggedIds)) {
        if let Some(progress) = &self.0 {
            set(&mut progress.logged.lock());
            progress.named.store(true, Relaxed);
        }
    }

    /// What identifies it in the log.
    pub fn logged(&self) -> LoggedIds {
        match &self.0 {
            Some(progress) if progress.named.load(Relaxed) => progress.logged.lock().clone(),
            _ => LoggedIds::default(),
        }
    }

    /// Works on the request: what is logged meanwhile names it. Futures of other requests may be polled within.
    #[inline]
    pub fn scope<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // The handle moves there and back, so that no reference is counted.
        let before = CURRENT.replace(self.0.take());
        let _back = MoveBack { handle: self, before };
        work()
    }

    /// Keeps the lines of the log from now on.
    pub fn capture(&self) {
        if let Some(progress) = &self.0 {
            progress.captured.lock().get_or_insert_default();
            progress.named.store(true, Relaxed);
        }
    }

    /// Keeps a line, if they are captured. `line` writes it.
    pub fn log(&self, line: impl FnOnce() -> String) {
        let Some(progress) = self.0.as_ref().filter(|progress| progress.named.load(Relaxed)) else { return };
        if let Some(lines) = &mut *progress.captured.lock() {
            if lines.len() >= MOST_LINES {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    }

    /// The lines that were captured.
    pub fn captured(&self) -> CapturedLines {
        self.0.as_ref().and_then(|progress| progress.captured.lock().clone()).unwrap_or_default()
    }
}

/// Restores the thread's request, also after a panic.
struct MoveBack<'a> {
    handle: &'a mut RequestHandle,
    before: Option<Arc<RequestProgress>>,
}

impl Drop for MoveBack<'_> {
    fn drop(&mut self) {
        self.handle.0 = CURRENT.replace(self.before.take());
    }
}

impl RequestProgress {
    pub(super) fn id(&self) -> Option<Arc<str>> {
        self.logged.lock().request.clone()
    }

    /// The next request has another name.
    pub(super) fn forget(&self) {
        if self.named.load(Relaxed) {
            *self.logged.lock() = LoggedIds::default();
            *self.captured.lock() = None;
            self.named.store(false, Relaxed);
        }
    }
}
