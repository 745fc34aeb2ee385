//! The rest of a stack, which the host passes to a middleware with each request, and its responses.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use paster_abi as abi;
use paster_abi::http::{ReadFrame, Trust, lend_headers, read_frame, read_head};
use paster_abi::target::version_number;

use super::body;
use crate::{Body, BoxError, Environ, NextError, Session};

/// The host's object, in the extensions of a request. Clones share it.
#[derive(Clone)]
pub(crate) struct NextHandle(Arc<Mutex<Raw>>, Environ);

struct Raw(*mut abi::Next);

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for Raw {}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: we own the object, and it ends here, once.
        unsafe { ((*(*self.0).table).drop)(self.0) }
    }
}

impl NextHandle {
    /// Takes over the rest of a stack, for a request with this environ.
    /// # Safety
    /// `raw` must be an object by the ABI's rules that the caller owns.
    pub(crate) unsafe fn of(raw: *mut abi::Next, environ: Environ) -> NextHandle {
        NextHandle(Arc::new(Mutex::new(Raw(raw))), environ)
    }

    /// Passes a request on.
    pub(crate) fn call(&self, request: Request<Body>) -> NextExchange {
        let (parts, body) = request.into_parts();
        let text = |text: &str| abi::Slice::new(text.as_bytes());
        let changes = parts.extensions.get::<Session>().and_then(Session::take_changes);
        let environ = parts.extensions.get::<Environ>().unwrap_or(&self.1);
        let mut headers = Vec::new();
        lend_headers(&parts.headers, &mut headers);
        let (body, body_length) = body::export(body);
        let uri = &parts.uri;
        let mut raw = abi::Request {
            version: version_number(parts.version),
            method: text(parts.method.as_str()),
            target: uri.path_and_query().map_or(abi::Slice::EMPTY, |target| text(target.as_str())),
            scheme: uri.scheme_str().map_or(abi::Slice::EMPTY, text),
            authority: uri.authority().map_or(abi::Slice::EMPTY, |authority| text(authority.as_str())),
            headers: headers.as_ptr(),
            header_count: headers.len(),
            body,
            body_length,
            ..abi::Request::EMPTY
        };
        environ.write(&mut raw);
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: we own the object, and one thread uses it, by the lock; the request and everything that it borrows live
        // for the call; its body is handed over; the exchange is ours.
        unsafe {
            let table = &*(*next.0).table;
            if let Some(changes) = changes {
                (table.change_session)(next.0, abi::Slice::new(&changes));
            }
            NextExchange((table.call)(next.0, &raw))
        }
    }
}

/// A request that was passed on. Dropping it cancels it.
pub(crate) struct NextExchange(*mut abi::Exchange);

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for NextExchange {}

impl Drop for NextExchange {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: we own the exchange, and it ends here, once.
            unsafe { ((*(*self.0).table).drop)(self.0) }
        }
    }
}

impl NextExchange {
    /// Asks for the response.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Body>, BoxError>> {
        let failed = |panicked, reason| Poll::Ready(Err(NextError { reason, panicked }.into()));
        if self.0.is_null() {
            return failed(false, "the next part made no response".to_owned());
        }
        let mut head = abi::Head::EMPTY;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the exchange, one thread polls it (`&mut`), and waker and head live for the call.
        match unsafe { ((*(*self.0).table).poll_head)(self.0, &waker, &mut head) } {
            abi::PENDING => Poll::Pending,
            abi::READY => {
                // SAFETY: the host has just written the head, and this thread has not called it since.
                let response = unsafe { self.response(&mut head) };
                Poll::Ready(response.map_err(|reason| NextError { reason, panicked: false }.into()))
            }
            // SAFETY: the host wrote the reason.
            status => failed(status == abi::PANICKED, unsafe { head.error.into_text() }),
        }
    }

    /// # Safety
    /// `head` must be fresh from `poll_head`.
    unsafe fn response(&mut self, head: &mut abi::Head) -> Result<Response<Body>, String> {
        // SAFETY: guaranteed by the caller; the values came from the host's `HeaderValue`s.
        let (lent, headers) =
            unsafe { read_head(&[head.body], head.headers, head.header_count, Trust::Values) }?;
        let status = u16::try_from(head.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status.ok_or_else(|| format!("{} is not a status", head.status))?;
        *response.headers_mut() = headers;
        let first = match head.first.kind {
            abi::FRAME_NONE => None,
            // SAFETY: guaranteed by the caller.
            _ => Some(unsafe { read_frame(&mut head.first) }),
        };
        *response.body_mut() = match first {
            Some(ReadFrame { frame: None, ended: true }) => lent.into(),
            first => {
                let ended = first.as_ref().is_some_and(|first| first.ended);
                let exchange = NextExchange(std::mem::replace(&mut self.0, std::ptr::null_mut()));
                Body::of_next(NextBody {
                    first: first.and_then(|first| first.frame),
                    exchange: (!ended).then_some(exchange),
                    length: head.body_length,
                })
            }
        };
        Ok(response)
    }
}

/// The body of a response of the next part.
pub(crate) struct NextBody {
    first: Option<Result<Frame<Bytes>, String>>,
    exchange: Option<NextExchange>,
    /// Bytes left, or `LENGTH_UNKNOWN`.
    length: u64,
}

impl NextBody {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match (self.first.take(), &mut self.exchange) {
            (Some(first), _) => Some(first),
            (None, None) => None,
            (None, Some(exchange)) => {
                let mut frame = abi::Frame::NONE;
                let waker = abi::task::lend(cx.waker());
                // SAFETY: we own the exchange, one thread polls it (`&mut`), waker and frame live for the call, and the
                // frame is read before the next call.
                let read = unsafe {
                    let status = ((*(*exchange.0).table).poll_body)(exchange.0, &waker, &mut frame);
                    if status == abi::PENDING {
                        return Poll::Pending;
                    }
                    if status != abi::READY && frame.kind != abi::FRAME_ERROR {
                        frame = abi::Frame::error("the next part aborted the body".to_owned());
                    }
                    read_frame(&mut frame)
                };
                if read.ended {
                    self.exchange = None;
                }
                read.frame
            }
        };
        if let Some(Ok(frame)) = &polled
            && self.length != abi::LENGTH_UNKNOWN
        {
            let count = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.length = self.length.saturating_sub(count);
        }
        Poll::Ready(polled.map(|frame| frame.map_err(|reason| NextError { reason, panicked: false }.into())))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.exchange.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.length {
            abi::LENGTH_UNKNOWN => SizeHint::default(),
            length => SizeHint::with_exact(length),
        }
    }
}

/// The future of a response of the next part.
pub(crate) struct NextResponse(pub(crate) Option<Result<NextExchange, BoxError>>);

impl Future for NextResponse {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(Ok(exchange)) => exchange.poll(cx),
            failed => match failed.take() {
                Some(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Err("the response was already taken".into())),
            },
        }
    }
}
