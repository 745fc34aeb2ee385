//! How long a kernel has not been used. Kernels that nobody uses can be shut down after a time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::running::Running;
use crate::protocol::KernelState;

/// The use of a kernel.
pub(super) struct KernelUse(Mutex<UseState>);

struct UseState {
    /// The number of open notebooks and clients that read its messages.
    attached: usize,
    /// The last message, or the last end of an attachment.
    last: Instant,
}

/// An attachment to a kernel, until it is dropped.
pub(super) struct Attached<'a>(&'a KernelUse);

impl KernelUse {
    pub(super) fn new() -> KernelUse {
        KernelUse(Mutex::new(UseState { attached: 0, last: Instant::now() }))
    }

    /// Records a message.
    pub(super) fn touch(&self) {
        self.0.lock().last = Instant::now();
    }

    /// Records an attachment.
    pub(super) fn attach(&self) -> Attached<'_> {
        self.hold();
        Attached(self)
    }

    /// Makes it count as used, like an attachment, until [`KernelUse::release`].
    pub(super) fn hold(&self) {
        self.0.lock().attached += 1;
    }

    /// The opposite of [`KernelUse::hold`]. A new time begins.
    pub(super) fn release(&self) {
        let mut state = self.0.lock();
        state.attached -= 1;
        state.last = Instant::now();
    }

    /// Since when nothing is attached and no message was sent or received; `None` if something is attached.
    fn unused_since(&self) -> Option<Instant> {
        let state = self.0.lock();
        (state.attached == 0).then_some(state.last)
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// How long a temporary kernel runs without an attachment.
const UNATTACHED: Duration = Duration::from_secs(5);

/// Waits until the kernel has been idle and unused for `limit`. Without a limit, waits forever. A `temporary` kernel is ended
/// even if it is busy.
pub(super) async fn until_unused(kernel: &Running, limit: Option<Duration>, temporary: bool) {
    let limit = if temporary { Some(UNATTACHED) } else { limit };
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let is_idle = || temporary || kernel.model.lock().state == KernelState::Idle;
        let since = kernel.used.unused_since().filter(|_| is_idle());
        let end = since.unwrap_or_else(Instant::now) + limit;
        if end <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_and_each_message_begin_a_new_time() {
        let used = KernelUse::new();
        let (one, other) = (used.attach(), used.attach());
        drop(one);
        assert_eq!(used.unused_since(), None);
        let before = Instant::now();
        drop(other);
        let detached = used.unused_since().unwrap();
        assert!(detached >= before);
        used.touch();
        assert!(used.unused_since().unwrap() > detached);
    }
}
