//! A request's body as the plugin reads it, and the body that a middleware in a plugin passes on.
//!
//! The plugin may read the body on its own thread. Bodies may have time limits, which need the host's runtime, so it is
//! entered.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use paster_abi as abi;
use paster_abi::http::{Trailers, read_frame, write_frame};
use tokio::runtime::Handle;

use crate::body::Body;
use crate::error::BoxError;

#[repr(C)]
struct ExportedBody {
    base: abi::Body,
    body: Body,
    /// Whether the plugin has begun to read it.
    begun: bool,
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
    let base = abi::Body { table: &TABLE };
    Box::into_raw(Box::new(ExportedBody { base, body, begun: false, trailers: None, runtime })).cast()
}

/// The body that a plugin passes on.
pub(super) struct PassedBody {
    pub(super) body: Body,
    /// Whether it is the original body, unread.
    pub(super) untouched: bool,
}

/// Takes over a body that a plugin passes on: one of its own, or one that [`export`] made.
///
/// # Safety
/// `raw` must be null, or an object by the ABI's rules that the caller owns.
pub(super) unsafe fn import(raw: *mut abi::Body, length: u64) -> PassedBody {
    if raw.is_null() {
        return PassedBody { body: Body::empty(), untouched: false };
    }
    // SAFETY: the object is live; one with our table was made by `export`, and ends here as such.
    unsafe {
        if std::ptr::eq((*raw).table, &raw const TABLE) {
            let ExportedBody { body, begun, .. } = *Box::from_raw(raw.cast::<ExportedBody>());
            return PassedBody { body, untouched: !begun };
        }
    }
    PassedBody { body: Body::new(ForeignBody(Some(Foreign { raw, length }))), untouched: false }
}

/// A body that a plugin has made; `None` after its end.
struct ForeignBody(Option<Foreign>);

struct Foreign {
    raw: *mut abi::Body,
    /// Bytes left, or `LENGTH_UNKNOWN`.
    length: u64,
}

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        // SAFETY: we own the body, and it ends here, once.
        unsafe { ((*(*self.raw).table).drop)(self.raw) }
    }
}

impl http_body::Body for ForeignBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(foreign) = &mut self.0 else { return Poll::Ready(None) };
        let mut frame = abi::Frame::NONE;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the body, one thread polls it (`&mut`), and the waker lives for the call.
        let read = unsafe {
            let status = ((*(*foreign.raw).table).poll_frame)(foreign.raw, &waker, &mut frame);
            if status == abi::PENDING {
                return Poll::Pending;
            }
            if status != abi::READY && frame.kind != abi::FRAME_ERROR {
                frame = abi::Frame::error("the plugin aborted the body".to_owned());
            }
            read_frame(&mut frame)
        };
        if let Some(Ok(frame)) = &read.frame
            && foreign.length != abi::LENGTH_UNKNOWN
        {
            let count = frame.data_ref().map_or(0, |data| data.len() as u64);
            foreign.length = foreign.length.saturating_sub(count);
        }
        if read.ended {
            self.0 = None;
        }
        Poll::Ready(read.frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(Foreign { length: abi::LENGTH_UNKNOWN, .. }) => SizeHint::default(),
            Some(Foreign { length, .. }) => SizeHint::with_exact(*length),
        }
    }
}

unsafe extern "C" fn poll_frame(
    body: *mut abi::Body,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the plugin passes what `export` returned, on one thread at a time, and a live waker and frame.
    let (this, out) = unsafe { (&mut *body.cast::<ExportedBody>(), &mut *out) };
    let _entered = this.runtime.as_ref().map(Handle::enter);
    this.begun = true;
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
    let this = unsafe { Box::from_raw(body.cast::<ExportedBody>()) };
    let runtime = this.runtime.clone();
    let _entered = runtime.as_ref().map(Handle::enter);
    drop(this);
}
