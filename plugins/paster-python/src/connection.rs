//! A connection from a worker: a reader of its frames, and senders that write for each other.
//!
//! While further requests wait, the end of a response is held back for a moment, so that several are sent at once and wake the
//! worker once. The next sender sends them too. If there is none, the [`Flusher`] does.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use paster_frames::{Begun, Frame, Incoming, Kind, Outgoing, Peer};
use pyo3::Python;
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::asgi::Events;
use crate::descriptors::{self, is_forked};
use crate::exchange::Exchange;
use crate::flusher::Flusher;
use crate::profile;
use crate::queue::{Job, Queue};

/// Maximum size of the responses that are held back, in bytes.
const TOGETHER: usize = 32 << 10;

/// Where requests go.
#[derive(Clone)]
pub(crate) enum Target {
    /// To threads.
    Threads(Arc<Queue>),
    /// To an event loop.
    Loop(Arc<Events>),
}

impl Target {
    fn add(&self, jobs: &mut Vec<Job>) {
        match self {
            Target::Threads(queue) => queue.add(jobs),
            Target::Loop(events) => events.begin(jobs),
        }
    }

    fn events(&self) -> Option<Arc<Events>> {
        match self {
            Target::Threads(_) => None,
            Target::Loop(events) => Some(events.clone()),
        }
    }

    /// Whether more responses follow at once.
    fn is_busy(&self) -> bool {
        match self {
            Target::Threads(queue) => queue.is_busy(),
            Target::Loop(events) => events.is_busy(),
        }
    }
}

/// The connections of this process.
#[derive(Default)]
pub(crate) struct Connections {
    state: Mutex<ConnectionState>,
    changed: Condvar,
    flusher: Arc<Flusher>,
}

#[derive(Default)]
struct ConnectionState {
    open: Vec<Arc<Connection>>,
    draining: bool,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock()
    }

    /// Serves a new connection on a separate thread.
    pub(crate) fn open(self: &Arc<Self>, socket: OwnedFd, target: &Target) {
        descriptors::remember(&socket);
        // A worker that does not get this message assumes that every request has begun.
        let (begun, memory) =
            Begun::new().map_or((None, None), |(begun, memory)| (Some(begun), Some(memory)));
        let connection = Connection::new(Transport::Socket(socket), target, self.flusher.clone(), begun);
        let mut state = self.lock();
        if state.draining {
            return;
        }
        state.open.push(connection.clone());
        drop(state);
        let connections = self.clone();
        let reader = move || {
            connection.send(|out| match memory {
                Some(memory) => out.push_descriptor(Kind::Ready, 0, &[], memory),
                None => out.push(Kind::Ready, 0, &[]),
            });
            let _ = connection.read(); // the worker has ended, or the peer is not a worker
            connection.end();
            let mut state = connections.lock();
            state.open.retain(|one| !Arc::ptr_eq(one, &connection));
            drop(state);
            connections.changed.notify_all();
        };
        if std::thread::Builder::new().name("connection".into()).spawn(reader).is_err() {
            self.lock().open.pop(); // the worker sees the end of its connection
        }
    }

    /// Tells the workers to send no more requests, and waits until they have closed their connections.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        let open = state.open.clone();
        drop(state);
        open.iter().for_each(|connection| connection.send(|out| out.push(Kind::Drain, 0, &[])));
        drop(open);
        let mut state = self.lock();
        while !state.open.is_empty() {
            self.changed.wait(&mut state);
        }
    }
}

/// The way of frames to the worker.
pub(crate) enum Transport {
    /// It is another process.
    Socket(OwnedFd),
    /// It is this process.
    Peer(Arc<Peer>),
}

/// One connection.
pub(crate) struct Connection {
    transport: Transport,
    target: Target,
    out: Mutex<Out>,
    exchanges: Mutex<BTreeMap<u32, Arc<Exchange>>>,
    flusher: Arc<Flusher>,
    /// Collects the requests that the application has begun, for a report to the worker.
    begun: Option<Begun>,
}

#[derive(Default)]
struct Out {
    frames: Outgoing,
    /// A thread is sending, and will send what is added meanwhile.
    sending: bool,
    /// The flusher knows that frames are held back.
    held: bool,
    /// The worker is gone.
    broken: bool,
}

impl Connection {
    pub(crate) fn new(
        transport: Transport,
        target: &Target,
        flusher: Arc<Flusher>,
        begun: Option<Begun>,
    ) -> Arc<Connection> {
        let target = target.clone();
        Arc::new(Connection {
            transport,
            target,
            out: Mutex::default(),
            exchanges: Mutex::default(),
            flusher,
            begun,
        })
    }

    /// Reports that the application is about to begin the request.
    pub(crate) fn begin_stream(&self, stream: u32) {
        if let Some(begun) = &self.begun {
            begun.begin(stream);
        }
    }

    /// Sends the frames that `add` adds. Waits for the socket only if no other thread does. The worker always reads.
    pub(crate) fn send(&self, add: impl FnOnce(&mut Outgoing)) {
        if self.begin(add) && !self.try_flush() {
            self.go_on();
        }
    }

    /// The same, for a thread that holds the interpreter lock. Releases the lock while the socket is full.
    pub(crate) fn send_attached(&self, py: Python<'_>, add: impl FnOnce(&mut Outgoing)) {
        if self.begin(add) && !self.try_flush() {
            py.detach(|| self.go_on());
        }
    }

