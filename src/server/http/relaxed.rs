//! Values that the parts of one connection share.
//!
//! Everything except bodies and upgraded sockets lives in one task, so relaxed atomics are enough, and a
//! counter with one writer needs no locked instruction.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A flag.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Relaxed);
    }
}

/// A number that only one task changes.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(super) fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}
