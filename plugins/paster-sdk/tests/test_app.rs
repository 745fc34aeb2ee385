//! `paster_sdk::test`, as a plugin's author uses it.
#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use axum::routing::get;
use axum::{Extension, Json, Router};
use http::Request;
use paster_sdk::test::{Facts, Setup, TestApp};
use paster_sdk::{App, BoxError, Environ, Host};
use serde_json::{Value, json};

async fn environ(Extension(environ): Extension<Environ>) -> Json<Value> {
    Json(json!({
        "host": environ.host(), "user": environ.user(), "request_id": environ.request_id(),
        "script_name": environ.script_name(), "secure": environ.secure(), "client": environ.client(),
    }))
}

async fn create((): (), host: Host) -> Result<App, BoxError> {
    let about = json!({
        "app": host.app(), "generation": host.generation(), "development": host.development(),
        "config": host.config(), "side": host.side_process("x").unwrap_err().to_string(),
    });
    let saved = host.saved_state().unwrap_or(b"nothing").to_vec();
    let retired = host.clone();
    let router = Router::new()
        .route("/environ", get(environ))
        .route("/about", get(move || async { Json(about) }))
        .route("/spawned", get(|| async { tokio::spawn(async { "done" }).await.unwrap() }))
        .route(
            "/falls",
            get(|| async {
                if true {
                    panic!("a handler fell")
                }
            }),
        );
    Ok(App::router(router)
        .health(|| async { Err::<(), _>("not yet") })
        .save_state(move || saved.clone())
        .on_retire(move || retired.counter("retired", 1))
        .task("add", "Adds", |arguments| async move {
            arguments.as_i64().map(|number| (number + 1).to_string()).ok_or("a number is missing")
        }))
}

#[test]
fn an_application_is_called_as_a_host_does() {
    let app = TestApp::create(create, json!({})).unwrap();
    let nobody: Value = app.get("/environ?x=1").json();
    assert_eq!(
        nobody,
        json!({
            "host": "localhost", "user": null, "request_id": null, "script_name": "", "secure": false,
            "client": "127.0.0.1",
        })
    );
    let mut facts = Facts::of_user("ann");
    facts.request_id = Some("id-1".into());
    facts.script_name = "/shop".into();
    facts.secure = true;
    let ann: Value = app.send_as(&facts, Request::get("/environ").body("").unwrap()).json();
    assert_eq!((&ann["user"], &ann["request_id"]), (&json!("ann"), &json!("id-1")));
    assert_eq!((&ann["script_name"], &ann["secure"]), (&json!("/shop"), &json!(true)));
    assert_eq!(app.get("/spawned").text(), "done");
    let fallen = app.try_send(&Facts::default(), Request::get("/falls").body("").unwrap()).unwrap_err();
    assert_eq!(fallen, "panicked: a handler fell");
}

#[test]
fn an_application_lives_as_in_a_host() {
    let mut setup = Setup::default();
    setup.app = "shop".into();
    setup.generation = 3;
    setup.config = json!({ "server": {} });
    setup.saved_state = Some(b"from before".to_vec());
    let app = TestApp::with(create, setup).unwrap();
    assert_eq!(
        app.get("/about").json::<Value>(),
        json!({
            "app": "shop", "generation": 3, "development": true, "config": { "server": {} },
            "side": "the side process `x` needs a supervisor, and a test has none",
        })
    );
    assert_eq!(app.health().unwrap_err().to_string(), "not yet");
    assert_eq!(app.save_state().unwrap(), b"from before");
    assert_eq!(app.run_task("add", json!(1)).unwrap(), "2");
    assert_eq!(app.run_task("add", json!(null)).unwrap_err().to_string(), "a number is missing");
    assert_eq!(app.run_task("sub", json!(1)).unwrap_err().to_string(), "there is no task `sub`");
    assert_eq!(app.counter("retired"), 0);
    app.retire();
    app.shutdown().unwrap();
    assert_eq!(app.counter("retired"), 1);
    assert!(TestApp::create(create, json!({ "unknown": 1 })).is_err());
}
