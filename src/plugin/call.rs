//! Passes a request to a plugin and its response back.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::upgrade::OnUpgrade;
use paster_abi as abi;
use paster_abi::http::{Trust, lend_headers, read_frame, read_head, recycle};

use super::instance::InstanceShared;
use super::next::{self, Outcome};
use super::{body, upgrade};
use crate::body::{App, Body, BoxFuture, Request, Response};
use crate::environ::{ClientCertificate, Environ, RemoteUser, RequestId};
use crate::error::BoxError;
use crate::session::Session;

/// Why a plugin made no response, or aborted one.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct CallError {
    reason: String,
    /// Whether the plugin panicked.
    pub panicked: bool,
}

/// Starts to handle a request.
pub(super) fn answer(shared: &Arc<InstanceShared>, request: Request) -> ResponseFuture {
    let connect = *request.method() == Method::CONNECT;
    let (mut parts, body) = request.into_parts();
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    let raw = call(shared, &parts, body, on_upgrade.is_some(), std::ptr::null_mut());
    recycle(parts.headers);
    let session = parts.extensions.remove();
    let exchange = Some(PluginExchange { raw, shared: shared.clone(), outcome: None });
    ResponseFuture { exchange, on_upgrade, connect, session }
}

/// Starts to handle a request with a middleware, which may pass it on to `next`.
pub(super) fn answer_around(
    shared: &Arc<InstanceShared>,
    next: &App,
    request: Request,
) -> BoxFuture<Result<Response, BoxError>> {
    let connect = *request.method() == Method::CONNECT;
    let (parts, body) = request.into_parts();
    let outcome = Arc::new(Outcome::default());
    let on_upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    let session = parts.extensions.get().cloned();
    let next = next::export(next.clone(), &parts, outcome.clone());
    let raw = call(shared, &parts, body, on_upgrade.is_some(), next);
    recycle(parts.headers);
    // SAFETY: the plugin has just returned the exchange, which we own.
    if let Some(passed_on) = unsafe { next::take_back(raw) } {
        return passed_on;
    }
    let exchange = Some(PluginExchange { raw, shared: shared.clone(), outcome: Some(outcome) });
    Box::pin(ResponseFuture { exchange, on_upgrade, connect, session })
}

thread_local! {
    /// Space for lent header fields, used during one call.
    static LENT: Cell<Vec<abi::Header>> = const { Cell::new(Vec::new()) };
}

/// Calls the app, or, with `next`, the middleware.
fn call(
    shared: &InstanceShared,
    parts: &http::request::Parts,
    body: Body,
    upgradable: bool,
    next: *mut abi::Next,
) -> *mut abi::Exchange {
    let connect = parts.method == Method::CONNECT;
    let slice = |text: &str| abi::Slice::new(text.as_bytes());
    let mut lent = LENT.take();
    lent.clear();
    lend_headers(&parts.headers, &mut lent);
    let environ = parts.extensions.get::<Environ>();
    let length = http_body::Body::size_hint(&body).exact().unwrap_or(abi::LENGTH_UNKNOWN);
    let mut flags = if upgradable { abi::REQUEST_UPGRADABLE } else { 0 };
    if environ.is_some_and(|environ| environ.secure) {
        flags |= abi::REQUEST_SECURE;
    }
    let text = |f: fn(&Environ) -> &str| environ.map_or(abi::Slice::EMPTY, |environ| slice(f(environ)));
    let user = parts.extensions.get::<RemoteUser>();
    let certificate = parts.extensions.get::<Arc<ClientCertificate>>().map(|known| Certificate::lend(known));
    let session = parts.extensions.get::<Session>().map(Session::to_json);
    let request = abi::Request {
        size_bytes: size_of::<abi::Request>(),
        flags,
        version: abi::target::version_number(version(parts)),
        host_port: environ.and_then(|environ| environ.port).unwrap_or(0),
        method: slice(parts.method.as_str()),
        target: parts.uri.path_and_query().map_or(abi::Slice::EMPTY, |target| slice(target.as_str())),
        headers: lent.as_ptr(),
        header_count: lent.len(),
        body: body::export(body),
        body_length: length,
        client: environ
            .and_then(|environ| environ.client)
            .map_or(abi::Address::NONE, |client| abi::Address::new(client, 0)),
        peer: environ
            .and_then(|environ| environ.peer)
            .map_or(abi::Address::NONE, |peer| abi::Address::new(peer.ip(), peer.port())),
        host: text(|environ| &environ.host),
        listen: text(|environ| &environ.listen),
        script_name: text(|environ| &environ.script_name),
        server: text(|environ| &environ.server),
        scheme: parts.uri.scheme_str().map_or(abi::Slice::EMPTY, slice),
        authority: parts.uri.authority().map_or(abi::Slice::EMPTY, |authority| slice(authority.as_str())),
        protocol: connect
            .then(|| parts.extensions.get::<hyper::ext::Protocol>())
            .flatten()
            .map_or(abi::Slice::EMPTY, |protocol| slice(protocol.as_str())),
        user: user.map_or(abi::Slice::EMPTY, |user| slice(&user.name)),
        auth_type: user.map_or(abi::Slice::EMPTY, |user| slice(&user.auth_type)),
        request_id: parts.extensions.get::<RequestId>().map_or(abi::Slice::EMPTY, |id| slice(&id.0)),
        certificate: certificate.as_ref().map_or(std::ptr::null(), |certificate| &certificate.table),
        session: session.as_deref().map_or(abi::Slice::EMPTY, slice),
        groups: user.map_or(abi::Slice::EMPTY, |user| slice(&user.groups)),
    };
    let exchange = match (shared.table.call, shared.table.call_middleware) {
        // SAFETY: the app is live; the request and everything that it borrows live for the call; `next` is handed over.
        (_, Some(call)) if !next.is_null() => unsafe { call(shared.app, &request, next) },
        // SAFETY: the app is live; the request and everything that it borrows live for the call.
        (Some(call), _) if next.is_null() => unsafe { call(shared.app, &request) },
        _ => unreachable!("the library was checked to have what is called"),
    };
    LENT.set(lent);
    exchange
}

