//! The library's one tokio runtime: host threads enter it while they poll; spawned tasks run on its workers.

use std::sync::OnceLock;

use tokio::runtime::{Builder, EnterGuard, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Makes the runtime unless it is there.
/// # Errors
/// When the system gives no thread or no descriptor.
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

/// Enters the runtime for as long as the guard lives; `None` before [`start`].
pub(crate) fn enter() -> Option<EnterGuard<'static>> {
    RUNTIME.get().map(Runtime::enter)
}
