//! Limits: `grant_ip`, `rate_limit`, `concurrency_limit`, `circuit_breaker`, `ban`.

use http::Request;
use insta::assert_snapshot;
use paster::body::{App, Body};

use super::{from, hello, send, wrap};
use crate::local::{Local, environ, faults, shown};

#[test]
fn clients_pass_by_their_address() {
    let tables = "[middleware.g]\nuse = \"grant_ip\"\nallow = [\"10.0.0.0/8\", \"loopback\"]\ndeny = [\"10.66.0.0/16\"]\n\
                  users = { \"10.1.0.0/16\" = \"warehouse\" }\n\
                  [middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\nallow = [\"0.0.0.0/0\"]\n";
    let local = Local::new(&hello("[\"g\", \"show\"]", tables), &[]);
    let status = |address: &str| send(&local, Request::get("/"), "", from(address)).status().as_u16();
    for (address, expected) in [("10.1.2.3", 200), ("127.0.0.1", 200), ("10.66.1.1", 403), ("192.0.2.7", 403)]
    {
        assert_eq!(status(address), expected, "{address}");
    }
    // A proxy that is not trusted relays for an unknown client.
    let relayed = send(&local, Request::get("/"), "", |environ| environ.relayed = true);
    assert_eq!(relayed.status().as_u16(), 403);
    let text = send(&local, Request::get("/debug"), "", from("10.1.2.3"));
    let text = String::from_utf8(text.body().to_vec()).unwrap();
    assert!(text.contains("REMOTE_USER=warehouse\n") && text.contains("AUTH_TYPE=IP\n"), "{text}");
    let text = send(&local, Request::get("/debug"), "", from("10.2.2.3"));
    assert!(!String::from_utf8(text.body().to_vec()).unwrap().contains("REMOTE_USER"));
    assert_snapshot!(faults(&hello("\"grant_ip\"", "")), @"`grant_ip` without `allow`, `deny` and `users` has no effect (add `allow = [\"10.0.0.0/8\"]`)");
    let wrong = "[middleware.g]\nuse = \"grant_ip\"\nusers = { here = \"ann\" }\n";
    assert_snapshot!(faults(&hello("[\"g\"]", wrong)), @"`here` is not an address or a network (write an address, a network such as `10.0.0.0/8`, `loopback` or `unix`)");
}

#[test]
fn a_client_that_sends_too_many_requests_must_wait() {
    let tables =
        "[middleware.l]\nuse = \"rate_limit\"\nrequests = 3\nper_secs = 3600\nexempt = [\"10.0.0.1\"]\n";
    let local = Local::new(&hello("[\"l\"]", tables), &[]);
    let call = |address: &str| send(&local, Request::get("/"), "", from(address));
    let names = ["ratelimit-policy", "ratelimit"];
    assert_eq!(
        shown(&call("192.0.2.1"), &names),
        "200 \"default\";q=3;w=3600 \"default\";r=2;t=1200 | hello"
    );
    assert_eq!(
        shown(&call("192.0.2.1"), &names),
        "200 \"default\";q=3;w=3600 \"default\";r=1;t=2400 | hello"
    );
    assert_eq!(call("192.0.2.1").status(), 200);
    let refused = call("192.0.2.1");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1000..=1200).contains(&wait), "{wait}");
    assert_eq!(
        shown(&refused, &["ratelimit"]),
        "429 \"default\";r=0;t=3600 | Too many requests. Try again later.\n"
    );
    assert_eq!(call("192.0.2.2").status(), 200, "another client");
    for _ in 0..5 {
        assert_eq!(shown(&call("10.0.0.1"), &["ratelimit"]), "200 - | hello");
    }
    // A client has a network of IPv6.
    for (address, expected) in
        [("2001:db8::1", 200), ("2001:db8::2", 200), ("2001:db8::3", 200), ("2001:db8::4", 429)]
    {
        assert_eq!(call(address).status().as_u16(), expected, "{address}");
    }
}

