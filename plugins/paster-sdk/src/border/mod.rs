//! The plugin's side of the border: the functions behind the exported table. All `unsafe` code of the SDK is
//! here and where foreign objects are wrapped. Used by [`plugin!`](crate::plugin!) and
//! [`test`](mod@crate::test).

mod body;
pub(crate) mod exchange;
pub(crate) mod next;
pub(crate) mod runtime;
mod task;
mod tasks;
pub(crate) mod upgrade;

use std::any::{Any, TypeId};
use std::ffi::{c_int, c_void};
use std::future::Future;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use paster_abi as abi;
use paster_abi::http::{Trust, read_head};
use paster_abi::target::read_uri;

use self::next::NextHandle;
use self::sealed::{Sealed, Split};
use crate::app::{App, Call, Hooks};
use crate::environ::Environ;
use crate::host::{Host, Phase};
use crate::{Body, BoxError, Middleware, Session, log};

/// Name and main function of a side process.
pub type Side = (&'static str, fn(UnixListener) -> i32);

/// What [`plugin!`](crate::plugin!) states about a plugin.
pub trait Definition: 'static {
    /// The type of its settings.
    type Settings: serde::de::DeserializeOwned + schemars::JsonSchema + Send + 'static;
    /// The names and main functions of its side processes.
    const SIDES: &'static [Side];
    /// What it makes: [`App`] or [`Middleware`].
    type Made: Part;
    /// Creates the application or the middleware.
    fn create(
        settings: Self::Settings,
        host: Host,
    ) -> impl Future<Output = Result<Self::Made, BoxError>> + Send;
}

/// What a plugin can make.
pub trait Part: Sealed {
    #[doc(hidden)]
    const CALL: Option<CallApp>;
    #[doc(hidden)]
    const CALL_MIDDLEWARE: Option<CallMiddleware>;
}

type CallApp = unsafe extern "C" fn(*mut c_void, *const abi::Request) -> *mut abi::Exchange;
type CallMiddleware =
    unsafe extern "C" fn(*mut c_void, *const abi::Request, *mut abi::Next) -> *mut abi::Exchange;

mod sealed {
    use std::sync::Arc;

    use crate::app::{Call, Hooks};

    /// What handles requests, and the hooks.
    pub struct Split {
        pub(crate) call: Arc<dyn Call>,
        pub(crate) hooks: Hooks,
    }

    /// What a part consists of.
    pub trait Sealed {
        fn split(self) -> Split;
    }
}

impl Sealed for App {
    fn split(self) -> Split {
        Split { call: self.call, hooks: self.hooks }
    }
}

impl Part for App {
    const CALL: Option<CallApp> = Some(call);
    const CALL_MIDDLEWARE: Option<CallMiddleware> = None;
}

impl Sealed for Middleware {
    fn split(self) -> Split {
        Split { call: self.call, hooks: self.hooks }
    }
}

impl Part for Middleware {
    const CALL: Option<CallApp> = None;
    const CALL_MIDDLEWARE: Option<CallMiddleware> = Some(call_middleware);
}

/// The table to export.
pub const fn table<D: Definition>(
    name: &'static str,
    version: &'static str,
    sides: &'static [abi::Slice],
) -> abi::Plugin {
    abi::Plugin {
        abi_version: abi::ABI_VERSION,
        size_bytes: size_of::<abi::Plugin>() as u32,
        name: abi::Slice::new(name.as_bytes()),
        version: abi::Slice::new(version.as_bytes()),
        sides: sides.as_ptr(),
        side_count: sides.len(),
        settings_schema: Some(settings_schema::<D>),
        create: Some(create::<D>),
        call: D::Made::CALL,
        health: Some(health),
        save_state: Some(save_state),
        retire: Some(retire),
        shutdown: Some(shutdown),
        destroy: Some(destroy),
        list_tasks: Some(tasks::list),
        run_task: Some(tasks::run),
        run_side: Some(run_side::<D>),
        call_middleware: D::Made::CALL_MIDDLEWARE,
    }
}

/// An application or a middleware, as the host holds it.
pub(crate) struct Instance {
    pub(crate) call: Arc<dyn Call>,
    pub(crate) hooks: Hooks,
    pub(crate) host: Host,
}

/// The text of a panic's payload.
fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("panic").to_owned(),
    };
    format!("panicked: {text}")
}

fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

unsafe extern "C" fn settings_schema<D: Definition>(out: *mut abi::Buffer) {
    let schema = catch_unwind(|| {
        let schema = match is_unit::<D::Settings>() {
            true => schemars::json_schema!({ "type": "object", "additionalProperties": false }),
            false => schemars::schema_for!(D::Settings),
        };
        schema.as_value().to_string().into_bytes()
    });
    // SAFETY: the host passes a live buffer.
    unsafe { *out = abi::Buffer::of_vec(schema.unwrap_or_default()) };
}

