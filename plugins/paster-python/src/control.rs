//! The starter of the application, and the source of its requests.
//!
//! In a separate process, both are sockets: one to the starter, and one that listens for workers. In a worker of paster, both
//! are the worker.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use paster_frames::{Frame, Incoming, Kind, Outgoing, Peer};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::connection::{Connections, Target};
use crate::descriptors;
use crate::embedded;
use crate::load::Load;
use crate::stacks;

/// How often the status is sent.
const STATUS: Duration = Duration::from_secs(1);

/// The control socket, to the supervisor or to the process that started this one.
pub(crate) struct Control {
    socket: OwnedFd,
    incoming: Incoming,
}

impl Control {
    /// Takes the socket from standard input, which becomes empty.
    pub(crate) fn take() -> io::Result<Control> {
        let socket = rustix::stdio::stdin().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        descriptors::remember(&socket);
        Ok(Control { socket, incoming: Incoming::default() })
    }

    /// The next frame; `None` if the other end has closed.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                return Ok(Some(frame));
            }
            if self.incoming.receive(&self.socket)? == 0 {
                return Ok(None);
            }
        }
    }

    /// The sending half of the socket.
    pub(crate) fn reporter(&self) -> io::Result<Reporter> {
        let socket = self.socket.try_clone()?;
        descriptors::remember(&socket);
        Ok(Reporter::Socket(Arc::new(socket)))
    }
}

/// Sends to the starter of the application.
#[derive(Clone)]
pub(crate) enum Reporter {
    Socket(Arc<OwnedFd>),
    Worker(Arc<Peer>),
}

impl Reporter {
    /// Sends a frame of the connection itself.
    pub(crate) fn send(&self, kind: Kind, payload: &[u8]) {
        let mut out = Outgoing::default();
        out.push(kind, 0, payload);
        match self {
            Reporter::Worker(worker) => out.pass(worker),
            Reporter::Socket(socket) => {
                while !out.is_empty() {
                    if out.send(socket).is_err() {
                        return; // the other end is gone, and this process ends
                    }
                }
            }
        }
    }
}

/// The source of requests.
pub(crate) enum Source {
    /// Connections to the listening socket, until the control socket asks to stop or closes.
    Socket(OwnedFd, Control),
    /// The worker that has loaded this library.
    Worker(Arc<Peer>),
}

impl Source {
    /// Passes requests to `target`. Calls `end` when there will be no more.
    pub(crate) fn serve(self, target: Target, end: impl FnOnce() + Send + 'static) -> io::Result<()> {
        match self {
            Source::Socket(listener, control) => accept(listener, control, target, end),
            Source::Worker(worker) => {
                embedded::connect(worker, &target, Box::new(end));
                Ok(())
            }
        }
    }
}

/// Accepts connections until the control socket asks to stop or closes. Calls `end` once every connection is closed.
fn accept(
    listener: OwnedFd,
    mut control: Control,
    target: Target,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    descriptors::remember(&listener);
    let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
    let (stopped, connections) = (stop.clone(), Arc::<Connections>::default());
    let accepting = connections.clone();
    let acceptor = move || {
        loop {
            let mut ready = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&*stopped, PollFlags::IN)];
            if rustix::event::poll(&mut ready, None).is_err() {
                continue; // a signal
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
                Ok(socket) => accepting.open(socket, &target),
                // Another process of the application has accepted it.
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptor is free; the connection waits.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    };
    std::thread::Builder::new().name("accept".into()).spawn(acceptor)?;
    let controller = move || {
        while let Ok(Some(frame)) = control.next() {
            match frame.kind {
                Kind::Drain => break,
                Kind::Stacks => stacks::send(),
                _ => {}
            }
        }
        let _ = rustix::io::write(&*stop, &1_u64.to_ne_bytes()); // cannot fail: the counter is 0
        connections.drain();
        end();
    };
    std::thread::Builder::new().name("control".into()).spawn(controller)?;
    Ok(())
}

/// Sends the status once a second, even if the application blocks all Python threads.
pub(crate) fn tell_status(reporter: Reporter, load: Arc<Load>) -> io::Result<()> {
    let teller = move || {
        loop {
            std::thread::sleep(STATUS);
            reporter.send(Kind::Status, &load.status().encode());
        }
    };
    std::thread::Builder::new().name("status".into()).spawn(teller)?;
    Ok(())
}
