//! The sockets that the servers of a config listen on.

use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Errors, Result};
use crate::ops::assemble;
use crate::server::listener::{self, Listen, Socket};

/// One bound socket and the server that it serves.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) server: String,
    /// Kind of the server: the scheme of the displayed URL.
    pub(super) kind: String,
    pub(super) socket: Arc<Socket>,
    /// Whether this socket is new, so that it must be announced.
    pub(super) new: bool,
}

impl Bound {
    /// Its address: `http://127.0.0.1:8080`, `http+unix:/run/app.sock`.
    pub(super) fn url(&self) -> String {
        let address = self.socket.address();
        match address.strip_prefix("unix:") {
            Some(path) => format!("{}+unix:{path}", self.kind),
            // Browsers cannot open the "any" address.
            None => {
                let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
                format!("{}://{address}", self.kind)
            }
        }
    }

    /// The same, if a browser can open it.
    pub(super) fn page(&self) -> Option<String> {
        Some(self.url()).filter(|url| url.starts_with("http://") || url.starts_with("https://"))
    }
}

/// Binds what the servers of `config` listen on, and reuses the sockets in `old`. Closes none of them.
/// # Errors
/// Every address that cannot be bound.
pub(super) fn bind(config: &Config, old: &[Bound]) -> Result<Vec<Bound>> {
    let mut wanted: Vec<(String, Listen)> = Vec::new();
    let mut secure = Vec::new();
    let mut errors = Vec::new();
    let servers = assemble::build_servers(config, &mut errors);
    Errors::check(std::mem::take(&mut errors))?;
    for (name, server) in servers {
        for (index, listen) in server.listen().iter().enumerate() {
            match listener::expand(listen) {
                Ok(all) => all.into_iter().for_each(|one| {
                    wanted.push((name.to_owned(), one));
                    secure.push(server.is_secure(index));
                }),
                Err(error) => {
                    let table = config.table("server", name);
                    errors.push(error.at(table.and_then(|table| table.origin("listen"))));
                }
            }
        }
    }
    let mut left: Vec<&Bound> = old.iter().collect();
    let mut take = |server: Option<&str>, listen: &Listen| {
        let same = |bound: &&Bound| {
            bound.socket.listen.is_at(listen) && server.is_none_or(|server| bound.server == server)
        };
        left.iter().position(same).map(|found| left.remove(found).socket.clone())
    };
    // First a server's own sockets, then those that another server no longer uses.
    let mut kept: Vec<_> = wanted.iter().map(|(server, listen)| take(Some(server), listen)).collect();
    for (slot, (_, listen)) in kept.iter_mut().zip(&wanted) {
        if slot.is_none() {
            *slot = take(None, listen);
        }
    }
    // If there are separate IPv4 entries, a dual-stack entry must be IPv6 only, regardless of their order.
    let only_v6: Vec<bool> = wanted
        .iter()
        .map(|(_, one)| one.is_dual_stack() && wanted.iter().any(|(_, other)| one.meets(other)))
        .collect();
    let mut bound = Vec::new();
    for ((((server, listen), kept), secure), only_v6) in wanted.into_iter().zip(kept).zip(secure).zip(only_v6)
    {
        let new = kept.is_none();
        let table = config.table("server", &server);
        let mut kind = table.as_ref().and_then(|table| table.kind().ok()).unwrap_or("http").to_owned();
        if secure {
            kind.push('s');
        }
        // The permissions of a reused socket may have changed.
        let kept = kept.map(|socket| keep(&listen, socket, only_v6));
        match kept.unwrap_or_else(|| listener::bind(&listen, only_v6).map(Arc::new)) {
            Ok(socket) => bound.push(Bound { server, kind, socket, new }),
            Err(found) => errors.extend(found.into_iter().map(|error| match (&error.origin, &table) {
                (None, Some(table)) => error.at(table.origin("listen").or_else(|| table.origin(""))),
                _ => error,
            })),
        }
    }
    Errors::check(errors)?;
    Ok(bound)
}

/// Applies the current entry to a socket that is already bound.
fn keep(listen: &Listen, socket: Arc<Socket>, only_v6: bool) -> Result<Arc<Socket>> {
    if listen.is_dual_stack() && socket.is_only_v6() != only_v6 {
        let error =
            Error::new(format!("a reload cannot change whether `{listen}` takes IPv4 connections too"));
        return Err(error.help("restart paster: this cannot change after the address was bound").into());
    }
    listener::grant(listen).map(|()| socket)
}

/// Removes the file of a Unix socket that is no longer listened on.
pub(super) fn unlink(listen: &Listen) {
    if let Listen::Unix(path, _) = listen {
        let _ = std::fs::remove_file(path); // it may be gone already
    }
}
