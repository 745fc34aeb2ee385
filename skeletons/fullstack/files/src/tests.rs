//! Tests of the application, without a server.

use axum::http::Request;
use paster_sdk::test::{Answer, Facts, TestApp};
use serde_json::{Value, json};

use super::create;

/// An application with its own database.
struct Fixture {
    app: TestApp,
    _folder: tempfile::TempDir,
}

/// A visitor with a session, as from the middleware `session`.
#[derive(Default)]
struct Visitor(serde_json::Map<String, Value>);

fn fixture(sign_up: bool) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("data/app.db");
    let settings = json!({ "title": "Tom & Co", "database": database, "sign_up": sign_up });
    Fixture { app: TestApp::create(create, settings).unwrap(), _folder: folder }
}

impl Visitor {
    fn send(&mut self, fixture: &Fixture, method: &str, path: &str, body: Value) -> Answer {
        let mut facts = Facts::default();
        facts.session = Some(Value::Object(self.0.clone()));
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let answer = fixture.app.send_as(&facts, request.body(body.to_string()).unwrap());
        if let Some(changes) = &answer.session {
            if changes["end"] == true {
                self.0.clear();
            }
            self.0.extend(changes["set"].as_object().cloned().unwrap_or_default());
        }
        answer
    }

    fn post(&mut self, fixture: &Fixture, path: &str, body: Value) -> Answer {
        self.send(fixture, "POST", path, body)
    }

    fn notes(&mut self, fixture: &Fixture) -> Vec<String> {
        let notes: Vec<Value> = self.send(fixture, "GET", "/api/notes", Value::Null).json();
        notes.iter().map(|note| note["text"].as_str().unwrap().to_owned()).collect()
    }
}

fn ann() -> Value {
    json!({ "name": "Ann <3", "password": "correct horse" })
}

#[test]
fn an_account_is_made_and_logged_in() {
    let fixture = fixture(true);
    let mut visitor = Visitor::default();
    let made = visitor.post(&fixture, "/api/sign-up", ann());
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.session.unwrap()["renew"], true, "the session gets a new id");
    let page = visitor.send(&fixture, "GET", "/", Value::Null);
    assert!(page.text().contains("data-account=\"Ann &lt;3\"") && page.text().contains("<h1>Tom &amp; Co</h1>"));

    assert_eq!(visitor.post(&fixture, "/api/log-out", json!({})).status, 204);
    assert_eq!(visitor.send(&fixture, "GET", "/api/notes", Value::Null).status, 401);
    let wrong = json!({ "name": "ann <3", "password": "correct house" });
    assert_eq!(visitor.post(&fixture, "/api/log-in", wrong).status, 401);
    let nobody = json!({ "name": "bob", "password": "correct horse" });
    assert_eq!(visitor.post(&fixture, "/api/log-in", nobody).status, 401);
    assert_eq!(visitor.send(&fixture, "GET", "/api/notes", Value::Null).status, 401);
    assert_eq!(visitor.post(&fixture, "/api/log-in", ann()).status, 200);
    assert_eq!(visitor.notes(&fixture), Vec::<String>::new());
}

#[test]
fn the_page_tells_if_the_front_end_is_missing() {
    let fixture = fixture(true);
    let page = Visitor::default().send(&fixture, "GET", "/", Value::Null);
    assert_eq!(page.text().contains("The front end is not built"), crate::page::SCRIPT.is_empty());
    assert_eq!(fixture.app.get("/assets/app.js").text(), crate::page::SCRIPT);
    assert_eq!(fixture.app.get("/assets/other.js").status, 404);
}

#[test]
fn names_are_unique_and_passwords_long() {
    let fixture = fixture(true);
    let mut visitor = Visitor::default();
    assert_eq!(visitor.post(&fixture, "/api/sign-up", ann()).status, 201);
    let again = visitor.post(&fixture, "/api/sign-up", json!({ "name": "ANN <3", "password": "correct horse" }));
    assert_eq!((again.status.as_u16(), again.json::<Value>()["error"].as_str()), (409, Some("This name is taken.")));
    for (name, password) in [("", "correct horse"), ("bob", "short"), ("a\nb", "correct horse")] {
        let refused = visitor.post(&fixture, "/api/sign-up", json!({ "name": name, "password": password }));
        assert_eq!(refused.status, 422, "{name:?} {password:?}");
    }
    // A form of another site cannot send this media type.
    let form = Request::post("/api/sign-up").header("content-type", "text/plain").body(ann().to_string()).unwrap();
    let mut facts = Facts::default();
    facts.session = Some(json!({}));
    assert_eq!(fixture.app.send_as(&facts, form).status, 415);
}

#[test]
fn without_sign_up_there_are_no_new_accounts() {
    let fixture = fixture(false);
    assert_eq!(Visitor::default().post(&fixture, "/api/sign-up", ann()).status, 403);
}

#[test]
fn notes_belong_to_their_account() {
    let fixture = fixture(true);
    let (mut ann, mut bob) = (Visitor::default(), Visitor::default());
    for (visitor, name) in [(&mut ann, "Ann"), (&mut bob, "Bob")] {
        let account = json!({ "name": name, "password": "correct horse" });
        assert_eq!(visitor.post(&fixture, "/api/sign-up", account).status, 201);
    }
    for text in ["one", "  two\n", "three"] {
        assert_eq!(ann.post(&fixture, "/api/notes", json!({ "text": text })).status, 201);
    }
    assert_eq!(ann.post(&fixture, "/api/notes", json!({ "text": " " })).status, 422);
    assert_eq!((ann.notes(&fixture), bob.notes(&fixture)), (vec!["three".into(), "two".into(), "one".into()], vec![]));

    let change = json!({ "text": "changed" });
    assert_eq!(bob.send(&fixture, "PUT", "/api/notes/1", change.clone()).status, 404);
    assert_eq!(bob.send(&fixture, "DELETE", "/api/notes/1", Value::Null).status, 404);
    assert_eq!(ann.send(&fixture, "PUT", "/api/notes/1", change).status, 200);
    assert_eq!(ann.send(&fixture, "DELETE", "/api/notes/2", Value::Null).status, 204);
    assert_eq!(ann.notes(&fixture), ["three", "changed"]);
}

#[test]
fn a_second_worker_finds_the_schema_up_to_date() {
    let fixture = fixture(true);
    let mut ann = Visitor::default();
    assert_eq!(ann.post(&fixture, "/api/sign-up", self::ann()).status, 201);
    ann.post(&fixture, "/api/notes", json!({ "text": "kept" }));
    let settings = json!({ "title": "x", "database": fixture._folder.path().join("data/app.db") });
    let app = TestApp::create(create, settings).unwrap();
    app.health().unwrap();
    let second = Fixture { app, _folder: tempfile::tempdir().unwrap() };
    assert_eq!(ann.notes(&second), ["kept"]);
}
