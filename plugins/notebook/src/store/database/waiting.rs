//! Waits for a future on any thread, even on one of an asynchronous runtime.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future that something else drives. Returns `None` if it takes longer than `limit`.
pub(super) fn wait<T>(future: impl Future<Output = T>, limit: Duration) -> Option<T> {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now() + limit;
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        std::thread::park_timeout(end.checked_duration_since(Instant::now())?);
    }
}