#[test]
fn requests_are_counted_by_a_field_or_together_and_the_memory_is_bounded() {
    let limited = |options: &str| {
        let tables = format!(
            "[middleware.l]\nuse = \"rate_limit\"\nrequests = 1\nper_secs = 3600\nheaders = false\n{options}\n"
        );
        Local::new(&hello("[\"l\"]", &tables), &[])
    };
    let status = |local: &Local, address: &str, token: &str| {
        send(local, Request::get("/").header("x-token", token), "", from(address)).status().as_u16()
    };
    let local = limited("key = \"header:x-token\"");
    assert_eq!(
        [
            status(&local, "192.0.2.1", "a"),
            status(&local, "192.0.2.2", "a"),
            status(&local, "192.0.2.1", "b")
        ],
        [200, 429, 200]
    );
    let local = limited("key = \"all\"\nburst = 2");
    assert_eq!(
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| status(&local, address, "a")),
        [200, 200, 429]
    );
    let local = limited("key = \"user\"");
    assert_eq!(
        [
            status(&local, "192.0.2.1", "a"),
            status(&local, "192.0.2.2", "a"),
            status(&local, "192.0.2.1", "b")
        ],
        [200, 200, 429]
    );
    // While there are more clients, the others share a limit.
    let local = limited("max_keys = 1");
    let statuses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| status(&local, address, "a"));
    assert_eq!(statuses, [200, 200, 429]);
    let wrong = "[middleware.l]\nuse = \"rate_limit\"\nkey = \"cookie\"\n";
    assert_snapshot!(faults(&hello("[\"l\"]", wrong)), @"`cookie` is not a property of requests (write `client`, `user`, `all` or `header:NAME`)");
}

/// A request from an address.
fn request(address: &str) -> Request<Body> {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    let mut environ = environ("localhost");
    environ.client = Some(address.parse().unwrap());
    request.extensions_mut().insert(environ);
    request
}

/// An app whose responses wait until the test lets them go.
fn gated() -> (App, std::sync::Arc<tokio::sync::Semaphore>) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let held = gate.clone();
    let app = App::from_fn(move |_| {
        let held = held.clone();
        async move {
            held.acquire_owned().await.unwrap().forget();
            http::Response::new(Body::from("done"))
        }
    });
    (app, gate)
}

