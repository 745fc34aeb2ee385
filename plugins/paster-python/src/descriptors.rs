//! Sockets of this process, which a child that the application forks must not keep: the child would hold a worker's
//! connections open, and could write to them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;

static OWN: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Whether this process is a child that the application has forked.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Remembers a socket until [`forget`].
pub(crate) fn remember(socket: &OwnedFd) {
    OWN.lock().push(socket.as_raw_fd());
}

/// The socket is about to be closed.
pub(crate) fn forget(socket: &OwnedFd) {
    OWN.lock().retain(|known| *known != socket.as_raw_fd());
}

/// Whether this process is a child that the application has forked: its threads must not use the sockets.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// What the interpreter calls in a forked child: returns the descriptors to close.
#[pyfunction]
pub(crate) fn forked() -> Vec<i32> {
    FORKED.store(true, Ordering::Relaxed);
    // The thread that holds the lock does not exist here.
    OWN.try_lock().map_or_else(Vec::new, |mut own| std::mem::take(&mut *own))
}
