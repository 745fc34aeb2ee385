//! The document's file: writes and checks it, and handles changes by other programs.

use tokio::time::Instant;

use super::{Actor, LOOK, document};
use crate::clock;
use crate::documents::app::add_widgets;
use crate::documents::disk::FileCheck;
use crate::files::FileError;
use crate::protocol::{Change, Keep};

/// The message of a conflict.
const CHANGED: &str = "Another program changed the file on disk while this notebook had unsaved changes.";
/// The same for a missing file.
const GONE: &str = "The file was deleted or moved on disk.";

impl Actor {
    pub(super) async fn save_now(&mut self) -> Result<(), String> {
        if self.disk.conflict {
            return Err("the file was changed on disk: first choose which text to keep".to_owned());
        }
        self.finish_saving().await?;
        self.begin_save().await;
        self.finish_saving().await
    }

    pub(super) async fn begin_save(&mut self) {
        match self.disk.encode(&self.model).await {
            Ok((bytes, hash)) => {
                self.engine.mark(&self.model, &hash);
                if let Err(error) = self.operations.begin_write(hash).await {
                    tracing::error!(%error, document = %self.path, "cannot record the write of a notebook");
                    // Another server may have taken the notebook over. Its file must not be overwritten.
                    if self.context.store.is_shared() {
                        let path = self.path.to_string();
                        let error =
                            FileError::Io { what: "write", path, error: std::io::Error::other(error) };
                        return self.after_save(self.pages.last_event(), Err(error)).await;
                    }
                }
                // The record is stored first. If this process ends in between, the next owner can tell which of the two files
                // it has.
                self.keep_record().await;
                let outputs = self.overflow.synced();
                self.disk.save(&self.path, (bytes, hash), self.pages.last_event(), outputs);
            }
            Err(error) => self.after_save(self.pages.last_event(), Err(error)).await,
        }
    }

