//! Applications in processes of their own: how one is started, and how requests reach it.
//!
//! Nothing here depends on what the processes run. The supervisor starts the processes of a generation, and each worker
//! connects to all of them; without a supervisor (`paster request`), the app starts one itself.
//!
//! - `spec`: what to start; `address`: where it listens
//! - `control`: the messages between a process and its starter; `starter`: the process's side; `control_message`: those of
//!   processes that run plugins
//! - `pool`: the connections of a worker, and the choice among them; `link`: one connection
//! - `exchange`: one request and its response; `message`: their heads and bodies; `websocket`: one WebSocket;
//!   `failure`: the response in place of the application's
//! - `profile`: samples of their stacks
//! - `local`: a process without a supervisor; `embedded`: an application in this process

mod address;
mod control;
mod control_message;
mod embedded;
mod exchange;
mod failure;
mod link;
mod local;
mod message;
mod pool;
mod profile;
mod spec;
mod starter;
mod websocket;

pub use address::{AddressKind, Endpoint, EndpointUsers, PortReservation};
pub use control::{LoadFailure, ProcessControl, ProcessReport};
pub use control_message::ControlMessage;
pub(super) use embedded::start as start_embedded;
pub use local::probe;
pub(super) use local::{LocalPlace, LocalProcess};
pub(super) use pool::{Pool, PoolLimits};
pub use spec::{ProcessLimits, ProcessSpec, ResourceLimits, Restart, Uncompared};
pub use starter::{Settings, Starter, StarterOrder};

use std::sync::Arc;

use super::Builder;
use crate::body::App;
use crate::config::Table;
use crate::context::ProcessAddress;
use crate::error::Result;

/// An app whose requests go to the processes that the supervisor has started, or to its own process as described by `spec`.
/// # Errors
/// Those of `spec`.
pub(super) fn app(
    table: &Table,
    limits: PoolLimits,
    builder: &Builder<'_>,
    spec: impl FnOnce() -> Result<ProcessSpec>,
) -> Result<App> {
    let context = builder.context;
    let pool = Pool::new(table.name(), limits);
    context.profilers.add(table.name(), &pool);
    match context.processes.get(table.name()) {
        Some(addresses) => addresses.iter().for_each(|address| match address {
            ProcessAddress::Unix(socket) => pool.connect(socket.clone()),
            ProcessAddress::Tcp(_) => {} // processes that use frames have sockets
        }),
        None => local::start(&pool, spec()?),
    }
    Ok(pool.into_app())
}

impl Pool {
    /// An app whose requests go to the processes of the pool.
    pub(super) fn into_app(self: Arc<Self>) -> App {
        App::from_call(move |request| {
            let pool = self.clone();
            Box::pin(async move { exchange::call(&pool, request).await })
        })
    }
}
