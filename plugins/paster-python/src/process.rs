//! The life of the process: its settings, the application, the workers' connections, the end.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use paster_frames::{Frame, Incoming, Kind, Outgoing, Pairs, push_pair};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyModule};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{PidfdFlags, Signal};

use crate::asgi::{Events, Inbox};
use crate::connection::{Connections, Target};
use crate::load::Load;
use crate::queue::Queue;
use crate::wsgi;

/// How often the process looks for modules that were imported later.
const LOOK: Duration = Duration::from_secs(1);

/// The control socket: to the supervisor, or to the process that has started this one.
struct Control {
    socket: OwnedFd,
    incoming: Incoming,
}

impl Control {
    /// Takes it from standard input, which becomes empty.
    fn take() -> io::Result<Control> {
        let socket = rustix::stdio::stdin().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Control { socket, incoming: Incoming::default() })
    }

    /// The next frame; `None` if the other end has closed.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.incoming.next_frame()? {
                return Ok(Some(frame));
            }
            if self.incoming.receive(&self.socket)? == 0 {
                return Ok(None);
            }
        }
    }

    fn send(socket: &OwnedFd, kind: Kind, payload: &[u8]) {
        let mut out = Outgoing::default();
        out.push(kind, 0, payload);
        while !out.is_empty() {
            if out.send(socket).is_err() {
                return; // the other end is gone, and this process ends
            }
        }
    }
}

/// What the application's kind needs to know.
pub(crate) struct Settings {
    payload: Bytes,
}

impl Settings {
    fn text(&self, name: &str) -> &str {
        Pairs::new(&self.payload).text(name).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> usize {
        self.text(name).parse().unwrap_or(0)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.text(name) == "true"
    }
}

/// Whether the process is ending.
#[derive(Default)]
struct End {
    drained: Mutex<bool>,
    changed: Condvar,
}

impl End {
    fn tell(&self) {
        *self.drained.lock() = true;
        self.changed.notify_all();
    }

    /// Waits for it, at most `time`; whether it has come.
    fn wait(&self, time: Duration) -> bool {
        let mut drained = self.drained.lock();
        self.changed.wait_while_for(&mut drained, |drained| !*drained, time);
        *drained
    }
}

/// Loads the application. One module, so that a traceback leaves out all of it.
const LOADER: &str =
    concat!(include_str!("loader.py"), include_str!("find.py"), include_str!("frameworks.py"));

/// Runs the process to its end.
pub(crate) fn run(py: Python<'_>) -> PyResult<()> {
    let failed = |what: &str, cause: io::Error| PyOSError::new_err(format!("{what}: {cause}"));
    let mut control = Control::take().map_err(|cause| failed("no control socket", cause))?;
    let started = py.detach(|| control.next()).map_err(|cause| failed("no settings", cause))?;
    let Some(Frame { kind: Kind::Start, payload, descriptor: Some(listener), .. }) = started else {
        return Err(PyOSError::new_err("this module runs in processes that paster starts"));
    };
    let settings = Settings { payload };
    end_with_parent().map_err(|cause| failed("cannot watch the parent process", cause))?;
    let loader = module(py, c"<paster>", c"paster_loader", LOADER)?;
    loader.setattr("_alone", settings.is_set("alone"))?;
    loader.call_method1("prepare", (settings.text("application"), settings.is_set("development")))?;
    let application = match load(&loader, &settings) {
        Ok(application) => application,
        Err(error) => {
            Control::send(
                &control.socket,
                Kind::Failed,
                &failure(&loader, error.into_value(py).bind(py).as_any())?,
            );
            return Ok(());
        }
    };
    let writer = control.socket.try_clone().map_err(|cause| failed("no control socket", cause))?;
    let load = Arc::<Load>::default();
    if settings.is_set("limited") {
        let status = writer.try_clone().and_then(|socket| tell_status(socket, load.clone()));
        status.map_err(|cause| failed("cannot report the status", cause))?;
    }
    let begun = Begun { loader, application, settings, listener, control, writer, load };
    match begun.settings.text("kind") {
        "asgi" => begun.run_loop(py),
        _ => begun.run_threads(py),
    }
}

/// A process that has loaded its application.
struct Begun<'py> {
    loader: Bound<'py, PyModule>,
    application: Bound<'py, PyAny>,
    settings: Settings,
    listener: OwnedFd,
    control: Control,
    /// A copy of the control socket.
    writer: OwnedFd,
    load: Arc<Load>,
}

impl Begun<'_> {
    /// Serves a WSGI application.
    fn run_threads(self, py: Python<'_>) -> PyResult<()> {
        let Begun { loader, application, settings, listener, control, writer, load } = self;
        let (queue, end) = (Arc::<Queue>::default(), Arc::<End>::default());
        let waiting = (queue.clone(), load);
        let handler = wsgi::Handler::new(py, application, loader.clone().unbind(), waiting, &settings)?;
        let threads = loader.call_method1("start", (settings.number("threads").max(1), handler))?;
        let ended = end.clone();
        accept(listener, control, Target::Threads(queue.clone()), move || ended.tell())?;
        Control::send(&writer, Kind::Ready, &facts(&loader)?);
        let mut known = 0;
        loop {
            if settings.is_set("development") {
                known = tell_sources(&loader, &writer, known)?;
            }
            py.check_signals()?;
            if py.detach(|| end.wait(LOOK)) {
                break;
            }
        }
        queue.close();
        loader.call_method1("join", (threads,))?;
        Ok(())
    }

    /// Serves an ASGI application.
    fn run_loop(self, py: Python<'_>) -> PyResult<()> {
        let Begun { loader, application, settings, listener, control, writer, load } = self;
        let events = Arc::new(Events::new(load)?);
        let runner = module(py, c"<paster>", c"paster_asgi", include_str!("asgi/asgi.py"))?;
        let start = Start {
            rest: Mutex::new(Some((listener, control))),
            writer: writer.try_clone()?,
            events: events.clone(),
            loader: loader.clone().unbind(),
            development: settings.is_set("development"),
            known: Mutex::new(0),
        };
        let start = Bound::new(py, start)?;
        let served = runner.call_method1(
            "run",
            (application, Inbox(events), start.clone(), settings.text("loop"), loader.getattr("format")?),
        );
        match served {
            // The application may fail at its startup.
            Err(error) if start.get().rest.lock().is_some() => {
                let error = error.into_value(py);
                Control::send(&writer, Kind::Failed, &failure(&loader, error.bind(py).as_any())?);
                Ok(())
            }
            served => served.map(drop),
        }
    }
}

