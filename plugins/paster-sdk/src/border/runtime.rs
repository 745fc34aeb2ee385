//! The library's one tokio runtime. Host threads enter it before they poll, and spawned tasks run on its
//! workers.

use std::cell::Cell;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Creates the runtime unless it exists.
/// # Errors
/// If the system refuses a thread or a descriptor.
pub(crate) fn start() -> std::io::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // Requests run on the host's threads, so a few workers for spawned tasks and timers are enough.
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(1, 4));
    let runtime =
        Builder::new_multi_thread().worker_threads(workers).thread_name("plugin").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Makes sure that this thread has entered the runtime; does nothing before [`start`].
///
/// A thread that has entered it never leaves. There is one runtime, which lives as long as the process, and
/// entering and leaving it on every request would cost as much as routing one.
pub(crate) fn enter() {
    thread_local! {
        static ENTERED: Cell<bool> = const { Cell::new(false) };
    }
    if !ENTERED.get()
        && let Some(runtime) = RUNTIME.get()
    {
        std::mem::forget(runtime.enter());
        ENTERED.set(true);
    }
}
