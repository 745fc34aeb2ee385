//! The exported table, called as a host calls it but without a library, so that Miri can check it too.
#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::c_void;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::Thread;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::routing::{get, post};
use paster_sdk::border::{Definition, Side, table};
use paster_sdk::{App, BoxError, Environ, Host, abi};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Settings {
    greeting: String,
}

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

struct Plugin;

impl Definition for Plugin {
    type Settings = Settings;
    type Made = App;
    const SIDES: &'static [Side] = &[];
    async fn create(settings: Settings, host: Host) -> Result<App, BoxError> {
        let saved = host.saved_state().map(<[u8]>::to_vec).unwrap_or_default();
        let router = axum::Router::new()
            .route("/", get(move || async move { settings.greeting }))
            .route(
                "/environ",
                get(|environ: axum::Extension<Environ>| async move {
                    let subject = environ.certificate().map(|known| &*known.subject);
                    format!("{} {:?} {subject:?}", environ.host(), environ.user())
                }),
            )
            .route("/large", get(|| async { vec![7_u8; 5000] }))
            .route("/echo", post(|request: Request| async move { request.into_body() }))
            .route("/pending", get(pending))
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("a handler fell")
                    }
                }),
            )
            .route("/falls", get(|| async { Body::new(Falls(Some(vec![7; 500].into()))) }))
            .route("/wait", get(wait));
        Ok(App::router(router).health(|| async { Ok::<_, Infallible>(()) }).save_state(move || saved.clone()))
    }
}

/// A short body whose destructor panics.
struct Falls(Option<bytes::Bytes>);

impl Drop for Falls {
    fn drop(&mut self) {
        panic!("a destructor fell");
    }
}

