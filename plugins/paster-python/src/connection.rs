//! A connection from a worker: a thread that reads, and senders that write for each other.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use paster_frames::{Frame, Incoming, Kind, Outgoing};
use rustix::net::Shutdown;

use crate::asgi::Events;
use crate::exchange::Exchange;
use crate::queue::{Job, Queue};

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
}

/// The connections of this process.
#[derive(Default)]
pub(crate) struct Connections {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: Vec<Arc<Connection>>,
    draining: bool,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Serves a new connection on a thread of its own.
    pub(crate) fn open(self: &Arc<Self>, socket: OwnedFd, target: &Target) {
        let connection = Arc::new(Connection { socket, out: Mutex::default(), exchanges: Mutex::default() });
        let mut state = self.lock();
        if state.draining {
            return;
        }
        state.open.push(connection.clone());
        drop(state);
        let (connections, target) = (self.clone(), target.clone());
        let reader = move || {
            connection.send(|out| out.push(Kind::Ready, 0, &[]));
            let _ = connection.read(&target); // the worker has ended, or is not one
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

    /// Tells the workers to send nothing more here, and waits until they have closed their connections.
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

/// One connection.
pub(crate) struct Connection {
    socket: OwnedFd,
    out: Mutex<Out>,
    exchanges: Mutex<BTreeMap<u32, Arc<Exchange>>>,
}

#[derive(Default)]
struct Out {
    frames: Outgoing,
    /// A thread is sending, and will send what is added meanwhile.
    sending: bool,
    /// The worker is gone.
    broken: bool,
}

impl Connection {
    /// Sends the frames that `add` adds. Waits for the socket only if no other thread does; the worker always reads.
    pub(crate) fn send(&self, add: impl FnOnce(&mut Outgoing)) {
        let mut out = self.out.lock();
        if out.broken {
            return;
        }
        add(&mut out.frames);
        if out.sending {
            return;
        }
        out.sending = true;
        loop {
            let mut frames = std::mem::take(&mut out.frames);
            drop(out);
            let mut sent = Ok(0);
            while !frames.is_empty() && sent.is_ok() {
                sent = frames.send(&self.socket);
            }
            out = self.out.lock();
            out.broken |= sent.is_err();
            if out.broken || out.frames.is_empty() {
                out.sending = false;
                return;
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
    fn read(self: &Arc<Self>, target: &Target) -> io::Result<()> {
        let (mut incoming, mut jobs) = (Incoming::default(), Vec::new());
        while incoming.receive(&self.socket)? > 0 {
            while let Some(frame) = incoming.next_frame()? {
                self.handle(frame, target, &mut jobs)?;
            }
            if !jobs.is_empty() {
                target.add(&mut jobs);
            }
        }
        Ok(())
    }

    fn handle(self: &Arc<Self>, frame: Frame, target: &Target, jobs: &mut Vec<Job>) -> io::Result<()> {
        let exchange = || self.exchanges().get(&frame.stream).cloned();
        match frame.kind {
            Kind::Request => {
                let exchange =
                    Arc::new(Exchange::new(self.clone(), frame.stream, frame.end, target.events()));
                self.exchanges().insert(frame.stream, exchange.clone());
                jobs.push(Job { exchange, head: frame.payload });
            }
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

    /// Lets every thread that waits for the worker go on.
    fn end(&self) {
        self.out.lock().broken = true;
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both); // the worker may be gone
        let exchanges = std::mem::take(&mut *self.exchanges());
        exchanges.values().for_each(|exchange| exchange.leave());
    }
}
