//! Hands idle connections over between generations, on the worker's side.
//!
//! Each older worker sends its connections over a separate hand-over socket. A worker that serves gives them
//! to its servers. A retired worker passes them on, so that none is lost between three generations.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::ops::serve::ipc::wire::{self, Packet};
use crate::server::control::Idle;

/// How long a connection waits for another generation if its receiver is gone.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct HandoverHead {
    server: String,
    listener: usize,
    peer: Option<SocketAddr>,
    secure: bool,
}

/// The servers that take connections; empty once the worker is retired.
#[derive(Clone, Default)]
pub(super) struct Receivers(Arc<Mutex<HashMap<String, mpsc::Sender<Idle>>>>);

impl Receivers {
    pub(super) fn insert(&self, server: &str, taker: mpsc::Sender<Idle>) {
        self.0.lock().insert(server.to_owned(), taker);
    }

    /// From now on, everything is passed on. The servers see their channels close.
    pub(super) fn retire(&self) {
        self.0.lock().clear();
    }

    /// Gives a connection to its server; returns it if no server here takes it.
    ///
    /// This sends under the lock: once [`Receivers::retire`] has returned, nothing more reaches a server, so
    /// that no server ends while a connection is on its way to it.
    async fn give(&self, mut idle: Idle) -> Option<Idle> {
        loop {
            let full = {
                let receivers = self.0.lock();
                let Some(taker) = receivers.get(idle.server.as_ref()) else { return Some(idle) };
                match taker.try_send(idle) {
                    Ok(()) => return None,
                    Err(TrySendError::Closed(back)) => return Some(back),
                    Err(TrySendError::Full(back)) => {
                        idle = back;
                        taker.clone()
                    }
                }
            };
            let _ = full.reserve().await; // if closed, the next iteration sees it
        }
    }
}

/// Receives the connections that an older worker sends over `from`, until it closes.
pub(super) async fn take_in(from: OwnedFd, receivers: Receivers, onward: mpsc::Sender<Idle>) {
    let Ok(from) = wire::stream(from) else { return };
    while let Ok(Some(mut packet)) = wire::receive(&from).await {
        let (Ok(head), Some(socket)) = (packet.message::<HandoverHead>(), packet.fds.pop()) else { continue };
        let HandoverHead { server, listener, peer, secure } = head;
        let idle = Idle { server: server.into(), listener, socket, read: packet.raw, peer, secure };
        if let Some(idle) = receivers.give(idle).await {
            // If the server was removed from the config, no later generation has it either, and the
            // connection closes there.
            let _ = onward.send(idle).await;
        }
    }
}

/// Sends connections from `idle` to the newest generation, over the socket in `target`, until all senders are
/// gone.
pub(super) async fn send_on(
    mut idle: mpsc::Receiver<Idle>,
    mut target: watch::Receiver<Option<Arc<UnixStream>>>,
) {
    while let Some(Idle { server, listener, socket, read, peer, secure }) = idle.recv().await {
        let head = HandoverHead { server: server.as_ref().to_owned(), listener, peer, secure };
        let packet = Packet { raw: read, fds: vec![socket], ..Packet::new(&head) };
        let delivered = async {
            loop {
                let to = target.borrow_and_update().clone();
                if let Some(to) = to
                    && wire::send(&to, &packet).await.is_ok()
                {
                    return;
                }
                // That generation is gone: the supervisor sends the socket of the next one.
                if target.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, delivered).await.is_err() {
            tracing::warn!(%server, "an idle connection was closed: no generation accepted it");
        }
    }
}
