//! The sections of a config that are about the whole program: their options and checks. No behaviour.

pub mod log;
pub mod process;
mod schedule;
pub mod task;