pub(crate) fn settings<T: serde::de::DeserializeOwned + 'static>(json: &[u8]) -> Result<T, BoxError> {
    let value = match is_unit::<T>() && json == b"{}" {
        true => serde_json::from_slice(b"null"),
        false => serde_json::from_slice(json),
    };
    value.map_err(|error| format!("settings: {error}").into())
}

unsafe extern "C" fn create<D: Definition>(
    json: abi::Slice,
    host: *const abi::Host,
    saved: *const abi::Slice,
    app: *mut *mut c_void,
    error: *mut abi::Buffer,
) -> abi::Status {
    let made = catch_unwind(AssertUnwindSafe(|| -> Result<*mut Instance, BoxError> {
        // SAFETY: the host's table lives as long as the process; the slices live for the call.
        let (host, json, saved) = unsafe {
            let saved = (!saved.is_null()).then(|| (*saved).bytes().to_vec());
            (&*host, json.bytes(), saved)
        };
        log::to_host(host);
        let settings = settings::<D::Settings>(json)?;
        let host = Host::new(host, saved);
        let made = runtime::start()?.block_on(D::create(settings, host.clone()))?;
        let Split { call, hooks } = made.split();
        Ok(Box::into_raw(Box::new(Instance { call, hooks, host })))
    }));
    let (status, text) = match made {
        Ok(Ok(instance)) => {
            // SAFETY: the host passes a place for the pointer.
            unsafe { *app = instance.cast() };
            return abi::READY;
        }
        Ok(Err(error)) => (abi::FAILED, exchange::describe(&*error)),
        Err(panic) => (abi::PANICKED, panic_text(panic)),
    };
    // SAFETY: the host passes a live buffer.
    unsafe { *error = abi::Buffer::of_vec(text.into_bytes()) };
    status
}

/// Runs `f` with the app and with the runtime entered; `None` after a panic.
///
/// # Safety
/// `app` must be what `create` wrote, and not destroyed.
unsafe fn with<T>(app: *mut c_void, f: impl FnOnce(&Instance) -> T) -> Option<T> {
    // SAFETY: guaranteed by the caller; the host shares the app among threads, as `Instance` allows.
    let instance = unsafe { &*app.cast::<Instance>() };
    runtime::enter();
    catch_unwind(AssertUnwindSafe(|| f(instance))).ok()
}

/// # Safety
/// `app` must be an [`Instance`], and `request` a live request whose body the callee owns.
pub(crate) unsafe extern "C" fn call(app: *mut c_void, request: *const abi::Request) -> *mut abi::Exchange {
    // SAFETY: guaranteed by the caller.
    unsafe { handle(app, request, std::ptr::null_mut()) }
}

/// # Safety
/// As [`call`]; `next` must be an object that the callee owns.
pub(crate) unsafe extern "C" fn call_middleware(
    app: *mut c_void,
    request: *const abi::Request,
    next: *mut abi::Next,
) -> *mut abi::Exchange {
    // SAFETY: guaranteed by the caller.
    unsafe { handle(app, request, next) }
}

/// Starts to handle a request.
///
/// # Safety
/// As [`call`]; `next` must be null, or an object that the callee owns.
unsafe fn handle(app: *mut c_void, request: *const abi::Request, next: *mut abi::Next) -> *mut abi::Exchange {
    let mut room = None;
    // SAFETY: the host passes a live request, and we own its body.
    let (raw, body) = unsafe {
        let raw = abi::Request::read(request, &mut room);
        (raw, Body::of(raw.body, raw.body_length))
    };
    // SAFETY: the host passes what `create` wrote, not destroyed; any thread may share it.
    let instance = unsafe { &*app.cast::<Instance>() };
    runtime::enter();
    let exchange = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the request lives for the call.
        let mut parts = match unsafe { head(raw) } {
            Ok(parts) => parts,
            Err(fault) => {
                if !next.is_null() {
                    // SAFETY: we own the object, and it ends here, once.
                    unsafe { ((*(*next).table).drop)(next) }
                }
                return exchange::failed(fault);
            }
        };
        if !next.is_null()
            && let Some(environ) = parts.extensions.get::<Environ>().cloned()
        {
            // SAFETY: the host hands the object over.
            let handle = unsafe { NextHandle::of(next, environ) };
            parts.extensions.insert(handle);
        }
        let mut upgrade = None;
        if raw.flags & abi::REQUEST_UPGRADABLE != 0
            && let Some((prepared, on_upgrade)) = upgrade::Upgrade::prepare()
        {
            parts.extensions.insert(on_upgrade);
            parts.extensions.insert(instance.host.clone());
            upgrade = Some(prepared);
        }
        instance.call.call(parts, body, upgrade)
    }));
    exchange.unwrap_or_else(exchange::panicked)
}

