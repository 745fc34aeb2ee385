//! An application with accounts: settings, routes, and what all handlers share.

mod accounts;
mod database;
mod error;
mod notes;
mod page;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use paster_sdk::{App, BoxError, Host};
use schemars::JsonSchema;
use serde::Deserialize;

use accounts::Passwords;
use database::Database;

/// The table `[app.NAME.settings]` of `server.toml`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Title of the application.
    title: String,
    /// File of the SQLite database. It is created if it does not exist.
    database: PathBuf,
    /// Whether visitors may make accounts.
    #[serde(default)]
    sign_up: bool,
}

/// What every handler can access. Cheap to clone: each request gets its own copy.
#[derive(Clone)]
struct AppState {
    database: Database,
    passwords: Arc<Passwords>,
    settings: Arc<Settings>,
}

paster_sdk::plugin! {
    settings: Settings,
    create: create,
}

/// Creates the application: once at the start, and again for each new generation of the code.
async fn create(settings: Settings, _: Host) -> Result<App, BoxError> {
    let database = Database::open(&settings.database).await?;
    let health = database.clone();
    let state = AppState { database, passwords: Arc::default(), settings: Arc::new(settings) };
    Ok(App::router(router(state)).health(move || health.clone().probe()))
}

fn router(state: AppState) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/sign-up", post(accounts::sign_up))
        .route("/api/log-in", post(accounts::log_in))
        .route("/api/log-out", post(accounts::log_out))
        .route("/api/notes", get(notes::list).post(notes::add))
        .route("/api/notes/{id}", delete(notes::remove).put(notes::change))
        .layer(DefaultBodyLimit::max(64 * 1024))
        .with_state(state)
}
