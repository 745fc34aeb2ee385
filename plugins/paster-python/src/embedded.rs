//! The application in a worker of paster: the worker has loaded libpython, and calls this library.
//!
//! Function calls pass the frames: on the worker's threads to the application, and on the application's threads back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use paster_frames::{Endpoint, Frame, Kind, Peer, push_pair};
use pyo3::prelude::*;

use crate::connection::{Connection, Target, Transport};
use crate::control::{Reporter, Source};
use crate::flusher::Flusher;
use crate::process::{self, Settings};

/// The number of running applications in this process.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Runs an application to its end on this thread. The interpreter must be initialized, and no thread may hold its lock.
///
/// # Safety
/// `settings` points to `length` bytes, which live for the call: the same pairs that a process gets.
#[unsafe(no_mangle)]
unsafe extern "C" fn paster_python_run_2(settings: *const u8, length: usize, worker: Peer) {
    // SAFETY: the caller guarantees it; the bytes are copied.
    let settings = Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(settings, length) });
    // A panic must not cross; it was printed. The worker notices that the application has ended.
    let _ = catch_unwind(AssertUnwindSafe(|| run(settings, Arc::new(worker))));
}

fn run(settings: Bytes, worker: Arc<Peer>) {
    RUNNING.fetch_add(1, Ordering::SeqCst);
    Python::attach(|py| {
        let source = Source::Worker(worker.clone());
        let ran = process::serve(py, Settings::new(settings), source, Reporter::Worker(worker.clone()));
        if let Err(error) = ran {
            let mut payload = Vec::new();
            push_pair(&mut payload, b"summary", error.to_string().as_bytes());
            Reporter::Worker(worker).send(Kind::Failed, &payload);
        }
        if RUNNING.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Does the interpreter's work at exit, because the interpreter is never finalized.
            let exit = py.import("atexit").and_then(|atexit| atexit.call_method0("_run_exitfuncs"));
            if let Err(error) = exit {
                error.print(py);
            }
        }
    });
}

/// The application's end of its connection to the worker.
struct ApplicationEnd {
    connection: Arc<Connection>,
    /// Called when the worker sends no more requests.
    end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Endpoint for ApplicationEnd {
    fn receive(&self, frames: &mut dyn Iterator<Item = Frame>) {
        if !self.connection.receive(frames) {
            return;
        }
        self.connection.end();
        if let Some(end) = self.end.lock().take() {
            end();
        }
    }

    fn connect(&self, _: Peer) {} // it has had the worker's end since its start
}

/// Takes requests of `worker`.
pub(crate) fn connect(worker: Arc<Peer>, target: &Target, end: Box<dyn FnOnce() + Send>) {
    let connection =
        Connection::new(Transport::Peer(worker.clone()), target, Arc::<Flusher>::default(), None);
    worker.connect(Peer::new(Arc::new(ApplicationEnd { connection, end: Mutex::new(Some(end)) })));
}
