//! Who has started the application, and where its requests come from.
//!
//! In a process of its own, both are sockets: one to the starter, and one that listens for workers. In a worker of
//! paster, both are the worker.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use paster_frames::{Frame, Incoming, Kind, Outgoing, Peer};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{PidfdFlags, Signal};

use crate::connection::{Connections, Target};
use crate::descriptors;
use crate::embedded;
use crate::load::Load;
use crate::stacks;

/// How often the status is sent.
const STATUS: Duration = Duration::from_secs(1);

/// The control socket: to the supervisor, or to the process that has started this one.
pub(crate) struct Control {
    socket: OwnedFd,
    incoming: Incoming,
}

impl Control {
    /// Takes it from standard input, which becomes empty.
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

    /// What sends on the socket.
    pub(crate) fn reporter(&self) -> io::Result<Reporter> {
        let socket = self.socket.try_clone()?;
        descriptors::remember(&socket);
        Ok(Reporter::Socket(Arc::new(socket)))
    }
}

/// Sends to who has started the application.
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

/// Where requests come from.
pub(crate) enum Source {
    /// From connections to the listening socket, until the control socket asks for the end or closes.
    Socket(OwnedFd, Control),
    /// From the worker that has loaded this library.
    Worker(Arc<Peer>),
}

impl Source {
    /// Passes requests to `target`; `end` is called when there will be no more.
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

/// Accepts connections until the control socket asks for the end or closes; `end` is called once every connection is
/// closed.
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
                // Another process of the application was faster.
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

/// Sends the status once a second, even if the application blocks every thread of Python.
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

/// Ends this process and its group when the parent ends, even if the application blocks every thread of Python.
pub(crate) fn end_with_parent() -> io::Result<()> {
    let Some(parent) = rustix::process::getppid() else { return Err(io::ErrorKind::NotFound.into()) };
    let parent = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
    let guard = move || {
        let mut ended = [PollFd::new(&parent, PollFlags::IN)];
        while rustix::event::poll(&mut ended, None).is_err() {}
        let own = rustix::process::getpid();
        if rustix::process::getpgrp() == own {
            let _ = rustix::process::kill_process_group(own, Signal::KILL); // ends this process too
        }
        let _ = rustix::process::kill_process(own, Signal::KILL);
    };
    std::thread::Builder::new().name("guard".into()).spawn(guard)?;
    // The signal that the starter has asked for would end this process alone.
    let _ = rustix::process::set_parent_process_death_signal(None);
    Ok(())
}
