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
mod tls;

pub use tls::tickets;

use crate::body::{App, BoxFuture};
use crate::config::Table;
use crate::error::Result;
use crate::registry::{self, Entry};
use control::Control;
use listener::{Listen, Socket};

/// Checks the options of a `[server.NAME]` table and creates the server; starts nothing.
pub type Build = fn(&Table) -> Result<Box<dyn Server>>;

/// Every kind of server.
pub static SERVERS: &[Entry<Build>] = &[
    Entry {
        name: "cgi",
        summary: "Answers one request from a web server (Apache, lighttpd) that runs paster as a CGI program",
        options: registry::options::<cgi::Options>,
        build: cgi::build,
    },
    Entry {
        name: "console",
        summary: "Handles one request and prints the response, without a socket",
        options: registry::options::<console::Options>,
        build: console::build,
    },
    Entry {
        name: "fastcgi",
        summary: "Serves a web server in front (nginx, Apache, lighttpd) over FastCGI, with kept connections",
        options: registry::options::<gateway::Options>,
        build: fastcgi::build,
    },
    Entry {
        name: "http",
        summary: "Serves HTTP/1.1 and HTTP/2, with or without TLS, on TCP and Unix sockets",
        options: registry::options::<http::Options>,
        build: http::build,
    },
    Entry {
        name: "scgi",
        summary: "Serves a web server in front (nginx, Apache, lighttpd) over SCGI, one connection per request",
        options: registry::options::<gateway::Options>,
        build: scgi::build,
    },
];

/// One server of a generation.
pub trait Server: Send {
    /// The addresses to listen on, in the order in which [`run`](Server::run) gets the sockets; empty for the
    /// console.
    fn listen(&self) -> &[Listen];

    /// Whether that entry of [`listen`](Server::listen) uses TLS.
    fn is_secure(&self, listen: usize) -> bool {
        let _ = listen;
        false
    }

    /// Warnings for `check` and the log that do not stop the server: lower case, no full stop.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Serves `app` until [`Control`] retires the generation and the last connection is closed.
    fn run(self: Box<Self>, sockets: Vec<Socket>, app: App, control: Control) -> BoxFuture<()>;
}
