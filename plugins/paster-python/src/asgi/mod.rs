//! ASGI 3: one event loop, on the main thread, runs all requests.
//!
//! The connections' readers put events into an [`Inbox`] and wake the loop with a descriptor, once for many events. `asgi.py`
//! is the loop's side. `scope` describes a request to it, and `stream` transfers its messages.
//!
//! # Source
//! ASGI 3.0, "HTTP & WebSocket ASGI Message Format" 2.4, "Lifespan Protocol" 2.0.

mod scope;
mod stream;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;
use rustix::event::EventfdFlags;

use self::scope::scope;
use self::stream::Stream;
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::load::Load;
use crate::queue::Job;

/// Events for the loop, and the descriptor that wakes it.
pub(crate) struct Events {
    happened: Mutex<Happened>,
    wake: OwnedFd,
    load: Arc<Load>,
    /// The loop is running several requests and will then call [`Inbox::flush`].
    busy: AtomicBool,
}

#[derive(Default)]
struct Happened {
    jobs: Vec<Job>,
    /// Exchanges with a change that the application may wait for.
    changed: Vec<Arc<Exchange>>,
}

impl Events {
    pub(crate) fn new(load: Arc<Load>) -> std::io::Result<Events> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Events { happened: Mutex::default(), wake, load, busy: AtomicBool::new(false) })
    }

    /// Whether the loop already has more requests.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn add(&self, add: impl FnOnce(&mut Happened)) {
        let mut happened = self.happened.lock();
        let idle = happened.jobs.is_empty() && happened.changed.is_empty();
        add(&mut happened);
        drop(happened);
        if idle {
            self.load.happened();
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes()); // cannot fail: the counter is small
        }
    }

    /// Adds requests.
    pub(crate) fn begin(&self, jobs: &mut Vec<Job>) {
        self.add(|happened| happened.jobs.append(jobs));
    }

    /// Records that something has arrived for an exchange.
    pub(crate) fn change(&self, exchange: Arc<Exchange>) {
        self.add(|happened| happened.changed.push(exchange));
    }
}

/// The loop's end of [`Events`].
#[pyclass(frozen)]
pub(crate) struct Inbox {
    events: Arc<Events>,
    /// Connections of the requests that the loop has begun since the last flush.
    begun: Mutex<Vec<Arc<Connection>>>,
}

impl Inbox {
    pub(crate) fn new(events: Arc<Events>) -> Inbox {
        Inbox { events, begun: Mutex::default() }
    }
}

#[pymethods]
impl Inbox {
    fn fileno(&self) -> i32 {
        self.events.wake.as_raw_fd()
    }

    /// Returns new requests, each with its stream and its scope, and futures to complete. If there are several requests, the
    /// loop calls `flush` after it has begun them.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let _ = rustix::io::read(&self.events.wake, &mut [0; 8]); // the loop may be awake without an event
        let Happened { jobs, changed } = std::mem::take(&mut *self.events.happened.lock());
        self.events.load.seen(jobs.len());
        self.events.busy.store(jobs.len() + changed.len() > 1, Ordering::Relaxed);
        let entries = PyList::empty(py);
        for job in jobs {
            self.remember(&job.exchange);
            job.exchange.connection.begin_stream(job.exchange.stream);
            let scope = scope(py, &job)?;
            let stream = Stream::new(job.exchange);
            entries.append((Bound::new(py, stream)?, scope))?;
        }
        for exchange in changed {
            self.remember(&exchange);
            if let Some(future) = exchange.take_waiter() {
                entries.append(future)?;
            }
        }
        Ok(entries)
    }

    /// Sends what was held back since the last `take`.
    fn flush(&self, py: Python<'_>) {
        self.events.busy.store(false, Ordering::Relaxed);
        let begun = std::mem::take(&mut *self.begun.lock());
        begun.iter().for_each(|connection| connection.send_attached(py, |_| ()));
    }
}

impl Inbox {
    fn remember(&self, exchange: &Exchange) {
        let mut begun = self.begun.lock();
        if !begun.iter().any(|known| Arc::ptr_eq(known, &exchange.connection)) {
            begun.push(exchange.connection.clone());
        }
    }
}
