//! The parsers under test, each taken from the program's own file: they know no socket and hardly another module, so
//! that a target builds in seconds and needs nothing to be made public.
#![allow(dead_code, reason = "each target uses some of it")]

#[path = "../../src/codec/cgi.rs"]
pub mod cgi;
#[path = "../../src/codec/fastcgi.rs"]
pub mod fastcgi;
#[path = "../../src/codec/pairs.rs"]
mod pairs;
#[path = "../../src/server/gate/path.rs"]
pub mod path;
#[path = "../../src/server/proxy_protocol.rs"]
pub mod proxy_protocol;
#[path = "../../src/codec/scgi.rs"]
pub mod scgi;
pub mod static_files;

pub use pairs::{Fault, Variables};
use pairs::{malformed, parse_length};
