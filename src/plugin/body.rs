//! A request's body as the plugin reads it.
//!
//! The plugin may read it on its own thread, so the host's runtime is entered: a body may have time limits.

use std::pin::Pin;
use std::task::Poll;

use http_body::Body as _;
use paster_abi as abi;
use paster_abi::http::{Trailers, write_frame};
use tokio::runtime::Handle;

use crate::body::Body;

#[repr(C)]
struct Exported {
    base: abi::Body,
    body: Body,
    trailers: Option<Box<Trailers>>,
    runtime: Option<Handle>,
}

static TABLE: abi::BodyTable =
    abi::BodyTable { size_bytes: size_of::<abi::BodyTable>(), poll_frame, drop: drop_body };

/// Passes a body to the plugin; null if there is nothing to read.
pub(super) fn export(body: Body) -> *mut abi::Body {
    if body.is_end_stream() {
        return std::ptr::null_mut();
    }
    let runtime = Handle::try_current().ok();
    Box::into_raw(Box::new(Exported { base: abi::Body { table: &TABLE }, body, trailers: None, runtime }))
        .cast()
}

unsafe extern "C" fn poll_frame(
    body: *mut abi::Body,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the plugin passes what `export` returned, on one thread at a time, and a live waker and frame.
    let (this, out) = unsafe { (&mut *body.cast::<Exported>(), &mut *out) };
    let _entered = this.runtime.as_ref().map(Handle::enter);
    // SAFETY: the waker lives for the call.
    let polled = unsafe { abi::task::with(waker, |cx| Pin::new(&mut this.body).poll_frame(cx)) };
    match polled {
        Poll::Pending => abi::PENDING,
        Poll::Ready(polled) => {
            this.trailers = write_frame(polled, this.body.is_end_stream(), out);
            abi::READY
        }
    }
}

unsafe extern "C" fn drop_body(body: *mut abi::Body) {
    // SAFETY: `export` made it by `Box::into_raw`; the plugin ends it once.
    let this = unsafe { Box::from_raw(body.cast::<Exported>()) };
    let runtime = this.runtime.clone();
    let _entered = runtime.as_ref().map(Handle::enter);
    drop(this);
}
