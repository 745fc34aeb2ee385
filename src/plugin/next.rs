//! The rest of a stack, for a middleware in a plugin: passes requests on to the next part, and its responses back.
//!
//! The plugin may call these functions on its own threads, so they enter the host's runtime.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use http::header::CONTENT_LENGTH;
use http::{Extensions, HeaderMap, Method, StatusCode, Version};
use http_body::Body as _;
use parking_lot::Mutex;
use paster_abi as abi;
use paster_abi::http::{Trailers, Trust, lend_headers, read_head, recycle, write_frame};
use paster_abi::target::read_uri;
use tokio::runtime::Handle;

use super::body::{self, PassedBody};
use super::facts;
use crate::body::{App, Body, BoxFuture, Request, Response};
use crate::environ::Environ;
use crate::error::BoxError;
use crate::inflight::RequestHandle;
use crate::session::Session;

/// The outcome of a request that a plugin has passed on.
#[derive(Default)]
pub(super) struct Outcome {
    /// Whether it takes the connection over.
    switched: AtomicBool,
    /// The last failure, with the reason that the plugin got.
    failure: Mutex<Option<(String, NextFailure)>>,
    /// The extensions of its last response, for the outer parts.
    extensions: Mutex<Option<Extensions>>,
}

/// An error, or the payload of a panic.
type NextFailure = Result<BoxError, Box<dyn Any + Send>>;

impl Outcome {
    /// Takes the failure with this reason.
    pub(super) fn failure(&self, reason: &str) -> Option<NextFailure> {
        self.failure.lock().take_if(|(known, _)| known.as_str() == reason).map(|(_, failure)| failure)
    }

    /// Takes the extensions of the last response.
    pub(super) fn take_extensions(&self) -> Option<Extensions> {
        self.extensions.lock().take()
    }

    /// Whether the next part takes the connection over.
    pub(super) fn switched(&self) -> bool {
        self.switched.load(Ordering::Acquire)
    }

    /// Stores a failure. Returns its status and reason for the plugin.
    fn fail(&self, failure: NextFailure) -> (abi::Status, String) {
        let (status, reason) = match &failure {
            Ok(error) => (abi::FAILED, describe(&**error)),
            Err(panic) => (abi::PANICKED, panic_text(&**panic)),
        };
        *self.failure.lock() = Some((reason.clone(), failure));
        (status, reason)
    }
}

/// An error and its causes, on one line.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("panic"))
}

#[repr(C)]
struct ExportedNext {
    base: abi::Next,
    next: App,
    version: Version,
    /// The extensions of the original request.
    extensions: Extensions,
    outcome: Arc<Outcome>,
    runtime: Option<Handle>,
}

static NEXT: abi::NextTable =
    abi::NextTable { size_bytes: size_of::<abi::NextTable>(), call, change_session, drop: drop_next };

/// Passes the rest of the stack to the plugin, for the request with these parts.
pub(super) fn export(next: App, parts: &http::request::Parts, outcome: Arc<Outcome>) -> *mut abi::Next {
    Box::into_raw(Box::new(ExportedNext {
        base: abi::Next { table: &NEXT },
        next,
        version: parts.version,
        extensions: parts.extensions.clone(),
        outcome,
        runtime: Handle::try_current().ok(),
    }))
    .cast()
}

unsafe extern "C" fn call(next: *mut abi::Next, request: *const abi::Request) -> *mut abi::Exchange {
    let mut room = None;
    // SAFETY: the plugin passes what `export` returned, on one thread at a time, and a live request whose body we own.
    let (this, raw, body) = unsafe {
        let raw = abi::Request::read(request, &mut room);
        (&*next.cast::<ExportedNext>(), raw, body::import(raw.body, raw.body_length))
    };
    let _entered = this.runtime.as_ref().map(Handle::enter);
    let mut connect = false;
    let called = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the request lives for the call.
        let request = unsafe { this.request(raw, body) };
        let request =
            request.map_err(|reason| format!("the middleware passed on an invalid request: {reason}"))?;
        connect = *request.method() == Method::CONNECT;
        Ok::<_, BoxError>(this.next.handle(request))
    }));
    let future: BoxFuture<Result<Response, BoxError>> = match called {
        Ok(Ok(future)) => future,
        Ok(Err(error)) => Box::pin(std::future::ready(Err(error))),
        Err(panic) => Box::pin(async move { resume_unwind(panic) as Result<Response, BoxError> }),
    };
    let handle = this.extensions.get::<Environ>().map(|environ| environ.handle.clone()).unwrap_or_default();
    Box::into_raw(Box::new(NextExchange {
        base: abi::Exchange { table: &EXCHANGE },
        state: State::Head(future),
        headers: HeaderMap::new(),
        lent: Vec::new(),
        trailers: None,
        connect,
        outcome: this.outcome.clone(),
        handle,
        runtime: this.runtime.clone(),
    }))
    .cast()
}

