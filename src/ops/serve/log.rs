//! Log output of a process: one line an event on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts it. `PASTER_LOG` filters as `tracing` does (`debug`, `paster=trace,hyper=off`); `info` without it.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("PASTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .compact()
        .try_init(); // an error means that a log is there already
}
