//! One connection to a process, with many requests at a time.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use paster_frames::{Begun, FilePart, Frame, Incoming, Kind, Level, Outgoing, Peer, ResponseHead, WINDOW};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::failure::ProcessFailure;
use crate::inflight::RequestHandle;

/// How often in a row the connection reads before it writes and lets other tasks run.
const READS: usize = 8;

/// A connection.
pub(super) struct ProcessConnection {
    app: Arc<str>,
    /// The application, if it runs in this process.
    peer: OnceLock<Peer>,
    out: Mutex<Outgoing>,
    /// There is something to send, or the last stream has ended.
    wake: Notify,
    streams: Mutex<ProcessStreams>,
}

#[derive(Default)]
struct ProcessStreams {
    open: HashMap<u32, Arc<ProcessStream>>,
    last: u32,
    /// The process takes no more requests here.
    drained: bool,
    /// The connection has ended.
    closed: bool,
    /// What the process has begun; without it, everything.
    begun: Option<Begun>,
}

/// One request and its response.
#[derive(Default)]
pub(super) struct ProcessStream {
    pub(super) state: Mutex<StreamState>,
    /// The request, for the log.
    pub(super) request: RequestHandle,
}

/// What has arrived and was not taken yet.
#[derive(Default)]
pub(super) struct StreamState {
    /// The encoded head.
    pub(super) head: Option<Bytes>,
    pub(super) parts: VecDeque<BodyPart>,
    /// The application has accepted the WebSocket.
    pub(super) accepted: bool,
    /// The response is complete.
    pub(super) ended: bool,
    pub(super) failure: Option<ProcessFailure>,
    /// Bytes of the request body that may be sent.
    pub(super) credit: u64,
    pub(super) waker: Option<Waker>,
}

/// A part of a response body.
pub(super) enum BodyPart {
    Data(Bytes),
    /// A message of a WebSocket, or its close.
    Message(Kind, Bytes),
    File(File, FilePart),
}

impl ProcessConnection {
    pub(super) fn new(app: Arc<str>) -> Arc<ProcessConnection> {
        let (peer, out, streams) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Arc::new(ProcessConnection { app, peer, out, wake: Notify::new(), streams })
    }

    /// The name of the app.
    pub(super) fn app(&self) -> &str {
        &self.app
    }

    /// The application runs in this process, and takes frames by calls.
    pub(super) fn connect(&self, peer: Peer) {
        let _ = self.peer.set(peer); // there is one
    }

    /// Opens a stream.
    pub(super) fn open(&self, stream: ProcessStream) -> (u32, Arc<ProcessStream>) {
        stream.state.lock().credit = u64::from(WINDOW);
        let stream = Arc::new(stream);
        let mut streams = self.streams.lock();
        if streams.closed {
            stream.state.lock().failure = Some(ProcessFailure::NotBegun);
        }
        // After four billion requests the numbers start again; the first ones have long ended.
        streams.last = streams.last.wrapping_add(1).max(1);
        let id = streams.last;
        streams.open.insert(id, stream.clone());
        (id, stream)
    }

    /// Forgets a stream.
    pub(super) fn close(&self, id: u32) {
        let mut streams = self.streams.lock();
        streams.open.remove(&id);
        let last = streams.drained && streams.open.is_empty();
        drop(streams);
        if last {
            self.wake.notify_one();
        }
    }

    /// Sends the frames that `add` adds, with those of others.
    pub(super) fn send(&self, add: impl FnOnce(&mut Outgoing)) {
        if let Some(peer) = self.peer.get() {
            let mut out = Outgoing::default();
            add(&mut out);
            return out.pass(peer);
        }
        let mut out = self.out.lock();
        let idle = out.is_empty();
        add(&mut out);
        drop(out);
        if idle {
            self.wake.notify_one();
        }
    }

