//! Calls functions of a plugin that should return soon, each on its own thread, so that one that blocks holds
//! up only its own application.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The longest wait for `save_state`, `retire`, `shutdown` and `destroy`.
const LONGEST: Duration = Duration::from_secs(4);

/// Calls `function` of the app `app` by running `work`, and waits for it; `None` if it does not return in
/// time. Then its thread keeps running, and what it works on stays allocated.
pub(super) fn call<T: Send + 'static>(
    app: &str,
    function: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = channel();
    let run = move || drop(sender.send(work())); // sending fails only if nobody waits any more
    if let Err(error) = thread::Builder::new().name("callback".into()).spawn(run) {
        tracing::warn!(app, %error, "cannot start a thread for the plugin's `{function}`: it is not called");
        return None;
    }
    match result.recv_timeout(LONGEST) {
        Ok(value) => Some(value),
        Err(RecvTimeoutError::Timeout) => {
            tracing::warn!(
                app,
                "the plugin's `{function}` has not returned within {} s: the server continues without it",
                LONGEST.as_secs()
            );
            None
        }
        Err(RecvTimeoutError::Disconnected) => None, // it panicked, and the panic was logged
    }
}
