//! `/api/history/PATH`: every edit of a notebook with its author, the named revisions, and restoration. `/api/runs/PATH`: who
//! ran what.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::location::RequestLocation;
use crate::access::Level;
use crate::clock;
use crate::documents::history::{Point, newest, state_at};
use crate::files::{FileError, Files, RelativePath};
use crate::format::{self, NotebookFile};
use crate::identity::Principal;
use crate::protocol::Operation;
use crate::state::{Notebook, Shared};
use crate::store::{Cause, LoggedOperation, Run, Snapshot, erase_in};

/// Maximum number of entries in a history: the newest ones.
const ENTRIES: i64 = 5000;
const RUNS: u32 = 1000;
/// Maximum length of the name of a revision, in bytes.
const NAME_BYTES: usize = 200;
/// Minimum length of a text to erase, in bytes. A shorter one occurs in too many words.
const SECRET_BYTES: usize = 4;

pub(super) fn time(millis: i64) -> String {
    clock::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis.max(0).cast_unsigned()))
}

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    /// Show the notebook at this point.
    point: Option<String>,
}

pub(super) async fn show(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Value>> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Edit, &path)?;
    let (document, last) = document(&notebook, &path)?;
    if let Some(point) = query.point {
        let state = past(&notebook, &path, &document, parse(&point)?).await?;
        return Ok(Json(json!({"point": point, "content": state.to_joined_json()})));
    }
    let first = (last - ENTRIES).max(0);
    let store = &notebook.store;
    let operations = store.operations_between(&document, first, last)?;
    // A state can only be shown if there is a snapshot before it.
    let snapshots = store.snapshots(&document)?;
    let bases = snapshots.iter().filter(|snapshot| snapshot.cause != Cause::Revision);
    let oldest = bases.map(|snapshot| snapshot.number).min().unwrap_or(last);
    let mut entries: Vec<(i64, i64, Value)> = operations
        .iter()
        .filter(|(number, ..)| *number > oldest)
        .map(|(number, author, operation)| {
            let entry = json!({
                "point": number.to_string(), "at": time(author.at), "author": author.name, "kind": "edit", "name": "",
                "action": action(operation), "cell": cell(operation),
            });
            (*number, 0, entry)
        })
        .collect();
    let shown =
        snapshots.iter().filter(|snapshot| snapshot.cause != Cause::Periodic || snapshot.number == oldest);
    entries.extend(shown.map(|snapshot| (snapshot.number, snapshot.id, snapshot_json(snapshot))));
    entries.sort_by_key(|(number, id, _)| (*number, *id));
    let entries: Vec<Value> = entries.into_iter().map(|(.., entry)| entry).collect();
    let now = newest(store, &document, last)?.to_string();
    Ok(Json(json!({"entries": entries, "newest": now})))
}

fn snapshot_json(snapshot: &Snapshot) -> Value {
    let kind = if snapshot.cause == Cause::Periodic { "start" } else { snapshot.cause.name() };
    json!({
        "point": Point::Snapshot(snapshot.id).to_string(), "at": time(snapshot.at), "author": snapshot.author,
        "kind": kind, "name": snapshot.name, "action": Value::Null, "cell": Value::Null,
    })
}

/// The type of an operation in the protocol.
fn action(operation: &LoggedOperation) -> Value {
    serde_json::to_value(&operation.operation).map(|operation| operation["type"].clone()).unwrap_or_default()
}

fn cell(operation: &LoggedOperation) -> Option<&str> {
    match &operation.operation {
        Operation::SetSource { cell_id, .. }
        | Operation::DeleteCell { cell_id }
        | Operation::MoveCell { cell_id, .. }
        | Operation::SetCellType { cell_id, .. }
        | Operation::SetCellMetadata { cell_id, .. }
        | Operation::SetCellAttachments { cell_id, .. } => Some(cell_id),
        Operation::InsertCell { cell_id, .. } => cell_id.as_deref(),
        _ => None,
    }
}

fn parse(point: &str) -> Result<Point> {
    Point::parse(point).ok_or_else(|| ApiError::bad(format!("`{point}` is not a point of a history")))
}

/// The document's UUID and its newest operation.
fn document(notebook: &Notebook, path: &RelativePath) -> Result<(String, i64)> {
    let found = notebook.store.document_at(path)?;
    found.ok_or_else(|| ApiError::missing(format!("`{path}` has no history yet: open it first")))
}

