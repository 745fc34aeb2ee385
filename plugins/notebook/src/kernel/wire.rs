//! The protocol between the plugin and the kernel host, over the host's Unix socket.
//!
//! A frame is its length (u32, little endian, of everything after it), one byte for its kind, and a payload.
//! The first frame of a connection is a `Hello`, which the host answers. A *control* connection then carries
//! calls, answers and events; an *attachment* carries one kernel's numbered messages. The host outlives the
//! plugin, so the protocol has a version.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The version of this protocol. Both sides must have the same.
pub const PROTOCOL: u32 = 1;
/// The key of the stored time, in RFC 3339, when a kernel was last used or ended. Ended kernels are not
/// listed any more.
pub const LAST_ACTIVITY: &str = "host/last_activity";
/// The longest frame, in bytes.
pub const MAX_FRAME: usize = 256 << 20;

/// A frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// First frame of a connection: a [`Hello`].
    Hello(Bytes),
    /// A [`Call`] with its number.
    Call(Bytes),
    /// An [`Answer`].
    Answer(Bytes),
    /// An [`Event`].
    Event(Bytes),
    /// A message for the kernel, in the v1 WebSocket form.
    Send(Bytes),
    /// A message from the kernel with its number, in the v1 WebSocket form.
    Entry(u64, Bytes),
    /// The entries `.0 .. .1` are no longer kept.
    Gap(u64, u64),
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than {MAX_FRAME} bytes")]
    TooLong(usize),
    /// Its kind is unknown.
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// Shorter than its kind requires.
    #[error("frame is too short")]
    Short,
}

/// Takes one frame from the start of `input`; `None` if it is not complete yet.
/// # Errors
/// [`FrameError`]: the connection cannot be used any more.
pub fn parse_frame(input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(length) = input.get(..4) else { return Ok(None) };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    if length == 0 {
        return Err(FrameError::Short);
    }
    if input.len() < 4 + length {
        return Ok(None);
    }
    input.advance(4);
    let mut payload = input.split_to(length).freeze();
    let kind = payload.get_u8();
    let number = |payload: &mut Bytes| {
        if payload.len() < 8 { Err(FrameError::Short) } else { Ok(payload.get_u64_le()) }
    };
    Ok(Some(match kind {
        1 => Frame::Hello(payload),
        2 => Frame::Call(payload),
        3 => Frame::Answer(payload),
        4 => Frame::Event(payload),
        5 => Frame::Send(payload),
        6 => Frame::Entry(number(&mut payload)?, payload),
        7 => Frame::Gap(number(&mut payload)?, number(&mut payload)?),
        other => return Err(FrameError::Kind(other)),
    }))
}

/// Appends `frame` to `out`.
pub fn encode_frame(frame: &Frame, out: &mut BytesMut) {
    let mut put = |kind: u8, numbers: &[u64], payload: &[u8]| {
        let length = 1 + 8 * numbers.len() + payload.len();
        out.reserve(4 + length);
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&[kind]);
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(payload);
    };
    match frame {
        Frame::Hello(payload) => put(1, &[], payload),
        Frame::Call(payload) => put(2, &[], payload),
        Frame::Answer(payload) => put(3, &[], payload),
        Frame::Event(payload) => put(4, &[], payload),
        Frame::Send(payload) => put(5, &[], payload),
        Frame::Entry(number, payload) => put(6, &[*number], payload),
        Frame::Gap(from, to) => put(7, &[*from, *to], &[]),
    }
}

/// Reads frames from a stream.
pub struct Reader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Reader<R> {
        Reader { stream, buffer: BytesMut::with_capacity(8 << 10) }
    }

    /// The next frame; `None` at the end of the stream. May be cancelled and called again.
    /// # Errors
    /// Errors of the stream; `InvalidData` for an invalid frame.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let frame = parse_frame(&mut self.buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(frame) = frame {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

/// The first frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's [`PROTOCOL`].
    pub protocol: u32,
    /// The purpose of the connection; `None` if the caller only wants to know the version.
    pub role: Role,
}

/// The purpose of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls, answers and events.
    Control,
    /// Messages of one kernel.
    Attach {
        /// Its id.
        kernel: String,
        /// The number of the first message to send; `None` for new ones only.
        from: Option<u64>,
        /// Whether this attachment counts as one of the kernel's connections (`connections` in `/api/kernels`).
        counted: bool,
    },
}

/// A call, with the number that its answer carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NumberedCall {
    /// Chosen by the caller.
    pub id: u64,
    /// The call.
    pub call: Call,
}

