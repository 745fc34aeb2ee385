//! Middleware over the plugin border, with real libraries: what passes, what it may change, and who is told when
//! something fails or leaves.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use paster::body::{App, Body, BoxFuture, Request, Response};
use paster::context::Context;
use paster::environ::{Environ, RemoteUser, RequestId};
use paster::error::BoxError;
use paster::plugin::{CallError, Instance, Library};
use paster::session::Session;
use serde_json::{Value, json};

use crate::border::{c_example, instance, serve};
use crate::inprocess::within;

fn middleware() -> Instance {
    instance("faulty-middleware", json!({}))
}

/// A request that tells the middleware what to do.
fn asks(action: &str, body: impl Into<Body>) -> Request {
    http::Request::post("/a?b=c")
        .header("x-do", action)
        .header("host", "a.example")
        .body(body.into())
        .unwrap()
}

async fn whole(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn environ() -> Environ {
    Environ {
        peer: Some("[::1]:1234".parse().unwrap()),
        client: None,
        relayed: true,
        trusted: false,
        listen: "127.0.0.1:80".into(),
        host: "a.example".into(),
        port: None,
        secure: false,
        script_name: "".into(),
        server: "main".into(),
        handle: Default::default(),
    }
}

/// Responds with what it was told, as JSON.
fn mirror() -> App {
    App::from_fn(|request: Request| async {
        let (parts, body) = request.into_parts();
        let environ = parts.extensions.get::<Environ>();
        let user = parts.extensions.get::<RemoteUser>();
        let seen = json!({
            "method": parts.method.as_str(),
            "uri": parts.uri.to_string(),
            "added": parts.headers.get("x-added").is_some(),
            "length": parts.headers.get("content-length").map(|length| length.to_str().unwrap()),
            "user": user.map(|user| format!("{} {} {}", user.name, user.auth_type, user.groups)),
            "client": environ.and_then(|environ| environ.client),
            "peer": environ.and_then(|environ| environ.peer),
            "host": environ.map(Environ::authority),
            "relayed": environ.map(|environ| environ.relayed),
            "secure": environ.map(|environ| environ.secure),
            "script_name": environ.map(|environ| environ.script_name.to_string()),
            "id": parts.extensions.get::<RequestId>().map(|id| id.0.to_string()),
            "session": parts.extensions.get::<Session>().map(Session::to_json),
            "body": String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        });
        let mut response = Response::new(seen.to_string().into());
        // For an access log outside of the middleware.
        response.extensions_mut().insert(RemoteUser::new("inner", "Form"));
        response
    })
}

/// Responds with the body of the request.
fn echo() -> App {
    App::from_fn(|request: Request| std::future::ready(Response::new(request.into_body())))
}

async fn mirrored(app: &App, request: Request) -> Value {
    let (status, text) = whole(within(app.handle(request)).await.unwrap()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_passes_with_everything_that_belongs_to_it() {
    let instance = middleware();
    let app = instance.around(mirror());
    let mut request = asks("", "a body");
    request.headers_mut().insert("content-length", 6.into());
    request.extensions_mut().insert(environ());
    request.extensions_mut().insert(RemoteUser::new("bob", "Basic").with_groups(["a", "b"]));
    request.extensions_mut().insert(RequestId("id-1".into()));
    let response = within(app.handle(request)).await.unwrap();
    assert_eq!(response.headers()["x-middleware"], "one");
    assert_eq!(&*response.extensions().get::<RemoteUser>().unwrap().name, "inner", "for the access log");
    let seen: Value = serde_json::from_str(&whole(response).await.1).unwrap();
    let expected = json!({
        "method": "POST", "uri": "/a?b=c", "added": false, "length": "6", "user": "bob Basic a,b", "client": null,
        "peer": "[::1]:1234", "host": "a.example", "relayed": true, "secure": false, "script_name": "", "id": "id-1",
        "session": null, "body": "a body",
    });
    assert_eq!(seen, expected);
    assert_eq!(instance.counters()["seen"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_be_changed_before_it_goes_on() {
    let app = middleware().around(mirror());
    let mut request = asks("change", "a body");
    request.headers_mut().insert("content-length", 6.into());
    request.extensions_mut().insert(environ());
    request.extensions_mut().insert(RemoteUser::new("bob", "Basic"));
    let expected = json!({
        "method": "PUT", "uri": "/changed?by=middleware", "added": true, "length": "12", "user": "ann Token staff",
        "client": "192.0.2.7", "peer": "[::1]:1234", "host": "other.example:8443", "relayed": false, "secure": true,
        "script_name": "/inner", "id": "id-7", "session": null, "body": "another body",
    });
    assert_eq!(mirrored(&app, request).await, expected);

    // A request that it makes itself keeps the facts of the one that arrived.
    let mut request = asks("new-request", "");
    request.extensions_mut().insert(environ());
    let seen = mirrored(&app, request).await;
    assert_eq!((&seen["uri"], &seen["host"]), (&json!("/new"), &json!("a.example")));

    let session = Session::new(serde_json::Map::new());
    let mut request = asks("session", "");
    request.extensions_mut().insert(session.clone());
    assert_eq!(mirrored(&app, request).await["session"], r#"{"by":"middleware"}"#);
    assert_eq!(session.take_changes().set.len(), 1);

    let mut request = asks("wrong-host", "");
    request.extensions_mut().insert(environ());
    let error = within(app.handle(request)).await.unwrap_err();
    let expected = "the middleware passed on an invalid request: `host` is not a host without a port: `a b`";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_answer_itself_and_call_the_next_part_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let next = App::from_fn(move |request: Request| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut response = Response::new(Body::from([b"again: ", &body[..]].concat()));
            *response.status_mut() = if number == 0 { 503 } else { 200 }.try_into().unwrap();
            response
        }
    });
    let app = middleware().around(next);
    assert_eq!(whole(app.handle(asks("read", "12345")).await.unwrap()).await, (200, "read 5 bytes".into()));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the next part was not called");
    assert_eq!(
        whole(app.handle(asks("twice", "body")).await.unwrap()).await,
        (200, "503 again: body".into())
    );
    assert_eq!(whole(app.handle(asks("replace", "")).await.unwrap()).await, (200, "it said 200".into()));
}

/// Without a change, the bytes of bodies cross four times, and are never copied.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_not_copied() {
    let app = middleware().around(echo());
    let sent = Bytes::from(vec![1; 1 << 20]);
    let mut body = app.handle(asks("", sent.clone())).await.unwrap().into_body();
    let back = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((back.as_ptr(), back.len()), (sent.as_ptr(), sent.len()));
}

/// Frames with trailers, and what the body was asked for so far.
fn streamed(pieces: usize) -> (Body, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let frames = futures_util::stream::iter(0..=pieces).map(move |number| {
        count.fetch_add(1, Ordering::SeqCst);
        if number < pieces {
            return Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(format!("piece {number} "))));
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("42"));
        Ok(http_body::Frame::trailers(trailers))
    });
    (Body::new(StreamBody::new(frames)), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_stream_through_in_both_directions() {
    let app = middleware().around(echo());
    for action in ["", "spawn", "upper", "upper-request"] {
        let (body, asked) = streamed(100);
        let response = within(app.handle(asks(action, body))).await.unwrap();
        assert!(asked.load(Ordering::SeqCst) < 5, "{action}: it is read before anyone asks for it");
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let expected = if action.starts_with("upper") { "PIECE 0 " } else { "piece 0 " };
        assert_eq!(first, expected, "{action}");
        assert!(asked.load(Ordering::SeqCst) < 5, "{action}: it is read before anyone asks for it");
        let rest = within(body.collect()).await.unwrap();
        assert_eq!(rest.trailers().unwrap()["x-sum"], "42", "{action}");
        assert_eq!(rest.to_bytes().len(), (1..100).map(|n| format!("piece {n} ").len()).sum::<usize>());
    }
}

/// Reports when it is dropped.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_noticed_by_both() {
    let gone = Arc::new(AtomicBool::new(false));
    let left = gone.clone();
    let app = middleware().around(App::from_fn(move |_| {
        let left = Left(left.clone());
        async move {
            let _left = left;
            std::future::pending().await
        }
    }));
    assert!(app.handle(asks("", "")).now_or_never().is_none());
    assert!(gone.load(Ordering::SeqCst), "the next part is told");
    let (_, text) = whole(app.handle(asks("count", "")).await.unwrap()).await;
    assert_eq!(text, "2 requests, 1 left");

    // In the middle of a body.
    let gone = Arc::new(AtomicBool::new(false));
    let left = gone.clone();
    let app = middleware().around(App::from_fn(move |_| {
        let left = Left(left.clone());
        let endless = futures_util::stream::repeat_with(move || {
            let _left = &left;
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"piece")))
        });
        std::future::ready(Response::new(Body::new(StreamBody::new(endless))))
    }));
    let mut body = app.handle(asks("upper", "")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "PIECE");
    assert!(!gone.load(Ordering::SeqCst));
    drop(body);
    assert!(gone.load(Ordering::SeqCst));
}

