//! The frames between a worker of paster and a process that runs an application.
//!
//! One connection carries many requests. Each frame has a header of ten bytes and a payload:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the payload, little-endian |
//! | 4 | number of the stream (one request and its response), little-endian; 0 for the connection itself |
//! | 1 | [`Kind`] |
//! | 1 | flags: 1 the sender's last body part of this stream; 2 a descriptor comes with the frame |
//!
//! A worker numbers its streams from 1 upwards. A sender may have [`WINDOW`] bytes of a body under way; each
//! [`Kind::Credit`] allows more. Frames are gathered in an [`Outgoing`] and taken apart by an [`Incoming`], many with
//! one system call. The peer is not trusted: malformed bytes are an error, never a panic.
//!
//! If both sides are in one process, a [`Peer`] passes the frames on without encoding them.

mod begun;
mod incoming;
mod outgoing;
mod payload;
mod peer;

use std::fmt;
use std::os::fd::OwnedFd;

use bytes::Bytes;

pub use begun::Begun;
pub use incoming::Incoming;
pub use outgoing::Outgoing;
pub use payload::{FilePart, Level, Pairs, ProcessStatus, ResponseHead, push_pair};
pub use peer::{Endpoint, Peer};

/// Length of a frame's header, in bytes.
pub const HEADER: usize = 10;
/// Maximum length of a payload, in bytes.
pub const LONGEST: usize = 16 << 20;
/// How many bytes of a body may be sent before the first credit.
pub const WINDOW: u32 = 64 << 10;
/// A body part is split into frames of at most this many bytes.
pub const LARGEST_DATA: usize = 64 << 10;

/// The pair of a request's head with the data of its session, as a JSON object.
pub const SESSION: &str = "PASTER_SESSION";
/// The pair of a [`ResponseHead`] with the changes in the session, as JSON. No field can have this name.
pub const SESSION_CHANGES: &str = ":session";

/// The last body part of the sender in this stream.
const END: u8 = 1;
/// A descriptor comes with the frame.
const DESCRIPTOR: u8 = 2;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame means.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            fn from_number(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// To a new process: its settings as [`Pairs`], with its listening socket as the descriptor.
    Start = 1,
    /// From a process: the application is loaded; facts about it as [`Pairs`]. On a connection: it takes requests here; the
    /// memory of [`Begun`] as the descriptor.
    Ready = 2,
    /// From a process: the application could not be loaded; why, as [`Pairs`].
    Failed = 3,
    /// To a process: accept nothing new, finish what is in flight, and end. From a process on a connection: it
    /// takes no more requests here.
    Drain = 5,
    /// From a process: source files of the application, as [`Pairs`] with empty values.
    Sources = 6,
    /// From a process, about once a second: a [`ProcessStatus`].
    Status = 7,
    /// To a process: send the stacks of all threads. From a process: the stacks, as UTF-8.
    Stacks = 8,
    /// On a connection, a new stream: sample the stacks of the Python threads, `secs` long with `frequency` samples per second,
    /// as [`Pairs`]. From a process: the samples, one line of UTF-8 per stack.
    Profile = 9,
    /// On the control socket of a process that runs plugins, in both directions: a message, whose content is the starter's.
    /// Bytes that belong to it are in the file that comes with the frame.
    Message = 10,
    /// To a new process that runs plugins, before [`Kind::Start`]: what its plugins are to continue with, like a
    /// [`Kind::Message`].
    State = 11,
    /// A new stream: a request's head as [`Pairs`].
    Request = 16,
    /// A [`ResponseHead`]. The first part of the body comes with it.
    Response = 17,
    /// A part of a body.
    Data = 18,
    /// The receiver of a body allows this many more bytes: a little-endian `u32`.
    Credit = 19,
    /// The stream ends here. From a worker: the client has left. From a process: why the response is incomplete, or why
    /// there is none, as UTF-8.
    Abort = 20,
    /// The rest of the response body is a [`FilePart`] of the file that comes with the frame.
    File = 21,
    /// A line of the application's log: a [`Level`] and UTF-8.
    Log = 22,
    /// The application accepts the WebSocket: a [`ResponseHead`].
    Accept = 23,
    /// A text message of a WebSocket.
    Text = 24,
    /// A binary message of a WebSocket.
    Binary = 25,
    /// The WebSocket is closed: a little-endian `u16` with the code, and the reason as UTF-8.
    Close = 26,
}

/// One frame.
#[derive(Debug)]
pub struct Frame {
    /// What it means.
    pub kind: Kind,
    /// The stream that it belongs to.
    pub stream: u32,
    /// Whether this is the sender's last body part in the stream.
    pub end: bool,
    /// Its content.
    pub payload: Bytes,
    /// The descriptor that came with it.
    pub descriptor: Option<OwnedFd>,
}

impl Frame {
    /// The number of a [`Kind::Credit`].
    /// # Errors
    /// When the payload has another length.
    pub fn credit(&self) -> Result<u32, Malformed> {
        let bytes = self.payload.as_ref().try_into().map_err(|_| Malformed("the length of a credit"))?;
        Ok(u32::from_le_bytes(bytes))
    }
}

/// The peer has sent something that is not in this protocol; with the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed frame: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

/// The header of a frame.
fn header(kind: Kind, stream: u32, flags: u8, length: usize) -> [u8; HEADER] {
    let length = u32::try_from(length).expect("a payload has at most 16 MiB");
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&stream.to_le_bytes());
    header[8] = kind as u8;
    header[9] = flags;
    header
}