    /// Publishes the notebook again if each save is to be published.
    pub(super) async fn publish_again(&self) {
        let store = &self.context.store;
        let published = match store.publication_of(&self.path) {
            Ok(Some(publication)) if publication.republish => {
                let mut content = self.model.to_file().to_joined_json();
                add_widgets(&mut content, self.engine.widgets());
                let content = content.to_string();
                store.publish(&self.path, &publication.author, &publication.title, content).await
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = published {
            tracing::error!(%error, document = %self.path, "cannot publish a notebook again");
        }
    }

    /// Keeps the state of the widgets for readers of the notebook as an app.
    pub(super) async fn keep_widgets(&self) {
        let Some(states) = self.engine.widgets() else { return };
        if let Err(error) = self.context.store.set_widget_states(&self.path, states.to_string()).await {
            tracing::warn!(%error, document = %self.path, "cannot keep the state of the widgets of a notebook");
        }
    }

    /// Records that the file contains the whole model.
    async fn keep_clean_record(&mut self) {
        self.engine.mark(&self.model, &self.disk.hash());
        self.engine.commit_mark();
        self.keep_record().await;
    }

    async fn finish_saving(&mut self) -> Result<(), String> {
        if self.disk.saving.is_some() {
            let (event, result) = self.disk.saved().await;
            let message = result.as_ref().err().map(ToString::to_string);
            self.after_save(event, result).await;
            message.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Writes pending changes, because someone is about to read the file or to own the document.
    /// # Errors
    /// Why they could not be written. They stay pending.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        let _ = self.finish_saving().await;
        if self.disk.due.is_some() && !self.disk.conflict {
            return self.save_now().await.map_err(|why| format!("`{}` cannot be written: {why}", self.path));
        }
        if !self.disk.is_dirty() {
            self.keep_clean_record().await;
        }
        Ok(())
    }

    /// When a document in conflict closes, saves the changes that are not in the file.
    pub(super) async fn save_conflicting_copy(&self) {
        if self.disk.conflict
            && self.disk.due.is_some()
            && let Err(error) = self.disk.write_copy(&self.path, &self.model).await
        {
            tracing::error!(%error, document = %self.path, "cannot save a copy of a notebook in conflict");
        }
    }

    pub(super) async fn after_save(&mut self, event: u64, result: Result<(), FileError>) {
        if result.is_err() {
            self.disk.due.get_or_insert_with(|| Instant::now() + LOOK);
        }
        match result {
            Ok(()) => {
                self.engine.commit_mark();
                self.keep_record().await;
                if let Err(error) = self.operations.end_write(self.disk.hash()).await {
                    tracing::error!(%error, document = %self.path, "cannot record that a write of a notebook has finished");
                }
                let last_modified = clock::rfc3339(self.disk.facts().modified);
                self.change(vec![Change::Saved { last_modified, up_to: event }], false);
            }
            Err(FileError::Changed(_) | FileError::NotFound(_)) => {
                // Perhaps only the modification time changed.
                match self.find_file().await {
                    FileCheck::Same => self.disk.touch(),
                    FileCheck::Changed => self.enter_conflict(CHANGED),
                    FileCheck::Gone => self.enter_conflict(GONE),
                }
            }
            Err(error) => {
                tracing::error!(%error, document = %self.path, "cannot write a notebook");
                self.change(vec![Change::SaveFailed { message: error.to_string() }], false);
            }
        }
    }

    fn enter_conflict(&mut self, message: &str) {
        if !self.disk.conflict {
            self.disk.conflict = true;
            self.change(vec![Change::Conflict { message: message.to_owned() }], false);
        }
    }

    /// Checks the file. Reads the changes of other programs, or reports a conflict.
    pub(super) async fn look(&mut self) {
        if self.disk.conflict {
            return;
        }
        match self.find_file().await {
            FileCheck::Same => {}
            FileCheck::Changed if self.disk.is_dirty() || self.engine.is_running() => {
                self.enter_conflict(CHANGED);
            }
            FileCheck::Changed => {
                if let Err(message) = self.reload().await {
                    self.enter_conflict(&format!(
                        "The file was changed on disk and can no longer be read: {message}"
                    ));
                }
            }
            FileCheck::Gone => self.enter_conflict(GONE),
        }
    }

    /// Checks the file, at its new path if another server has moved it.
    async fn find_file(&mut self) -> FileCheck {
        let found = self.disk.look(&self.path).await;
        if !matches!(found, FileCheck::Gone) {
            return found;
        }
        let before = self.path.clone();
        self.follow().await;
        if self.path == before { found } else { self.disk.look(&self.path).await }
    }

    async fn reload(&mut self) -> Result<(), String> {
        let mut model = self.disk.reload(&self.path).await.map_err(|error| error.to_string())?;
        for (cell_id, state) in self.engine.states() {
            model.set_state(&cell_id, state, None);
        }
        self.model = model;
        self.operations.discard(self.disk.hash()).await.map_err(|error| error.to_string())?;
        self.operations.keep_state(&self.model).await.map_err(|error| error.to_string())?;
        self.keep_clean_record().await;
        let document = document(&self.path, &self.model, &self.engine, &self.disk);
        self.change(vec![Change::Reloaded { document }], false);
        Ok(())
    }

    pub(super) async fn resolve(&mut self, keep: Keep) -> Result<(), String> {
        if !self.disk.conflict {
            return Ok(());
        }
        self.finish_saving().await?;
        match keep {
            Keep::Disk => {
                self.disk.write_copy(&self.path, &self.model).await.map_err(|error| error.to_string())?;
                self.reload().await
            }
            Keep::Mine => {
                self.disk.keep_mine(&self.path, &self.model).await.map_err(|error| error.to_string())?;
                self.engine.mark(&self.model, &self.disk.hash());
                self.operations.discard(self.disk.hash()).await.map_err(|error| error.to_string())?;
                self.after_save(self.pages.last_event(), Ok(())).await;
                Ok(())
            }
        }
    }
}
