//! Clocks of a connection: movable deadlines, and the rate and outcome of a request body.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

/// The minimum rate of a request body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throughput {
    /// Bytes that must arrive in each window; 0: no minimum.
    pub(super) bytes: u64,
    pub(super) window: Duration,
}

/// The body arrived more slowly than the server allows: 408.
#[derive(Debug, Clone, Copy)]
pub(super) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body arrived too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// Why a body failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    None = 0,
    Slow = 1,
    Broken = 2,
}

/// The outcome of one request's body, shared by its body and its response.
#[derive(Debug, Default)]
pub(super) struct BodyOutcome(AtomicU8);

impl BodyOutcome {
    pub(super) fn fault(&self) -> BodyError {
        match self.0.load(Relaxed) {
            1 => BodyError::Slow,
            2 => BodyError::Broken,
            _ => BodyError::None,
        }
    }

    pub(super) fn set(&self, fault: BodyError) {
        self.0.store(fault as u8, Relaxed);
    }
}

/// Measures the rate of one body while the application waits for more of it.
pub(super) struct ThroughputClock {
    pace: Throughput,
    runtime: Handle,
    window: Option<Pin<Box<Sleep>>>,
    arrived: u64,
}

impl ThroughputClock {
    /// Call it within the server's runtime.
    pub(super) fn new(pace: Throughput) -> ThroughputClock {
        ThroughputClock { pace, runtime: Handle::current(), window: None, arrived: 0 }
    }

    /// `bytes` bytes arrived.
    pub(super) fn arrived(&mut self, bytes: usize) {
        self.arrived += bytes as u64;
        if self.window.as_ref().is_some_and(|window| window.is_elapsed()) {
            self.window = None; // the application polled late: begin a new window
        }
    }

    /// Nothing arrived: ready if the rate is too low.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pace.bytes == 0 {
            return Poll::Pending;
        }
        loop {
            let window = match &mut self.window {
                Some(window) => window,
                empty => {
                    self.arrived = 0;
                    // The application may poll from a thread of another runtime.
                    let _entered = self.runtime.enter();
                    empty.insert(Box::pin(tokio::time::sleep(self.pace.window)))
                }
            };
            ready!(window.as_mut().poll(cx));
            if self.arrived < self.pace.bytes {
                return Poll::Ready(());
            }
            self.window = None;
        }
    }
}

/// A deadline that may move. Moving it later costs nothing: the timer only fires once too early.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether `deadline` has passed; if not, the task is woken then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() <= deadline && !sleep.is_elapsed() {
                    return false; // armed, with this task's waker
                }
                if sleep.is_elapsed() && deadline <= Instant::now() {
                    return true;
                }
                sleep.as_mut().reset(deadline);
                sleep
            }
            empty => empty.insert(Box::pin(tokio::time::sleep_until(deadline))),
        };
        // Unconstrained, because tokio would not arm the timer for a task that has used up its budget in this
        // poll.
        pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx).is_ready()
    }
}

/// Since when `holds` has been true without a byte being written.
pub(super) fn since(slot: &mut Option<(u64, Instant)>, holds: bool, written: u64) -> Option<Instant> {
    if !holds {
        *slot = None;
    } else if slot.is_none_or(|(before, _)| before != written) {
        *slot = Some((written, Instant::now()));
    }
    slot.map(|(_, since)| since)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_timer_fires_for_a_task_that_has_done_much_in_its_turn() {
        let (mut timer, mut fresh) = (Timer::default(), true);
        let deadline = Instant::now() + Duration::from_millis(20);
        let fires = poll_fn(|cx| {
            while std::mem::take(&mut fresh) {
                fresh = pin!(tokio::task::consume_budget()).poll(cx).is_ready();
            }
            if timer.poll(cx, deadline) { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(Duration::from_secs(60), fires).await.expect("it fires");
        assert!(Instant::now() >= deadline);
    }
}
