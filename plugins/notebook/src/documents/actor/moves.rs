//! Follows the document's file to another path.

use super::{Actor, document};
use crate::documents::context::PREFIX;
use crate::documents::disk::FileCheck;
use crate::files::RelativePath;
use crate::protocol::Change;

impl Actor {
    /// The file has been moved.
    pub(super) async fn moved(&mut self, to: RelativePath) {
        let from = std::mem::replace(&mut self.path, to);
        self.engine.moved(self.path.as_str());
        self.location.send_replace(self.path.clone());
        let link = &self.context.link;
        // No other owner can have the new path open, because its file did not exist.
        let _ = link.lock(&format!("{PREFIX}{}", self.path), None).await;
        let _ = link.put(format!("{PREFIX}{from}"), None).await;
        let _ = link.unlock(&format!("{PREFIX}{from}")).await;
        self.keep_record().await;
        self.change(vec![Change::Moved { path: self.path.to_string() }], false);
    }

    /// If another server has moved the file, takes it over at its new path.
    pub(super) async fn follow(&mut self) {
        // If the database is unreachable, this is done later.
        let Ok(Some(to)) = self.context.store.path_of(self.operations.document()) else { return };
        if to == self.path {
            return;
        }
        let (files, pulled) = (self.context.files.clone(), to.clone());
        if !matches!(tokio::task::spawn_blocking(move || files.pull_file(&pulled)).await, Ok(Ok(()))) {
            return;
        }
        tracing::info!(document = %self.path, %to, "another server has moved a notebook");
        self.moved(to).await;
        if self.disk.conflict && matches!(self.disk.look(&self.path).await, FileCheck::Same) {
            // Its old path was missing for a moment.
            self.disk.conflict = false;
            let document = document(&self.path, &self.model, &self.engine, &self.disk);
            self.change(vec![Change::Reloaded { document }], false);
        }
    }
}
