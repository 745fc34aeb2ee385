//! The middleware `session` with every store, around an application in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use insta::assert_snapshot;
use paster::body::{App, Body};
use paster::context::Context;
use paster::middleware::{MIDDLEWARE, MiddlewareBuilder};
use paster::session::Session;
use paster::store::{Store, Stores};
use sha2::{Digest, Sha256};
use tokio::sync::{Barrier, Notify};

use super::servers::Database;
use super::store;
use crate::local::{environ, faults, load};
use crate::support::{folder, patience};

const KEY: &str = "an old key of more than 32 characters";
const NEW: &str = "a newer key of more than 32 characters";

/// Changes the session as a query asks: `set=KEY:VALUE`, `remove=KEY`, `renew`, `end`.
fn change(session: &Session, query: &str) {
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("set", pair)) => {
                let (key, value) = pair.split_once(':').unwrap();
                session.set(key, value.into());
            }
            Some(("remove", key)) => session.remove(key),
            _ if part == "renew" => session.renew(),
            _ if part == "end" => session.end(),
            _ => {}
        }
    }
}

/// Where requests wait.
struct Gate {
    /// Two requests to `/together` wait for each other.
    together: Barrier,
    /// A request to `/slow` has come,
    entered: Notify,
    /// and goes on.
    release: Notify,
}

impl Gate {
    fn new() -> Arc<Gate> {
        Arc::new(Gate { together: Barrier::new(2), entered: Notify::new(), release: Notify::new() })
    }
}

/// An app that changes the session and answers with it.
fn app() -> App {
    gated(Gate::new())
}

fn gated(gate: Arc<Gate>) -> App {
    App::from_fn(move |request| {
        let gate = gate.clone();
        async move {
            let session = request.extensions().get::<Session>().unwrap().clone();
            change(&session, request.uri().query().unwrap_or(""));
            match request.uri().path() {
                "/together" => {
                    gate.together.wait().await;
                }
                "/slow" => {
                    gate.entered.notify_one();
                    gate.release.notified().await;
                }
                _ => {}
            }
            http::Response::new(Body::from(session.to_json()))
        }
    })
}

/// `app` behind a `session` with these options and the store `db`.
fn wrapped(options: &str, db: Option<Arc<dyn Store>>, app: App) -> App {
    let entry = MIDDLEWARE.iter().find(|entry| entry.name == "session").unwrap();
    let keys = if options.contains("keys") { String::new() } else { format!("keys = \"{KEY}\"\n") };
    let place = folder(&[("server.toml", &format!("[middleware.s]\nuse = \"session\"\n{keys}{options}\n"))]);
    let table = load(place.path()).unwrap().table("middleware", "s").unwrap();
    let mut stores = Stores::default();
    stores.add("db", db);
    let context = &Context { stores, ..Context::alone(false) };
    let mut builder = MiddlewareBuilder {
        context,
        app: "main",
        resolve: &mut |name, _| panic!("no app `{name}`"),
        instances: &std::cell::RefCell::default(),
    };
    entry.kind.build(&table, &mut builder, app).unwrap()
}

/// A visitor, who keeps the cookie.
#[derive(Clone, Default)]
struct Visitor {
    secure: bool,
    cookie: Option<String>,
    /// The last `Set-Cookie`.
    field: String,
}

impl Visitor {
    /// Calls the app: `200 {}`.
    async fn get(&mut self, app: &App, target: &str) -> String {
        let mut request = Request::get(target);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("other=1; {cookie}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        let mut environ = environ("localhost");
        environ.secure = self.secure;
        request.extensions_mut().insert(environ);
        let response = match app.handle(request).await {
            Ok(response) => response,
            Err(error) => return error.to_string(),
        };
        self.field = String::new();
        if let Some(field) = response.headers().get("set-cookie") {
            self.field = field.to_str().unwrap().to_owned();
            let (pair, attributes) = self.field.split_once(';').unwrap();
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| pair.to_owned());
            assert_eq!(response.headers()["cache-control"], "private");
        }
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        format!("{status} {}", String::from_utf8_lossy(&body))
    }
}

