//! The body of a request that a middleware passes on, as the host reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

use http_body::Body as _;
use paster_abi as abi;
use paster_abi::http::{Trailers, write_frame};

use super::{exchange, panic_text, runtime};
use crate::Body;

#[repr(C)]
struct Exported {
    base: abi::Body,
    /// `None` after a panic.
    body: Option<Body>,
    trailers: Option<Box<Trailers>>,
}

static TABLE: abi::BodyTable =
    abi::BodyTable { size_bytes: size_of::<abi::BodyTable>(), poll_frame, drop: drop_body };

/// Passes a body to the host, with its length: the host's own one back, another one behind the ABI's table, or null.
pub(super) fn export(body: Body) -> (*mut abi::Body, u64) {
    let body = match body.into_foreign() {
        Ok(foreign) => return foreign,
        Err(body) => body,
    };
    if body.is_end_stream() {
        return (std::ptr::null_mut(), 0);
    }
    let length = body.size_hint().exact().unwrap_or(abi::LENGTH_UNKNOWN);
    let exported = Exported { base: abi::Body { table: &TABLE }, body: Some(body), trailers: None };
    (Box::into_raw(Box::new(exported)).cast(), length)
}

unsafe extern "C" fn poll_frame(
    body: *mut abi::Body,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the host passes what `export` returned, on one thread at a time, and a live waker and frame.
    let (this, out) = unsafe { (&mut *body.cast::<Exported>(), &mut *out) };
    runtime::enter();
    let Some(body) = &mut this.body else {
        *out = abi::Frame::END;
        return abi::READY;
    };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the waker lives for the call.
        let polled = unsafe { abi::task::with(waker, |cx| Pin::new(&mut *body).poll_frame(cx)) };
        polled.map(|polled| {
            let polled = polled.map(|frame| frame.map_err(|error| exchange::describe(&*error)));
            (polled, body.is_end_stream())
        })
    }));
    match polled {
        Ok(Poll::Pending) => abi::PENDING,
        Ok(Poll::Ready((polled, ended))) => {
            this.trailers = write_frame(polled, ended, out);
            abi::READY
        }
        Err(panic) => {
            let _ = catch_unwind(AssertUnwindSafe(|| this.body = None));
            *out = abi::Frame::error(panic_text(panic));
            abi::PANICKED
        }
    }
}

unsafe extern "C" fn drop_body(body: *mut abi::Body) {
    // SAFETY: `export` made it by `Box::into_raw`; the host ends it once.
    let this = unsafe { Box::from_raw(body.cast::<Exported>()) };
    runtime::enter();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(this)));
}
