//! The table that a plugin exports, and the services that the host passes to it.

use core::ffi::{c_int, c_void};

use crate::{Buffer, Exchange, Next, Request, Slice, Status, Task};

/// Level of a log record: an error.
pub const LOG_ERROR: u32 = 1;
/// Level of a log record: a warning.
pub const LOG_WARN: u32 = 2;
/// Level of a log record: for operators.
pub const LOG_INFO: u32 = 3;
/// Level of a log record: for developers.
pub const LOG_DEBUG: u32 = 4;
/// Level of a log record: every detail.
pub const LOG_TRACE: u32 = 5;

/// One field of a log record.
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
    /// The part that logs, as a module path.
    pub target: Slice,
    /// What happened.
    pub message: Slice,
    /// Fields.
    pub fields: *const LogField,
    /// Number of fields.
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
    /// 1 in development: pages may show the causes of errors.
    pub development: u32,
    /// The most detailed `LOG_…` level that is logged.
    pub log_level: u32,
    /// Name of the app in the config; of middleware, `middleware.NAME`.
    pub app: Slice,
    /// Writes a log record.
    pub log: unsafe extern "C" fn(context: *const c_void, record: *const LogRecord),
    /// Adds `count` to the app's counter `name`.
    pub count: unsafe extern "C" fn(context: *const c_void, name: Slice, count: u64),
    /// Writes the whole merged config to `out`, as JSON.
    pub config: unsafe extern "C" fn(context: *const c_void, out: *mut Buffer),
    /// Makes sure that the side process `name` runs, and waits until it does. `READY`: `out` holds the path
    /// of its Unix socket. `FAILED`: `out` holds the reason.
    pub side_process: unsafe extern "C" fn(context: *const c_void, name: Slice, out: *mut Buffer) -> Status,
    /// Sets the path of the app, optionally with a query, that the user should open. The host shows the full
    /// address on the terminal once it serves, and never logs it. Only present if `size_bytes` covers it.
    pub announce: unsafe extern "C" fn(context: *const c_void, path: Slice),
}

/// What a plugin exports as `PASTER_PLUGIN`. A function that a plugin does not have is null, but `create`,
/// `destroy` and one of `call` (an application) and `call_middleware` (middleware) are required. `app` is the
/// plugin's own pointer, as `create` wrote it: an application, or a middleware, which all stacks that name it
/// share. Any number of threads may call functions with the same `app` at once.
#[repr(C)]
pub struct Plugin {
    /// `PASTER_ABI_VERSION`.
    pub abi_version: u32,
    /// Size of this table in bytes when the plugin was built.
    pub size_bytes: u32,
    /// Name of the plugin.
    pub name: Slice,
    /// Version of the plugin.
    pub version: Slice,
    /// Names of the side processes that `run_side` knows.
    pub sides: *const Slice,
    /// Number of side processes.
    pub side_count: usize,
    /// Writes the JSON Schema of the settings to `out`.
    pub settings_schema: Option<unsafe extern "C" fn(out: *mut Buffer)>,
    /// Creates an app from `settings` (JSON, checked against the schema) and from what the previous
    /// generation saved (`saved_state`; null if nothing). May block. `READY`: `*app` is written. `FAILED`,
    /// `PANICKED`: `error` holds the reason.
    pub create: Option<
        unsafe extern "C" fn(
            settings: Slice,
            host: *const Host,
            saved_state: *const Slice,
            app: *mut *mut c_void,
            error: *mut Buffer,
        ) -> Status,
    >,
    /// Starts to handle a request as the application; never null. The request is borrowed for this call.
    pub call: Option<unsafe extern "C" fn(app: *mut c_void, request: *const Request) -> *mut Exchange>,
    /// Starts a health probe. A null task means healthy.
    pub health: Option<unsafe extern "C" fn(app: *mut c_void) -> *mut Task>,
    /// Writes the state for the next generation to `out`. `READY`: there is some. `FAILED`: there is none.
    pub save_state: Option<unsafe extern "C" fn(app: *mut c_void, out: *mut Buffer) -> Status>,
    /// A newer generation has taken over: new requests only come on connections that are already open.
    pub retire: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// The generation ends soon: close what is left. Must not block.
    pub shutdown: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// Frees the app. It has no exchange or task left.
    pub destroy: Option<unsafe extern "C" fn(app: *mut c_void)>,
    /// Writes the app's tasks to `out`, as a JSON array of `{"name", "summary"}`.
    pub list_tasks: Option<unsafe extern "C" fn(app: *mut c_void, out: *mut Buffer)>,
    /// Starts the task `name` with arguments as JSON; null if there is no task with that name.
    pub run_task: Option<unsafe extern "C" fn(app: *mut c_void, name: Slice, arguments: Slice) -> *mut Task>,
    /// Runs the side process `name` on a listening Unix socket until it ends, and returns the exit status.
    /// Called in a separate process, without `create`.
    pub run_side: Option<unsafe extern "C" fn(name: Slice, socket: c_int) -> c_int>,
    /// Starts to handle a request as middleware; never null. The request is borrowed for this call; `next` is
    /// the rest of the stack for this request, and belongs to the plugin from then on. Only present if
    /// `size_bytes` covers it.
    pub call_middleware: Option<
        unsafe extern "C" fn(app: *mut c_void, request: *const Request, next: *mut Next) -> *mut Exchange,
    >,
}

impl Plugin {
    /// The smallest table of this version, in bytes: fields after `run_side` may be missing.
    pub const SMALLEST_BYTES: usize = core::mem::offset_of!(Plugin, run_side) + size_of::<usize>();
}

// SAFETY: a host's table is read-only, and any thread may call its functions.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}
// SAFETY: a plugin's table is a read-only static.
unsafe impl Send for Plugin {}
// SAFETY: as above.
unsafe impl Sync for Plugin {}

/// Name of the exported symbol.
pub const SYMBOL: &str = "PASTER_PLUGIN";
