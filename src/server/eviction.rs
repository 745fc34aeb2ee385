//! Chooses the connections that a full server closes to make room: the longest idle ones, as nginx does.
//!
//! Nothing is sorted while the server has room. A full server checks all connections at once, and asks a share of them (one in
//! [`SHARE`]) to end, so that the check costs little per new connection. The connection
//! itself decides: only its own task knows whether a request has arrived in the meantime.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::control::PhaseName;

/// One in this many connections is asked to end at a time.
const SHARE: usize = 64;
/// A connection that has sent nothing, or half a head, for less than this may be about to send a request: it
/// is closed last.
const YOUNG: Duration = Duration::from_secs(1);

/// An open connection.
pub(super) trait OpenConnection: Send + Sync {
    /// How and since when it is idle; `None` while a request is answered on it, and once it is upgraded.
    fn idle(&self) -> Option<IdleState>;

    /// Asks it to end, unless a request has arrived.
    fn evict(&self);

    /// The server has entered another stage.
    fn turned(&self, stage: PhaseName);
}

/// How and since when a connection is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdleState {
    pub(super) kind: IdleKind,
    pub(super) since: Instant,
}

/// In which way a connection is idle. The first ones are closed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IdleKind {
    /// Everything is sent; only the client's end of stream is awaited.
    Ending,
    /// Between two requests.
    Kept,
    /// No request has arrived, nor a complete TLS handshake or PROXY header.
    Silent,
    /// A part of a head has arrived.
    Head,
}

impl IdleState {
    /// Sorts those that are closed first to the front.
    fn order(self, now: Instant) -> (bool, IdleKind, Instant) {
        let young = self.kind >= IdleKind::Silent && now.saturating_duration_since(self.since) < YOUNG;
        let kind = if young { IdleKind::Head } else { self.kind };
        (young, kind, self.since)
    }
}

/// The open connections of one server.
#[derive(Default)]
pub(super) struct OpenConnections(Mutex<ById>);

#[derive(Default)]
struct ById {
    next: u64,
    by_id: HashMap<u64, Arc<dyn OpenConnection>>,
}

impl OpenConnections {
    fn open(&self) -> MutexGuard<'_, ById> {
        self.0.lock()
    }

    /// Adds a connection; returns its number.
    pub(super) fn add(&self, connection: Arc<dyn OpenConnection>) -> u64 {
        let mut open = self.open();
        open.next += 1;
        let id = open.next;
        open.by_id.insert(id, connection);
        id
    }

    pub(super) fn remove(&self, id: u64) {
        let gone = self.open().by_id.remove(&id);
        drop(gone); // outside the lock
    }

    /// Informs all connections about a stage.
    pub(super) fn turned(&self, stage: PhaseName) {
        let all: Vec<_> = self.open().by_id.values().cloned().collect();
        all.iter().for_each(|one| one.turned(stage));
    }

    /// Asks some of the longest idle connections to end, at least `least`; returns the number of checked connections.
    pub(super) fn evict(&self, least: usize) -> usize {
        let now = Instant::now();
        let open = self.open();
        let looked_at = open.by_id.len();
        let idle = |(id, one): (&u64, &Arc<dyn OpenConnection>)| Some((one.idle()?.order(now), *id));
        let mut idle: Vec<_> = open.by_id.iter().filter_map(idle).collect();
        let count = (looked_at / SHARE).max(least);
        if count < idle.len() {
            idle.select_nth_unstable(count);
            idle.truncate(count);
        }
        let chosen: Vec<_> = idle.iter().filter_map(|(_, id)| open.by_id.get(id).cloned()).collect();
        drop(open);
        chosen.iter().for_each(|one| one.evict());
        looked_at
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    struct Fake {
        idle: Option<IdleState>,
        evicted: AtomicBool,
    }

    impl OpenConnection for Fake {
        fn idle(&self) -> Option<IdleState> {
            self.idle.filter(|_| !self.evicted.load(Relaxed))
        }

        fn evict(&self) {
            self.evicted.store(true, Relaxed);
        }

        fn turned(&self, _: PhaseName) {}
    }

    #[test]
    fn the_longest_idle_go_first_and_busy_ones_never() {
        let now = Instant::now();
        let at = |kind, secs| {
            let since = now.checked_sub(Duration::from_secs_f64(secs)).unwrap_or(now);
            Arc::new(Fake { idle: Some(IdleState { kind, since }), evicted: AtomicBool::new(false) })
        };
        let order = [
            at(IdleKind::Ending, 0.5),
            at(IdleKind::Kept, 9.0),
            at(IdleKind::Kept, 0.0),
            at(IdleKind::Silent, 30.0),
            at(IdleKind::Silent, 20.0),
            at(IdleKind::Head, 40.0),
            at(IdleKind::Silent, 0.5),
            at(IdleKind::Head, 0.25),
        ];
        let connections = OpenConnections::default();
        for one in order.iter().rev() {
            connections.add(one.clone());
        }
        let busy = Arc::new(Fake { idle: None, evicted: AtomicBool::new(false) });
        let id = connections.add(busy.clone());
        for count in 1..=order.len() {
            connections.evict(1);
            let gone: Vec<_> = order.iter().map(|one| one.evicted.load(Relaxed)).collect();
            assert!(gone[..count].iter().all(|gone| *gone) && !gone[count..].contains(&true), "{gone:?}");
        }
        connections.evict(1);
        assert!(!busy.evicted.load(Relaxed));
        connections.remove(id);
        assert_eq!(connections.evict(1), order.len());
    }

    #[test]
    fn a_large_server_closes_several_at_once() {
        let connections = OpenConnections::default();
        let since = Instant::now();
        let idle = Some(IdleState { kind: IdleKind::Kept, since });
        let all: Vec<_> =
            (0..640).map(|_| Arc::new(Fake { idle, evicted: AtomicBool::new(false) })).collect();
        for one in &all {
            connections.add(one.clone());
        }
        connections.evict(1);
        assert_eq!(all.iter().filter(|one| one.evicted.load(Relaxed)).count(), 10);
    }
}
