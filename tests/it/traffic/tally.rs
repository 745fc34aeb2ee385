//! How long responses took, by the kind of client.

use std::collections::BTreeMap;
use std::time::Duration;

/// How late clients with nothing to wait for were woken: the machine's share of every other time.
pub(super) const WAKING: &str = "(waking a client)";
/// Messages and their replies: not requests.
pub(super) const WEB_SOCKET: &str = "WebSocket message";

/// Times by kind.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, Vec<Duration>>);

impl Tally {
    pub(super) fn add(&mut self, kind: &'static str, time: Duration) {
        self.0.entry(kind).or_default().push(time);
    }

    /// For all requests: how many, and the time within which 99 of 100 got a response, from when each was
    /// due.
    pub(crate) fn requests(&self) -> (usize, Duration) {
        let all = self.sorted();
        (all.len(), share(&all, 99.0))
    }

    /// How long the slowest request took.
    pub(crate) fn slowest(&self) -> Duration {
        share(&self.sorted(), 100.0)
    }

    fn sorted(&self) -> Vec<Duration> {
        let requests = self.0.iter().filter(|(kind, _)| ![WAKING, WEB_SOCKET].contains(*kind));
        let mut all: Vec<_> = requests.flat_map(|(_, times)| times).copied().collect();
        all.sort_unstable();
        all
    }

    /// One line per kind: its times, then those of `other`, in milliseconds.
    pub(crate) fn beside(&self, other: &Tally) -> String {
        let mut text = format!("{:18} {:>42} {:>42}\n", "ms", "calm", "under reloads");
        let head = format!("{:>8} {:>7} {:>7} {:>8} {:>8}", "count", "50 %", "99 %", "99.9 %", "most");
        text += &format!("{:18} {head} {head}\n", "");
        for kind in self.0.keys().chain(other.0.keys().filter(|kind| !self.0.contains_key(*kind))) {
            text += &format!("{kind:18} {} {}\n", self.line(kind), other.line(kind));
        }
        text
    }

    fn line(&self, kind: &str) -> String {
        let mut times = self.0.get(kind).cloned().unwrap_or_default();
        times.sort_unstable();
        let ms = |percent: f64| share(&times, percent).as_secs_f64() * 1e3;
        format!("{:8} {:7.2} {:7.2} {:8.2} {:8.2}", times.len(), ms(50.0), ms(99.0), ms(99.9), ms(100.0))
    }
}

/// The time within which this many of a hundred are.
fn share(sorted: &[Duration], percent: f64) -> Duration {
    let place = (sorted.len() as f64 * percent / 100.0) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