async fn past(
    notebook: &Notebook,
    path: &RelativePath,
    document: &str,
    point: Point,
) -> Result<NotebookFile> {
    let state = state_at(&notebook.store, document, point).await?;
    state.ok_or_else(|| ApiError::missing(format!("this state of `{path}` is no longer stored")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum HistoryAction {
    /// Restores the notebook.
    Restore { point: String },
    /// Names a state: the newest one without a point.
    Name { name: String, point: Option<String> },
    /// Removes a name.
    Unname { point: String },
    /// Erases a text everywhere.
    Erase { text: String },
}

/// Restores a state, names one, or erases a text.
pub(super) async fn change(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Edit, &path)?;
    let action: HistoryAction = serde_json::from_value(object(body)?.into()).map_err(|error| {
        ApiError::bad(format!("the body must have one of `restore`, `name`, `unname` and `erase`: {error}"))
    })?;
    match action {
        HistoryAction::Restore { point } => {
            let (document, _) = document(&notebook, &path)?;
            let state = past(&notebook, &path, &document, parse(&point)?).await?;
            notebook.documents.restore(&path, &principal.name, state).await?;
            Ok(Json(json!({"restored": point})))
        }
        HistoryAction::Name { name, point } => name_state(&notebook, &principal, &path, &name, point).await,
        HistoryAction::Unname { point } => {
            let (document, _) = document(&notebook, &path)?;
            let Point::Snapshot(id) = parse(&point)? else {
                return Err(ApiError::bad(format!("`{point}` is not a named revision")));
            };
            match notebook.store.remove_revision(&document, id).await? {
                true => Ok(Json(json!({"removed": point}))),
                false => Err(ApiError::missing(format!("there is no named revision `{point}`"))),
            }
        }
        HistoryAction::Erase { text } => {
            notebook.may(&principal, Level::Manage, &path)?;
            erase(&notebook, &principal, &place, &path, &text).await
        }
    }
}

async fn name_state(
    notebook: &Shared,
    principal: &Principal,
    path: &RelativePath,
    name: &str,
    point: Option<String>,
) -> Result<Json<Value>> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES || name.contains(char::is_control) {
        return Err(ApiError::bad(format!(
            "the name of a revision must have 1 to {NAME_BYTES} bytes and no control characters"
        )));
    }
    let (document, last) = document(notebook, path)?;
    let point = match point {
        Some(point) => parse(&point)?,
        None => newest(&notebook.store, &document, last)?,
    };
    let number = match point {
        Point::Operation(number) => number,
        Point::Snapshot(id) => {
            notebook.store.snapshot(&document, id).await?.map_or(last, |(snapshot, _)| snapshot.number)
        }
    };
    let state = past(notebook, path, &document, point).await?;
    let new = Snapshot {
        id: 0,
        number,
        at: 0,
        author: principal.name.clone(),
        cause: Cause::Revision,
        name: name.to_owned(),
    };
    let id = notebook.store.add_snapshot(&document, new, state.to_joined_json().to_string()).await?;
    Ok(Json(json!({"point": Point::Snapshot(id).to_string()})))
}

/// Erases a text from the notebook, its outputs and its whole history. The log names the user, but not the text.
async fn erase(
    notebook: &Shared,
    principal: &Principal,
    place: &RequestLocation,
    path: &RelativePath,
    text: &str,
) -> Result<Json<Value>> {
    if text.trim().len() < SECRET_BYTES {
        return Err(ApiError::bad(format!("the text to erase must have at least {SECRET_BYTES} bytes")));
    }
    let change = async {
        let (files, limit) = (notebook.files.clone(), notebook.settings.limits.body_bytes);
        let (erased, secret) = (path.clone(), text.to_owned());
        let in_files = blocking(move || {
            let mut count = erase_in_file(&files, &erased, &secret, limit)?;
            if let Some(checkpoint) = erased.checkpoint().filter(|checkpoint| files.facts(checkpoint).is_ok())
            {
                count += erase_in_file(&files, &checkpoint, &secret, limit)?;
            }
            Ok::<_, ApiError>(count)
        })
        .await?;
        notebook.documents.remove_overflow(path).await;
        notebook.library.refresh_again().await;
        let in_store = notebook.store.erase(path, text).await?;
        Ok::<_, ApiError>((in_files, in_store))
    };
    let (in_files, in_store) = notebook.documents.rewrite(path, change).await?;
    notebook.store.audit(&principal.name, &place.client_text(), "erase text", path.as_str()).await?;
    let kernel = notebook.sessions.of_path(path.as_str()).await?.is_some();
    Ok(Json(json!({"erased_in_file": in_files, "erased_in_history": in_store, "kernel_runs": kernel})))
}

fn erase_in_file(files: &Files, path: &RelativePath, secret: &str, limit: usize) -> Result<usize> {
    let (bytes, _) = match files.read(path, limit) {
        Err(FileError::NotFound(_)) => return Ok(0),
        read => read?,
    };
    let file = format::parse(&bytes)
        .map_err(|error| ApiError::bad(format!("`{path}` is not a notebook: {error}")))?;
    let mut content = file.to_joined_json();
    let count = erase_in(&mut content, secret);
    if count > 0 {
        let file = format::from_json(content).map_err(|error| ApiError::bad(error.to_string()))?;
        files.write(path, &file.to_bytes())?;
    }
    Ok(count)
}

pub(super) async fn runs(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
) -> Result<(StatusCode, Json<Value>)> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::Edit, &path)?;
    let (document, _) = document(&notebook, &path)?;
    let runs: Vec<Value> = notebook.store.runs(&document, RUNS)?.iter().map(run_json).collect();
    Ok((StatusCode::OK, Json(json!({"runs": runs}))))
}

fn run_json(run: &Run) -> Value {
    json!({
        "cell": run.cell, "author": run.author, "started": time(run.at), "ended": run.ended.map(time),
        "status": run.status, "source": run.source,
    })
}
