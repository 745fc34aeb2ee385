//! Middleware in the process of its tests. Every request crosses the border twice, as in a host, so that Miri can check
//! both directions.
#![allow(clippy::unwrap_used, reason = "a test's helpers")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{Extension, Request as AxumRequest};
use axum::routing::{any, get, post};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use paster_sdk::test::{Facts, Setup, TestMiddleware};
use paster_sdk::{App, Body, BoxError, Environ, Host, Middleware, Next, NextError, Session};
use serde_json::json;

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

fn app() -> App {
    let panics = || async {
        if true {
            panic!("a handler fell")
        }
    };
    App::router(
        Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/echo", post(|request: AxumRequest| async { request.into_body() }))
            .route("/large", get(|| async { vec![7_u8; 5000] }))
            .route("/panic", get(panics))
            .route(
                "/stream",
                get(|| async {
                    let pieces = futures_util::stream::iter(["one ", "two ", "three"]);
                    AxumBody::from_stream(futures_util::StreamExt::then(pieces, |piece| async move {
                        let joined = tokio::spawn(async move { piece }).await;
                        joined.map_err(std::io::Error::other)
                    }))
                }),
            )
            .route(
                "/wait",
                get(|| async {
                    let _dropped = Dropped;
                    std::future::pending::<()>().await;
                }),
            )
            .route(
                "/who",
                any(|environ: Extension<Environ>, session: Option<Extension<Session>>| async move {
                    let groups: Vec<&str> = environ.groups().collect();
                    let port = environ.port();
                    let about =
                        (environ.user(), environ.auth_type(), groups, environ.client(), environ.host());
                    let more = (port, environ.secure(), environ.script_name(), environ.request_id());
                    format!("{about:?} {more:?} {}", session.is_some())
                }),
            ),
    )
}

/// The middleware of a function, around [`app`].
fn around<F, Fut>(f: F) -> TestMiddleware
where
    F: Fn(Request<Body>, Next) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let create = |(): (), _: Host| async move { Ok(Middleware::from_fn(f)) };
    TestMiddleware::create(create, json!({})).unwrap().around(app())
}

async fn pass(request: Request<Body>, next: Next) -> Result<Response<Body>, BoxError> {
    let mut response = next.run(request).await?;
    response.headers_mut().insert("x-seen", HeaderValue::from_static("yes"));
    Ok(response)
}

fn upload(path: &str, body: &'static str) -> Request<&'static str> {
    Request::post(path).body(body).unwrap()
}

#[test]
fn responses_pass_with_every_kind_of_body() {
    let middleware = around(pass);
    for (path, status, body) in [
        ("/", 200, &b"hello"[..]),
        ("/large", 200, &[7; 5000]),
        ("/stream", 200, b"one two three"),
        ("/no", 404, b""),
    ] {
        let answer = middleware.get(path);
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..], answer.header("x-seen")),
            (status, body, Some("yes"))
        );
    }
    assert_eq!(middleware.send(upload("/echo", "a body")).text(), "a body");
    assert_eq!(middleware.send(upload("/echo", "")).text(), "");
}

#[test]
fn bodies_can_be_read_and_replaced() {
    let middleware = around(|request, next| async move {
        let (parts, body) = request.into_parts();
        let read = body.collect().await?.to_bytes();
        let response = next.run(Request::from_parts(parts, Body::from(read.repeat(2)))).await?;
        let upper = response.into_body().collect().await?.to_bytes().to_ascii_uppercase();
        Ok(Response::new(Body::from(upper)))
    });
    assert_eq!(middleware.send(upload("/echo", "ab")).text(), "ABAB");
    // The host's body stays its own if it is wrapped and not read.
    let wrapped = around(|request, next| async move {
        next.run(request.map(|body| body.map_frame(|frame| frame.map_data(|data| data.slice(1..))))).await
    });
    assert_eq!(wrapped.send(upload("/echo", "xab")).text(), "ab");
}

#[test]
fn it_can_answer_itself_and_try_again() {
    let own = around(|_, _| async { Ok(Response::new(Body::from("own"))) });
    assert_eq!(own.send(upload("/echo", "unread")).text(), "own");
    let twice = around(|_, next| async move {
        let first = next.run(Request::get("/").body(Body::empty())?).await?;
        let second = next.run(Request::get("/stream").body(Body::empty())?).await?;
        let mut text = second.into_body().collect().await?.to_bytes().to_vec();
        text.extend(first.into_body().collect().await?.to_bytes());
        Ok(Response::new(Body::from(text)))
    });
    assert_eq!(twice.get("/").text(), "one two threehello");
    let elsewhere =
        around(|request, next| async move { tokio::spawn(async move { next.run(request).await }).await? });
    assert_eq!(elsewhere.get("/stream").text(), "one two three");
}