/// The version of HTTP for the plugin. The gate has turned a WebSocket over HTTP/2 into one of HTTP/1.1, so its version must agree.
fn version(parts: &http::request::Parts) -> Version {
    if parts.headers.contains_key(UPGRADE) { Version::HTTP_11.min(parts.version) } else { parts.version }
}

/// A client's certificate, lent for one call.
struct Certificate {
    table: abi::ClientCertificate,
    _names: Vec<abi::Slice>,
}

impl Certificate {
    fn lend(known: &ClientCertificate) -> Certificate {
        let slice = |text: &str| abi::Slice::new(text.as_bytes());
        let maybe = |text: &Option<String>| text.as_deref().map_or(abi::Slice::EMPTY, slice);
        let names: Vec<abi::Slice> = known.names.iter().map(|name| slice(name)).collect();
        let table = abi::ClientCertificate {
            size_bytes: size_of::<abi::ClientCertificate>(),
            subject: slice(&known.subject),
            common_name: maybe(&known.common_name),
            serial: maybe(&known.serial),
            sha256: maybe(&known.sha256),
            names: names.as_ptr(),
            name_count: names.len(),
        };
        Certificate { table, _names: names }
    }
}

/// A live exchange; null if the plugin made none. Dropping it informs the plugin that the client has gone.
struct PluginExchange {
    raw: *mut abi::Exchange,
    shared: Arc<InstanceShared>,
    /// The outcome of the next part, if the plugin is a middleware.
    outcome: Option<Arc<Outcome>>,
}

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for PluginExchange {}

impl Drop for PluginExchange {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: we own the exchange, and it ends here, once.
            unsafe { ((*(*self.raw).table).drop)(self.raw) }
        }
    }
}

impl PluginExchange {
    /// The failure of the plugin, or of the next part if the plugin only passes it on. Resumes a panic of the next part.
    fn failure(&self, status: abi::Status, reason: String) -> BoxError {
        match self.outcome.as_ref().and_then(|outcome| outcome.failure(&reason)) {
            Some(Ok(error)) => error,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => self.error(status, reason).into(),
        }
    }

    fn error(&self, status: abi::Status, reason: String) -> CallError {
        let panicked = status == abi::PANICKED;
        if panicked {
            self.shared.services.count("panics", 1);
        }
        let reason = if reason.is_empty() { "the plugin returned no response".to_owned() } else { reason };
        CallError { reason, panicked }
    }
}

/// The future of a plugin's response.
pub(super) struct ResponseFuture {
    exchange: Option<PluginExchange>,
    on_upgrade: Option<OnUpgrade>,
    connect: bool,
    session: Option<Session>,
}

impl Future for ResponseFuture {
    type Output = Result<Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let exchange = self.exchange.as_ref().expect("a future is not polled after its end");
        if exchange.raw.is_null() {
            return Poll::Ready(Err(exchange.error(abi::FAILED, String::new()).into()));
        }
        let mut head = abi::Head::EMPTY;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the exchange, one thread polls it (`&mut`), and waker and head live for the call.
        match unsafe { ((*(*exchange.raw).table).poll_head)(exchange.raw, &waker, &mut head) } {
            abi::PENDING => Poll::Pending,
            abi::READY => {
                // SAFETY: the plugin has just written the head, and this thread has not called it since.
                let read = unsafe { self.response(&mut head) };
                Poll::Ready(read.map_err(Into::into))
            }
            status => {
                // SAFETY: the plugin wrote the reason.
                let reason = unsafe { head.error.into_text() };
                Poll::Ready(Err(exchange.failure(status, reason)))
            }
        }
    }
}

