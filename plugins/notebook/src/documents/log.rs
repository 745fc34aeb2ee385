//! The newest changes of a document, numbered, for pages that were disconnected.

use std::collections::VecDeque;

use axum::extract::ws::Utf8Bytes;

/// The maximum size of the log, in bytes of frames.
const LIMIT_BYTES: usize = 8 << 20;

/// The newest changes, as frames.
#[derive(Default)]
pub(super) struct Log {
    frames: VecDeque<Utf8Bytes>,
    bytes: usize,
    /// The number of the newest event.
    last: u64,
}

impl Log {
    /// The number of the newest event.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The number of the next event, which [`Log::push`] adds.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    pub(super) fn push(&mut self, frame: Utf8Bytes) {
        self.last += 1;
        self.bytes += frame.len();
        self.frames.push_back(frame);
        while self.bytes > LIMIT_BYTES
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    /// The events after number `after`; `None` if they are no longer in the log or do not exist yet.
    pub(super) fn after(&self, after: u64) -> Option<impl Iterator<Item = Utf8Bytes> + '_> {
        let missed = self.last.checked_sub(after)?;
        let skipped = (self.frames.len() as u64).checked_sub(missed)?;
        Some(self.frames.iter().skip(skipped as usize).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_given_or_known_to_be_gone() {
        let mut log = Log::default();
        assert_eq!(log.after(0).unwrap().count(), 0);
        assert!(log.after(1).is_none());
        for _ in 0..20 {
            log.push("x".repeat(1 << 20).into());
        }
        assert_eq!((log.last(), log.after(18).unwrap().count()), (20, 2));
        assert!(log.after(5).is_none());
    }
}
