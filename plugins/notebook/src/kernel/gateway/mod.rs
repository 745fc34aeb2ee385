//! Kernels of a Jupyter Kernel Gateway or Jupyter Enterprise Gateway, which may run them on other machines.
//!
//! `client` speaks its REST interface, `channels` carries messages over its WebSocket, and `remote` starts, watches and ends
//! one kernel.
//!
//! # Source
//! Jupyter Server, `docs/source/developers/rest-api.rst` and `websocket-protocols.rst`, which both gateways follow.

mod channels;
mod client;
mod remote;

pub(super) use self::channels::connect;
pub use self::client::{Gateway, GatewayError};
pub(super) use self::remote::{RemoteId, RemoteKernel};
