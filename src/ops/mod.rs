//! What each command does, from plain values. No clap here.

pub mod assemble;
pub mod check;
pub mod schema;
pub mod serve;
pub mod trace;
