//! Calls functions of a plugin that should return soon. Each runs on its own thread, so that a function that blocks holds up
//! only its own application.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Maximum time for `save_state`, `retire`, `shutdown` and `destroy`.
const LONGEST: Duration = Duration::from_secs(4);

/// Calls `function` of the app `app` by running `work`, and waits for it. Returns `None` if it does not return in time; its
/// thread then keeps running with its data.
pub(super) fn call<T: Send + 'static>(
    app: &str,
    function: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = channel();
    let run = move || drop(sender.send(work())); // sending fails only if the caller no longer waits
    if let Err(error) = thread::Builder::new().name("callback".into()).spawn(run) {
        tracing::warn!(app, %error, "cannot start a thread to call the plugin's `{function}`");
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
        Err(RecvTimeoutError::Disconnected) => None, // the function panicked, which was logged
    }
}
