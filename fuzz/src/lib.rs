//! The parsers under test, each taken from the program's own file: they know no socket and hardly another module, so
//! that a target builds in seconds and needs nothing to be made public.
#![allow(dead_code, reason = "each target uses some of it")]

#[path = "../../src/codec/cgi.rs"]
pub mod cgi;
#[path = "../../src/codec/fastcgi.rs"]
pub mod fastcgi;
#[path = "../../src/server/http/frames.rs"]
mod frames;
#[path = "../../src/codec/pairs.rs"]
mod pairs;
#[path = "../../src/server/gate/path.rs"]
pub mod path;
#[path = "../../src/server/proxy_protocol.rs"]
pub mod proxy_protocol;
#[path = "../../src/codec/scgi.rs"]
pub mod scgi;
pub mod static_files;

pub use pairs::{PairsError, Variables};

/// What the limits of time are told of an HTTP/2 connection after these pieces: whether something has begun and not come
/// whole, and how much has come whole. `None`: it is not HTTP/2.
pub fn follow<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Option<(bool, u64)> {
    let mut frames = frames::Frames::new();
    pieces.all(|piece| frames.take(piece)).then(|| (frames.is_within(), frames.whole()))
}
use pairs::{malformed, parse_length};