/// The calls that the host supports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Starts a kernel. Answers with its [`KernelModel`] at once; messages wait until it is ready.
    Start {
        /// How to start it.
        launch: Box<Launch>,
        /// Its id, or `None` for a new one.
        id: Option<String>,
    },
    /// All kernels.
    List,
    /// Interrupts what is running.
    Interrupt {
        /// Kernel id.
        id: String,
    },
    /// Ends the process and starts it again under the same id. Answers when the new one is ready.
    Restart {
        /// Kernel id.
        id: String,
    },
    /// Ends the kernel and forgets it.
    Shutdown {
        /// Kernel id.
        id: String,
    },
    /// Stores `value` under `key` for as long as the host lives; `None` deletes it.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Option<Value>,
    },
    /// All stored values whose keys begin with `prefix`, as an object.
    Kept {
        /// The prefix.
        prefix: String,
    },
    /// Takes the lock `key` for this connection. Answers whether it has the lock, which is released when the
    /// connection ends.
    Lock {
        /// The lock's name.
        key: String,
        /// If another connection holds the lock: ask it to release it, and wait as long as that takes (the
        /// caller sets a limit).
        wait: bool,
    },
    /// Releases a lock.
    Unlock {
        /// The lock's name.
        key: String,
    },
}

/// The answer to a call or, with id 0, to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the call.
    pub id: u64,
    /// The result.
    pub result: Result<Value, Problem>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For the caller's code.
    pub kind: ProblemKind,
    /// For users.
    pub message: String,
}

/// What went wrong, for the caller's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// No such kernel.
    UnknownKernel,
    /// The kernel's program could not be started or did not answer.
    LaunchFailed,
    /// A limit is reached.
    Limit,
    /// The two sides have different versions.
    Version,
    /// The caller's frame was wrong.
    Malformed,
    /// The connection to the host is lost.
    Lost,
}

impl Problem {
    /// A problem.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Problem {
        Problem { kind, message: message.into() }
    }
}

/// What the host sends to control connections by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Another connection wants this lock: save, then release it.
    LockWanted {
        /// The lock's name.
        key: String,
    },
    /// A lock is free and nobody is waiting for it.
    LockFree {
        /// The lock's name.
        key: String,
    },
    /// A kernel's state changed.
    Kernel {
        /// The kernel.
        model: KernelModel,
    },
    /// A kernel was forgotten.
    KernelGone {
        /// Its id.
        id: String,
    },
}

/// How to start a kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// Name of the kernelspec.
    pub name: String,
    /// Program and arguments; `{connection_file}` and `{resource_dir}` are replaced.
    pub argv: Vec<String>,
    /// Variables to set in addition to the host's own.
    pub env: Vec<(String, String)>,
    /// The working folder of the process.
    pub folder: String,
    /// Folder of the kernelspec.
    pub resource_dir: String,
    /// Whether to interrupt it by `interrupt_request` instead of SIGINT.
    pub interrupt_by_message: bool,
    /// The source of the built-in kernel. It is written to a private file, whose path follows `argv`, and
    /// connected over a socket.
    pub built_in: Option<String>,
    /// Limits of the process.
    pub limits: Limits,
}

/// Limits of a kernel's process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Address space, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads of the user.
    pub processes: Option<u64>,
    /// CPU time, in seconds.
    pub cpu_secs: Option<u64>,
    /// Longest file it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Kernels at the same time.
    pub kernels: usize,
    /// Bytes of messages kept on disk for each kernel.
    pub journal_bytes: u64,
}

/// A kernel as the host knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelModel {
    /// Its id.
    pub id: String,
    /// Name of its kernelspec.
    pub name: String,
    /// Its state.
    pub state: crate::protocol::KernelState,
    /// When a message was last sent or received, RFC 3339.
    pub last_activity: String,
    /// The number of counted attachments.
    pub connections: usize,
    /// The number of its next message.
    pub next_entry: u64,
    /// The id of its process.
    pub pid: Option<u32>,
    /// How often its process was started.
    pub starts: u32,
    /// The content of its `kernel_info_reply`.
    pub info: Option<Value>,
    /// Why it died, for users.
    pub exit: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let payload = || proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from);
        prop_oneof![
            payload().prop_map(Frame::Hello),
            payload().prop_map(Frame::Call),
            payload().prop_map(Frame::Answer),
            payload().prop_map(Frame::Event),
            payload().prop_map(Frame::Send),
            (any::<u64>(), payload()).prop_map(|(n, p)| Frame::Entry(n, p)),
            (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Frame::Gap(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn frames_return_over_every_split(frames in proptest::collection::vec(frame(), 1..4), step in 1usize..20) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                encode_frame(frame, &mut wire);
            }
            let mut input = BytesMut::new();
            let mut found = Vec::new();
            for chunk in wire.chunks(step) {
                input.extend_from_slice(chunk);
                while let Some(frame) = parse_frame(&mut input).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_frame(&mut BytesMut::from(&bytes[..]));
        }
    }

    #[test]
    fn a_long_frame_is_refused_before_it_is_read() {
        let mut input = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert_eq!(parse_frame(&mut input), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
