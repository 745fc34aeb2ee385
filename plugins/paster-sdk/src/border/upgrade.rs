//! Upgrades: gives the application hyper's own `OnUpgrade`, so that axum's `WebSocketUpgrade` works
//! unchanged, and connects it to the host's byte stream.
//!
//! hyper makes an `OnUpgrade` only for a request that its HTTP/1 connection has read. So an upgradable
//! request gets a small connection over [`Switch`], which first plays a fixed upgrade request and discards
//! the 101, then becomes the host's byte stream. Nothing is pumped or copied: the application reads and
//! writes that stream directly.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::upgrade::OnUpgrade;
use paster_abi as abi;
use tokio::sync::oneshot;

/// What hyper reads first.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: any\r\n\r\n";
/// The end of the response that hyper writes first.
const HEAD_END: &[u8] = b"\r\n\r\n";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The byte stream of an upgraded connection, made by the host.
pub(crate) struct ForeignIo(*mut abi::Io);

// SAFETY: the ABI guarantees that any thread may use an object, one at a time.
unsafe impl Send for ForeignIo {}

impl ForeignIo {
    /// Takes over a byte stream.
    /// # Safety
    /// `io` must be an object by the ABI's rules that the caller owns.
    pub(crate) unsafe fn of(io: *mut abi::Io) -> ForeignIo {
        ForeignIo(io)
    }

    fn table(&self) -> &abi::IoTable {
        // SAFETY: the object and its table are live.
        unsafe { &*(*self.0).table }
    }
}

impl Drop for ForeignIo {
    fn drop(&mut self) {
        // SAFETY: we own the object, and it ends here, once.
        unsafe { (self.table().drop)(self.0) }
    }
}

fn counted(count: isize) -> Poll<io::Result<usize>> {
    match count {
        abi::IO_PENDING => Poll::Pending,
        count => Poll::Ready(usize::try_from(count).map_err(|_| io::ErrorKind::ConnectionReset.into())),
    }
}

fn done(status: abi::Status) -> Poll<io::Result<()>> {
    match status {
        abi::PENDING => Poll::Pending,
        abi::READY => Poll::Ready(Ok(())),
        _ => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
    }
}

/// An upgrade that has not happened yet. If it is dropped, the application's `OnUpgrade` fails.
pub(crate) struct Upgrade {
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    go: oneshot::Sender<()>,
    slot: Arc<Mutex<Option<ForeignIo>>>,
}

impl Upgrade {
    /// Prepares an upgrade and the `OnUpgrade` for the request's extensions.
    pub(crate) fn prepare() -> Option<(Upgrade, OnUpgrade)> {
        let slot = Arc::new(Mutex::new(None));
        let switch = Switch { request: REQUEST, matched: 0, slot: slot.clone(), io: None };
        let (go, gone) = oneshot::channel::<()>();
        let caught = Arc::new(Mutex::new(None));
        let catch = caught.clone();
        let gone = Mutex::new(Some(gone));
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            *lock(&catch) = Some(hyper::upgrade::on(request));
            let gone = lock(&gone).take();
            async move {
                if let Some(gone) = gone {
                    gone.await?;
                }
                let mut response = http::Response::new(http_body_util::Empty::<bytes::Bytes>::new());
                *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
                let headers = response.headers_mut();
                headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("upgrade"));
                headers.insert(http::header::UPGRADE, http::HeaderValue::from_static("any"));
                Ok::<_, oneshot::error::RecvError>(response)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(switch, service);
        let mut connection: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(connection.with_upgrades());
        // One poll reads the request and calls the service; then it waits for `go`.
        let _ = connection.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let on_upgrade = lock(&caught).take()?;
        Some((Upgrade { connection, go, slot }, on_upgrade))
    }

    /// Connects the application's end to `io`.
    pub(crate) fn complete(self, io: ForeignIo) {
        *lock(&self.slot) = Some(io);
        let _ = self.go.send(());
        // It only waits for `go`: a few polls by a worker finish it.
        tokio::spawn(self.connection);
    }
}

/// Plays the fixed request and discards the response to it. Then it is the host's byte stream.
struct Switch {
    /// What is left to play.
    request: &'static [u8],
    /// How many bytes of [`HEAD_END`] the discarded response ends with; 4 once it is complete.
    matched: usize,
    slot: Arc<Mutex<Option<ForeignIo>>>,
    io: Option<ForeignIo>,
}

impl Switch {
    fn io(&mut self) -> Option<&ForeignIo> {
        if self.matched < HEAD_END.len() {
            return None;
        }
        if self.io.is_none() {
            self.io = lock(&self.slot).take();
        }
        self.io.as_ref()
    }

    fn swallow(&mut self, data: &[u8]) -> usize {
        for (index, byte) in data.iter().enumerate() {
            self.matched = match *byte == HEAD_END[self.matched] {
                true => self.matched + 1,
                false => usize::from(*byte == HEAD_END[0]),
            };
            if self.matched == HEAD_END.len() {
                return index + 1;
            }
        }
        data.len()
    }
}

impl Read for Switch {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.request.is_empty() {
            let count = self.request.len().min(buf.remaining());
            let (now, later) = self.request.split_at(count);
            buf.put_slice(now);
            self.request = later;
            return Poll::Ready(Ok(()));
        }
        let Some(io) = self.io() else { return Poll::Pending };
        let waker = abi::task::lend(cx.waker());
        // SAFETY: the space belongs to `buf` and lives for the call; the host only writes to it and returns
        // how much.
        unsafe {
            let room = buf.as_mut();
            let count = (io.table().poll_read)(io.0, &waker, room.as_mut_ptr().cast(), room.len());
            counted(count).map_ok(|count| buf.advance(count))
        }
    }
}

impl Write for Switch {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Some(io) = self.io() else { return Poll::Ready(Ok(self.swallow(data))) };
        let waker = abi::task::lend(cx.waker());
        // SAFETY: waker and data live for the call.
        counted(unsafe { (io.table().poll_write)(io.0, &waker, data.as_ptr(), data.len()) })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = self.io() else { return Poll::Ready(Ok(())) };
        // SAFETY: the waker lives for the call.
        done(unsafe { (io.table().poll_flush)(io.0, &abi::task::lend(cx.waker())) })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(io) = self.io() else { return Poll::Ready(Ok(())) };
        // SAFETY: the waker lives for the call.
        done(unsafe { (io.table().poll_shutdown)(io.0, &abi::task::lend(cx.waker())) })
    }
}
