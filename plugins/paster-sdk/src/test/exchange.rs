//! One request through the border, as a host sends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use paster_abi as abi;
use paster_abi::http::{Trust, buffer, lend_headers, read_frame, read_head};

use super::{Answer, Facts};
use crate::border::{self, Instance};

/// The body of a request: one piece.
#[repr(C)]
struct Upload {
    base: abi::Body,
    data: Bytes,
}

static UPLOAD: abi::BodyTable =
    abi::BodyTable { size_bytes: size_of::<abi::BodyTable>(), poll_frame: next_piece, drop: drop_upload };

unsafe extern "C" fn next_piece(
    body: *mut abi::Body,
    _: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the sdk passes what `upload` returned, and a live frame.
    unsafe {
        let data = std::mem::take(&mut (*body.cast::<Upload>()).data);
        *out = if data.is_empty() { abi::Frame::END } else { abi::Frame::data(buffer(data), true) };
    }
    abi::READY
}

unsafe extern "C" fn drop_upload(body: *mut abi::Body) {
    // SAFETY: `upload` made it by `Box::into_raw`; it ends here, once.
    drop(unsafe { Box::from_raw(body.cast::<Upload>()) });
}

fn upload(data: Bytes) -> *mut abi::Body {
    match data.is_empty() {
        true => std::ptr::null_mut(),
        false => Box::into_raw(Box::new(Upload { base: abi::Body { table: &UPLOAD }, data })).cast(),
    }
}

/// Sends a request and reads the whole response.
pub(super) fn send(
    instance: &Instance,
    next: Option<&Instance>,
    facts: &Facts,
    request: Request<Bytes>,
) -> Result<Answer, String> {
    let (parts, body) = request.into_parts();
    let text = |text: &str| abi::Slice::new(text.as_bytes());
    let session = facts.session.as_ref().map(ToString::to_string).unwrap_or_default();
    let maybe = |known: &Option<String>| known.as_deref().map_or(abi::Slice::EMPTY, text);
    let mut headers = Vec::new();
    lend_headers(&parts.headers, &mut headers);
    let raw = abi::Request {
        flags: if facts.secure { abi::REQUEST_SECURE } else { 0 },
        method: text(parts.method.as_str()),
        target: parts.uri.path_and_query().map_or(abi::Slice::EMPTY, |target| text(target.as_str())),
        headers: headers.as_ptr(),
        header_count: headers.len(),
        body_length: body.len() as u64,
        body: upload(body),
        client: facts.client.map_or(abi::Address::NONE, |client| abi::Address::new(client, 0)),
        peer: facts.client.map_or(abi::Address::NONE, |client| abi::Address::new(client, 0)),
        host: text(&facts.host),
        listen: text("127.0.0.1:0"),
        script_name: text(&facts.script_name),
        server: text("main"),
        user: maybe(&facts.user),
        request_id: maybe(&facts.request_id),
        session: text(&session),
        ..abi::Request::EMPTY
    };
    let app = std::ptr::from_ref(instance).cast_mut().cast();
    let changes = SessionChanges::default();
    // SAFETY: the instances live until the exchange has ended and are only shared; everything that the request borrows
    // lives for the call.
    let exchange = TestExchange(unsafe {
        match next {
            Some(next) => border::call_middleware(app, &raw, fake_next(next, changes.clone())),
            None => border::call(app, &raw),
        }
    });
    let mut answer = exchange.head()?;
    drop(exchange);
    answer.session = answer.session.or_else(|| lock(&changes).take());
    Ok(answer)
}

/// What a middleware has changed in the session before it passed the request on.
type SessionChanges = Arc<Mutex<Option<serde_json::Value>>>;

fn lock(changes: &SessionChanges) -> MutexGuard<'_, Option<serde_json::Value>> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rest of a stack: one application.
#[repr(C)]
struct FakeNext {
    base: abi::Next,
    app: *const Instance,
    changes: SessionChanges,
}

