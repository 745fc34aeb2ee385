//! Pauses between the starts of what does not last.

use std::time::Duration;

/// None for what has lasted; else it grows from 100 ms to 10 s.
#[derive(Debug, Default)]
pub(super) struct Backoff(Option<Duration>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(10);

    /// The pause before the next start of what has run for `lasted`.
    pub(super) fn next(&mut self, lasted: Duration) -> Duration {
        let pause = match self.0 {
            Some(before) if lasted < Self::LAST => (before * 2).clamp(Self::FIRST, Self::LAST),
            _ => Duration::ZERO,
        };
        self.0 = Some(pause);
        pause
    }

    /// The same for what somebody has killed: that is no sign of a fault that comes again at once, so the pause
    /// does not grow.
    pub(super) fn next_of_killed(&mut self) -> Duration {
        let pause = if self.0.is_some() { Self::FIRST } else { Duration::ZERO };
        self.0.get_or_insert(Duration::ZERO);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_nothing_lasts() {
        let mut backoff = Backoff::default();
        let brief = Duration::from_millis(1);
        let pauses: Vec<_> = (0..10).map(|_| backoff.next(brief).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.next_of_killed().as_millis(), 100);
        assert_eq!(backoff.next(Duration::from_secs(11)).as_millis(), 0);
        assert_eq!(backoff.next(brief).as_millis(), 100);
    }
}