#[derive(Debug, thiserror::Error)]
#[error("the store is gone")]
struct StoreGone;

async fn panic_of(work: impl Future<Output = impl Sized>) -> String {
    let panic = AssertUnwindSafe(work).catch_unwind().await.err().expect("it panics");
    (*panic.downcast::<&str>().expect("the same payload")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_next_part_stays_what_it_is() {
    let fails = App::from_call(|_| Box::pin(async { Err(StoreGone.into()) }));
    let instance = middleware();
    let app = instance.around(fails);
    let error = within(app.handle(asks("", ""))).await.unwrap_err();
    assert!(error.is::<StoreGone>(), "{error}");
    let hidden = whole(app.handle(asks("hide-failure", "")).await.unwrap()).await;
    assert_eq!(hidden, (200, "hidden: the store is gone".into()));

    let panics = |_: Request| -> BoxFuture<Result<Response, BoxError>> {
        Box::pin(async { if true { panic!("the next part fell") } else { Err(StoreGone.into()) } })
    };
    let app = instance.around(App::from_call(panics));
    assert_eq!(panic_of(app.handle(asks("", ""))).await, "the next part fell");
    let hidden = whole(app.handle(asks("hide-failure", "")).await.unwrap()).await;
    assert_eq!(hidden, (200, "hidden: panicked: the next part fell".into()));
    let at_once = |_: Request| -> BoxFuture<Result<Response, BoxError>> {
        if true { panic!("the next part fell at once") } else { Box::pin(async { Err(StoreGone.into()) }) }
    };
    let app = instance.around(App::from_call(at_once));
    assert_eq!(panic_of(app.handle(asks("", ""))).await, "the next part fell at once");

    let breaks_off = |fall: bool| {
        App::from_fn(move |_| {
            let pieces = futures_util::stream::iter(0..2).map(move |number| match number {
                0 => Ok(http_body::Frame::data(Bytes::from_static(b"a piece"))),
                _ if fall => panic!("a body fell"),
                _ => Err(StoreGone),
            });
            std::future::ready(Response::new(Body::new(StreamBody::new(pieces))))
        })
    };
    let mut body = instance.around(breaks_off(false)).handle(asks("upper", "")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "A PIECE");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is::<StoreGone>(), "{error}");
    let mut body = instance.around(breaks_off(true)).handle(asks("upper", "")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(panic_of(body.frame()).await, "a body fell");
    assert_eq!(instance.counters().get("panics"), None, "none is the middleware's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_middleware_is_its_own() {
    let instance = middleware();
    let app = instance.around(echo());
    for (action, reason, panicked) in [
        ("fail", "the middleware has no luck", false),
        ("panic", "panicked: a middleware fell", true),
        ("panic-after", "panicked: a middleware fell after the response", true),
    ] {
        let error = within(app.handle(asks(action, "body"))).await.unwrap_err();
        let error = error.downcast::<CallError>().unwrap();
        assert_eq!((error.to_string().as_str(), error.panicked), (reason, panicked));
    }
    assert_eq!(instance.counters()["panics"], 2);
    // A body that it passes on and that panics is an aborted body for the next part.
    let mut body = app.handle(asks("panic-body", "")).await.unwrap().into_body();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "panicked: a body of a middleware fell");
}

/// A middleware that hands its request to a task of its own, which polls the next part on a thread of the plugin: there
/// the host's runtime is entered.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_part_waits_for_the_hosts_runtime() {
    let app = middleware().around(App::from_fn(|_| async {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let late = futures_util::stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"late")))
        });
        Response::new(Body::new(StreamBody::new(late)))
    }));
    assert_eq!(whole(within(app.handle(asks("spawn", ""))).await.unwrap()).await, (200, "late".into()));
    assert_eq!(whole(within(app.handle(asks("", ""))).await.unwrap()).await, (200, "late".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_passes_through() {
    let app = instance("hello", json!({})).app();
    let address = serve(middleware().around(middleware().around(app))).await;
    let (mut socket, response) =
        tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-middleware"]),
        (101, &"one".parse().unwrap())
    );
    for size in [0_usize, 125, 65_536, 1 << 20] {
        let message = tokio_tungstenite::tungstenite::Message::binary(vec![7; size]);
        socket.send(message.clone()).await.unwrap();
        assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
    }
    socket.close(None).await.unwrap();
    within(async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_middleware_in_c_does_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::load(&c_example("hello-middleware-c", folder.path(), |source| source)).unwrap();
    assert_eq!(library.info().functions, ["settings_schema", "create", "call_middleware", "destroy"]);
    assert!(library.has_middleware() && !library.has_app());
    let instance = Instance::create(&library, "middleware.c", &json!({}), &Context::alone(false)).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let app = instance.around(App::from_fn(move |request: Request| {
        count.fetch_add(usize::from(request.headers()["x-through"] == "c"), Ordering::SeqCst);
        let kind = request.headers().get("accept").cloned();
        let mut response = Response::new(request.into_body());
        if let Some(kind) = kind {
            response.headers_mut().insert("content-type", kind);
        }
        std::future::ready(response)
    }));
    let request =
        |kind: &str, body: Body| http::Request::post("/a").header("accept", kind).body(body).unwrap();
    for (kind, expected) in
        [("text/plain; charset=utf-8", "PIECE 0 PIECE 1 "), ("text/html", "piece 0 piece 1 ")]
    {
        let response = within(app.handle(request(kind, streamed(2).0))).await.unwrap();
        assert_eq!(response.headers()["x-through"], "c");
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "42");
        assert_eq!(body.to_bytes(), expected);
        let whole_body = whole(within(app.handle(request(kind, "ab".into()))).await.unwrap()).await;
        assert_eq!(whole_body.1.len(), 2);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 4);
    let own = http::Request::post("/hello-c").body(Body::from("unread")).unwrap();
    assert_eq!(whole(app.handle(own).await.unwrap()).await, (200, "Hello from middleware in C\n".into()));

    let address = serve(instance.around(crate::border::instance("hello", json!({})).app())).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
    let message = tokio_tungstenite::tungstenite::Message::text("one");
    socket.send(message.clone()).await.unwrap();
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
}

/// A middleware that returns the exchange of the next part as its own costs nothing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_can_be_returned_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let pass_on = |source: String| {
        let end = source.find("static PasterStatus create(").unwrap();
        format!(
            "#include \"paster.h\"\n#include <string.h>\n\
             static PasterBuffer lasting(const char *literal)\n\
             {{ PasterBuffer buffer = {{ (const uint8_t *)literal, strlen(literal), NULL, NULL }}; return buffer; }}\n\
             static PasterExchange *call_middleware(void *app, const PasterRequest *request, PasterNext *next)\n\
             {{ PasterExchange *passed = next->table->call(next, request);\n\
             (void)app; next->table->drop(next); return passed; }}\n{}",
            &source[end..]
        )
    };
    let library = Library::load(&c_example("hello-middleware-c", folder.path(), pass_on)).unwrap();
    let instance = Instance::create(&library, "middleware.c", &json!({}), &Context::alone(false)).unwrap();
    let seen = mirrored(&instance.around(mirror()), asks("", "a body")).await;
    assert_eq!((&seen["uri"], &seen["body"]), (&json!("/a?b=c"), &json!("a body")));
    let fails = instance.around(App::from_call(|_| Box::pin(async { Err(StoreGone.into()) })));
    assert!(within(fails.handle(asks("", ""))).await.unwrap_err().is::<StoreGone>());
}

/// A plugin that was built before middleware existed: its table ends with `run_side`.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_plugin_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let older = |source: String| {
        source.replace(
            ".size_bytes = sizeof(PasterPlugin)",
            ".size_bytes = offsetof(PasterPlugin, call_middleware)",
        )
    };
    let library = Library::load(&c_example("hello-c", folder.path(), older)).unwrap();
    assert_eq!(library.info().size_bytes, 144);
    assert!(library.has_app() && !library.has_middleware());
    let instance = Instance::create(&library, "main", &json!({}), &Context::alone(false)).unwrap();
    let response = instance.app().handle(http::Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(whole(response).await, (200, "Hello from C\n".into()));
}