impl ExportedNext {
    /// The request that the plugin passes on.
    ///
    /// # Safety
    /// Everything that `raw` borrows must live for the call.
    unsafe fn request(&self, raw: &abi::Request, body: PassedBody) -> Result<Request, String> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.version = self.version;
        parts.extensions = self.extensions.clone();
        // SAFETY: guaranteed by the caller, for all slices.
        unsafe {
            parts.method =
                Method::from_bytes(raw.method.bytes()).map_err(|_| "the method is not a token".to_owned())?;
            let (target, headers) = read_head(&[raw.target], raw.headers, raw.header_count, Trust::Nothing)?;
            parts.headers = headers;
            parts.uri = read_uri(raw, target).map_err(|error| format!("the target: {error}"))?;
            facts::change(&mut parts.extensions, raw)?;
        }
        let PassedBody { body, untouched } = body;
        if !untouched {
            correct_length(&mut parts.headers, &body);
        }
        Ok(Request::from_parts(parts, body))
    }
}

/// Sets the `content-length` of a body that is not the original one.
fn correct_length(headers: &mut HeaderMap, body: &Body) {
    match body.size_hint().exact() {
        Some(0) if !headers.contains_key(CONTENT_LENGTH) => {}
        Some(length) => drop(headers.insert(CONTENT_LENGTH, length.into())),
        None => drop(headers.remove(CONTENT_LENGTH)),
    }
}

unsafe extern "C" fn change_session(next: *mut abi::Next, changes: abi::Slice) -> abi::Status {
    // SAFETY: the plugin passes what `export` returned, and changes that live for the call.
    let (this, changes) = unsafe { (&*next.cast::<ExportedNext>(), changes.bytes()) };
    let session = this.extensions.get::<Session>();
    match session.is_some_and(|session| session.change_by(changes).is_ok()) {
        true => abi::READY,
        false => abi::FAILED,
    }
}

unsafe extern "C" fn drop_next(next: *mut abi::Next) {
    // SAFETY: `export` made it by `Box::into_raw`; the plugin ends it once.
    let this = unsafe { Box::from_raw(next.cast::<ExportedNext>()) };
    let runtime = this.runtime.clone();
    let _entered = runtime.as_ref().map(Handle::enter);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(this)));
}

/// A request that the plugin has passed on, and its response.
#[repr(C)]
struct NextExchange {
    base: abi::Exchange,
    state: State,
    /// The head's fields, lent to the plugin while the exchange lives.
    headers: HeaderMap,
    lent: Vec<abi::Header>,
    trailers: Option<Box<Trailers>>,
    connect: bool,
    outcome: Arc<Outcome>,
    handle: RequestHandle,
    runtime: Option<Handle>,
}

enum State {
    Head(BoxFuture<Result<Response, BoxError>>),
    Body(Body),
    Over,
}

static EXCHANGE: abi::ExchangeTable = abi::ExchangeTable {
    size_bytes: size_of::<abi::ExchangeTable>(),
    poll_head,
    poll_body,
    upgraded: None,
    drop: drop_exchange,
};

/// The future behind one of our exchanges that a plugin returns as its own before having polled the head.
///
/// # Safety
/// `raw` must be null or a live exchange that the caller owns. It ends here if the result is not `None`.
pub(super) unsafe fn take_back(raw: *mut abi::Exchange) -> Option<BoxFuture<Result<Response, BoxError>>> {
    // SAFETY: guaranteed by the caller; one with our table was made by `call`.
    unsafe {
        if raw.is_null() || !std::ptr::eq((*raw).table, &raw const EXCHANGE) {
            return None;
        }
        let exchange = raw.cast::<NextExchange>();
        match std::mem::replace(&mut (*exchange).state, State::Over) {
            State::Head(future) => {
                drop(Box::from_raw(exchange));
                Some(future)
            }
            state => {
                (*exchange).state = state;
                None
            }
        }
    }
}

