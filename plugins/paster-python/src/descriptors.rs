//! Sockets of this process that a forked child must not keep. Otherwise, the child would hold a worker's connections open and
//! could write to them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use pyo3::prelude::*;

/// The descriptors; -1 is a free place. A lock could be held by another thread at the time of a fork, and that thread does not
/// exist in the child.
static OWN: [AtomicI32; 1024] = [const { AtomicI32::new(-1) }; 1024];

/// Whether this process is a child that the application has forked.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Remembers a socket until [`forget`].
pub(crate) fn remember(socket: &OwnedFd) {
    replace(-1, socket.as_raw_fd());
}

/// Forgets a socket that is about to be closed.
pub(crate) fn forget(socket: &OwnedFd) {
    replace(socket.as_raw_fd(), -1);
}

/// Changes the first place that contains `before`.
fn replace(before: i32, after: i32) {
    let change =
        |place: &AtomicI32| place.compare_exchange(before, after, Ordering::SeqCst, Ordering::SeqCst);
    let _ = OWN.iter().any(|place| change(place).is_ok()); // without a free place, a child keeps the socket
}

/// Whether this process is a child that the application has forked: its threads must not use the sockets.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// The interpreter calls this in a forked child. Returns the descriptors to close.
#[pyfunction]
pub(crate) fn forked() -> Vec<i32> {
    FORKED.store(true, Ordering::Relaxed);
    OWN.iter().map(|place| place.swap(-1, Ordering::SeqCst)).filter(|descriptor| *descriptor >= 0).collect()
}