#[test]
fn facts_can_be_changed() {
    let facts = Facts::of_user("bob");
    let seen = around(pass).send_as(&facts, upload("/who", "")).text().to_owned();
    let expected = r#"(Some("bob"), None, [], Some(127.0.0.1), "localhost") (None, false, "", None) false"#;
    assert_eq!(seen, expected);
    let change = around(|mut request, next| async move {
        let environ = request.extensions_mut().get_mut::<Environ>().unwrap();
        environ.set_user(Some("ann"), "Token");
        environ.set_groups(["staff", "", "a,b", "ops"]);
        environ.set_client(Some([192, 0, 2, 7].into()));
        environ.set_host("other.example", Some(8443));
        environ.set_secure(true);
        environ.set_script_name("/inner");
        environ.set_request_id("id-7");
        next.run(request).await
    });
    let seen = change.send_as(&facts, upload("/who", "")).text().to_owned();
    let expected = r#"(Some("ann"), Some("Token"), ["staff", "ops"], Some(192.0.2.7), "other.example") (Some(8443), true, "/inner", Some("id-7")) false"#;
    assert_eq!(seen, expected);
    let nobody = around(|mut request, next| async move {
        request.extensions_mut().get_mut::<Environ>().unwrap().set_user(None, "Token");
        next.run(request).await
    });
    assert!(nobody.send_as(&facts, upload("/who", "")).text().starts_with("(None, None, []"));
}

#[test]
fn changes_in_the_session_come_before_the_next_part() {
    let middleware = around(|request, next| async move {
        request.extensions().get::<Session>().unwrap().insert("by", "middleware")?;
        next.run(request).await
    });
    let mut facts = Facts::default();
    facts.session = Some(json!({ "a": 1 }));
    let answer = middleware.send_as(&facts, upload("/echo", ""));
    assert_eq!(answer.session, Some(json!({ "set": { "by": "middleware" } })));
}

#[test]
fn failures_and_panics_become_errors() {
    let told = around(|request, next| async move {
        match next.run(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                let error = error.downcast::<NextError>()?;
                Ok(Response::new(Body::from(format!("{} {}", error.panicked, error.reason))))
            }
        }
    });
    assert_eq!(told.get("/panic").text(), "true panicked: a handler fell");
    let failed = around(pass).try_send(&Facts::default(), Request::get("/panic").body("").unwrap());
    assert_eq!(failed.unwrap_err(), "panicked: a handler fell");
    let falls = around(|_, _| async { if true { panic!("a middleware fell") } else { Err("".into()) } });
    let failed = falls.try_send(&Facts::default(), Request::get("/").body("").unwrap());
    assert_eq!(failed.unwrap_err(), "panicked: a middleware fell");
    // A request without a valid target does not leak what came with it.
    assert!(around(pass).try_send(&Facts::default(), Request::get("*").body("").unwrap()).is_ok());
}

#[test]
fn a_request_that_is_given_up_is_dropped_behind_it() {
    let middleware = around(|request, next| async move {
        let late = tokio::time::timeout(std::time::Duration::from_millis(1), next.run(request)).await;
        late.unwrap_or_else(|_| {
            let mut response = Response::new(Body::from("too late"));
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
            Ok(response)
        })
    });
    let answer = middleware.get("/wait");
    assert_eq!((answer.status.as_u16(), answer.text()), (504, "too late"));
    assert_eq!(DROPPED.load(Ordering::SeqCst), 1);
}

#[test]
fn any_tower_layer_is_a_middleware() {
    let create = |(): (), _: Host| async {
        Ok(Middleware::layer(
            tower::ServiceBuilder::new()
                .layer(tower::limit::ConcurrencyLimitLayer::new(1))
                .map_request(|mut request: Request<Body>| {
                    request.headers_mut().insert("x-own", HeaderValue::from_static("x"));
                    request
                })
                .map_response(|response: Response<Body>| {
                    response.map(|body| body.map_err(BoxError::from).boxed_unsync())
                }),
        ))
    };
    let middleware = TestMiddleware::create(create, json!({})).unwrap().around(app());
    for _ in 0..3 {
        assert_eq!(middleware.get("/stream").text(), "one two three");
    }
    // It wraps the next part once: an extension that a layer removes cannot be replaced.
    let create = |(): (), _: Host| async {
        Ok(Middleware::layer(tower::util::MapRequestLayer::new(|_: Request<Body>| {
            Request::new(Body::empty())
        })))
    };
    let lost = TestMiddleware::create(create, json!({})).unwrap().around(app());
    let failed = lost.try_send(&Facts::default(), Request::get("/").body("").unwrap());
    assert!(failed.unwrap_err().contains("lacks the extensions"));
}

#[test]
fn hooks_are_those_of_an_application() {
    let ended = Arc::new(AtomicUsize::new(0));
    let (retired, shut) = (ended.clone(), ended.clone());
    let create = |(): (), host: Host| async move {
        assert_eq!((host.app(), host.saved_state()), ("middleware.limits", Some(&b"before"[..])));
        Ok(Middleware::from_fn(move |request, next: Next| {
            host.counter("seen", 1);
            async move { next.run(request).await }
        })
        .health(|| async { Err::<(), BoxError>("not well".into()) })
        .save_state(|| b"after".to_vec())
        .on_retire(move || {
            retired.fetch_add(1, Ordering::SeqCst);
        })
        .on_shutdown(move || {
            shut.fetch_add(10, Ordering::SeqCst);
            async {}
        }))
    };
    let mut setup = Setup::default();
    setup.app = "middleware.limits".to_owned();
    setup.saved_state = Some(b"before".to_vec());
    let middleware = TestMiddleware::with(create, setup).unwrap();
    assert_eq!(middleware.get("/").body.len(), 0);
    assert_eq!((middleware.counter("seen"), middleware.save_state()), (1, Some(b"after".to_vec())));
    assert_eq!(middleware.health().unwrap_err().to_string(), "not well");
    middleware.retire();
    middleware.shutdown().unwrap();
    assert_eq!(ended.load(Ordering::SeqCst), 11);
}
