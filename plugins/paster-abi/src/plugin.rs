//! The table that a plugin exports, and the services that the host hands in.

use core::ffi::{c_int, c_void};

use crate::{Buffer, Exchange, Request, Slice, Status, Task};

/// Level of a log record: an error.
pub const LOG_ERROR: u32 = 1;
/// Level of a log record: a warning.
pub const LOG_WARN: u32 = 2;
/// Level of a log record: what an operator wants to know.
pub const LOG_INFO: u32 = 3;
/// Level of a log record: for developers.
pub const LOG_DEBUG: u32 = 4;
/// Level of a log record: every step.
pub const LOG_TRACE: u32 = 5;

/// A name and a value of a log record.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LogField {
    /// Name.
    pub name: Slice,
    /// Value as text.
    pub value: Slice,
}

/// One log record, borrowed for the call.
#[repr(C)]
pub struct LogRecord {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// One of `LOG_…`.
    pub level: u32,
    /// The part that logs: a module's path.
    pub target: Slice,
    /// What happened.
    pub message: Slice,
    /// Fields.
    pub fields: *const LogField,
    /// Count of fields.
    pub field_count: usize,
}

/// What the host offers to one app. It lives as long as the process; any thread may call its functions.
#[repr(C)]
pub struct Host {
    /// Size of this table in bytes.
    pub size_bytes: usize,
    /// The first argument of its functions.
    pub context: *const c_void,
    /// Number of the generation, from 1.
    pub generation: u64,
    /// 1 when developers are served: pages may show causes.
    pub development: u32,
    /// The most detailed `LOG_…` level that is kept.
    pub log_level: u32,
    /// Name of the app in the config.
    pub app: Slice,
    /// Writes a log record.
    pub log: unsafe extern "C" fn(context: *const c_void, record: *const LogRecord),
    /// Adds `count` to the app's counter `name`.
    pub count: unsafe extern "C" fn(context: *const c_void, name: Slice, count: u64),
    /// Writes the whole merged config to `out`, as JSON.
    pub config: unsafe extern "C" fn(context: *const c_void, out: *mut Buffer),
    /// Sees that the side process `name` runs, and waits for it. `READY`: `out` holds the path of its Unix socket.
    /// `FAILED`: `out` holds the reason.
    pub side_process: unsafe extern "C" fn(context: *const c_void, name: Slice, out: *mut Buffer) -> Status,
    /// Tells the user at which path of the app, perhaps with a query, to open it: the host shows the whole address on the
    /// terminal once it serves, and writes it to no log. Only present if `size_bytes` covers it.
    pub announce: unsafe extern "C" fn(context: *const c_void, path: Slice),
}

/// What a plugin exports as `PASTER_PLUGIN`. A function that a plugin does not have is null; `create`, `call` and
/// `destroy` must be there. `app` is the plugin's own pointer, as `create` wrote it; any number of threads may call
/// with the same `app` at once.
#[repr(C)]
pub struct Plugin {
    /// `PASTER_ABI_VERSION`.
    pub abi_version: u32,
    /// Size of this table in bytes, when the plugin was built.
    pub size_bytes: u32,
    /// Name of the application.
    pub name: Slice,
    /// Version of the application.
    pub version: Slice,
    /// Names of the side processes that `run_side` knows.
    pub sides: *const Slice,
    /// Count of side processes.
    pub side_count: usize,
    /// Writes the JSON Schema of the settings to `out`.
    pub settings_schema: Option<unsafe extern "C" fn(out: *mut Buffer)>,
    /// Makes an app from `settings` (JSON, checked against the schema) and from what the generation before saved
    /// (`saved_state`, null without). May block. `READY`: `*app` is written. `FAILED`, `PANICKED`: `error` holds the
    /// reason.
    pub create: Option<
        unsafe extern "C" fn(
            settings: Slice,
            host: *const Host,
            saved_state: *const Slice,
            app: *mut *mut c_void,
            error: *mut Buffer,
        ) -> Status,
    >,
    /// Begins to answer a request; never null. The request is borrowed for this call.
    pub call: Option<unsafe extern "C" fn(app: *mut c_void, request: *const Request) -> *mut Exchange>,
    /// Begins a health probe; a null task means healthy.
    pub health: Option<unsafe extern "C" fn(app: *mut c_void) -> *mut Task>,
    /// Writes state for the next generation to `out`. `READY`: there is some. `FAILED`: none.
    pub save_state: Option<unsafe extern "C" fn(app: *mut c_void, out: *mut Buffer) -> Status>,
    /// A newer generation has taken over: no new requests but on connections that are open.
    pub retire: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// The generation ends soon: close what is left. Does not block.
    pub shutdown: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// Frees the app. No exchange or task of it is left.
    pub destroy: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// Writes the app's tasks to `out`, as a JSON array of `{"name", "summary"}`.
    pub list_tasks: Option<unsafe extern "C" fn(app: *mut c_void, out: *mut Buffer)>,
    /// Begins the task `name` with arguments as JSON; null when there is none of that name.
    pub run_task: Option<unsafe extern "C" fn(app: *mut c_void, name: Slice, arguments: Slice) -> *mut Task>,
    /// Runs the side process `name` over a listening Unix socket until it ends; returns the exit status. It is called
    /// in a process of its own, without `create`.
    pub run_side: Option<unsafe extern "C" fn(name: Slice, socket: c_int) -> c_int>,
}

// SAFETY: a host's table is read-only and its functions may be called by any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}
// SAFETY: a plugin's table is a read-only static.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// Name of the exported symbol.
pub const SYMBOL: &str = "PASTER_PLUGIN";