static NEXT: abi::NextTable = abi::NextTable {
    size_bytes: size_of::<abi::NextTable>(),
    call: call_next,
    change_session,
    drop: drop_next,
};

fn fake_next(app: &Instance, changes: SessionChanges) -> *mut abi::Next {
    Box::into_raw(Box::new(FakeNext { base: abi::Next { table: &NEXT }, app, changes })).cast()
}

unsafe extern "C" fn call_next(next: *mut abi::Next, request: *const abi::Request) -> *mut abi::Exchange {
    // SAFETY: the sdk passes what `fake_next` returned; `send` keeps the instance until the exchange has ended.
    unsafe { border::call((*next.cast::<FakeNext>()).app.cast_mut().cast(), request) }
}

unsafe extern "C" fn change_session(next: *mut abi::Next, changes: abi::Slice) -> abi::Status {
    // SAFETY: the sdk passes what `fake_next` returned, and changes that live for the call.
    let (this, changes) = unsafe { (&*next.cast::<FakeNext>(), changes.bytes()) };
    *lock(&this.changes) = serde_json::from_slice(changes).ok();
    abi::READY
}

unsafe extern "C" fn drop_next(next: *mut abi::Next) {
    // SAFETY: `fake_next` made it by `Box::into_raw`; it ends here, once.
    drop(unsafe { Box::from_raw(next.cast::<FakeNext>()) });
}

/// Wakes a waiting thread.
struct Unpark(Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn until_ready<T>(mut poll: impl FnMut(*const abi::Waker) -> Option<T>) -> T {
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        if let Some(done) = poll(&abi::task::lend(&waker)) {
            return done;
        }
        std::thread::park();
    }
}

struct TestExchange(*mut abi::Exchange);

impl Drop for TestExchange {
    fn drop(&mut self) {
        // SAFETY: we own the exchange, and it ends here, once.
        unsafe { ((*(*self.0).table).drop)(self.0) }
    }
}

impl TestExchange {
    fn head(&self) -> Result<Answer, String> {
        let (status, mut head) = until_ready(|waker| {
            let mut head = abi::Head::EMPTY;
            // SAFETY: we own the exchange; waker and head live for the call.
            let status = unsafe { ((*(*self.0).table).poll_head)(self.0, waker, &mut head) };
            (status != abi::PENDING).then_some((status, head))
        });
        if status != abi::READY {
            // SAFETY: the application's side has written the reason.
            return Err(unsafe { head.error.into_text() });
        }
        // SAFETY: the head has just been written, and the exchange has not been called since.
        let (lent, headers) =
            unsafe { read_head(&[head.body], head.headers, head.header_count, Trust::Nothing) }?;
        let status = u16::try_from(head.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or_else(|| format!("{} is not a status", head.status))?;
        // SAFETY: the application's side has written the buffer, or nobody has.
        let session = unsafe { head.session.take().into_text() };
        let session = serde_json::from_str(&session).ok();
        let mut body = BytesMut::from(&lent[..]);
        let mut frame = std::mem::replace(&mut head.first, abi::Frame::NONE);
        loop {
            if frame.kind == abi::FRAME_NONE {
                frame = self.next_frame();
            }
            // SAFETY: the frame has just been written.
            let read = unsafe { read_frame(&mut frame) };
            if let Some(frame) = read.frame
                && let Ok(data) = frame?.into_data()
            {
                body.extend_from_slice(&data);
            }
            if read.ended {
                return Ok(Answer { status, headers, body: body.freeze(), session });
            }
            frame = abi::Frame::NONE;
        }
    }

    fn next_frame(&self) -> abi::Frame {
        until_ready(|waker| {
            let mut frame = abi::Frame::NONE;
            // SAFETY: we own the exchange; waker and frame live for the call.
            let status = unsafe { ((*(*self.0).table).poll_body)(self.0, waker, &mut frame) };
            (status != abi::PENDING).then_some(frame)
        })
    }
}
