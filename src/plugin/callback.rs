//! Calls of a plugin's functions that should return soon, each on a thread of its own: one that blocks holds up nothing
//! but its own application.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The longest wait for `save_state`, `retire`, `shutdown` and `destroy`.
const LONGEST: Duration = Duration::from_secs(4);

/// Calls `function` of the app `app` by `work`, and waits for it; `None` when it does not return in time. Its thread is left
/// alone then, and so is what it works on.
pub(super) fn call<T: Send + 'static>(
    app: &str,
    function: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = channel();
    let run = move || drop(sender.send(work())); // nobody waits any more when sending fails
    if let Err(error) = thread::Builder::new().name("callback".into()).spawn(run) {
        tracing::warn!(app, %error, "no thread can be started for the plugin's `{function}`: it is not called");
        return None;
    }
    match result.recv_timeout(LONGEST) {
        Ok(value) => Some(value),
        Err(RecvTimeoutError::Timeout) => {
            tracing::warn!(
                app,
                "the plugin's `{function}` has not returned within {} s: the server goes on without it",
                LONGEST.as_secs()
            );
            None
        }
        Err(RecvTimeoutError::Disconnected) => None, // it panicked, and the panic was logged
    }
}
