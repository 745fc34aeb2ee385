//! Renames files and folders with open documents. They stop while their file moves, so that nothing is written to the old path.
//! With several servers, another one may rename the file (`crate::http::relay`).

use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use super::Documents;
use super::command::Command;
use crate::files::{FileError, RelativePath};
use crate::objects::replica::PausedPull;

/// How long the documents of this server stop for another server that renames their files. If it takes longer, they find out
/// what it has done.
const HOLD: Duration = Duration::from_secs(10);

/// The stopped documents at and below a path. No document can be opened until they are released. If the value is dropped, they
/// find out by themselves whether they were moved.
pub(crate) struct HeldDocuments {
    documents: Vec<HeldDocument>,
    /// If another server moves them: their files must not be copied to the new path before they are renamed here.
    paused: Option<PausedPull>,
    opening: OwnedMutexGuard<()>,
}

struct HeldDocument {
    path: RelativePath,
    /// Takes the new path; `None`: it was not moved.
    release: oneshot::Sender<Option<RelativePath>>,
    /// Closed when the document has continued.
    continued: oneshot::Receiver<()>,
}

impl Documents {
    /// If the document at `path` is open, writes its pending changes and reads the changes of other programs. If it has
    /// acknowledged edits that its file lacks because its server was killed, opens it first.
    pub async fn flush(&self, path: &RelativePath) {
        let lacks = || path.is_notebook() && self.0.context.store.is_unwritten(path).unwrap_or(false);
        if !self.is_open(path) && lacks() {
            // Whoever has it open writes it.
            let _ = self.open(path, None).await;
        }
        let _ = self.flush_open(path).await;
    }

    /// Does the same for the documents at and below `path`.
    /// # Errors
    /// Why a document could not be written.
    pub(crate) async fn flush_below(&self, path: &RelativePath) -> Result<(), String> {
        for closed in self.0.context.store.unwritten_below(path).map_err(|error| error.to_string())? {
            if !self.is_open(&closed) {
                let _ = self.open(&closed, None).await;
            }
        }
        for open in self.open_below(path) {
            self.flush_open(&open).await?;
        }
        Ok(())
    }

    async fn flush_open(&self, path: &RelativePath) -> Result<(), String> {
        let Some(commands) = self.commands(path) else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        let _ = commands.send(Command::Flush { reply });
        // One that closes writes its changes, too.
        answer.await.unwrap_or(Ok(()))
    }

    fn open_below(&self, path: &RelativePath) -> Vec<RelativePath> {
        self.slots().keys().filter(|open| *open == path || open.is_below(path)).cloned().collect()
    }

    /// Writes the documents at and below `path`, and stops them.
    pub(crate) async fn hold(&self, path: &RelativePath) -> HeldDocuments {
        let opening = self.0.opening.clone().lock_owned().await;
        let mut stopping = Vec::new();
        for path in self.open_below(path) {
            let Some(commands) = self.commands(&path) else { continue };
            let ((reply, held), (release, released)) = (oneshot::channel(), oneshot::channel());
            let (end, continued) = oneshot::channel();
            let _ = commands.send(Command::Hold { reply, released, end });
            stopping.push((held, HeldDocument { path, release, continued }));
        }
        let mut documents = Vec::new();
        for (held, document) in stopping {
            // One that has closed in the meantime is not moved.
            if held.await.is_ok() {
                documents.push(document);
            }
        }
        HeldDocuments { documents, paused: None, opening }
    }

    /// The same on behalf of another server. They are released by [`Documents::release_as`], or after some seconds.
    pub(crate) async fn hold_as(&self, id: String, path: &RelativePath) {
        let mut held = self.hold(path).await;
        held.paused = self.0.context.files.pause().await;
        self.0.held.lock().insert(id.clone(), held);
        let documents = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(HOLD).await;
            drop(documents.take_held(&id));
        });
    }

    /// The stopped documents of [`Documents::hold_as`], if they still are.
    fn take_held(&self, id: &str) -> Option<HeldDocuments> {
        self.0.held.lock().remove(id)
    }

    /// Lets the stopped documents of [`Documents::hold_as`] continue, after another server has moved their files.
    /// # Errors
    /// If the files cannot be brought up to date. The documents then find them when it is possible again.
    pub(crate) async fn release_as(
        &self,
        id: &str,
        moved: Option<(&RelativePath, &RelativePath)>,
    ) -> Result<(), FileError> {
        let held = self.take_held(id);
        let files = &self.0.context.files;
        if let (Some(_), Some((from, to))) = (&held, moved) {
            let (files, from, to) = (files.clone(), from.clone(), to.clone());
            let _ = tokio::task::spawn_blocking(move || files.follow_rename(&from, &to)).await;
        }
        let Some(mut held) = held else { return files.catch_up().await };
        drop(held.paused.take());
        files.catch_up().await?;
        self.release(held, moved).await;
        Ok(())
    }

    /// Lets stopped documents continue: at their new paths, if a file or folder was moved from one path to another.
    pub(crate) async fn release(&self, held: HeldDocuments, moved: Option<(&RelativePath, &RelativePath)>) {
        let HeldDocuments { documents, opening, .. } = held;
        for HeldDocument { path, release, continued } in documents {
            let to = moved.and_then(|(from, to)| path.moved(from, to));
            if let (Some(to), Some(commands)) = (&to, self.commands(&path)) {
                self.moved(&commands, to);
            }
            let _ = release.send(to);
            let _ = continued.await;
        }
        drop(opening);
    }

    /// Notes that an open document is at another path.
    pub(super) fn moved(&self, document: &mpsc::UnboundedSender<Command>, to: &RelativePath) {
        let mut slots = self.slots();
        let at = slots.iter().find(|(_, slot)| slot.commands.same_channel(document));
        let at = at.map(|(at, _)| at.clone()).filter(|at| at != to);
        if let Some(slot) = at.and_then(|at| slots.remove(&at)) {
            slots.insert(to.clone(), slot);
        }
    }

    /// Renames a file or folder, and the documents in it that are open in this process.
    /// # Errors
    /// Same as `Files::rename`.
    pub async fn rename(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        let (documents, from, to) = (self.clone(), from.clone(), to.clone());
        // It is not interrupted if the client disconnects.
        let renaming = tokio::spawn(async move {
            let held = documents.hold(&from).await;
            let renamed = documents.rename_file(&from, &to).await;
            documents.release(held, renamed.is_ok().then_some((&from, &to))).await;
            renamed
        });
        renaming.await.unwrap_or_else(|error| Err(FileError::Unfit(format!("the rename failed: {error}"))))
    }

    /// Renames a file or folder whose documents are stopped.
    /// # Errors
    /// Same as `Files::rename`.
    pub(crate) async fn rename_file(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        let (files, old, new) = (self.0.context.files.clone(), from.clone(), to.clone());
        let renamed = tokio::task::spawn_blocking(move || files.rename(&old, &new)).await;
        renamed.map_err(|error| FileError::Unfit(format!("the rename failed: {error}")))??;
        let stored = self.0.context.store.renamed(from, to).await;
        stored.map_err(|error| FileError::Unfit(format!("it was renamed, but not in {error}")))
    }
}