impl ResponseFuture {
    /// Reads the head, and connects its body or its upgrade to the exchange.
    ///
    /// # Safety
    /// `head` must be fresh from `poll_head`.
    unsafe fn response(&mut self, head: &mut abi::Head) -> Result<Response, CallError> {
        let exchange = self.exchange.take().expect("a response has one head");
        let fault =
            |reason| exchange.error(abi::FAILED, format!("the plugin's response is not valid: {reason}"));
        // SAFETY: guaranteed by the caller.
        let read = unsafe { read_head(&[head.body], head.headers, head.header_count, Trust::Nothing) };
        let (body, headers) = read.map_err(fault)?;
        // SAFETY: the plugin wrote the buffer, or nobody did.
        let changes = unsafe { head.session.take().into_text() };
        if let Some(session) = &self.session {
            let malformed = |error| fault(format!("the changes in the session: {error}"));
            session.change_by(changes.as_bytes()).map_err(malformed)?;
        }
        let status = u16::try_from(head.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or_else(|| fault(format!("{} is not a status", head.status)))?;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(fault(format!("{status} is not a final status")));
        }
        let mut response = Response::default();
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let passed_on = exchange.outcome.as_ref();
        if let Some(extensions) = passed_on.and_then(|outcome| outcome.take_extensions()) {
            *response.extensions_mut() = extensions;
        }
        let switches = status == StatusCode::SWITCHING_PROTOCOLS || (self.connect && status.is_success());
        if switches && passed_on.is_some_and(|outcome| outcome.switched()) {
            return Ok(response); // the next part takes the connection over
        }
        if let (true, Some(on_upgrade)) = (switches, self.on_upgrade.take()) {
            tokio::spawn(async move {
                // If the client leaves before the upgrade, dropping the exchange informs the plugin.
                if let Ok(io) = on_upgrade.await {
                    exchange.upgrade(upgrade::export(io));
                }
            });
            return Ok(response);
        }
        if switches && !self.connect {
            return Err(fault(
                "it switches protocols, but the request did not ask for an upgrade".to_owned(),
            ));
        }
        let first = match head.first.kind {
            abi::FRAME_NONE => None,
            // SAFETY: guaranteed by the caller.
            _ => Some(unsafe { read_frame(&mut head.first) }),
        };
        *response.body_mut() = match first {
            Some(first) if first.ended => match first.frame {
                None => body.into(),
                Some(Ok(frame)) if frame.is_data() => frame.into_data().unwrap_or_default().into(),
                frame => {
                    let first =
                        frame.map(|frame| frame.map_err(|reason| exchange.failure(abi::READY, reason)));
                    Body::new(AnswerBody { first, exchange: None, left: None })
                }
            },
            first => {
                let left = (head.body_length != abi::LENGTH_UNKNOWN).then_some(head.body_length);
                let first = first.and_then(|first| first.frame).and_then(Result::ok).map(Ok);
                Body::new(AnswerBody { first, exchange: Some(exchange), left })
            }
        };
        Ok(response)
    }
}

impl PluginExchange {
    fn upgrade(&self, io: *mut abi::Io) {
        // SAFETY: we own the exchange; the io is handed over.
        unsafe {
            match (*(*self.raw).table).upgraded {
                Some(upgraded) => upgraded(self.raw, io),
                None => ((*(*io).table).drop)(io),
            }
        }
    }
}

/// The rest of a response's body. A body that is aborted yields an error, never a clean end.
struct AnswerBody {
    first: Option<Result<Frame<Bytes>, BoxError>>,
    exchange: Option<PluginExchange>,
    /// Bytes left, if the plugin gave the length.
    left: Option<u64>,
}

impl AnswerBody {
    fn count(&mut self, frame: &Frame<Bytes>) {
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(first) = self.first.take() {
            if let Ok(frame) = &first {
                self.count(frame);
            }
            return Poll::Ready(Some(first));
        }
        let Some(exchange) = &self.exchange else { return Poll::Ready(None) };
        let mut frame = abi::Frame::NONE;
        let waker = abi::task::lend(cx.waker());
        // SAFETY: we own the exchange, one thread polls it (`&mut`), waker and frame live for the call, and
        // the frame is read before the next call.
        let (status, read) = unsafe {
            let status = ((*(*exchange.raw).table).poll_body)(exchange.raw, &waker, &mut frame);
            if status == abi::PENDING {
                return Poll::Pending;
            }
            if status != abi::READY && frame.kind != abi::FRAME_ERROR {
                frame = abi::Frame::error("the plugin aborted the body".to_owned());
            }
            (status, read_frame(&mut frame))
        };
        let polled = read.frame.map(|frame| frame.map_err(|reason| exchange.failure(status, reason)));
        if let Some(Ok(frame)) = &polled {
            self.count(frame);
        }
        if read.ended {
            self.exchange = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