/// Calls the app in a task, and lets it run until it waits.
async fn start(app: &App, address: &str) -> tokio::task::JoinHandle<(u16, Body)> {
    let (app, request) = (app.clone(), request(address));
    let task = tokio::spawn(async move {
        let response = app.handle(request).await.unwrap();
        (response.status().as_u16(), response.into_body())
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn requests_at_once_are_limited_and_wait_in_a_queue() {
    let (app, gate) = gated();
    let app = wrap("max_in_flight = 1\nqueue = 1\nqueue_secs = 1\n", "concurrency_limit", app);
    let first = start(&app, "192.0.2.1").await;
    let second = start(&app, "192.0.2.1").await;
    let third = start(&app, "192.0.2.1").await;
    assert_eq!(third.await.unwrap().0, 503, "the queue is full");
    gate.add_permits(1);
    let (status, body) = first.await.unwrap();
    assert_eq!((status, second.is_finished()), (200, false), "the first response is not sent yet");
    drop(body);
    gate.add_permits(1);
    let (status, held) = second.await.unwrap();
    assert_eq!(status, 200);
    // It waits for the whole time of the queue.
    let late = start(&app, "192.0.2.1").await;
    assert_eq!(late.await.unwrap().0, 503);
    drop(held);
    gate.add_permits(1);
    assert_eq!(start(&app, "192.0.2.1").await.await.unwrap().0, 200);
}

#[tokio::test]
async fn one_client_does_not_take_the_places_of_others() {
    let (app, gate) = gated();
    let app = wrap("max_in_flight = 1\nkey = \"client\"\n", "concurrency_limit", app);
    let first = start(&app, "192.0.2.1").await;
    assert_eq!(start(&app, "192.0.2.1").await.await.unwrap().0, 503);
    let other = start(&app, "192.0.2.2").await;
    gate.add_permits(2);
    assert_eq!((first.await.unwrap().0, other.await.unwrap().0), (200, 200));
}

#[tokio::test]
async fn a_failing_app_is_left_alone_for_a_while() {
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};
    static STATUS: AtomicU16 = AtomicU16::new(500);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let app = App::from_fn(|_| async {
        CALLS.fetch_add(1, SeqCst);
        http::Response::builder().status(STATUS.load(SeqCst)).body(Body::empty()).unwrap()
    });
    let options = "failure_percent = 60\nmin_requests = 5\nwindow_secs = 60\nopen_secs = 1\nstatuses = [500]\nslow_millis = 60000\n";
    let app = wrap(options, "circuit_breaker", app);
    let call = async || {
        let response = app.handle(request("192.0.2.1")).await.unwrap();
        (response.status().as_u16(), response.headers().contains_key("retry-after"))
    };
    for _ in 0..5 {
        assert_eq!(call().await, (500, false));
    }
    assert_eq!(call().await, (503, true));
    assert_eq!(CALLS.load(SeqCst), 5, "the app was not asked");
    // Until the app is tried again: it still fails, then it works.
    let end = std::time::Instant::now() + crate::support::patience();
    while CALLS.load(SeqCst) == 5 {
        assert!(std::time::Instant::now() < end);
        call().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((call().await, CALLS.load(SeqCst)), ((503, true), 6), "one request tried it");
    STATUS.store(200, SeqCst);
    while call().await.0 != 200 {
        assert!(std::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(call().await, (200, false));
    assert_snapshot!(faults(&hello("[\"c\"]", "[middleware.c]\nuse = \"circuit_breaker\"\nstatuses = [200]\nfailure_percent = 0\n")), @"`failure_percent` must be at least 1, not `0` ()");
}

#[test]
fn clients_that_cause_errors_are_banned() {
    let tables = "[middleware.b]\nuse = \"ban\"\nafter = 3\nwithin_secs = 600\nban_secs = 600\nstatuses = [404]\n\
                  exempt = [\"10.0.0.1\"]\nmax_clients = 10\n[app.empty]\nuse = \"respond\"\nstatus = 404\n";
    let config = hello("[\"b\"]", tables)
        .replace("use = \"respond\"\nbody = \"hello\"", "use = \"mount\"\nroutes = { \"/a\" = \"empty\" }");
    let local = Local::new(&config, &[]);
    let status = |address: &str| send(&local, Request::get("/x"), "", from(address)).status().as_u16();
    assert_eq!([(); 4].map(|()| status("192.0.2.1")), [404, 404, 404, 403]);
    let refused = send(&local, Request::get("/x"), "", from("192.0.2.1"));
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(status("192.0.2.2"), 404);
    assert_eq!([(); 4].map(|()| status("10.0.0.1")), [404; 4]);
}

#[test]
fn bans_in_a_store_survive_a_restart_and_hold_everywhere() {
    let tables = "[middleware.b]\nuse = \"ban\"\nafter = 3\nstatuses = [404]\nstore = \"db\"\n\
                  [resource.db]\nuse = \"files\"\nfolder = \"bans\"\n[app.empty]\nuse = \"respond\"\nstatus = 404\n";
    let config = hello("[\"b\"]", tables)
        .replace("use = \"respond\"\nbody = \"hello\"", "use = \"mount\"\nroutes = { \"/a\" = \"empty\" }");
    let one = Local::new(&config, &[]);
    let bans = one.folder.path().join("bans");
    let two = Local::new(&config.replace("\"bans\"", &format!("{bans:?}")), &[]);
    let status =
        |local: &Local, address: &str| send(local, Request::get("/x"), "", from(address)).status().as_u16();
    assert_eq!([&one, &two, &one, &two].map(|local| status(local, "192.0.2.1")), [404, 404, 404, 403]);
    assert_eq!(status(&one, "192.0.2.1"), 403);
    assert_eq!(status(&one, "192.0.2.2"), 404);
}

#[test]
fn a_limit_needs_a_store_that_counts() {
    let app = "[app.main]\nuse = \"respond\"\nbody = \"\"\n";
    let limit = format!(
        "{app}middleware = [\"l\"]\n[middleware.l]\nuse = \"rate_limit\"\nstore = \"db\"\n[resource.db]\nuse = \"memory\"\n"
    );
    assert_snapshot!(faults(&limit), @r#"the resource `db` cannot count requests (set one with `use = "redis"`)"#);
}
