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

/// Maximum number of consecutive reads before the connection writes and yields to other tasks.
const READS: usize = 8;

/// A connection.
pub(super) struct ProcessConnection {
    app: Arc<str>,
    /// The application, if it runs in this process.
    peer: OnceLock<Peer>,
    out: Mutex<Outgoing>,
    /// Frames from an application in this process that were not handled yet.
    arrived: Mutex<Vec<Frame>>,
    /// Notified when there is something to send or to handle, or when the last stream has ended.
    wake: Notify,
    streams: Mutex<ProcessStreams>,
}

#[derive(Default)]
struct ProcessStreams {
    open: HashMap<u32, Arc<ProcessStream>>,
    last: u32,
    /// The process does not accept more requests on this connection.
    drained: bool,
    /// The connection has ended.
    closed: bool,
    /// The requests that the process has begun. Without this, all of them.
    begun: Option<Begun>,
}

/// One request and its response.
#[derive(Default)]
pub(super) struct ProcessStream {
    pub(super) state: Mutex<StreamState>,
    /// The request, for the log.
    pub(super) request: RequestHandle,
}

/// Parts that have arrived and were not taken yet.
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
    /// Number of bytes of the request body that may be sent.
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
        Arc::new(ProcessConnection {
            app,
            peer: OnceLock::new(),
            out: Mutex::default(),
            arrived: Mutex::default(),
            wake: Notify::new(),
            streams: Mutex::default(),
        })
    }

    /// The name of the app.
    pub(super) fn app(&self) -> &str {
        &self.app
    }

    /// The application runs in this process, and function calls pass frames to it.
    pub(super) fn connect(&self, peer: Peer) {
        let _ = self.peer.set(peer); // there is one
        self.wake.notify_one();
    }

    /// Opens a stream.
    pub(super) fn open(&self, stream: ProcessStream) -> (u32, Arc<ProcessStream>) {
        stream.state.lock().credit = u64::from(WINDOW);
        let stream = Arc::new(stream);
        let mut streams = self.streams.lock();
        if streams.closed {
            stream.state.lock().failure = Some(ProcessFailure::NotBegun);
        }
        // After four billion requests, the numbers start over. The first requests have long ended.
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

    /// Sends the frames that `add` adds, together with those of other requests.
    pub(super) fn send(&self, add: impl FnOnce(&mut Outgoing)) {
        let mut out = self.out.lock();
        let idle = out.is_empty();
        add(&mut out);
        drop(out);
        if idle {
            self.wake.notify_one();
        }
    }

    /// Passes all frames to the application in this process, without waiting for [`ProcessConnection::run_embedded`].
    pub(super) fn pass(&self) {
        if let Some(peer) = self.peer.get() {
            std::mem::take(&mut *self.out.lock()).pass(peer);
        }
    }

    /// Takes frames of the application in this process.
    pub(super) fn arrive(&self, frames: impl Iterator<Item = Frame>) {
        let mut arrived = self.arrived.lock();
        let idle = arrived.is_empty();
        arrived.extend(frames);
        let wake = idle && !arrived.is_empty();
        drop(arrived);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Moves frames to and from the application in this process, many at a time.
    pub(super) async fn run_embedded(self: Arc<Self>) {
        let mut wakers = Vec::new();
        loop {
            self.wake.notified().await;
            let arrived = std::mem::take(&mut *self.arrived.lock());
            for frame in arrived {
                if self.handle(frame, &mut |_| (), &mut wakers).is_err() {
                    tracing::error!(app = &*self.app, "the application sent a malformed frame");
                }
            }
            wakers.drain(..).for_each(Waker::wake);
            // Other waiting requests are passed with it.
            tokio::task::yield_now().await;
            self.pass();
        }
    }

    /// Moves frames both ways until the connection ends; calls `state` with `true` when the process accepts requests, and with
    /// `false` when it stops.
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
            if let Some(waker) = stream.change(|state| state.failure = Some(failure)) {
                waker.wake();
            }
        }
    }

    async fn exchange(&self, socket: &UnixStream, state: &mut impl FnMut(bool)) -> io::Result<()> {
        let (mut incoming, mut wakers) = (Incoming::default(), Vec::new());
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
                // Other waiting requests are sent with it.
                () = self.wake.notified() => tokio::task::yield_now().await,
            }
            let read = self.read(socket, &mut incoming, state, &mut wakers);
            wakers.drain(..).for_each(Waker::wake);
            if !read? {
                return Ok(());
            }
        }
    }

    /// Reads and handles what has arrived, and gathers the tasks to wake. Returns whether the connection is open.
    fn read(
        &self,
        socket: &UnixStream,
        incoming: &mut Incoming,
        state: &mut impl FnMut(bool),
        wakers: &mut Vec<Waker>,
    ) -> io::Result<bool> {
        for _ in 0..READS {
            let mut received = None;
            // After the last bytes, the next event is awaited without another attempt to read.
            let more = socket.try_io(Interest::READABLE, || {
                let count = incoming.receive(socket);
                let is_last = incoming.is_drained() || count.is_err();
                received = Some(count);
                if is_last { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match received {
                None => break,
                Some(Ok(0)) => return Ok(false),
                Some(Ok(_)) => {}
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Some(Err(error)) => return Err(error),
            }
            while let Some(frame) = incoming.next_frame()? {
                self.handle(frame, state, wakers)?;
            }
            if more.is_err() {
                break;
            }
        }
        Ok(true)
    }

    fn is_done(&self) -> bool {
        let streams = self.streams.lock();
        streams.drained && streams.open.is_empty()
    }

    /// Handles a frame, and adds the task that waits for it to `wakers`.
    fn handle(&self, frame: Frame, state: &mut impl FnMut(bool), wakers: &mut Vec<Waker>) -> io::Result<()> {
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
                    wakers.extend(stream.receive(frame)?);
                }
            }
        }
        Ok(())
    }

    /// Writes a line to the log.
    pub(super) fn log(&self, frame: &Frame) -> io::Result<()> {
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
    /// Changes the state. Returns the task to wake.
    #[must_use]
    fn change(&self, change: impl FnOnce(&mut StreamState)) -> Option<Waker> {
        let mut state = self.state.lock();
        change(&mut state);
        state.waker.take()
    }

    fn receive(&self, frame: Frame) -> io::Result<Option<Waker>> {
        let (kind, end) = (frame.kind, frame.end);
        let part = match kind {
            Kind::Response | Kind::Accept => {
                ResponseHead::read(&frame.payload)?;
                return Ok(self.change(|state| {
                    state.accepted = kind == Kind::Accept;
                    state.head = Some(frame.payload);
                    state.ended |= end;
                }));
            }
            Kind::Credit => {
                let bytes = frame.credit()?;
                return Ok(self.change(|state| state.credit = state.credit.saturating_add(u64::from(bytes))));
            }
            Kind::Abort => {
                let text = String::from_utf8_lossy(&frame.payload).into_owned();
                return Ok(self.change(|state| state.failure = Some(ProcessFailure::Application(text))));
            }
            Kind::Data | Kind::Profile => BodyPart::Data(frame.payload),
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
        Ok(self.change(|state| {
            if !matches!(&part, BodyPart::Data(data) if data.is_empty()) {
                state.parts.push_back(part);
            }
            state.ended |= end;
        }))
    }
}
