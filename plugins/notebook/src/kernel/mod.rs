//! Kernels: their messages, the kernel host (a side process that owns them) and the link to it.
//!
//! `host`, `process`, `gateway`, `transport` and `journal` run in the side process; `link` and `specs` run in the
//! plugin; both use `message` and `wire`. Nothing here knows HTTP or documents.

pub mod cgroup;
pub mod gateway;
pub mod host;
pub mod journal;
mod kernel_process;
mod known_host;
pub mod link;
pub mod message;
mod process;
mod reaper;
pub mod sandbox;
pub mod specs;
mod transport;
pub mod usage;
pub mod wire;

pub(crate) use self::host::SESSION_NAME;
pub(crate) use self::transport::HOST_SESSION;
