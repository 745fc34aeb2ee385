//! A board of notes: routes, settings, and state that survives a reload.

mod page;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Extension, Form, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use paster_sdk::{App, BoxError, Environ, Host};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The table `[app.NAME.settings]` of `server.toml`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Title of the page.
    title: String,
    /// How many notes to keep.
    #[serde(default = "fifty")]
    keep: usize,
}

fn fifty() -> usize {
    50
}

/// One note.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
struct Note {
    text: String,
}

/// What every handler can access. Cheap to clone: each request gets its own copy.
#[derive(Clone)]
struct Board {
    settings: Arc<Settings>,
    notes: Arc<Mutex<VecDeque<Note>>>,
}

paster_sdk::plugin! {
    settings: Settings,
    create: create,
}

/// Creates the application: once at the start, and again for each new generation of the code.
async fn create(settings: Settings, host: Host) -> Result<App, BoxError> {
    let board = Board::new(settings, host.saved_state());
    let saved = board.clone();
    tracing::info!(generation = host.generation(), notes = board.notes().len(), "ready");
    Ok(App::router(router(board)).save_state(move || saved.save()))
}

fn router(board: Board) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/notes", post(add))
        .route("/notes.json", get(list))
        .with_state(board)
}

async fn index(State(board): State<Board>, environ: Option<Extension<Environ>>) -> Html<String> {
    let notes = board.notes().iter().cloned().collect::<Vec<_>>();
    Html(page::render(&board.settings.title, &mounted_at(environ.as_deref()), &notes))
}

async fn add(State(board): State<Board>, environ: Option<Extension<Environ>>, Form(note): Form<Note>) -> Response {
    let text = note.text.trim();
    if text.is_empty() || text.chars().count() > 280 {
        return (StatusCode::UNPROCESSABLE_ENTITY, "a note has 1 to 280 characters\n").into_response();
    }
    board.add(text);
    Redirect::to(&format!("{}/", mounted_at(environ.as_deref()))).into_response()
}

async fn list(State(board): State<Board>) -> Json<Vec<Note>> {
    Json(board.notes().iter().cloned().collect())
}

/// The prefix at which `server.toml` mounts this application. Links begin with it.
fn mounted_at(environ: Option<&Environ>) -> String {
    environ.map(|environ| environ.script_name().to_owned()).unwrap_or_default()
}

impl Board {
    /// A board with the notes that the previous generation saved, if they can be read.
    fn new(settings: Settings, saved: Option<&[u8]>) -> Board {
        let notes = saved.and_then(|saved| serde_json::from_slice(saved).ok()).unwrap_or_default();
        Board { settings: Arc::new(settings), notes: Arc::new(Mutex::new(notes)) }
    }

    /// The state for the next generation.
    fn save(&self) -> Vec<u8> {
        serde_json::to_vec(&*self.notes()).unwrap_or_default()
    }

    fn add(&self, text: &str) {
        let mut notes = self.notes();
        notes.push_front(Note { text: text.to_owned() });
        notes.truncate(self.settings.keep);
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, VecDeque<Note>> {
        // The notes are consistent even if a handler panicked, because each change is one call.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use paster_sdk::test::{Answer, Setup, TestApp};
    use serde_json::json;

    use super::*;

    fn app(saved: Option<Vec<u8>>) -> TestApp {
        let mut setup = Setup::default();
        setup.settings = json!({ "title": "Tom & Co", "keep": 2 });
        setup.saved_state = saved;
        TestApp::with(create, setup).unwrap()
    }

    fn write(app: &TestApp, text: &str) -> Answer {
        let form = "application/x-www-form-urlencoded";
        app.send(Request::post("/notes").header("content-type", form).body(format!("text={text}")).unwrap())
    }

    #[test]
    fn the_page_shows_notes_and_escapes_them() {
        let app = app(None);
        assert_eq!(write(&app, "%3Cb%3Ehi").status, StatusCode::SEE_OTHER);
        let page = app.get("/");
        assert_eq!(page.status, StatusCode::OK);
        let body = page.text();
        assert!(body.contains("<h1>Tom &amp; Co</h1>") && body.contains("&lt;b&gt;hi"), "{body}");
    }

    #[test]
    fn the_newest_notes_are_kept_over_a_reload() {
        let old = app(None);
        for text in ["one", "two", "three"] {
            write(&old, text);
        }
        assert_eq!(write(&old, "").status, StatusCode::UNPROCESSABLE_ENTITY);
        let new = app(old.save_state());
        assert_eq!(new.get("/notes.json").text(), r#"[{"text":"three"},{"text":"two"}]"#);
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        assert!(TestApp::create(create, json!({ "titel": "Tom & Co" })).is_err());
    }
}
