//! The control socket of a process: settings, readiness, and the end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use paster_frames::{Frame, Incoming, Kind, Malformed, Outgoing, Pairs, ProcessStatus};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{ControlMessage, ProcessSpec};
use crate::context::ProcessAddress;

/// The starter's end of the socket.
#[derive(Debug)]
pub struct ProcessControl {
    stream: UnixStream,
    incoming: Incoming,
}

/// A report of a process.
#[derive(Debug)]
pub enum ProcessReport {
    /// The application is loaded; facts about the process by name.
    Ready(BTreeMap<String, String>),
    /// The application could not be loaded; the process ends.
    Failed(LoadFailure),
    /// Its load so far.
    Status(ProcessStatus),
    /// All source files of the application that are in use now.
    Sources(Vec<PathBuf>),
    /// The stacks of all threads, as text.
    Stacks(String),
    /// A message of a process that runs plugins.
    Message(ControlMessage),
}

/// Why an application could not be loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadFailure {
    /// The error, in one line.
    pub summary: String,
    /// The error with its traceback; empty if it adds nothing.
    pub traceback: String,
    /// Source files, one of which may contain the error.
    pub sources: Vec<PathBuf>,
}

impl ProcessControl {
    /// Creates the socket. The second value becomes the process's standard input.
    /// # Errors
    /// When no descriptor is free.
    pub fn pair() -> io::Result<(ProcessControl, OwnedFd)> {
        let pair =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok((ProcessControl::from_fd(pair.0)?, pair.1))
    }

    /// Continues with a socket of [`ProcessControl::to_fd`].
    /// # Errors
    /// When it cannot be registered.
    pub fn from_fd(socket: OwnedFd) -> io::Result<ProcessControl> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(ProcessControl { stream: UnixStream::from_std(stream)?, incoming: Incoming::default() })
    }

    /// A copy of the socket, for the program that takes over.
    /// # Errors
    /// When no descriptor is free.
    pub fn to_fd(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Sends what the plugins of a new process are to continue with.
    /// # Errors
    /// When the process has ended.
    pub async fn send_state(&self, state: &ControlMessage) -> io::Result<()> {
        let mut out = Outgoing::default();
        state.push(Kind::State, &mut out)?;
        self.send(out).await
    }

    /// Sends a message to a process that runs plugins.
    /// # Errors
    /// When the process has ended.
    pub async fn send_message(&self, message: &ControlMessage) -> io::Result<()> {
        let mut out = Outgoing::default();
        message.push(Kind::Message, &mut out)?;
        self.send(out).await
    }

    /// Sends the settings of `spec`, and where to listen.
    /// # Errors
    /// When the process has ended.
    pub async fn start(
        &self,
        spec: &ProcessSpec,
        address: Option<&ProcessAddress>,
        listener: Option<OwnedFd>,
    ) -> io::Result<()> {
        let mut out = Outgoing::default();
        match listener {
            Some(listener) => out.push_descriptor(Kind::Start, 0, &spec.encode(address), listener),
            None => out.push(Kind::Start, 0, &spec.encode(address)),
        }
        self.send(out).await
    }

    /// Asks the process to finish the requests in flight and to end.
    /// # Errors
    /// When the process has ended.
    pub async fn drain(&self) -> io::Result<()> {
        let mut out = Outgoing::default();
        out.push(Kind::Drain, 0, &[]);
        self.send(out).await
    }

    /// Asks the process for the stacks of all threads.
    /// # Errors
    /// When the process has ended.
    pub async fn ask_for_stacks(&self) -> io::Result<()> {
        let mut out = Outgoing::default();
        out.push(Kind::Stacks, 0, &[]);
        self.send(out).await
    }

    async fn send(&self, mut out: Outgoing) -> io::Result<()> {
        while !out.is_empty() {
            self.stream.async_io(Interest::WRITABLE, || out.send(&self.stream)).await?;
        }
        Ok(())
    }

    /// The next report; `None` if the process has closed the socket. Safe to cancel.
    /// # Errors
    /// When it sends something else.
    pub async fn next(&mut self) -> io::Result<Option<ProcessReport>> {
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                if frame.kind == Kind::Message {
                    return Ok(Some(ProcessReport::Message(ControlMessage::read(frame)?)));
                }
                let report = ProcessReport::read(&frame)?;
                return report
                    .map(Some)
                    .ok_or_else(|| io::Error::other("a frame that a process does not send"));
            }
            let (stream, incoming) = (&self.stream, &mut self.incoming);
            if stream.async_io(Interest::READABLE, || incoming.receive(stream)).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl ProcessReport {
    /// The report in a frame; `None` if it is not for the starter.
    /// # Errors
    /// When it is malformed.
    pub(super) fn read(frame: &Frame) -> Result<Option<ProcessReport>, Malformed> {
        let pairs = Pairs::new(&frame.payload);
        Ok(Some(match frame.kind {
            Kind::Ready => ProcessReport::Ready(facts(pairs)),
            Kind::Failed => {
                let text =
                    |name: &str| String::from_utf8_lossy(pairs.get(name).unwrap_or_default()).into_owned();
                let (summary, traceback) = (text("summary"), text("traceback"));
                let traceback = if traceback == summary { String::new() } else { traceback };
                ProcessReport::Failed(LoadFailure { summary, traceback, sources: sources(pairs) })
            }
            Kind::Status => ProcessReport::Status(ProcessStatus::read(&frame.payload)?),
            Kind::Sources => ProcessReport::Sources(sources(pairs)),
            Kind::Stacks => ProcessReport::Stacks(String::from_utf8_lossy(&frame.payload).into_owned()),
            _ => return Ok(None),
        }))
    }
}

fn facts(pairs: Pairs<'_>) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    pairs.flatten().map(|(name, value)| (text(name), text(value))).collect()
}

fn sources(pairs: Pairs<'_>) -> Vec<PathBuf> {
    let sources = pairs.flatten().filter(|(name, _)| *name == b"source");
    sources.map(|(_, path)| PathBuf::from(OsStr::from_bytes(path))).collect()
}