/// Reads the head of a request.
///
/// # Safety
/// Its slices must live for the call.
unsafe fn head(raw: &abi::Request) -> Result<http::request::Parts, String> {
    // SAFETY: guaranteed by the caller, for all slices below.
    unsafe {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let method = raw.method.bytes();
        parts.method =
            http::Method::from_bytes(method).map_err(|_| "the method is not a token".to_owned())?;
        parts.version = match raw.version {
            9 => http::Version::HTTP_09,
            10 => http::Version::HTTP_10,
            20 => http::Version::HTTP_2,
            30 => http::Version::HTTP_3,
            _ => http::Version::HTTP_11,
        };
        let [host, listen, script_name, server, user, auth_type, request_id, groups] = Environ::texts(raw);
        let texts = [host, listen, script_name, server, user, auth_type, request_id, groups, raw.target];
        let (mut text, headers) = read_head(&texts, raw.headers, raw.header_count, Trust::Values)?;
        let target = text.split_off(text.len() - raw.target.len);
        parts.headers = headers;
        parts.uri = read_uri(raw, target).map_err(|error| format!("the request's target: {error}"))?;
        parts.extensions.insert(Environ::of(raw, text));
        if raw.session.len > 0 {
            let session =
                Session::of(raw.session.bytes()).map_err(|error| format!("the session: {error}"))?;
            parts.extensions.insert(session);
        }
        #[cfg(feature = "http2")]
        if raw.protocol.len > 0 {
            let protocol: hyper::ext::Protocol = raw.protocol.text().as_str().into();
            parts.extensions.insert(protocol);
        }
        Ok(parts)
    }
}

unsafe extern "C" fn health(app: *mut c_void) -> *mut abi::Task {
    // SAFETY: the host passes what `create` wrote.
    let probe = unsafe { with(app, |instance| instance.hooks.health.as_ref().map(|probe| probe())) };
    match probe {
        Some(None) => std::ptr::null_mut(),
        Some(Some(probe)) => task::start(Box::pin(async move {
            probe.await.map(|()| String::new()).map_err(|error| exchange::describe(&*error))
        })),
        None => task::start(Box::pin(async { Err("the health probe panicked".to_owned()) })),
    }
}

unsafe extern "C" fn save_state(app: *mut c_void, out: *mut abi::Buffer) -> abi::Status {
    // SAFETY: the host passes what `create` wrote.
    let saved = unsafe { with(app, |instance| instance.hooks.save_state.as_ref().map(|save| save())) };
    match saved {
        None => abi::PANICKED,
        Some(None) => abi::FAILED,
        Some(Some(state)) => {
            // SAFETY: the host passes a live buffer.
            unsafe { *out = abi::Buffer::of_vec(state) };
            abi::READY
        }
    }
}

unsafe extern "C" fn retire(app: *mut c_void) {
    // SAFETY: the host passes what `create` wrote.
    unsafe {
        with(app, |instance| {
            instance.host.advance(Phase::Retired);
            if let Some(retire) = &instance.hooks.retire {
                retire();
            }
        });
    }
}

unsafe extern "C" fn shutdown(app: *mut c_void) {
    // SAFETY: the host passes what `create` wrote.
    unsafe {
        with(app, |instance| {
            instance.host.advance(Phase::Shutdown);
            if let Some(shutdown) = &instance.hooks.shutdown {
                tokio::spawn(shutdown());
            }
        });
    }
}

unsafe extern "C" fn destroy(app: *mut c_void) {
    runtime::enter();
    // SAFETY: `create` made it by `Box::into_raw`; the host ends it once and calls nothing afterwards.
    let instance = unsafe { Box::from_raw(app.cast::<Instance>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
}

unsafe extern "C" fn run_side<D: Definition>(name: abi::Slice, socket: c_int) -> c_int {
    log::to_stderr();
    // SAFETY: the host passes a name that lives for the call and a descriptor that we own.
    let (name, listener) = unsafe { (name.text(), UnixListener::from(OwnedFd::from_raw_fd(socket))) };
    match D::SIDES.iter().find(|(side, _)| *side == name) {
        Some((_, main)) => catch_unwind(AssertUnwindSafe(|| main(listener))).unwrap_or(101),
        None => {
            tracing::error!("there is no side process `{name}`");
            1
        }
    }
}
