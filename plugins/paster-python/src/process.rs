//! The life cycle of an application: its settings, loading, serving, and the end.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use paster_frames::{Frame, Kind, Pairs, push_pair};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyModule};
use rustix::pipe::PipeFlags;

use crate::asgi::{Events, Inbox};
use crate::connection::Target;
use crate::control::{Control, Reporter, Source, tell_status};
use crate::descriptors;
use crate::guard::end_with_parent;
use crate::load::{LOOK, Load};
use crate::queue::Queue;
use crate::{stacks, wsgi};

/// The settings of the application.
pub(crate) struct Settings {
    payload: Bytes,
}

impl Settings {
    /// From [`Pairs`].
    pub(crate) fn new(payload: Bytes) -> Settings {
        Settings { payload }
    }

    /// The variables to add to the environment of a worker, each as `NAME=VALUE`.
    fn variables(&self) -> Vec<&str> {
        let pairs = Pairs::new(&self.payload).flatten().filter(|(name, _)| *name == b"variable");
        pairs.filter_map(|(_, value)| std::str::from_utf8(value).ok()).collect()
    }

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

    /// Waits for the end, at most `time`. Returns whether it has come.
    fn wait(&self, time: Duration) -> bool {
        let mut drained = self.drained.lock();
        self.changed.wait_while_for(&mut drained, |drained| !*drained, time);
        *drained
    }
}

/// The loader's source. It is a single module, so that tracebacks can omit its frames.
const LOADER: &str = concat!(include_str!("loader.py"), include_str!("session.py"));
/// The same for applications that `@framework` finds, which need more memory.
const FRAMEWORK_LOADER: &str = concat!(
    include_str!("loader.py"),
    include_str!("session.py"),
    include_str!("find.py"),
    include_str!("frameworks.py")
);

/// Runs the process to its end.
pub(crate) fn run(py: Python<'_>) -> PyResult<()> {
    let failed = |what: &str, cause: io::Error| PyOSError::new_err(format!("{what}: {cause}"));
    let mut control = Control::take().map_err(|cause| failed("no control socket", cause))?;
    let started = py.detach(|| control.next()).map_err(|cause| failed("no settings", cause))?;
    let Some(Frame { kind: Kind::Start, payload, descriptor: Some(listener), .. }) = started else {
        return Err(PyOSError::new_err("this module only runs in processes that paster starts"));
    };
    end_with_parent().map_err(|cause| failed("cannot watch the parent process", cause))?;
    let reporter = control.reporter().map_err(|cause| failed("no control socket", cause))?;
    serve(py, Settings::new(payload), Source::Socket(listener, control), reporter)
}

/// Loads the application and serves requests of `source` to their end.
pub(crate) fn serve(py: Python<'_>, settings: Settings, source: Source, reporter: Reporter) -> PyResult<()> {
    let code = if settings.text("application").starts_with('@') { FRAMEWORK_LOADER } else { LOADER };
    let loader = module(py, c"<paster>", c"paster_loader", code)?;
    loader.setattr("_alone", settings.is_set("alone"))?;
    match source {
        Source::Socket(..) => {
            let forked = wrap_pyfunction!(descriptors::forked, py)?;
            let application = settings.text("application");
            let stacks = stacks::collect(reporter.clone())?.into_raw_fd();
            loader.call_method1("prepare", (application, settings.is_set("development"), forked, stacks))?
        }
        Source::Worker(_) => loader.call_method1(
            "prepare_worker",
            (
                settings.text("application"),
                settings.is_set("development"),
                settings.text("folder"),
                settings.variables(),
            ),
        )?,
    };
    let application = match load(&loader, &settings) {
        Ok(application) => application,
        Err(error) => {
            let failure = failure(&loader, error.into_value(py).bind(py).as_any())?;
            reporter.send(Kind::Failed, &failure);
            return Ok(());
        }
    };
    let load = Arc::<Load>::default();
    if settings.is_set("limited") {
        tell_status(reporter.clone(), load.clone())?;
    }
    let begun = Begun { loader, application, settings, source, reporter, load };
    match begun.settings.text("kind") {
        "asgi" => begun.run_loop(py),
        _ => begun.run_threads(py),
    }
}

/// An application that is loaded.
struct Begun<'py> {
    loader: Bound<'py, PyModule>,
    application: Bound<'py, PyAny>,
    settings: Settings,
    source: Source,
    reporter: Reporter,
    load: Arc<Load>,
}

