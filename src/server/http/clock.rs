//! The time for connection tasks: read once per poll of a task, however often it is asked for.

use std::cell::Cell;
use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::rt::Sleep;
use hyper_util::rt::TokioTimer;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// While it exists, [`now`] returns on this thread the time at which it was created.
pub(super) struct FrozenClock(());

impl FrozenClock {
    pub(super) fn new() -> FrozenClock {
        NOW.set(Some(Instant::now()));
        FrozenClock(())
    }
}

impl Drop for FrozenClock {
    fn drop(&mut self) {
        NOW.set(None);
    }
}

/// The time, or while a task is polled, the time at which the poll began.
pub(super) fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// hyper's timer with that clock: hyper asks for the time three times per request.
#[derive(Debug, Clone, Default)]
pub(super) struct HyperTimer(TokioTimer);

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.0.sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.0.sleep_until(deadline)
    }

    fn now(&self) -> Instant {
        now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.0.reset(sleep, deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_stands_still_while_a_task_is_polled() {
        let before = now();
        assert!(now() >= before && NOW.get().is_none());
        let still = FrozenClock::new();
        let first = now();
        while Instant::now() == first {}
        assert_eq!(hyper::rt::Timer::now(&HyperTimer::default()), first);
        drop(still);
        assert!(now() > first, "time goes on");
    }
}
