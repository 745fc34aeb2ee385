//! Shortages of descriptors or memory, during which no connection can be accepted. Logs one warning when a
//! shortage begins and one line when it is over, not one for each attempt.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::process::Resource;

/// A shortage is over when no `accept` has failed for this long. Each connection that closes makes room for
/// another one.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// The shortage of one server.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    is_on: AtomicBool,
    last: Mutex<Option<Instant>>,
}

impl Shortage {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// A connection could not be accepted on `listen`.
    pub(super) fn failed(&self, error: &io::Error, listen: &str) {
        let before = self.last.lock().replace(Instant::now());
        self.is_on.store(true, Relaxed);
        if before.is_none() {
            let (what, help) = explain(error);
            tracing::warn!(%error, listen, help, "{what}: new connections wait");
        }
    }

    /// Checks whether it is over.
    pub(super) fn look(&self) {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.elapsed() >= QUIET) {
            *last = None;
            self.is_on.store(false, Relaxed);
            tracing::info!("new connections are accepted again");
        }
    }
}

/// The scarce resource, and how to get more of it.
fn explain(error: &io::Error) -> (String, &'static str) {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            let limit = rustix::process::getrlimit(Resource::Nofile).current;
            let limit = limit.map_or("without a limit".to_owned(), |limit| format!("limit {limit}"));
            let what = format!("this worker has no file descriptors left ({limit})");
            (
                what,
                "increase `open_files` in `[process.limits]`, up to the hard limit (`ulimit -Hn`, systemd: `LimitNOFILE=`), or decrease `max_connections`",
            )
        }
        Some(Errno::NFILE) => (
            "this machine has no file descriptors left".to_owned(),
            "increase the setting `fs.file-max` with sysctl(8)",
        ),
        _ => ("connections cannot be accepted".to_owned(), "this machine may be short of memory"),
    }
}