    /// Moves frames both ways until the connection ends; calls `state` with `true` when the process takes requests,
    /// and with `false` when it takes no more.
    pub(super) async fn run(&self, socket: &UnixStream, mut state: impl FnMut(bool)) {
        let outcome = self.exchange(socket, &mut state).await;
        if let Err(error) = outcome
            && error.kind() == io::ErrorKind::InvalidData
        {
            tracing::error!(app = &*self.app, "a process was disconnected: {error}");
        }
        let mut streams = self.streams.lock();
        streams.closed = true;
        let (open, begun) = (std::mem::take(&mut streams.open), streams.begun.take());
        drop(streams);
        for (id, stream) in open {
            let begun = begun.as_ref().is_none_or(|begun| begun.has_begun(id));
            let failure = if begun { ProcessFailure::Ended } else { ProcessFailure::NotBegun };
            stream.change(|state| state.failure = Some(failure));
        }
    }

    async fn exchange(&self, socket: &UnixStream, state: &mut impl FnMut(bool)) -> io::Result<()> {
        let mut incoming = Incoming::default();
        loop {
            let mut full = false;
            loop {
                let mut out = self.out.lock();
                if out.is_empty() {
                    break;
                }
                match socket.try_io(Interest::WRITABLE, || out.send(socket)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        full = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if self.is_done() {
                return Ok(());
            }
            tokio::select! {
                ready = socket.readable() => ready?,
                ready = socket.writable(), if full => ready?,
                // Other requests that are at hand are sent with it.
                () = self.wake.notified() => tokio::task::yield_now().await,
            }
            for _ in 0..READS {
                match socket.try_io(Interest::READABLE, || incoming.receive(socket)) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                while let Some(frame) = incoming.next_frame()? {
                    self.handle(frame, state)?;
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let streams = self.streams.lock();
        streams.drained && streams.open.is_empty()
    }

    pub(super) fn handle(&self, frame: Frame, state: &mut impl FnMut(bool)) -> io::Result<()> {
        match frame.kind {
            Kind::Ready => {
                self.streams.lock().begun = frame.descriptor.map(Begun::open).transpose()?;
                state(true);
            }
            Kind::Drain => {
                self.streams.lock().drained = true;
                state(false);
            }
            Kind::Log => self.log(&frame)?,
            _ => {
                // The worker may have closed the stream already.
                let stream = self.streams.lock().open.get(&frame.stream).cloned();
                if let Some(stream) = stream {
                    stream.receive(frame)?;
                }
            }
        }
        Ok(())
    }

    fn log(&self, frame: &Frame) -> io::Result<()> {
        let (level, text) = Level::split(&frame.payload)?;
        let text = String::from_utf8_lossy(text);
        let stream = self.streams.lock().open.get(&frame.stream).cloned();
        let app = &*self.app;
        stream.map(|stream| stream.request.clone()).unwrap_or_default().scope(|| match level {
            Level::Error => tracing::error!(app, "{text}"),
            Level::Warn => tracing::warn!(app, "{text}"),
            Level::Info => tracing::info!(app, "{text}"),
        });
        Ok(())
    }
}

impl ProcessStream {
    /// Changes the state and wakes who waits for it.
    fn change(&self, change: impl FnOnce(&mut StreamState)) {
        let mut state = self.state.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn receive(&self, frame: Frame) -> io::Result<()> {
        let (kind, end) = (frame.kind, frame.end);
        let part = match kind {
            Kind::Response | Kind::Accept => {
                ResponseHead::read(&frame.payload)?;
                self.change(|state| {
                    state.accepted = kind == Kind::Accept;
                    state.head = Some(frame.payload);
                    state.ended |= end;
                });
                return Ok(());
            }
            Kind::Credit => {
                let bytes = frame.credit()?;
                self.change(|state| state.credit = state.credit.saturating_add(u64::from(bytes)));
                return Ok(());
            }
            Kind::Abort => {
                let text = String::from_utf8_lossy(&frame.payload).into_owned();
                self.change(|state| state.failure = Some(ProcessFailure::Application(text)));
                return Ok(());
            }
            Kind::Data => BodyPart::Data(frame.payload),
            Kind::Text | Kind::Binary | Kind::Close => BodyPart::Message(kind, frame.payload),
            Kind::File => {
                let part = FilePart::read(&frame.payload)?;
                let file = frame.descriptor.ok_or(io::ErrorKind::InvalidData)?;
                BodyPart::File(file.into(), part)
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame that a process does not send",
                ));
            }
        };
        self.change(|state| {
            if !matches!(&part, BodyPart::Data(data) if data.is_empty()) {
                state.parts.push_back(part);
            }
            state.ended |= end;
        });
        Ok(())
    }
}