/// What every session must do.
async fn check_sessions(db: Arc<dyn Store>, kind: &str) {
    let gate = Gate::new();
    let app = wrapped("store = \"db\"", Some(db.clone()), gated(gate.clone()));
    let mut ann = Visitor::default();
    assert_eq!(ann.get(&app, "/").await, "200 {}");
    assert_eq!(ann.cookie, None, "{kind}: nobody gets a cookie without a value");
    assert_eq!(ann.get(&app, "/?set=a:1").await, "200 {\"a\":\"1\"}");
    let first = ann.cookie.clone().unwrap();
    assert_eq!(ann.get(&app, "/").await, "200 {\"a\":\"1\"}");
    assert_eq!(ann.field, "", "{kind}: the cookie is set once");
    // Another worker, and another visitor.
    let other = wrapped("store = \"db\"", Some(db.clone()), self::app());
    assert_eq!(ann.get(&other, "/?set=b:2&remove=a").await, "200 {\"b\":\"2\"}");
    assert_eq!(Visitor::default().get(&other, "/").await, "200 {}");
    // Concurrent changes of different keys are both kept.
    let (mut one, mut two) = (ann.clone(), ann.clone());
    let together = tokio::join!(one.get(&app, "/together?set=c:3"), two.get(&app, "/together?set=d:4"));
    assert_eq!(
        together,
        ("200 {\"b\":\"2\",\"c\":\"3\"}".to_owned(), "200 {\"b\":\"2\",\"d\":\"4\"}".to_owned())
    );
    let all = ann.get(&app, "/").await;
    assert!(
        ["\"b\":\"2\"", "\"c\":\"3\"", "\"d\":\"4\""].iter().all(|pair| all.contains(pair)),
        "{kind}: {all}"
    );
    // At a login, the id changes, and the old one is nobody's.
    let mut thief = ann.clone();
    assert!(ann.get(&app, "/?renew&set=user:ann").await.contains("\"user\":\"ann\""));
    assert_ne!(ann.cookie.clone().unwrap(), first);
    assert_eq!(thief.get(&app, "/").await, "200 {}", "{kind}: the old id is not valid");
    assert_eq!(thief.cookie, None, "the browser forgets it");
    assert!(ann.get(&other, "/").await.contains("\"b\":\"2\""), "{kind}: the values are kept");
    // A request that was under way at the login does not write into the new session.
    let (mut slow, mut login) = (ann.clone(), ann.clone());
    let log_in = async {
        gate.entered.notified().await;
        login.get(&app, "/?renew").await;
        gate.release.notify_one();
    };
    let (refused, ()) = tokio::join!(slow.get(&app, "/slow?set=evil:1"), log_in);
    assert!(refused.starts_with("409 "), "{kind}: {refused}");
    assert!(!login.get(&app, "/").await.contains("evil"));
    // The end.
    let mut before = login.clone();
    assert_eq!(login.get(&app, "/?end").await, "200 {}");
    assert!(login.field.contains("Max-Age=0"), "{}", login.field);
    assert_eq!(before.get(&app, "/").await, "200 {}");
    let mut anew = login.clone();
    anew.get(&app, "/?set=a:1").await;
    assert_eq!(anew.get(&app, "/?end&set=z:26").await, "200 {\"z\":\"26\"}");
    assert_eq!(anew.get(&app, "/").await, "200 {\"z\":\"26\"}");
    // Ids that nobody was given.
    for cookie in ["session=", "session=x", "session=x.y", &first.replace('.', "x."), &format!("{first}x")] {
        let mut eve = Visitor { cookie: Some(cookie.to_owned()), ..Visitor::default() };
        assert_eq!(eve.get(&app, "/?set=a:1").await, "200 {\"a\":\"1\"}");
        assert_ne!(eve.cookie.as_deref(), Some(cookie), "{kind}: an id is never taken over");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_in_every_store() {
    let place = folder(&[]);
    for (kind, options) in [
        ("memory", ""),
        ("files", "folder = \"values\""),
        ("sqlite", "file = \"values.db\"\ntimeout_secs = 30"),
    ] {
        check_sessions(store(place.path(), kind, options), kind).await;
    }
    for database in [Database::redis(), Database::postgres()].into_iter().flatten() {
        let options = format!("{}timeout_secs = 30\n", database.table);
        check_sessions(store(place.path(), database.kind, &options), database.kind).await;
    }
}

#[tokio::test]
async fn sessions_end_by_idle_time_and_by_age() {
    let place = folder(&[]);
    let db = store(place.path(), "memory", "");
    let app = wrapped("store = \"db\"\nidle_secs = 1\npersistent = true", Some(db.clone()), app());
    let mut ann = Visitor::default();
    ann.get(&app, "/?set=a:1").await;
    assert!(ann.field.contains("; Max-Age=1"), "{}", ann.field);
    // Requests keep it alive for longer than its idle time, and the cookie too.
    let begun = Instant::now();
    let mut renewed = 0;
    while begun.elapsed() < Duration::from_millis(1500) {
        assert_eq!(ann.get(&app, "/").await, "200 {\"a\":\"1\"}");
        renewed += usize::from(ann.field.contains("; Max-Age=1"));
        tokio::time::sleep(Duration::from_millis(20)).await; // a visitor who reads
    }
    assert!((1..=20).contains(&renewed), "{renewed}");
    // Without requests it ends.
    let id = ann.cookie.clone().unwrap().trim_start_matches("session=").split('.').next().unwrap().to_owned();
    let digest: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = Instant::now() + patience();
    while db.load(&format!("session/{digest}")).await.unwrap().is_some() {
        assert!(Instant::now() < end, "it does not end");
        tokio::task::yield_now().await;
    }
    assert_eq!(ann.get(&app, "/").await, "200 {}");
    // Its age ends it however often it is used.
    let app = wrapped("store = \"db\"\nmax_age_secs = 1", Some(db), self::app());
    ann.get(&app, "/?set=a:1").await;
    let end = Instant::now() + patience();
    while ann.get(&app, "/").await != "200 {}" {
        assert!(Instant::now() < end, "it does not end");
    }
}

#[tokio::test]
async fn sessions_in_cookies_are_encrypted() {
    let app = wrapped("store = \"cookie\"\ncookie = \"data\"", None, app());
    let mut ann = Visitor::default();
    assert_eq!(ann.get(&app, "/").await, "200 {}");
    assert_eq!(ann.cookie, None);
    ann.get(&app, "/?set=word:secret").await;
    let cookie = ann.cookie.clone().unwrap();
    assert!(cookie.starts_with("data=") && !cookie.contains("secret"), "{cookie}");
    assert_eq!(ann.get(&app, "/").await, "200 {\"word\":\"secret\"}");
    assert_eq!(ann.field, "");
    let mut eve = Visitor { cookie: Some(cookie.replace("data=", "data=A")), ..Visitor::default() };
    assert_eq!(eve.get(&app, "/").await, "200 {}");
    // A new key, beside the old one and without it.
    let both = wrapped(
        &format!("store = \"cookie\"\ncookie = \"data\"\nkeys = [\"{NEW}\", \"{KEY}\"]"),
        None,
        self::app(),
    );
    assert_eq!(ann.get(&both, "/?set=a:1").await, "200 {\"word\":\"secret\",\"a\":\"1\"}");
    let new = wrapped(&format!("store = \"cookie\"\ncookie = \"data\"\nkeys = \"{NEW}\""), None, self::app());
    assert_eq!(ann.get(&new, "/").await, "200 {\"word\":\"secret\",\"a\":\"1\"}");
    ann.cookie = Some(cookie);
    assert_eq!(ann.get(&new, "/").await, "200 {}");
    // A browser would drop a longer cookie.
    let long = format!("/?set=a:{}", "x".repeat(2900));
    assert_snapshot!(ann.get(&app, &long).await, @"the session would be longer than 2900 bytes (`max_bytes`)");
    ann.get(&app, "/?set=a:1").await;
    ann.get(&app, "/?end").await;
    assert!(ann.field.contains("Max-Age=0"));
    let app = wrapped("store = \"cookie\"\nmax_age_secs = 1", None, self::app());
    ann.get(&app, "/?set=a:1").await;
    let end = Instant::now() + patience();
    while ann.get(&app, "/").await != "200 {}" {
        assert!(Instant::now() < end, "it does not end");
    }
}

#[tokio::test]
async fn the_cookie_is_as_strict_as_the_connection_allows() {
    let place = folder(&[]);
    let db = || Some(store(place.path(), "memory", ""));
    let field = async |options: &str, secure: bool| {
        let app = wrapped(&format!("store = \"db\"\n{options}"), db(), app());
        let mut visitor = Visitor { secure, ..Visitor::default() };
        visitor.get(&app, "/?set=a:1").await;
        assert_eq!(visitor.get(&app, "/").await, "200 {\"a\":\"1\"}");
        // A cookie of a plain connection is not one of TLS.
        visitor.secure = !secure;
        assert_eq!(visitor.get(&app, "/").await, "200 {}");
        let mut again = Visitor { secure, ..Visitor::default() };
        again.get(&app, "/?set=a:1").await;
        let (pair, attributes) = again.field.split_once(';').unwrap();
        format!("{}{attributes}", pair.split('=').next().unwrap())
    };
    assert_eq!(field("", false).await, "session Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(field("", true).await, "__Host-session Path=/; HttpOnly; SameSite=Lax; Secure");
    assert_eq!(
        field("same_site = \"strict\"\ncookie = \"s\"", true).await,
        "__Host-s Path=/; HttpOnly; SameSite=Strict; Secure"
    );
    let app = wrapped("store = \"db\"\nmax_bytes = 60", db(), app());
    let mut ann = Visitor::default();
    let said = ann.get(&app, &format!("/?set=a:{}", "x".repeat(60))).await;
    assert_eq!(said, "the session would be longer than 60 bytes (`max_bytes`)");
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503() {
    let place = folder(&[]);
    let table = "url = \"redis+unix:///nowhere/redis.sock\"";
    let app = wrapped("store = \"db\"", Some(store(place.path(), "redis", table)), app());
    let mut ann = Visitor::default();
    assert_eq!(ann.get(&app, "/").await, "200 {}", "a visitor without a session needs no store");
    let said = ann.get(&app, "/?set=a:1").await;
    assert_eq!(said, "503 Sessions are not available at the moment. Try again.\n");
    assert_eq!(ann.cookie, None);
}

#[test]
fn wrong_options_of_sessions() {
    let app = "[app.main]\nuse = \"respond\"\nbody = \"\"\nmiddleware = [\"s\"]\n[middleware.s]\nuse = \"session\"\n";
    assert_snapshot!(faults(&format!("{app}keys = [\"short\"]\n")), @r#"the key is shorter than 32 characters (write a random one with `openssl rand -hex 32`, and keep it in a file: `keys = "${file:session.key}"`)"#);
    assert_snapshot!(faults(&format!("{app}keys = \"{KEY}\"\ncookie = \"a b\"\n")), @"`a b` cannot be the name of a cookie (use letters, digits, `-` and `_`)");
    let app = "[app.main]\nuse = \"respond\"\nbody = \"\"\n";
    let session = format!(
        "{app}middleware = [\"s\"]\n[middleware.s]\nuse = \"session\"\nkeys = \"{}\"\n",
        "k".repeat(32)
    );
    assert_snapshot!(faults(&format!("{session}store = \"database\"\n")), @"unknown resource `database` (add a table `[resource.database]`)");
    assert_snapshot!(faults(&format!("{session}store = \"bd\"\n[resource.db]\nuse = \"memory\"\n[resource.logs]\nuse = \"files\"\nfolder = \"l\"\n")), @"unknown resource `bd` (did you mean `db`?)");
    assert_snapshot!(faults(&format!("{session}store = \"sessions\"\n[resource.db]\nuse = \"memory\"\n[resource.logs]\nuse = \"files\"\nfolder = \"l\"\n")), @"unknown resource `sessions` (the config has the resources `db`, `logs`)");
}
