//! What each command does, from plain values. No clap here.

pub mod assemble;
pub mod serve;
pub mod trace;