impl http_body::Body for Falls {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// Pending in the head and in the body; another thread wakes it.
async fn pending() -> Body {
    tokio::time::sleep(Duration::from_millis(1)).await;
    let pieces = futures_util::stream::iter(["one", "two"]);
    Body::from_stream(futures_util::StreamExt::then(pieces, |piece| async move {
        let joined = tokio::spawn(async move { piece }).await;
        joined.map_err(std::io::Error::other)
    }))
}

async fn wait() {
    let _dropped = Dropped;
    std::future::pending::<()>().await;
}

/// An ABI waker that unparks a thread.
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

/// A request's body, as the host makes one: pieces, each after one `PENDING`.
#[repr(C)]
struct Upload {
    base: abi::Body,
    pieces: VecDeque<&'static [u8]>,
    ready: bool,
}

static UPLOAD: abi::BodyTable =
    abi::BodyTable { size_bytes: size_of::<abi::BodyTable>(), poll_frame: next_piece, drop: drop_upload };

unsafe extern "C" fn next_piece(
    body: *mut abi::Body,
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> abi::Status {
    // SAFETY: the plugin passes what `Exchange::begin` returned, and a live waker and frame.
    unsafe {
        let upload = &mut *body.cast::<Upload>();
        upload.ready = !upload.ready;
        if upload.ready {
            let kept = abi::task::with(waker, |cx| cx.waker().clone());
            kept.wake();
            return abi::PENDING;
        }
        *out = match upload.pieces.pop_front() {
            Some(piece) => {
                abi::Frame::data(abi::http::buffer(piece.to_vec().into()), upload.pieces.is_empty())
            }
            None => abi::Frame::END,
        };
    }
    abi::READY
}

unsafe extern "C" fn drop_upload(body: *mut abi::Body) {
    // SAFETY: `Exchange::begin` made it by `Box::into_raw`.
    drop(unsafe { Box::from_raw(body.cast::<Upload>()) });
}

unsafe extern "C" fn log(_: *const c_void, _: *const abi::LogRecord) {}
unsafe extern "C" fn count(_: *const c_void, _: abi::Slice, _: u64) {}
unsafe extern "C" fn config(_: *const c_void, out: *mut abi::Buffer) {
    // SAFETY: the plugin passes a place for the buffer.
    unsafe { *out = abi::Buffer::of_static(b"{}") };
}
unsafe extern "C" fn side_process(_: *const c_void, _: abi::Slice, _: *mut abi::Buffer) -> abi::Status {
    abi::FAILED
}

unsafe extern "C" fn announce(_: *const c_void, _: abi::Slice) {}

static HOST: abi::Host = abi::Host {
    size_bytes: size_of::<abi::Host>(),
    context: std::ptr::null(),
    generation: 1,
    development: 0,
    log_level: 0,
    app: abi::Slice::new(b"main"),
    log,
    count,
    config,
    side_process,
    announce,
};

static PLUGIN: abi::Plugin = table::<Plugin>("test", "0.0.0", &[]);

/// An app of the plugin, destroyed at the end.
struct Instance(*mut c_void);

impl Instance {
    fn create(settings: &str) -> Result<Instance, String> {
        let (mut app, mut error) = (std::ptr::null_mut(), abi::Buffer::EMPTY);
        let saved = abi::Slice::new(b"from before");
        // SAFETY: everything lives for the call; the host's table lives longer.
        let (status, error) = unsafe {
            let create = PLUGIN.create.unwrap();
            let settings = abi::Slice::new(settings.as_bytes());
            (create(settings, &HOST, &saved, &mut app, &mut error), error.into_text())
        };
        if status == abi::READY { Ok(Instance(app)) } else { Err(error) }
    }

    fn begin(&self, method: &str, target: &str, upload: &[&'static [u8]]) -> Exchange {
        self.begin_as(method, target, upload, size_of::<abi::Request>())
    }

    /// The same, for a host whose request has `size_bytes`: the bytes beyond do not belong to it.
    fn begin_as(&self, method: &str, target: &str, upload: &[&'static [u8]], size_bytes: usize) -> Exchange {
        let text = |text: &str| abi::Slice::new(text.as_bytes());
        let headers = [
            abi::Header { number: abi::names::number(b"host"), name: text("host"), value: text("a.example") },
            abi::Header { number: 0, name: text("x-own"), value: text("x") },
        ];
        let body = match upload.is_empty() {
            true => std::ptr::null_mut(),
            false => Box::into_raw(Box::new(Upload {
                base: abi::Body { table: &UPLOAD },
                pieces: upload.iter().copied().collect(),
                ready: false,
            }))
            .cast(),
        };
        let name = text("DNS:a.example");
        let certificate = abi::ClientCertificate {
            size_bytes: size_of::<abi::ClientCertificate>(),
            subject: text("CN=ann"),
            common_name: text("ann"),
            serial: abi::Slice::EMPTY,
            sha256: abi::Slice::EMPTY,
            names: &name,
            name_count: 1,
        };
        let request = abi::Request {
            size_bytes,
            flags: 0,
            version: 11,
            host_port: 0,
            method: text(method),
            target: text(target),
            headers: headers.as_ptr(),
            header_count: headers.len(),
            body,
            body_length: if upload.is_empty() { 0 } else { abi::LENGTH_UNKNOWN },
            client: abi::Address::NONE,
            peer: abi::Address::NONE,
            host: text("a.example"),
            listen: text("127.0.0.1:80"),
            script_name: text(""),
            server: text("main"),
            scheme: abi::Slice::EMPTY,
            authority: abi::Slice::EMPTY,
            protocol: abi::Slice::EMPTY,
            user: text("ann"),
            certificate: &certificate,
            ..abi::Request::EMPTY
        };
        // SAFETY: the app is live, the request lives for the call.
        Exchange(unsafe { PLUGIN.call.unwrap()(self.0, &request) })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the app ends here, once; its exchanges have ended.
        unsafe { PLUGIN.destroy.unwrap()(self.0) }
    }
}

struct Exchange(*mut abi::Exchange);

// SAFETY: the ABI guarantees that any thread may use an exchange, one at a time.
unsafe impl Send for Exchange {}

impl Drop for Exchange {
    fn drop(&mut self) {
        // SAFETY: the exchange ends here, once.
        unsafe { ((*(*self.0).table).drop)(self.0) }
    }
}

impl Exchange {
    fn poll_head(&self, waker: *const abi::Waker, head: &mut abi::Head) -> abi::Status {
        // SAFETY: the exchange, the waker and the head are live.
        unsafe { ((*(*self.0).table).poll_head)(self.0, waker, head) }
    }

    /// Status, content type and whole body, or the reason of a failure.
    fn finish(self, size_bytes: usize) -> Result<(u32, String, Vec<u8>), String> {
        let (status, mut head) = until_ready(|waker| {
            let mut head = abi::Head { size_bytes, ..abi::Head::EMPTY };
            let status = self.poll_head(waker, &mut head);
            (status != abi::PENDING).then_some((status, head))
        });
        if status != abi::READY {
            // SAFETY: the plugin wrote the reason.
            return Err(format!("{status}: {}", unsafe { head.error.into_text() }));
        }
        // SAFETY: the plugin wrote the head, and has not been called since.
        let (body, headers) = unsafe {
            abi::http::read_head(&[head.body], head.headers, head.header_count, abi::http::Trust::Nothing)
        }?;
        let mut body = body.to_vec();
        let kind = headers.get("content-type").map(|value| value.to_str().unwrap().to_owned());
        abi::http::recycle(headers);
        let mut frame = std::mem::replace(&mut head.first, abi::Frame::NONE);
        loop {
            if frame.kind == abi::FRAME_NONE {
                frame = until_ready(|waker| {
                    let mut frame = abi::Frame::NONE;
                    // SAFETY: the exchange, the waker and the frame are live.
                    let status = unsafe { ((*(*self.0).table).poll_body)(self.0, waker, &mut frame) };
                    (status != abi::PENDING).then_some(frame)
                });
            }
            // SAFETY: the plugin wrote the frame.
            let read = unsafe { abi::http::read_frame(&mut frame) };
            if let Some(frame) = read.frame {
                body.extend(frame?.into_data().unwrap());
            }
            if read.ended {
                return Ok((head.status, kind.unwrap_or_default(), body));
            }
            frame = abi::Frame::NONE;
        }
    }
}

const WHOLE: usize = size_of::<abi::Head>();

#[test]
fn the_table_does_what_a_host_asks() {
    assert!(Instance::create("{}").is_err_and(|error| error.contains("greeting")));
    let app = Instance::create(r#"{ "greeting": "hello" }"#).unwrap();
    let get = |path: &str| app.begin("GET", path, &[]).finish(WHOLE).unwrap();
    let text = "text/plain; charset=utf-8".to_owned();
    assert_eq!(get("/"), (200, text.clone(), b"hello".to_vec()));
    // A host that does not support lent bodies gets a buffer.
    let before = std::mem::offset_of!(abi::Head, body);
    assert_eq!(app.begin("GET", "/", &[]).finish(before).unwrap(), (200, text.clone(), b"hello".to_vec()));
    assert_eq!(get("/environ").2, b"a.example Some(\"ann\") Some(\"CN=ann\")");
    // A host that does not pass the user on.
    let before = std::mem::offset_of!(abi::Request, user);
    let told = app.begin_as("GET", "/environ", &[], before).finish(WHOLE).unwrap();
    assert_eq!(told.2, b"a.example None None");
    assert_eq!(get("/large").2, [7; 5000]);
    assert_eq!(get("/pending").2, b"onetwo");
    assert_eq!(get("/nothing").0, 404);
    let echoed = app.begin("POST", "/echo", &[b"ab", b"", b"cd"]).finish(WHOLE).unwrap();
    assert_eq!(echoed.2, b"abcd");
    let panicked = app.begin("GET", "/panic", &[]).finish(WHOLE).unwrap_err();
    assert_eq!(panicked, format!("{}: panicked: a handler fell", abi::PANICKED));
    // The panic discards what was to be lent with the head.
    let fallen = app.begin("GET", "/falls", &[]);
    let mut head = abi::Head::EMPTY;
    assert_eq!(fallen.poll_head(&abi::task::lend(std::task::Waker::noop()), &mut head), abi::READY);
    assert_eq!((head.first.kind, head.body.len), (abi::FRAME_NONE, 0));
    drop(fallen);
    let fallen = app.begin("GET", "/falls", &[]).finish(WHOLE).unwrap_err();
    assert!(fallen.contains("a destructor fell"), "{fallen}");
    assert!(app.begin("GET", "no path", &[]).finish(WHOLE).is_err());

    // A client that leaves, on another thread than the one it came on.
    let waits = app.begin("GET", "/wait", &[]);
    let waker = std::task::Waker::noop();
    let mut head = abi::Head::EMPTY;
    assert_eq!(waits.poll_head(&abi::task::lend(waker), &mut head), abi::PENDING);
    assert_eq!(DROPPED.load(Ordering::SeqCst), 0);
    std::thread::spawn(move || drop(waits)).join().unwrap();
    assert_eq!(DROPPED.load(Ordering::SeqCst), 1);

    let mut saved = abi::Buffer::EMPTY;
    // SAFETY: the app is live; the task is polled to its end and dropped.
    unsafe {
        assert_eq!(PLUGIN.save_state.unwrap()(app.0, &mut saved), abi::READY);
        assert_eq!(saved.bytes(), b"from before");
        let health = PLUGIN.health.unwrap()(app.0);
        let mut out = abi::Buffer::EMPTY;
        let status = until_ready(|waker| {
            Some(((*(*health).table).poll)(health, waker, &mut out)).filter(|status| *status != abi::PENDING)
        });
        assert_eq!(status, abi::READY);
        ((*(*health).table).drop)(health);
        PLUGIN.retire.unwrap()(app.0);
        PLUGIN.shutdown.unwrap()(app.0);
    }
}