impl Begun<'_> {
    /// Serves a WSGI application.
    fn run_threads(self, py: Python<'_>) -> PyResult<()> {
        let Begun { loader, application, settings, source, reporter, load } = self;
        let (queue, end) = (Arc::<Queue>::default(), Arc::<End>::default());
        let waiting = (queue.clone(), load.clone());
        let handler = wsgi::Handler::new(py, application, loader.clone().unbind(), waiting, &settings)?;
        let threads = loader.call_method1("start", (settings.number("threads").max(1), handler))?;
        let (ended, own_process) = (end.clone(), matches!(source, Source::Socket(..)));
        source.serve(Target::Threads(queue.clone()), move || ended.tell())?;
        reporter.send(Kind::Ready, &facts(&loader)?);
        let mut known = 0;
        loop {
            if settings.is_set("development") {
                known = tell_sources(&loader, &reporter, known)?;
            }
            load.alive();
            py.check_signals()?;
            if py.detach(|| end.wait(LOOK)) {
                break;
            }
        }
        queue.close();
        loader.call_method1("join", (threads, own_process))?;
        Ok(())
    }

    /// Serves an ASGI application.
    fn run_loop(self, py: Python<'_>) -> PyResult<()> {
        let Begun { loader, application, settings, source, reporter, load } = self;
        let events = Arc::new(Events::new(load.clone())?);
        let runner = concat!(include_str!("asgi/asgi.py"), include_str!("session.py"));
        let runner = module(py, c"<paster>", c"paster_asgi", runner)?;
        let start = Start {
            source: Mutex::new(Some(source)),
            reporter: reporter.clone(),
            load,
            events: events.clone(),
            loader: loader.clone().unbind(),
            development: settings.is_set("development"),
            known: Mutex::new(0),
        };
        let start = Bound::new(py, start)?;
        let served = runner.call_method1(
            "run",
            (
                application,
                Inbox::new(events),
                start.clone(),
                settings.text("loop"),
                loader.getattr("describe")?,
            ),
        );
        match served {
            // The application may fail at its startup.
            Err(error) if start.get().source.lock().is_some() => {
                let error = error.into_value(py);
                reporter.send(Kind::Failed, &failure(&loader, error.bind(py).as_any())?);
                Ok(())
            }
            served => served.map(drop),
        }
    }
}

/// The functions that an event loop calls once the application has started, and while it runs.
#[pyclass(frozen)]
struct Start {
    source: Mutex<Option<Source>>,
    reporter: Reporter,
    load: Arc<Load>,
    events: Arc<Events>,
    loader: Py<PyModule>,
    development: bool,
    /// The number of imported modules when the source files were last sent.
    known: Mutex<usize>,
}

#[pymethods]
impl Start {
    /// Accepts connections. Returns a descriptor that becomes readable when all connections have ended after a request to stop.
    fn serve(&self, py: Python<'_>) -> PyResult<i32> {
        let Some(source) = self.source.lock().take() else {
            return Err(PyOSError::new_err("it serves"));
        };
        let (ended, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        source.serve(Target::Loop(self.events.clone()), move || drop(end))?;
        self.reporter.send(Kind::Ready, &facts(self.loader.bind(py))?);
        Ok(ended.into_raw_fd())
    }

    /// The loop calls this once a second. Sends the source files if there are new ones.
    fn look(&self, py: Python<'_>) -> PyResult<()> {
        self.load.alive();
        if self.development {
            let known = *self.known.lock();
            *self.known.lock() = tell_sources(self.loader.bind(py), &self.reporter, known)?;
        }
        Ok(())
    }
}

/// Sends the source files if modules have been imported since `known` were.
fn tell_sources(loader: &Bound<'_, PyModule>, reporter: &Reporter, known: usize) -> PyResult<usize> {
    let modules = loader.py().import("sys")?.getattr("modules")?.len()?;
    if modules != known {
        let mut payload = Vec::new();
        push_sources(&mut payload, &loader.call_method0("sources")?)?;
        reporter.send(Kind::Sources, &payload);
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

/// Opens the regular file behind a descriptor of the application, for reading.
pub(crate) fn reopen(descriptor: i32) -> io::Result<File> {
    let link = format!("/proc/self/fd/{descriptor}");
    let file = File::open(Path::new(&link))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
