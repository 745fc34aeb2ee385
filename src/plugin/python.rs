//! Runs a Python application in this process: loads the interpreter's libpython, and paster's Python library.
//!
//! A process has one interpreter, which is never finalized. Each application runs on its own thread, which calls the library
//! and ends with the application. The first of these threads is Python's main thread.
//!
//! # Source
//! Python/C API Reference, "Initialization, Finalization, and Threads", and "Python Initialization Configuration".

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use paster_frames::{Endpoint, Peer};

/// The stack of an application's thread, in bytes: that of a program's main thread.
const STACK: usize = 8 << 20;
/// Space for a `PyPreConfig` of any version, in words.
const PRE_CONFIG: usize = 64;

/// The interpreter to run in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonRuntime {
    /// The interpreter's program, from which libpython derives `sys.prefix`, that of a virtual environment too.
    pub program: PathBuf,
    /// Its libpython.
    pub libpython: PathBuf,
    /// Its version: `3.11.7`.
    pub version: String,
}

/// The result of initializing the interpreter of this process, which all applications share.
static INTERPRETER: OnceLock<Result<(), String>> = OnceLock::new();

/// The applications that run in this process.
static RUNNING: Mutex<Vec<RunningPython>> = Mutex::new(Vec::new());

struct RunningPython {
    drain: Box<dyn FnOnce() + Send>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
}

/// Runs an application in the background with paster's Python `library`, until `end` has ended. `settings` are those of a
/// process of the application. [`end_applications`] calls `drain`, which must make the application return.
///
/// `failed` is called if the interpreter or the library cannot be loaded.
/// # Errors
/// If no thread can be started.
pub fn run<E: Endpoint>(
    runtime: &PythonRuntime,
    library: &Path,
    settings: Vec<u8>,
    end: Arc<E>,
    drain: impl FnOnce() + Send + 'static,
    failed: impl FnOnce(String) + Send + 'static,
) -> std::io::Result<()> {
    let (runtime, library) = (runtime.clone(), library.to_owned());
    let (alive, ended) = channel::<()>();
    let run = move || {
        let _alive = alive;
        match INTERPRETER.get_or_init(|| initialize(&runtime)).clone().and_then(|()| load(&library)) {
            // SAFETY: the function is the one of this name and version, and the settings live for the call.
            Ok(run) => unsafe { run(settings.as_ptr(), settings.len(), Peer::new(end)) },
            Err(why) => failed(why),
        }
    };
    thread::Builder::new().name("python".into()).stack_size(STACK).spawn(run)?;
    RUNNING.lock().push(RunningPython { drain: Box::new(drain), ended });
    Ok(())
}

/// Ends all applications of this process, and waits for them until `time` has passed.
pub fn end_applications(time: Duration) {
    let running = std::mem::take(&mut *RUNNING.lock());
    let until = Instant::now() + time;
    let ended: Vec<_> = running
        .into_iter()
        .map(|RunningPython { drain, ended }| {
            drain();
            ended
        })
        .collect();
    for ended in ended {
        // Nothing is ever sent: the channel closes when the thread ends.
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// The function of paster's Python library that runs an application.
type RunFunction = unsafe extern "C" fn(*const u8, usize, Peer);

fn load(library: &Path) -> Result<RunFunction, String> {
    // SAFETY: this is paster's own library. It is never unloaded.
    let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| format!("cannot load paster's Python library: {}", reason(&error)))?;
    let library = std::mem::ManuallyDrop::new(library);
    // SAFETY: the name contains the version of the signature.
    let run = unsafe { library.get::<RunFunction>(b"paster_python_run_2\0") };
    run.map(|run| *run)
        .map_err(|_| "paster's Python library is from a different version of paster".to_owned())
}

fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// The result of a function of Python's initialization.
#[repr(C)]
struct PyStatus {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

/// Loads libpython and initializes the interpreter as its own program would, except that paster keeps handling the signals.
fn initialize(runtime: &PythonRuntime) -> Result<(), String> {
    let PythonRuntime { program, libpython, version } = runtime;
    let shown = libpython.display();
    // SAFETY: naming an interpreter means trusting it. Its extension modules need the symbols to be global. It is never
    // unloaded.
    let library = unsafe { Library::open(Some(libpython), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|error| format!("cannot load `{shown}`: {}", reason(&error)))?;
    let library = std::mem::ManuallyDrop::new(library);
    let lacking =
        |name: &str| format!("`{shown}` has no `{name}`: use `mode = \"process\"` with this version");
    // SAFETY: the signature is that of the Python/C API.
    let loaded = unsafe {
        let get = library.get::<unsafe extern "C" fn() -> *const c_char>(b"Py_GetVersion\0");
        let get = get.map_err(|_| lacking("Py_GetVersion"))?;
        CStr::from_ptr(get()).to_string_lossy().into_owned()
    };
    if loaded.split(' ').next() != Some(version) {
        return Err(format!("`{shown}` is Python {loaded}, but `{}` is Python {version}", program.display()));
    }
    pre_initialize(&library).map_err(lacking)??;
    // SAFETY: the signatures are those of the Python/C API, and the calls are in its order. The name must live as long as
    // the interpreter, so it is leaked.
    unsafe {
        let set_name = library.get::<unsafe extern "C" fn(*const c_int)>(b"Py_SetProgramName\0");
        let initialize = library.get::<unsafe extern "C" fn(c_int)>(b"Py_InitializeEx\0");
        let release = library.get::<unsafe extern "C" fn() -> *mut c_void>(b"PyEval_SaveThread\0");
        let set_name = set_name.map_err(|_| lacking("Py_SetProgramName"))?;
        let initialize = initialize.map_err(|_| lacking("Py_InitializeEx"))?;
        let release = release.map_err(|_| lacking("PyEval_SaveThread"))?;
        set_name(Box::leak(wide(program).into_boxed_slice()).as_ptr());
        initialize(0);
        release();
    }
    Ok(())
}

/// Chooses locale and encoding as the interpreter's own program does (PEP 538 and 540).
fn pre_initialize(library: &Library) -> Result<Result<(), String>, &'static str> {
    let (set, apply) = ("PyPreConfig_InitPythonConfig", "Py_PreInitialize");
    // SAFETY: the signatures are those of the Python/C API. The first call fills a structure that is smaller than the space
    // for it, and the second one reads it.
    unsafe {
        let set = library.get::<unsafe extern "C" fn(*mut u64)>(set).map_err(|_| set)?;
        let apply = library.get::<unsafe extern "C" fn(*const u64) -> PyStatus>(apply).map_err(|_| apply)?;
        let mut config = [0_u64; PRE_CONFIG];
        set(config.as_mut_ptr());
        let status = apply(config.as_ptr());
        if status.kind == 0 {
            return Ok(Ok(()));
        }
        let message = match status.message.is_null() {
            true => "no reason".into(),
            false => CStr::from_ptr(status.message).to_string_lossy(),
        };
        Ok(Err(format!("Python cannot be initialized: {message}")))
    }
}

/// Decodes a path as Python does: as UTF-8, and other bytes as lone surrogates (PEP 383).
fn wide(path: &Path) -> Vec<c_int> {
    let mut wide = Vec::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        wide.extend(chunk.valid().chars().map(|c| u32::from(c).cast_signed()));
        wide.extend(chunk.invalid().iter().map(|byte| 0xDC00 + c_int::from(*byte)));
    }
    wide.push(0);
    wide
}