    /// The same, for the end of a response, which is held back if more responses follow at once.
    pub(crate) fn send_last(self: &Arc<Self>, py: Python<'_>, add: impl FnOnce(&mut Outgoing)) {
        if !self.target.is_busy() {
            return self.send_attached(py, add);
        }
        let mut out = self.out.lock();
        if out.broken {
            return;
        }
        add(&mut out.frames);
        if out.frames.len() >= TOGETHER {
            drop(out);
            return self.send_attached(py, |_| ());
        }
        let known = std::mem::replace(&mut out.held, true);
        drop(out);
        if !known {
            self.flusher.hold(self.clone());
        }
    }

    /// Sends the frames that were held back.
    pub(crate) fn flush_held(&self) {
        self.out.lock().held = false;
        self.send(|_| ());
    }

    /// Adds frames. Returns whether this thread must send them.
    fn begin(&self, add: impl FnOnce(&mut Outgoing)) -> bool {
        let mut out = self.out.lock();
        if out.broken {
            return false;
        }
        add(&mut out.frames);
        if out.sending || out.frames.is_empty() {
            return false;
        }
        out.sending = true;
        true
    }

    /// Sends without waiting. Returns `false` if the socket is full.
    fn try_flush(&self) -> bool {
        self.flush(|frames, socket| frames.try_send(socket))
    }

    /// Sends, and waits for the socket.
    fn go_on(&self) {
        self.flush(|frames, socket| frames.send(socket));
    }

    /// Sends everything with `send`. Returns `false` if it would have to wait; this thread must then send the rest.
    fn flush(&self, send: impl Fn(&mut Outgoing, &OwnedFd) -> io::Result<usize>) -> bool {
        let mut out = self.out.lock();
        loop {
            let mut frames = std::mem::take(&mut out.frames);
            drop(out);
            let mut sent = Ok(0);
            match &self.transport {
                Transport::Peer(peer) => frames.pass(peer),
                Transport::Socket(_) if is_forked() => sent = Err(io::ErrorKind::BrokenPipe.into()),
                Transport::Socket(socket) => {
                    while !frames.is_empty() && sent.is_ok() {
                        sent = send(&mut frames, socket);
                    }
                }
            }
            out = self.out.lock();
            match sent {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                    frames.append(std::mem::take(&mut out.frames));
                    out.frames = frames;
                    return false;
                }
                Err(_) => out.broken = true,
            }
            if out.broken || out.frames.is_empty() {
                out.sending = false;
                return true;
            }
        }
    }

    fn exchanges(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Exchange>>> {
        self.exchanges.lock()
    }

    /// Drops the stream.
    pub(crate) fn forget(&self, stream: u32) {
        self.exchanges().remove(&stream);
    }

    /// Reads frames until the worker closes the connection.
    fn read(self: &Arc<Self>) -> io::Result<()> {
        let Transport::Socket(socket) = &self.transport else { return Ok(()) };
        let (mut incoming, mut jobs) = (Incoming::default(), Vec::new());
        while incoming.receive(socket)? > 0 {
            while let Some(frame) = incoming.next_frame()? {
                self.handle(frame, &mut jobs)?;
            }
            self.begin_requests(&mut jobs);
        }
        Ok(())
    }

    /// Takes frames of a worker in this process, until one that asks for the end. Returns whether there was one.
    pub(crate) fn receive(self: &Arc<Self>, frames: &mut dyn Iterator<Item = Frame>) -> bool {
        let (mut jobs, mut ends) = (Vec::new(), false);
        for frame in frames {
            if frame.kind == Kind::Drain {
                ends = true;
                break;
            }
            let _ = self.handle(frame, &mut jobs); // its frames are valid
        }
        self.begin_requests(&mut jobs);
        ends
    }

    fn begin_requests(&self, jobs: &mut Vec<Job>) {
        if !jobs.is_empty() {
            self.target.add(jobs);
        }
    }

    fn handle(self: &Arc<Self>, frame: Frame, jobs: &mut Vec<Job>) -> io::Result<()> {
        let exchange = || self.exchanges().get(&frame.stream).cloned();
        match frame.kind {
            Kind::Request => {
                let events = self.target.events();
                let exchange = Arc::new(Exchange::new(self.clone(), frame.stream, frame.end, events));
                self.exchanges().insert(frame.stream, exchange.clone());
                jobs.push(Job { exchange, head: frame.payload });
            }
            Kind::Profile => profile::start(self.clone(), frame.stream, &frame.payload),
            // The rest is for streams that may have ended here.
            Kind::Data | Kind::Text | Kind::Binary | Kind::Close => {
                if let Some(exchange) = exchange() {
                    exchange.received(frame);
                }
            }
            Kind::Credit => {
                if let Some(exchange) = exchange() {
                    exchange.credited(frame.credit()?);
                }
            }
            Kind::Abort => {
                if let Some(exchange) = exchange() {
                    exchange.leave();
                }
            }
            _ => return Err(io::Error::other("a frame that a worker does not send")),
        }
        Ok(())
    }

    /// Wakes every thread that waits for the worker.
    pub(crate) fn end(&self) {
        self.out.lock().broken = true;
        if let Transport::Socket(socket) = &self.transport {
            let _ = rustix::net::shutdown(socket, Shutdown::Both); // the worker may be gone
        }
        let exchanges = std::mem::take(&mut *self.exchanges());
        exchanges.values().for_each(|exchange| exchange.leave());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Transport::Socket(socket) = &self.transport {
            descriptors::forget(socket);
        }
    }
}
