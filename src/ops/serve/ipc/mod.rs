//! Everything that crosses a socket between supervisor and worker, as plain data: `message` has the types,
//! `wire` sends them, `requests` finds who waits for a reply.

pub(super) mod message;
pub(super) mod requests;
pub(super) mod wire;
