//! Addresses to listen on, and the bound sockets that generations inherit.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// One entry of `listen = [...]`: `host:port`, `unix:PATH`, `fd:N`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
    /// An inherited descriptor.
    Fd(i32),
}

/// A bound and listening socket.
#[derive(Debug)]
pub struct Socket {
    /// What it was bound for.
    pub listen: Listen,
    /// The descriptor, close-on-exec, non-blocking.
    pub fd: OwnedFd,
}
