//! One request and its response: the application's future, then its body, in one allocation behind the ABI's
//! table.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as HttpBody;
use paster_abi as abi;
use paster_abi::http::{Trailers, lend_headers, recycle, write_frame};

use super::upgrade::Upgrade;
use super::{panic_text, runtime};
use crate::{BoxError, Session};

#[repr(C)]
pub(crate) struct Exchange<F, B> {
    base: abi::Exchange,
    state: State<F, B>,
    /// The head's fields, lent to the host until its next call.
    headers: http::HeaderMap,
    trailers: Option<Box<Trailers>>,
    upgrade: Option<Upgrade>,
    session: Option<Session>,
}

enum State<F, B> {
    Head(F),
    Body(B),
    /// A small body, lent to the host with the head.
    Lent(#[expect(dead_code, reason = "kept for the host, which reads it")] Bytes),
    /// The body's first frame panicked after the head was made. The next `poll_body` reports it.
    Panicked(String),
    Over,
}

/// A body up to this length is lent with the head. The host copies it, which costs less than a buffer.
const LENT_BYTES: usize = 1024;

thread_local! {
    /// Space for lent header fields. The host reads them before this thread calls any function again.
    static LENT: Cell<Vec<abi::Header>> = const { Cell::new(Vec::new()) };
}

impl<F, B, E> Exchange<F, B>
where
    F: Future<Output = Result<http::Response<B>, E>> + Send + 'static,
    E: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    const TABLE: &'static abi::ExchangeTable = &abi::ExchangeTable {
        size_bytes: size_of::<abi::ExchangeTable>(),
        poll_head: Self::poll_head,
        poll_body: Self::poll_body,
        upgraded: Some(Self::upgraded),
        drop: Self::drop,
    };

    /// Puts the future behind the table. The host owns the result.
    #[inline]
    pub(crate) fn start(future: F, upgrade: Option<Upgrade>, session: Option<Session>) -> *mut abi::Exchange {
        Box::into_raw(Box::new(Exchange::<F, B> {
            base: abi::Exchange { table: Self::TABLE },
            state: State::Head(future),
            headers: http::HeaderMap::new(),
            trailers: None,
            upgrade,
            session,
        }))
        .cast()
    }

    unsafe extern "C" fn poll_head(
        exchange: *mut abi::Exchange,
        waker: *const abi::Waker,
        out: *mut abi::Head,
    ) -> abi::Status {
        // SAFETY: the host passes what `start` returned, on one thread at a time, and a live waker and head.
        let (this, out) = unsafe { (&mut *exchange.cast::<Self>(), &mut *out) };
        runtime::enter();
        // SAFETY: the waker lives for the call.
        let polled =
            catch_unwind(AssertUnwindSafe(|| unsafe { abi::task::with(waker, |cx| this.head(cx, out)) }));
        polled.unwrap_or_else(|panic| {
            this.end();
            out.error = abi::Buffer::of_vec(panic_text(panic).into_bytes());
            abi::PANICKED
        })
    }

    fn head(&mut self, cx: &mut Context<'_>, out: &mut abi::Head) -> abi::Status {
        let State::Head(future) = &mut self.state else {
            out.error = abi::Buffer::of_static(b"`poll_head` was called again after the head");
            return abi::FAILED;
        };
        // SAFETY: the exchange never moves: it stays in its box until `drop`, and `state` is only replaced.
        let response = match unsafe { Pin::new_unchecked(future) }.poll(cx) {
            Poll::Pending => return abi::PENDING,
            Poll::Ready(Ok(response)) => response,
            Poll::Ready(Err(error)) => {
                self.state = State::Over;
                out.error = abi::Buffer::of_vec(describe(&*error.into()).into_bytes());
                return abi::FAILED;
            }
        };
        let (parts, body) = response.into_parts();
        self.headers = parts.headers;
        if let Some(changes) = self.session.take().and_then(|session| session.take_changes())
            && out.has_session()
        {
            out.session = abi::Buffer::of_vec(changes);
        }
        out.body_length = body.size_hint().exact().unwrap_or(abi::LENGTH_UNKNOWN);
        if parts.status == StatusCode::SWITCHING_PROTOCOLS || body.is_end_stream() {
            self.state = State::Over;
            out.first = abi::Frame::END;
        } else {
            self.state = State::Body(body);
            // A body that has its first piece ready saves the host a call. A panic in it comes after the
            // head.
            match catch_unwind(AssertUnwindSafe(|| self.first(cx, out))) {
                Ok(()) => {}
                Err(panic) => {
                    self.end();
                    self.state = State::Panicked(panic_text(panic));
                    out.first = abi::Frame::NONE;
                }
            }
        }
        let mut lent = LENT.take();
        lent.clear();
        lend_headers(&self.headers, &mut lent);
        out.status = parts.status.as_u16().into();
        out.headers = lent.as_ptr();
        out.header_count = lent.len();
        LENT.set(lent);
        abi::READY
    }

    unsafe extern "C" fn poll_body(
        exchange: *mut abi::Exchange,
        waker: *const abi::Waker,
        out: *mut abi::Frame,
    ) -> abi::Status {
        // SAFETY: the host passes what `start` returned, on one thread at a time, and a live waker and frame.
        let (this, out) = unsafe { (&mut *exchange.cast::<Self>(), &mut *out) };
        runtime::enter();
        // SAFETY: the waker lives for the call.
        let polled =
            catch_unwind(AssertUnwindSafe(|| unsafe { abi::task::with(waker, |cx| this.frame(cx, out)) }));
        polled.unwrap_or_else(|panic| {
            this.end();
            *out = abi::Frame::error(panic_text(panic));
            abi::PANICKED
        })
    }

    fn frame(&mut self, cx: &mut Context<'_>, out: &mut abi::Frame) -> abi::Status {
        let body = match &mut self.state {
            State::Body(body) => body,
            State::Panicked(text) => {
                *out = abi::Frame::error(std::mem::take(text));
                self.state = State::Over;
                return abi::PANICKED;
            }
            _ => {
                *out = abi::Frame::END;
                return abi::READY;
            }
        };
        // SAFETY: as in `head`.
        let mut body = unsafe { Pin::new_unchecked(body) };
        let polled = match body.as_mut().poll_frame(cx) {
            Poll::Pending => return abi::PENDING,
            Poll::Ready(polled) => polled.map(|frame| frame.map_err(|error| describe(&*error.into()))),
        };
        let ended = body.is_end_stream();
        self.write(polled, ended, out);
        abi::READY
    }

    /// The body's first frame, polled with the head.
    fn first(&mut self, cx: &mut Context<'_>, out: &mut abi::Head) {
        let State::Body(body) = &mut self.state else { return };
        // SAFETY: as in `head`.
        let mut body = unsafe { Pin::new_unchecked(body) };
        let Poll::Ready(polled) = body.as_mut().poll_frame(cx) else { return };
        let ended = body.is_end_stream();
        let polled = match polled {
            Some(Ok(frame)) if ended && out.has_body() => match frame.into_data() {
                Ok(data) if data.len() <= LENT_BYTES => {
                    let slice = abi::Slice::new(&data);
                    // The body's destructor may panic here. Then nothing is lent.
                    self.state = State::Lent(data);
                    out.first = abi::Frame::END;
                    out.body = slice;
                    return;
                }
                Ok(data) => Some(Ok(http_body::Frame::data(data))),
                Err(frame) => Some(Ok(frame)),
            },
            polled => polled.map(|frame| frame.map_err(|error| describe(&*error.into()))),
        };
        self.write(polled, ended, &mut out.first);
    }

    fn write(
        &mut self,
        polled: Option<Result<http_body::Frame<Bytes>, String>>,
        ended: bool,
        out: &mut abi::Frame,
    ) {
        self.trailers = write_frame(polled, ended, out);
        if ended || out.kind != abi::FRAME_DATA {
            self.state = State::Over;
        }
    }

    unsafe extern "C" fn upgraded(exchange: *mut abi::Exchange, io: *mut abi::Io) {
        // SAFETY: the host passes what `start` returned, on one thread at a time.
        let this = unsafe { &mut *exchange.cast::<Self>() };
        // SAFETY: the host hands the byte stream over.
        let io = unsafe { super::upgrade::ForeignIo::of(io) };
        runtime::enter();
        if let Some(upgrade) = this.upgrade.take() {
            upgrade.complete(io);
        }
    }

    unsafe extern "C" fn drop(exchange: *mut abi::Exchange) {
        // SAFETY: `start` made it by `Box::into_raw`; it ends here, once.
        let mut this = unsafe { Box::from_raw(exchange.cast::<Self>()) };
        recycle(std::mem::take(&mut this.headers));
        runtime::enter();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(this)));
    }

    /// Drops the future or body in place after a panic. A panic in its destructor is ignored.
    fn end(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.state = State::Over));
    }
}

/// An exchange that fails.
pub(super) fn failed(reason: String) -> *mut abi::Exchange {
    Exchange::start(async { Err::<http::Response<crate::Body>, BoxError>(reason.into()) }, None, None)
}

/// An exchange for an application that panicked before it had one.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> *mut abi::Exchange {
    Exchange::start(
        async { resume_unwind(panic) as Result<http::Response<crate::Body>, BoxError> },
        None,
        None,
    )
}

/// An error and its causes, on one line.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // A wrapper that only repeats its cause is left out.
        if !text.ends_with(&reason) {
            text += ": ";
            text += &reason;
        }
        cause = error.source();
    }
    text
}
