//! Server kinds. Each accepts connections (or takes one request from elsewhere) and calls one app.
//!
//! A server binds nothing itself: the supervisor binds the addresses in [`Server::listen`] and passes the
//! sockets to every generation, so that a switch never closes a listening socket.

mod accept;
pub mod cgi;
pub mod console;
pub mod control;
mod eviction;
mod fastcgi;
pub mod gate;
mod gateway;
mod http;
pub mod listener;
mod options;
pub mod proxy_protocol;
mod requests;
mod scgi;
mod shortage;
mod stream;
mod throughput;
pub mod tls;

pub use control::Server;
pub use tls::tickets;

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::{ReadOptions, Table};
use crate::error::{Errors, Result};
use crate::registry::{Entries, Entry};

/// Every kind of server.
pub static SERVERS: Entries<ServerKind> = LazyLock::new(|| {
    vec![
        Entry::of(
            "cgi",
            "Answers one request from a web server (Apache, lighttpd) that runs paster as a CGI program",
            cgi::build,
        )
        .per_request(),
        Entry::of("console", "Handles one request and prints the response, without a socket", console::build),
        Entry::of(
            "fastcgi",
            "Serves a web server in front (nginx, Apache, lighttpd) over FastCGI, with kept connections",
            fastcgi::build,
        ),
        Entry::of(
            "http",
            "Serves HTTP/1.1 and HTTP/2, with or without TLS, on TCP and Unix sockets",
            http::build,
        ),
        Entry::of(
            "scgi",
            "Serves a web server in front (nginx, Apache, lighttpd) over SCGI, one connection per request",
            scgi::build,
        ),
    ]
});

/// The properties of a kind of server, except its name.
pub struct ServerKind {
    build: Box<BuildServer>,
    /// Whether a web server starts paster for each request, which is in the environment and standard input.
    pub per_request: bool,
}

type BuildServer = dyn Fn(&Table) -> Result<Box<dyn Server>> + Send + Sync;

impl ServerKind {
    /// Creates the server of `table`; starts nothing.
    /// # Errors
    /// Every fault of the options.
    pub fn build(&self, table: &Table) -> Result<Box<dyn Server>> {
        (self.build)(table)
    }

    /// The entry of the kind that `table` names.
    /// # Errors
    /// A table without a kind, and an unknown kind.
    pub fn of(table: &Table) -> Result<&'static Entry<ServerKind>> {
        table.kind_in(&SERVERS, "server")
    }
}

impl Entry<ServerKind> {
    /// A kind whose `build` creates the server. It gets the options, and the table for the places of errors.
    fn of<O: DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
        build: fn(O, &Table) -> Result<Box<dyn Server>>,
    ) -> Self {
        let build = move |table: &Table| {
            let ReadOptions { options, table, wrong_entries } = table.read()?;
            Errors::join(build(options, &table), wrong_entries)
        };
        Entry::new::<O>(name, summary, ServerKind { build: Box::new(build), per_request: false })
    }

    /// See [`ServerKind::per_request`].
    fn per_request(mut self) -> Self {
        self.kind.per_request = true;
        self
    }
}
