//! A limit on waiting that is cheap to reset for each wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Limits one wait after another. The timer behind it is moved only when it fires or must fire earlier, so a
/// wait that ends in time costs only a look at the clock.
#[derive(Default)]
pub(super) struct Clock {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl Clock {
    /// Ends the current wait.
    pub(super) fn stop(&mut self) {
        self.deadline = None;
    }

    /// Continues the wait that began with the first call since [`Clock::stop`]. Ready if it has lasted for
    /// `limit`, or if `end` has passed.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>, limit: Duration, end: Option<Instant>) -> Poll<()> {
        let deadline = *self.deadline.get_or_insert_with(|| {
            let deadline = Instant::now() + limit;
            end.map_or(deadline, |end| end.min(deadline))
        });
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