unsafe extern "C" fn poll_head(
    exchange: *mut abi::Exchange,
    waker: *const abi::Waker,
    out: *mut abi::Head,
) -> abi::Status {
    // SAFETY: the plugin passes what `call` returned, on one thread at a time, and a live waker and head.
    let (this, out) = unsafe { (&mut *exchange.cast::<NextExchange>(), &mut *out) };
    let _entered = this.runtime.as_ref().map(Handle::enter);
    let State::Head(future) = &mut this.state else {
        out.error = abi::Buffer::of_static(b"`poll_head` was called again after the head");
        return abi::FAILED;
    };
    let handle = &mut this.handle;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the waker lives for the call.
        handle.scope(|| unsafe { abi::task::with(waker, |cx| future.as_mut().poll(cx)) })
    }));
    let failure = match polled {
        Ok(Poll::Pending) => return abi::PENDING,
        Ok(Poll::Ready(Ok(response))) => {
            this.head(response, out);
            return abi::READY;
        }
        Ok(Poll::Ready(Err(error))) => Ok(error),
        Err(panic) => Err(panic),
    };
    this.end();
    let (status, reason) = this.outcome.fail(failure);
    out.error = abi::Buffer::of_vec(reason.into_bytes());
    status
}

impl NextExchange {
    fn head(&mut self, response: Response, out: &mut abi::Head) {
        let (parts, mut body) = response.into_parts();
        self.headers = parts.headers;
        lend_headers(&self.headers, &mut self.lent);
        out.status = parts.status.as_u16().into();
        out.headers = self.lent.as_ptr();
        out.header_count = self.lent.len();
        out.body_length = body.size_hint().exact().unwrap_or(abi::LENGTH_UNKNOWN);
        let switches =
            parts.status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && parts.status.is_success());
        self.outcome.switched.store(switches, Ordering::Release);
        *self.outcome.extensions.lock() = Some(parts.extensions);
        if switches || body.is_end_stream() {
            self.end();
            out.first = abi::Frame::END;
            return;
        }
        if body.is_whole() {
            // The head is often ready, which saves the plugin a call.
            let waker = std::task::Waker::noop();
            let polled = Pin::new(&mut body).poll_frame(&mut std::task::Context::from_waker(waker));
            if let Poll::Ready(polled) = polled {
                self.trailers = write_frame(polled, body.is_end_stream(), &mut out.first);
            }
        }
        self.state = State::Body(body);
    }

    /// Drops the future or body. A panic in its destructor is ignored.
    fn end(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.state = State::Over));
    }
}

unsafe extern "C" fn poll_body(
    exchange: *mut abi::Exchange,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the plugin passes what `call` returned, on one thread at a time, and a live waker and frame.
    let (this, out) = unsafe { (&mut *exchange.cast::<NextExchange>(), &mut *out) };
    let _entered = this.runtime.as_ref().map(Handle::enter);
    let State::Body(body) = &mut this.state else {
        *out = abi::Frame::END;
        return abi::READY;
    };
    let handle = &mut this.handle;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the waker lives for the call.
        handle.scope(|| unsafe { abi::task::with(waker, |cx| Pin::new(&mut *body).poll_frame(cx)) })
    }));
    let failure = match polled {
        Ok(Poll::Pending) => return abi::PENDING,
        Ok(Poll::Ready(Some(Err(error)))) => Ok(error),
        Ok(Poll::Ready(polled)) => {
            let ended = body.is_end_stream();
            this.trailers = write_frame(polled, ended, out);
            if ended || out.kind != abi::FRAME_DATA {
                this.end();
            }
            return abi::READY;
        }
        Err(panic) => Err(panic),
    };
    this.end();
    let (status, reason) = this.outcome.fail(failure);
    *out = abi::Frame::error(reason);
    // An error of the body is a frame; only a panic has a status.
    if status == abi::PANICKED { status } else { abi::READY }
}

unsafe extern "C" fn drop_exchange(exchange: *mut abi::Exchange) {
    // SAFETY: `call` made it by `Box::into_raw`; the plugin ends it once.
    let mut this = unsafe { Box::from_raw(exchange.cast::<NextExchange>()) };
    recycle(std::mem::take(&mut this.headers));
    let runtime = this.runtime.clone();
    let _entered = runtime.as_ref().map(Handle::enter);
    let _ = catch_unwind(AssertUnwindSafe(|| drop(this)));
}
