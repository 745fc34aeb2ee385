//! The servers of a config without their apps, and the sockets that they listen on.

use std::sync::Arc;

use crate::body::App;
use crate::config::Config;
use crate::error::{Error, Errors, Result};
use crate::registry;
use crate::server::listener::{self, Listen, Socket};
use crate::server::{SERVERS, Server};

/// A server by its name, and the app that it serves.
pub(super) type Named = (String, Box<dyn Server>, App);

/// Makes every server of `config`, with an app that is still to be replaced.
/// # Errors
/// Every fault of the `[server.NAME]` tables.
pub(super) fn servers(config: &Config) -> Result<Vec<Named>> {
    let mut servers: Vec<Named> = Vec::new();
    let mut errors = Vec::new();
    for name in config.names("server") {
        let Some(table) = config.table("server", name) else { continue };
        let made = table.kind().and_then(|kind| {
            let entry =
                registry::find(SERVERS, "server", kind).map_err(|error| error.at(table.origin("use")))?;
            (entry.build)(&table)
        });
        let unset = App::from_fn(|_| std::future::ready(crate::body::Response::default()));
        match made {
            Ok(server) => servers.push((name.to_owned(), server, unset)),
            Err(found) => errors.extend(found),
        }
    }
    if servers.is_empty() && errors.is_empty() {
        errors.push(
            Error::config("the config has no server")
                .help("add a table `[server.main]` with `use = \"http\"`"),
        );
    }
    Errors::check(errors)?;
    Ok(servers)
}

/// One bound socket and the server that it serves.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) server: String,
    /// Kind of the server: scheme of the URL that is shown.
    pub(super) kind: String,
    pub(super) socket: Arc<Socket>,
    /// Whether this bind is new, so that it is to be announced.
    pub(super) new: bool,
}

impl Bound {
    /// Where to reach it: `http://127.0.0.1:8080`, `http+unix:/run/app.sock`.
    pub(super) fn url(&self) -> String {
        let address = self.socket.address();
        match address.strip_prefix("unix:") {
            Some(path) => format!("{}+unix:{path}", self.kind),
            // "Any address" is none that a browser can open.
            None => {
                let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
                format!("{}://{address}", self.kind)
            }
        }
    }
}

/// Binds what the servers of `config` listen on, keeping what `old` has already. Nothing of `old` is closed here.
/// # Errors
/// Every address that cannot be bound.
pub(super) fn bind(config: &Config, old: &[Bound]) -> Result<Vec<Bound>> {
    let mut wanted: Vec<(String, Listen)> = Vec::new();
    let mut secure = Vec::new();
    let mut errors = Vec::new();
    for (name, server, _) in servers(config)? {
        for (index, listen) in server.listen().iter().enumerate() {
            match listener::expand(listen) {
                Ok(all) => all.into_iter().for_each(|one| {
                    wanted.push((name.clone(), one));
                    secure.push(server.is_secure(index));
                }),
                Err(error) => {
                    let table = config.table("server", &name);
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
    // The server's own sockets first, then those that another server gives up.
    let mut kept: Vec<_> = wanted.iter().map(|(server, listen)| take(Some(server), listen)).collect();
    for (slot, (_, listen)) in kept.iter_mut().zip(&wanted) {
        if slot.is_none() {
            *slot = take(None, listen);
        }
    }
    let mut bound = Vec::new();
    for (((server, listen), kept), secure) in wanted.into_iter().zip(kept).zip(secure) {
        let new = kept.is_none();
        let table = config.table("server", &server);
        let mut kind = table.as_ref().and_then(|table| table.kind().ok()).unwrap_or("http").to_owned();
        if secure {
            kind.push('s');
        }
        // A socket that is kept may be opened to others now.
        let kept = kept.map(|socket| listener::grant(&listen).map(|()| socket));
        match kept.unwrap_or_else(|| listener::bind(&listen).map(Arc::new)) {
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

/// Removes the file of a Unix socket that is no longer listened on.
pub(super) fn unlink(listen: &Listen) {
    if let Listen::Unix(path, _) = listen {
        let _ = std::fs::remove_file(path); // somebody may have been tidier
    }
}
