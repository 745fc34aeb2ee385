//! The control socket, seen from the process: messages from its starter, and its reports.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use paster_frames::{Incoming, Kind, Outgoing, Pairs, push_pair};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::LoadFailure;
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
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                if frame.kind != Kind::Start {
                    return Err(io::Error::other("the first frame does not have the settings"));
                }
                let address = Pairs::new(&frame.payload).get("address").map(serde_json::from_slice);
                let (payload, listener) = (frame.payload, frame.descriptor);
                return Ok(Settings { payload, address: address.transpose()?, listener });
            }
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits until the process is to end, because its starter asks for it or has ended. Safe to cancel.
    pub async fn stopped(&mut self) {
        loop {
            match self.incoming.next_frame() {
                Ok(Some(frame)) if frame.kind != Kind::Drain => {}
                Ok(None) => match self.receive().await {
                    Ok(1..) => {}
                    _ => return,
                },
                _ => return,
            }
        }
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
