//! The connections of a worker to the processes of one app.
//!
//! A request goes to the process with the fewest requests of this worker. Each process accepts a limited number. Further
//! requests wait here, where they are not lost if a process ends.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::link::ProcessConnection;
use crate::error::BoxError;
use crate::socket_path::SocketPath;

/// The pause before reconnecting to a process that has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// Limits of a pool.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct PoolLimits {
    /// Maximum number of requests from this worker in one process.
    pub(in crate::app) in_flight: usize,
    /// How long a request may wait for a process.
    pub(in crate::app) queue: Duration,
    /// Whether the processes accept WebSockets.
    pub(in crate::app) websockets: bool,
}

/// The connections.
pub(in crate::app) struct Pool {
    pub(super) app: Arc<str>,
    pub(super) limits: PoolLimits,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    links: Vec<PooledConnection>,
    /// The connection that was used last.
    last: usize,
    waiting: VecDeque<oneshot::Sender<RequestPermit>>,
    /// Why no process can be started.
    broken: Option<Arc<dyn Fn() -> BoxError + Send + Sync>>,
}

/// A connection that accepts requests.
struct PooledConnection {
    link: Arc<ProcessConnection>,
    in_flight: usize,
}

/// A place for one request.
pub(super) struct RequestPermit {
    pool: Arc<Pool>,
    pub(super) link: Arc<ProcessConnection>,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.pool.release(&self.link);
    }
}

impl Pool {
    pub(in crate::app) fn new(app: &str, limits: PoolLimits) -> Arc<Pool> {
        Arc::new(Pool { app: app.into(), limits, state: Mutex::default() })
    }

    /// Maintains a connection to the process at `socket`. When this process ends, another one may listen there.
    pub(in crate::app) fn connect(self: &Arc<Self>, socket: PathBuf) {
        let pool = self.clone();
        tokio::spawn(async move {
            loop {
                if let Ok(stream) = connect(&socket).await {
                    pool.serve(stream).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Uses a connection until its process stops accepting requests. Requests in flight then continue.
    pub(super) async fn serve(self: &Arc<Self>, stream: UnixStream) {
        let link = ProcessConnection::new(self.app.clone());
        let (pool, served) = (self.clone(), link.clone());
        let (retired, until) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let mut retired = Some(retired);
            served
                .run(&stream, |ready| match ready {
                    true => pool.add(&served),
                    false => {
                        pool.remove(&served);
                        drop(retired.take());
                    }
                })
                .await;
            pool.remove(&served);
            drop(retired);
        });
        let _ = until.await; // nothing is sent: it ends when the connection is retired
    }

    /// Records that no process can be started. Every request then fails with the error from `make`.
    pub(super) fn fail(&self, make: impl Fn() -> BoxError + Send + Sync + 'static) {
        let mut state = self.state.lock();
        state.broken = Some(Arc::new(make));
        state.waiting.clear();
    }

    /// A place for a request; `None` if there is none in time.
    /// # Errors
    /// When no process can be started.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Option<RequestPermit>, BoxError> {
        let wait = {
            let mut state = self.state.lock();
            if let Some(make) = &state.broken {
                return Err(make());
            }
            if state.waiting.is_empty()
                && let Some(link) = state.take(self.limits.in_flight)
            {
                return Ok(Some(RequestPermit { pool: self.clone(), link }));
            }
            let (sender, wait) = oneshot::channel();
            state.waiting.push_back(sender);
            wait
        };
        match tokio::time::timeout(self.limits.queue, wait).await {
            Ok(Ok(lease)) => Ok(Some(lease)),
            Ok(Err(_)) => match &self.state.lock().broken {
                Some(make) => Err(make()),
                None => Ok(None),
            },
            Err(_) => Ok(None),
        }
    }

    /// Adds a connection to the pool.
    pub(super) fn add(self: &Arc<Self>, link: &Arc<ProcessConnection>) {
        self.state.lock().links.push(PooledConnection { link: link.clone(), in_flight: 0 });
        self.pass_on();
    }

    /// The connections that accept requests: one per process.
    pub(super) fn connections(&self) -> Vec<Arc<ProcessConnection>> {
        self.state.lock().links.iter().map(|place| place.link.clone()).collect()
    }

    fn remove(&self, link: &Arc<ProcessConnection>) {
        self.state.lock().links.retain(|place| !Arc::ptr_eq(&place.link, link));
    }

    fn release(self: &Arc<Self>, link: &Arc<ProcessConnection>) {
        let mut state = self.state.lock();
        if let Some(place) = state.links.iter_mut().find(|place| Arc::ptr_eq(&place.link, link)) {
            place.in_flight -= 1;
        }
        let any = !state.waiting.is_empty();
        drop(state);
        if any {
            self.pass_on();
        }
    }

    /// Gives free places to waiting requests.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            // Cancelled requests do not need a place.
            while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                state.waiting.pop_front();
            }
            if state.waiting.is_empty() {
                return;
            }
            let Some(link) = state.take(self.limits.in_flight) else { return };
            let waiting = state.waiting.pop_front();
            drop(state);
            let lease = RequestPermit { pool: self.clone(), link };
            // A request that is cancelled at this moment returns its lease, and dropping the lease passes the place on.
            let _ = waiting.map(|waiting| waiting.send(lease));
        }
    }
}

impl PoolState {
    /// Takes a place on the connection with the fewest requests. If several have the same number, they take turns.
    fn take(&mut self, limit: usize) -> Option<Arc<ProcessConnection>> {
        let count = self.links.len();
        let in_turn = (0..count).map(|step| (self.last + 1 + step) % count);
        self.last = in_turn.min_by_key(|place| self.links[*place].in_flight)?;
        let place = &mut self.links[self.last];
        if place.in_flight >= limit {
            return None;
        }
        place.in_flight += 1;
        Some(place.link.clone())
    }
}

async fn connect(socket: &std::path::Path) -> std::io::Result<UnixStream> {
    UnixStream::connect(&*SocketPath::new(socket)?).await
}
