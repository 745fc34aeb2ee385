//! `/api/trash`: deleted files and folders, until they are restored or deleted for good.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::history::time;
use super::kernels::optional_text;
use crate::access::Level;
use crate::documents::MoveError;
use crate::files::{FileError, RelativePath};
use crate::identity::Principal;
use crate::state::{Notebook, Shared};
use crate::store::Trashed;

/// A day in milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

impl Notebook {
    fn entry_json(&self, entry: &Trashed) -> Value {
        let days = i64::from(self.settings.limits.trash_days);
        json!({
            "id": entry.id, "path": entry.path, "deleted_by": entry.author, "deleted": time(entry.at),
            "ends": (days > 0).then(|| time(entry.at + days * DAY)),
        })
    }

    /// The entries that `principal` deleted, and those of others at paths that `principal` manages.
    fn trash_of(&self, principal: &Principal) -> Result<Vec<Trashed>> {
        let mut entries = self.store.trash()?;
        entries.retain(|entry| {
            let manages = RelativePath::parse(&entry.path)
                .is_ok_and(|path| self.access.may(principal, Level::Manage, &path).is_ok());
            manages || entry.author == principal.name
        });
        Ok(entries)
    }

    fn trashed(&self, principal: &Principal, id: &str) -> Result<Trashed> {
        let entry = self.trash_of(principal)?.into_iter().find(|entry| entry.id == id);
        entry.ok_or_else(|| ApiError::missing("this is no longer in the trash"))
    }

    /// Moves a file or folder to the trash and shuts down its kernels. Returns the id of the entry.
    /// # Errors
    /// [`MoveError`].
    pub(crate) async fn move_to_trash(
        self: &Arc<Self>,
        path: &RelativePath,
        author: &str,
    ) -> std::result::Result<String, MoveError> {
        self.close_everywhere(path, "the notebook was moved to the trash").await?;
        let id = uuid::Uuid::new_v4().to_string();
        let (files, made, name) = (self.files.clone(), id.clone(), path.name().to_owned());
        let target = blocking(move || files.trash_path(&made, &name)).await;
        let target = target.map_err(|error| MoveError::Busy(error.message().to_owned()))?;
        self.rename(path, &target).await?;
        let added = self.store.add_trash(&id, path, author).await;
        added.map_err(|error| MoveError::Busy(error.to_string()))?;
        Ok(id)
    }

    /// Deletes an entry of the trash for good.
    async fn delete_trashed(&self, entry: &Trashed) -> Result<()> {
        let name = name_of(entry);
        let (files, id) = (self.files.clone(), entry.id.clone());
        let path = blocking(move || {
            let path = files.trash_path(&id, &name)?;
            files.delete_trash(&id)?;
            Ok::<_, FileError>(path)
        })
        .await?;
        self.store.removed(&path).await?;
        self.store.remove_trash(&entry.id).await?;
        Ok(())
    }

    /// Deletes what has been in the trash for longer than the setting `limits.trash_days`.
    /// # Errors
    /// The message for the log.
    pub async fn purge_trash(&self) -> std::result::Result<(), String> {
        let days = i64::from(self.settings.limits.trash_days);
        if days == 0 {
            return Ok(());
        }
        let entries = self.store.trash().map_err(|error| error.to_string())?;
        let oldest = crate::store::now() - days * DAY;
        for entry in entries.iter().filter(|entry| entry.at < oldest) {
            self.delete_trashed(entry).await.map_err(|error| error.message().to_owned())?;
        }
        Ok(())
    }
}

fn name_of(entry: &Trashed) -> String {
    entry.path.rsplit('/').next().unwrap_or_default().to_owned()
}

pub(super) async fn list(State(notebook): State<Shared>, principal: Principal) -> Result<Json<Value>> {
    let entries = notebook.trash_of(&principal)?;
    let entries: Vec<Value> = entries.iter().map(|entry| notebook.entry_json(entry)).collect();
    Ok(Json(json!({"entries": entries})))
}

/// Moves a file or folder to the trash. Its kernels are shut down.
pub(super) async fn add(
    State(notebook): State<Shared>,
    principal: Principal,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Value>)> {
    let body = object(body)?;
    let path = optional_text(&body, "path")?.ok_or_else(|| ApiError::bad("`path` is missing"))?;
    let path = RelativePath::parse(path)?;
    notebook.may(&principal, Level::Manage, &path)?;
    if path.is_root() {
        return Err(ApiError::bad("the served folder itself cannot be deleted"));
    }
    notebook.files.facts(&path)?;
    let id = notebook.move_to_trash(&path, &principal.name).await?;
    let entry = notebook.trashed(&principal, &id)?;
    Ok((StatusCode::CREATED, Json(notebook.entry_json(&entry))))
}

/// Restores an entry to its path, or beside it if the name is taken.
pub(super) async fn restore(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let entry = notebook.trashed(&principal, &id)?;
    let path = RelativePath::parse(&entry.path)?;
    // The user who deleted it may have lost the right to its folder.
    notebook.may(&principal, Level::Edit, &path.parent().unwrap_or_default())?;
    let files = notebook.files.clone();
    let (name, entry_id) = (name_of(&entry), id.clone());
    let (from, to) = blocking(move || {
        let from = files.trash_path(&entry_id, &name)?;
        let folder = path.parent().unwrap_or_default();
        files.make_dirs(&folder)?;
        let (stem, ext) = path.split_name();
        let to = files.free_path(&folder, |number| match number {
            0 => format!("{stem}{ext}"),
            number => format!("{stem} (restored {number}){ext}"),
        })?;
        Ok::<_, FileError>((from, to))
    })
    .await?;
    notebook.rename(&from, &to).await?;
    notebook.store.remove_trash(&id).await?;
    let files = notebook.files.clone();
    blocking(move || files.delete_trash(&id)).await?;
    Ok(Json(json!({"path": to.as_str()})))
}

pub(super) async fn delete(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let entry = notebook.trashed(&principal, &id)?;
    notebook.delete_trashed(&entry).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes everything that the user has in the trash.
pub(super) async fn empty(State(notebook): State<Shared>, principal: Principal) -> Result<StatusCode> {
    for entry in notebook.trash_of(&principal)? {
        // An administrator empties only their own trash.
        let own = RelativePath::parse(&entry.path)
            .ok()
            .zip(principal.home().and_then(|home| RelativePath::parse(home).ok()));
        if principal.user.is_none()
            || entry.author == principal.name
            || own.is_some_and(|(path, home)| path.is_below(&home))
        {
            notebook.delete_trashed(&entry).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
