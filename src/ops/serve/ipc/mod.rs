//! Everything that crosses a socket between supervisor and worker, as plain data.

pub(super) mod message;
pub(super) mod wire;
