//! The control socket, seen from the process: messages from its starter, and its reports.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use paster_frames::{Incoming, Kind, Outgoing, Pairs, push_pair};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::{ControlMessage, LoadFailure};
use crate::context::ProcessAddress;

/// The process's end.
#[derive(Debug)]
pub struct Starter {
    stream: UnixStream,
    incoming: Incoming,
}

/// What a process is started with.
#[derive(Debug)]
pub struct Settings {
    payload: Bytes,
    /// Where to listen.
    pub address: Option<ProcessAddress>,
    /// The socket that listens there already.
    pub listener: Option<OwnedFd>,
    /// What the plugins of the process are to continue with.
    pub state: Option<ControlMessage>,
}

/// What the starter asks of a process.
#[derive(Debug)]
pub enum StarterOrder {
    /// To end: it is no longer needed, or its starter has ended.
    Stop,
    /// A message to a process that runs plugins.
    Message(ControlMessage),
}

impl Settings {
    /// The value of the setting `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        Pairs::new(&self.payload).text(name)
    }
}

impl Starter {
    /// Uses `socket`, the standard input that the process was started with.
    /// # Errors
    /// When it is not a socket.
    pub fn new(socket: OwnedFd) -> io::Result<Starter> {
        let stream = std::os::unix::net::UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Starter { stream: UnixStream::from_std(stream)?, incoming: Incoming::default() })
    }

    /// Waits for the settings.
    /// # Errors
    /// When the starter has ended, or sends something else.
    pub async fn settings(&mut self) -> io::Result<Settings> {
        let mut state = None;
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                if frame.kind == Kind::State {
                    state = Some(ControlMessage::read(frame)?);
                    continue;
                }
                if frame.kind != Kind::Start {
                    return Err(io::Error::other("the first frame does not have the settings"));
                }
                let address = Pairs::new(&frame.payload).get("address").map(serde_json::from_slice);
                let (payload, listener) = (frame.payload, frame.descriptor);
                return Ok(Settings { payload, address: address.transpose()?, listener, state });
            }
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits until the process is to end, because its starter asks for it or has ended. Safe to cancel.
    pub async fn stopped(&mut self) {
        while !matches!(self.next().await, StarterOrder::Stop) {}
    }

    /// Waits for the next order of the starter. Safe to cancel.
    pub async fn next(&mut self) -> StarterOrder {
        loop {
            match self.incoming.next_frame() {
                Ok(Some(frame)) if frame.kind == Kind::Message => match ControlMessage::read(frame) {
                    Ok(message) => return StarterOrder::Message(message),
                    Err(_) => return StarterOrder::Stop,
                },
                Ok(Some(frame)) if frame.kind != Kind::Drain => {}
                Ok(None) => match self.receive().await {
                    Ok(1..) => {}
                    _ => return StarterOrder::Stop,
                },
                _ => return StarterOrder::Stop,
            }
        }
    }

    /// Sends a message.
    /// # Errors
    /// When the starter has ended.
    pub async fn send_message(&self, message: &ControlMessage) -> io::Result<()> {
        let mut out = Outgoing::default();
        message.push(Kind::Message, &mut out)?;
        self.send_all(out).await
    }

    /// Reports that the process is ready, with facts about it.
    /// # Errors
    /// When the starter has ended.
    pub async fn ready(&self, facts: &[(&str, &str)]) -> io::Result<()> {
        self.send(Kind::Ready, facts).await
    }

    /// Reports why the process will end.
    /// # Errors
    /// When the starter has ended.
    pub async fn failed(&self, failure: &LoadFailure) -> io::Result<()> {
        self.send(Kind::Failed, &[("summary", &failure.summary), ("traceback", &failure.traceback)]).await
    }

    async fn send(&self, kind: Kind, pairs: &[(&str, &str)]) -> io::Result<()> {
        let mut payload = Vec::new();
        for (name, value) in pairs {
            push_pair(&mut payload, name.as_bytes(), value.as_bytes());
        }
        self.send_payload(kind, &payload).await
    }

    /// Reports the progress of the process.
    /// # Errors
    /// When the starter has ended.
    pub async fn status(&self, status: paster_frames::ProcessStatus) -> io::Result<()> {
        self.send_payload(Kind::Status, &status.encode()).await
    }

    async fn send_payload(&self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut out = Outgoing::default();
        out.push(kind, 0, payload);
        self.send_all(out).await
    }

    async fn send_all(&self, mut out: Outgoing) -> io::Result<()> {
        while !out.is_empty() {
            self.stream.async_io(Interest::WRITABLE, || out.send(&self.stream)).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<usize> {
        let (stream, incoming) = (&self.stream, &mut self.incoming);
        stream.async_io(Interest::READABLE, || incoming.receive(stream)).await
    }
}
