//! Kernels: their messages, the kernel host (a side process that owns them) and the link to it.
//!
//! `host`, `process`, `transport` and `journal` run in the side process; `link` and `specs` in the plugin; `message` and `wire`
//! are what both speak. Nothing here knows HTTP or documents.

pub mod host;
pub mod journal;
pub mod link;
pub mod message;
mod process;
mod reaper;
pub mod specs;
mod transport;
pub mod wire;
