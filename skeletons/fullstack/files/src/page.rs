//! The page and the built front end. The page is a frame: `web/src/app.ts` fills it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use paster_sdk::{Environ, Session};

use crate::AppState;
use crate::accounts::Account;
use crate::error::ApiError;

/// The files from `build.rs`, which are empty without npm.
pub(crate) const SCRIPT: &str = include_str!(concat!(env!("OUT_DIR"), "/app.js"));
const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/app.css"));

/// Part of the addresses of the script and the style sheet, so that browsers can cache them until they change.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    (SCRIPT, STYLE).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
});

/// The content of the page if the front end is missing.
const WITHOUT: &str = "<p>The front end is not built. Install Node.js 20 or newer, which has npm, and start paster again; or run \
                       <code>npm ci</code> and <code>npm run build</code> in <code>web</code>.</p>";

/// `GET /`.
pub(crate) async fn index(
    State(state): State<AppState>,
    session: Option<Extension<Session>>,
    environ: Option<Extension<Environ>>,
) -> Result<Response, ApiError> {
    let account = match session {
        Some(Extension(session)) => Account::of(&session, &state).await?,
        None => None,
    };
    let page = render(include_str!("page.html"), |name| match name {
        "title" => escape(&state.settings.title),
        // The prefix at which `server.toml` mounts this application.
        "base" => environ.as_ref().map(|environ| escape(environ.script_name())).unwrap_or_default(),
        "account" => account.as_ref().map(|account| escape(&account.name)).unwrap_or_default(),
        "sign_up" => state.settings.sign_up.to_string(),
        "version" => VERSION.clone(),
        "without" if SCRIPT.is_empty() => WITHOUT.to_owned(),
        _ => String::new(),
    });
    Ok(([(CACHE_CONTROL, "no-store")], Html(page)).into_response())
}

/// `GET /assets/{name}`.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let (media_type, content) = match name.as_str() {
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "app.css" => ("text/css; charset=utf-8", STYLE),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let fields = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (fields, content).into_response()
}

/// Replaces each `{{name}}` in one pass, without searching the values.
fn render(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, text) = part.split_once("}}").expect("each {{ has its }}");
        page += &value(name);
        page += text;
    }
    page
}

/// Text escaped for HTML, including quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            _ => safe.push(c),
        }
    }
    safe
}
