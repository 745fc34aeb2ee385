//! Notes: each account sees its own.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::AppState;
use crate::accounts::Account;
use crate::error::ApiError;

/// A note, in the form for the page.
#[derive(Debug, Serialize)]
pub(crate) struct Note {
    id: i64,
    text: String,
    /// UTC, `2030-12-31 23:59:59`.
    created_at: String,
}

impl Note {
    fn of(row: &Row) -> rusqlite::Result<Note> {
        Ok(Note { id: row.get(0)?, text: row.get(1)?, created_at: row.get(2)? })
    }
}

/// The request body of the page.
#[derive(Deserialize)]
pub(crate) struct Draft {
    text: String,
}

impl Draft {
    fn checked(self) -> Result<String, ApiError> {
        let text = self.text.trim();
        match text.chars().count() {
            1..=2000 => Ok(text.to_owned()),
            _ => Err(ApiError::unprocessable("A note has 1 to 2000 characters.")),
        }
    }
}

/// `GET /api/notes`: the newest first.
pub(crate) async fn list(State(state): State<AppState>, account: Account) -> Result<Json<Vec<Note>>, ApiError> {
    let notes = state.database.call(move |connection| {
        let select = "SELECT id, text, created_at FROM note WHERE account = ? ORDER BY id DESC LIMIT 500";
        connection.prepare_cached(select)?.query_map([account.id], Note::of)?.collect()
    });
    Ok(Json(notes.await?))
}

/// `POST /api/notes`.
pub(crate) async fn add(
    State(state): State<AppState>,
    account: Account,
    Json(draft): Json<Draft>,
) -> Result<(StatusCode, Json<Note>), ApiError> {
    let text = draft.checked()?;
    let note = state.database.call(move |connection| {
        let insert = "INSERT INTO note (account, text) VALUES (?, ?) RETURNING id, text, created_at";
        connection.query_row(insert, (account.id, text), Note::of)
    });
    Ok((StatusCode::CREATED, Json(note.await?)))
}

/// `PUT /api/notes/{id}`.
pub(crate) async fn change(
    State(state): State<AppState>,
    account: Account,
    Path(id): Path<i64>,
    Json(draft): Json<Draft>,
) -> Result<Json<Note>, ApiError> {
    let text = draft.checked()?;
    let note = state.database.call(move |connection| {
        let update = "UPDATE note SET text = ? WHERE id = ? AND account = ? RETURNING id, text, created_at";
        connection.query_row(update, (text, id, account.id), Note::of).optional()
    });
    note.await?.map(Json).ok_or_else(missing)
}

/// `DELETE /api/notes/{id}`.
pub(crate) async fn remove(
    State(state): State<AppState>,
    account: Account,
    Path(id): Path<i64>,
) -> Result<StatusCode, ApiError> {
    let removed = state.database.call(move |connection| {
        connection.execute("DELETE FROM note WHERE id = ? AND account = ?", (id, account.id))
    });
    match removed.await? {
        0 => Err(missing()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn missing() -> ApiError {
    ApiError::refused(StatusCode::NOT_FOUND, "This note no longer exists.")
}
