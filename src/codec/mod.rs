//! Codecs of the gateway protocols: SCGI, FastCGI and CGI, read and written by servers and bridges alike.
//!
//! Bytes in, values out: no socket, no file, no clock. What a gateway passes of a request are [`Variables`], the
//! meta-variables of RFC 3875; [`variables`] turns a request into them and back.

pub mod cgi;
pub mod fastcgi;
pub mod host_name;
mod pairs;
pub mod scgi;
pub mod variables;

pub use pairs::{Fault, Variables};
use pairs::{malformed, parse_length};
