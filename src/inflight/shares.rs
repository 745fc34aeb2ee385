//! How the apps behind one server share its requests in flight.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

/// Requests in flight by app: no single app may take the last tenth of what the server allows. A request
/// counts for the app that has it: behind a `mount`, for the mounted one.
#[derive(Debug, Default)]
pub struct Shares {
    counts: Box<[AtomicUsize]>,
    limit: AtomicUsize,
}

impl Shares {
    /// For `apps` apps; there is no limit until [`limit`](Shares::limit) is called.
    pub fn new(apps: usize) -> Shares {
        let counts = (0..apps).map(|_| AtomicUsize::new(0)).collect();
        Shares { counts, limit: AtomicUsize::new(usize::MAX) }
    }

    /// Sets the server's maximum number of requests in flight.
    pub fn limit(&self, requests: usize) {
        self.limit.store((requests - (requests / 10).max(1).min(requests)).max(1), Relaxed);
    }

    fn enter(&self, app: u32) -> bool {
        let Some(count) = self.counts.get(app as usize) else { return true };
        if count.fetch_add(1, Relaxed) < self.limit.load(Relaxed) {
            return true;
        }
        count.fetch_sub(1, Relaxed);
        false
    }

    fn leave(&self, app: u32) {
        if let Some(count) = self.counts.get(app as usize) {
            count.fetch_sub(1, Relaxed);
        }
    }
}

/// The app that a request counts for; one task at a time writes it.
#[derive(Debug, Default)]
pub(super) struct HoldingApp(AtomicU32);

impl HoldingApp {
    /// Counts the request for the app with this number, or for none, and no longer for the previous one.
    /// `false`: that app already has its share.
    pub(super) fn pass(&self, shares: &Shares, app: Option<u32>) -> bool {
        if app.is_some_and(|app| self.0.load(Relaxed) == app + 1) {
            return true;
        }
        self.release(shares);
        let Some(app) = app else { return true };
        let entered = shares.enter(app);
        if entered {
            self.0.store(app + 1, Relaxed);
        }
        entered
    }

    /// Counts the request for no app.
    pub(super) fn release(&self, shares: &Shares) {
        let before = self.0.load(Relaxed);
        if before > 0 {
            shares.leave(before - 1);
            self.0.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_for_the_others() {
        let shares = Shares::new(2);
        shares.limit(20);
        let requests: Vec<_> = (0..20).map(|_| HoldingApp::default()).collect();
        let passed = requests.iter().filter(|request| request.pass(&shares, Some(0))).count();
        assert_eq!(passed, 18);
        assert!(requests[19].pass(&shares, Some(1)), "the other app has its own share");
        assert!(
            requests[0].pass(&shares, Some(1)) && requests[18].pass(&shares, Some(0)),
            "a request that is passed on frees its place"
        );
        assert!(!requests[0].pass(&shares, Some(0)));
        requests.iter().for_each(|request| request.release(&shares));
        assert!(shares.counts.iter().all(|count| count.load(Relaxed) == 0));
        for (limit, share) in [(1, 1), (2, 1), (9, 8), (10, 9), (1024, 922)] {
            shares.limit(limit);
            assert_eq!(shares.limit.load(Relaxed), share);
        }
    }
}