/// What an event loop calls once the application has started, and while it runs.
#[pyclass(frozen)]
struct Start {
    rest: Mutex<Option<(OwnedFd, Control)>>,
    writer: OwnedFd,
    events: Arc<Events>,
    loader: Py<PyModule>,
    development: bool,
    /// How many modules were imported when the source files were sent last.
    known: Mutex<usize>,
}

#[pymethods]
impl Start {
    /// Accepts connections. Returns the descriptor that is readable once all have ended after a request to end.
    fn serve(&self, py: Python<'_>) -> PyResult<i32> {
        let Some((listener, control)) = self.rest.lock().take() else {
            return Err(PyOSError::new_err("it serves"));
        };
        let (ended, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        accept(listener, control, Target::Loop(self.events.clone()), move || drop(end))?;
        Control::send(&self.writer, Kind::Ready, &facts(self.loader.bind(py))?);
        Ok(ended.into_raw_fd())
    }

    /// Sends the source files if there are new ones. Whether to call this again.
    fn tell_sources(&self, py: Python<'_>) -> PyResult<bool> {
        if self.development {
            let known = *self.known.lock();
            *self.known.lock() = tell_sources(self.loader.bind(py), &self.writer, known)?;
        }
        Ok(self.development)
    }
}

/// Sends the source files if modules have been imported since `known` were.
fn tell_sources(loader: &Bound<'_, PyModule>, socket: &OwnedFd, known: usize) -> PyResult<usize> {
    let modules = loader.py().import("sys")?.getattr("modules")?.len()?;
    if modules != known {
        let mut payload = Vec::new();
        push_sources(&mut payload, &loader.call_method0("sources")?)?;
        Control::send(socket, Kind::Sources, &payload);
    }
    Ok(modules)
}

fn push_sources(payload: &mut Vec<u8>, sources: &Bound<'_, PyAny>) -> PyResult<()> {
    let os = sources.py().import("os")?;
    for path in sources.cast::<PyList>()? {
        let path = os.call_method1("fsencode", (path,))?;
        push_pair(payload, b"source", path.cast::<PyBytes>()?.as_bytes());
    }
    Ok(())
}

fn load<'py>(loader: &Bound<'py, PyModule>, settings: &Settings) -> PyResult<Bound<'py, PyAny>> {
    let application = loader.call_method1("load", (settings.text("application"), settings.text("folder")))?;
    loader.call_method1("check", (&application, settings.text("kind")))?;
    Ok(application)
}

/// Why the application could not be loaded.
fn failure(loader: &Bound<'_, PyModule>, error: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut payload = Vec::new();
    let text = |name: &str| loader.call_method1(name, (error,))?.extract::<String>();
    push_pair(&mut payload, b"summary", text("summary")?.as_bytes());
    push_sources(&mut payload, &loader.call_method1("sources", (error,))?)?;
    push_pair(&mut payload, b"traceback", text("format")?.as_bytes());
    Ok(payload)
}

fn facts(loader: &Bound<'_, PyModule>) -> PyResult<Vec<u8>> {
    let mut payload = Vec::new();
    for (name, value) in loader.call_method0("facts")?.cast::<PyDict>()? {
        let (name, value): (String, String) = (name.extract()?, value.extract()?);
        push_pair(&mut payload, name.as_bytes(), value.as_bytes());
    }
    Ok(payload)
}

fn module<'py>(py: Python<'py>, file: &CStr, name: &CStr, code: &str) -> PyResult<Bound<'py, PyModule>> {
    let code = std::ffi::CString::new(code).map_err(io::Error::from)?;
    PyModule::from_code(py, &code, file, name)
}

/// Accepts connections until the control socket asks for the end or closes; `end` is called once every connection is
/// closed.
fn accept(
    listener: OwnedFd,
    mut control: Control,
    target: Target,
    end: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
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
            if frame.kind == Kind::Drain {
                break;
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
fn tell_status(socket: OwnedFd, load: Arc<Load>) -> io::Result<()> {
    let teller = move || {
        loop {
            std::thread::sleep(LOOK);
            Control::send(&socket, Kind::Status, &load.status().encode());
        }
    };
    std::thread::Builder::new().name("status".into()).spawn(teller)?;
    Ok(())
}

/// Ends this process and its group when the parent ends, even if the application blocks every thread of Python.
fn end_with_parent() -> io::Result<()> {
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

/// Opens the regular file behind a descriptor of the application, for reading.
pub(crate) fn reopen(descriptor: i32) -> io::Result<File> {
    let link = format!("/proc/self/fd/{descriptor}");
    let file = File::open(Path::new(&link))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
