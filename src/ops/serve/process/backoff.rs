//! Pauses between the starts of a process that keeps ending.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts at once up to [`AT_ONCE`](Self::AT_ONCE) times in [`WINDOW`](Self::WINDOW), as systemd does by
/// default. After that, the pause doubles from 100 ms to 10 s, until a process has run for
/// [`LASTING`](Self::LASTING).
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// The times of the last restarts, oldest first: at most [`AT_ONCE`](Self::AT_ONCE).
    recent: VecDeque<Instant>,
    pause: Duration,
}

impl Backoff {
    const AT_ONCE: usize = 5;
    const WINDOW: Duration = Duration::from_secs(10);
    /// A process that ran for this long did not fail at its start.
    const LASTING: Duration = Duration::from_secs(1);
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    /// The pause before the next start of a process that ended at `now` and had run for `lasted`.
    pub(crate) fn next(&mut self, now: Instant, lasted: Duration) -> Duration {
        let often = self.is_often(now);
        if lasted >= Self::WINDOW || (!often && (lasted >= Self::LASTING || self.pause.is_zero())) {
            self.pause = Duration::ZERO;
        } else {
            self.pause = (self.pause * 2).clamp(Self::SHORTEST, Self::LONGEST);
        }
        self.pause
    }

    /// The same for a process that was killed from outside. The next one will not necessarily fail, so the
    /// pause does not grow.
    pub(crate) fn next_of_killed(&mut self, now: Instant) -> Duration {
        if self.is_often(now) { Self::SHORTEST } else { Duration::ZERO }
    }

    /// Records a restart. Returns whether there were [`AT_ONCE`](Self::AT_ONCE) before it in the window.
    fn is_often(&mut self, now: Instant) -> bool {
        self.recent.retain(|then| now.saturating_duration_since(*then) < Self::WINDOW);
        let often = self.recent.len() >= Self::AT_ONCE;
        if often {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        often
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(1);

    /// The pauses, in milliseconds, of `count` processes that each run for `lasted`.
    fn pauses(backoff: &mut Backoff, now: &mut Instant, lasted: Duration, count: usize) -> Vec<u128> {
        let mut next = || {
            *now += lasted;
            let pause = backoff.next(*now, lasted);
            *now += pause;
            pause.as_millis()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn it_grows_while_no_process_lasts() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        let grown = pauses(&mut backoff, &mut now, BRIEF, 14);
        assert_eq!(grown, [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.next_of_killed(now).as_millis(), 0, "it is rarely killed");
        assert_eq!(pauses(&mut backoff, &mut now, Duration::from_secs(11), 1), [0]);
        assert_eq!(pauses(&mut backoff, &mut now, BRIEF, 3), [0; 3], "it starts from zero again");
    }

    #[test]
    fn five_crashes_in_ten_seconds_are_restarted_at_once() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        assert_eq!(pauses(&mut backoff, &mut now, Duration::from_secs(3), 50), [0; 50]);
        let (mut backoff, second) = (Backoff::default(), Duration::from_secs(1));
        let grown = pauses(&mut backoff, &mut now, second, 200);
        assert_eq!(grown[..7], [0, 0, 0, 0, 0, 100, 200]);
        assert!(grown.iter().all(|pause| *pause <= 3200), "{grown:?}");
        for _ in 0..20 {
            assert!(backoff.next_of_killed(now).as_millis() <= 100);
        }
    }
}
