//! Codecs of the gateway protocols: SCGI, FastCGI and CGI; the `Range` field. Servers and bridges read and write with the same
//! code.
//!
//! Bytes in, values out: no sockets, files or clocks. A gateway passes a request as [`Variables`], the
//! meta-variables of RFC 3875; [`variables`] converts between them and requests.

pub mod cgi;
mod client_certificate;
pub mod fastcgi;
pub mod host_name;
mod pairs;
pub mod range;
pub mod scgi;
pub mod variables;

pub use pairs::{PairsError, Variables};
use pairs::{malformed, parse_length};
