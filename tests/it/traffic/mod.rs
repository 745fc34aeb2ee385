//! Clients of every kind that run until they are told to stop, and what they saw.
//!
//! - here: what they share, and their pace;
//! - `tally`: how long answers took;
//! - `http1`, `http2`: requests, each with or without TLS;
//! - `lasting`: WebSockets and streams.

mod http1;
mod http2;
mod lasting;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use http1::{Stream, connect, connect_tls, exchange, fresh, kept};
pub(crate) use http2::http2;
pub(crate) use lasting::{streams, web_socket};
pub(crate) use tally::Tally;

/// The longest sleep, so that an idle client notices that it must stop.
const NAP: Duration = Duration::from_millis(100);

/// The clients' shared state.
#[derive(Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    clients: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) streams: AtomicU64,
    taken: Mutex<Tally>,
    /// What went wrong: when the request started, when it failed, and how.
    pub(crate) failures: Mutex<Vec<(Instant, Instant, String)>>,
}

/// Running clients.
pub(crate) struct Clients {
    pub(crate) traffic: Arc<Traffic>,
    address: Arc<str>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn of(address: &str) -> Clients {
        Clients { traffic: Arc::default(), address: address.into(), threads: Vec::new() }
    }

    /// Starts a client on its own thread.
    pub(crate) fn add(&mut self, run: impl FnOnce(&str, &Arc<Traffic>) + Send + 'static) {
        let (traffic, address) = (self.traffic.clone(), self.address.clone());
        self.threads.push(thread::spawn(move || run(&address, &traffic)));
    }

    /// Stops all of them and waits.
    pub(crate) fn stop(mut self) -> Arc<Traffic> {
        self.traffic.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client fell");
        }
        self.traffic.clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.traffic.stop.store(true, Relaxed);
    }
}

impl Traffic {
    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// The measurements since the last call.
    pub(crate) fn tally(&self) -> Tally {
        std::mem::take(&mut *self.taken())
    }

    fn taken(&self) -> MutexGuard<'_, Tally> {
        self.taken.lock().unwrap()
    }

    /// Calls `once` at this many points in time per second until told to stop, however long the previous
    /// calls took: a late call is made at once. `once` gets the number of the call and when it was due.
    /// Clients with the same pace are spread over it.
    fn pace(&self, per_second: u32, mut once: impl FnMut(u64, Instant)) {
        let step = Duration::from_secs(1) / per_second;
        let spread = (self.clients.fetch_add(1, Relaxed) as f64 * 0.618_034).fract();
        let mut due = Instant::now() + step.mul_f64(spread);
        let mut turn = 0;
        while self.goes_on() {
            let now = Instant::now();
            if now < due {
                thread::sleep((due - now).min(NAP)); // the pace
                if Instant::now() < due {
                    continue;
                }
                // How late the machine wakes a client that nothing else held up.
                self.taken().add(tally::WAKING, due.elapsed());
            }
            turn += 1;
            once(turn, due);
            due += step;
        }
    }

    /// Records how a request of `kind` that was due at `due` ended.
    fn ended(&self, kind: &'static str, due: Instant, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.requests.fetch_add(1, Relaxed);
                self.taken().add(kind, due.elapsed());
            }
            Err(why) => self.fail(due, format!("{kind}: {why}")),
        }
    }

    fn fail(&self, began: Instant, why: String) {
        self.failures.lock().unwrap().push((began, Instant::now(), why));
    }

    /// # Panics
    /// If anything failed.
    pub(crate) fn assert_whole(&self) {
        let failures = self.failures.lock().unwrap().clone();
        let some: Vec<_> = failures.iter().take(5).map(|(_, _, why)| why).collect();
        assert!(failures.is_empty(), "{} failed: {some:#?}", failures.len());
    }
}

/// A body in which every lost, repeated or misplaced byte is noticed.
pub(crate) fn body(seed: u64) -> String {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = (0..200 + seed % 1500).map(|_| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        format!("{number:016x}")
    });
    words.collect()
}
