//! A document's file: reads, writes and checks it. Never overwrites the changes of other programs.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::files::{Expect, Facts, FileError, Files, RelativePath};
use crate::format;

use super::error::OpenError;
use super::model::Model;

/// The time from a change to its write, and the minimum time between two writes.
const AUTOSAVE: Duration = Duration::from_secs(1);
/// The pause after a failed write.
const RETRY: Duration = Duration::from_secs(5);

/// The result of a write: the file's facts and the hash of its content.
type Written = Result<(Facts, [u8; 32]), FileError>;

/// The state of the file.
pub(super) struct Disk {
    files: Files,
    limit_bytes: usize,
    facts: Facts,
    hash: [u8; 32],
    /// When to write; `None`: nothing to write.
    pub(super) due: Option<Instant>,
    /// A write in progress, with the last event that it contains.
    pub(super) saving: Option<(u64, JoinHandle<Written>)>,
    /// Another program wrote the file while we had unsaved changes.
    pub(super) conflict: bool,
}

/// The result of checking the file.
pub(super) enum FileCheck {
    /// It is as we wrote it.
    Same,
    /// Another program changed its content.
    Changed,
    /// It no longer exists.
    Gone,
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Disk {
    pub(super) async fn open(
        files: Files,
        path: RelativePath,
        limit_bytes: usize,
    ) -> Result<(Disk, Model), OpenError> {
        let (model, facts, hash) = read(files.clone(), path, limit_bytes).await?;
        Ok((Disk { files, limit_bytes, facts, hash, due: None, saving: None, conflict: false }, model))
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Records that something changed, which is written within a second.
    pub(super) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + AUTOSAVE);
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.due.is_some() || self.saving.is_some()
    }

    /// The file's content for `model`, with its hash.
    pub(super) async fn encode(&self, model: &Model) -> Result<(Vec<u8>, [u8; 32]), FileError> {
        let file = model.to_file();
        let encoded = tokio::task::spawn_blocking(move || {
            let bytes = file.to_bytes();
            let hash = hash(&bytes);
            (bytes, hash)
        });
        encoded.await.map_err(|error| FileError::Unfit(format!("writing failed: {error}")))
    }

    /// Starts to write a file that contains all events up to `event`, when `outputs` are durable that it leaves out.
    pub(super) fn save(
        &mut self,
        path: &RelativePath,
        (bytes, hash): (Vec<u8>, [u8; 32]),
        event: u64,
        outputs: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.due = None;
        let (files, path, facts) = (self.files.clone(), path.clone(), self.facts);
        let failed = |path: &RelativePath, why: String| FileError::Io {
            what: "write",
            path: path.to_string(),
            error: std::io::Error::other(why),
        };
        self.saving = Some((
            event,
            tokio::spawn(async move {
                outputs.await.map_err(|why| failed(&path, why))?;
                let (written, at) = (path.clone(), path);
                let write =
                    move || Ok((files.write_expecting(&written, &bytes, Expect::Same(&facts))?, hash));
                let task = tokio::task::spawn_blocking(write).await;
                task.unwrap_or_else(|error| Err(failed(&at, error.to_string())))
            }),
        ));
    }

    /// The hash of the file, as far as we know.
    pub(super) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Waits for the write in progress. Must only be awaited while there is one; may be cancelled.
    pub(super) async fn saved(&mut self) -> (u64, Result<(), FileError>) {
        let Some((event, task)) = &mut self.saving else { return std::future::pending().await };
        let event = *event;
        let result = match task.await {
            Ok(result) => result,
            Err(error) => Err(FileError::Unfit(format!("writing failed: {error}"))),
        };
        self.saving = None;
        let result = match result {
            Ok((facts, hash)) => {
                (self.facts, self.hash) = (facts, hash);
                Ok(())
            }
            Err(error) => {
                self.due = Some(Instant::now() + RETRY);
                Err(error)
            }
        };
        (event, result)
    }

    /// Checks whether another program wrote the file.
    pub(super) async fn look(&mut self, path: &RelativePath) -> FileCheck {
        let (files, looked, known, limit) = (self.files.clone(), path.clone(), self.facts, self.limit_bytes);
        let found = tokio::task::spawn_blocking(move || match files.facts(&looked) {
            Ok(facts) if facts.is_same_content(&known) => Ok(None),
            Ok(_) => files.read(&looked, limit).map(|(bytes, facts)| Some((hash(&bytes), facts))),
            Err(error) => Err(error),
        });
        match found.await {
            Ok(Ok(None)) | Err(_) => FileCheck::Same,
            Ok(Ok(Some((hash, facts)))) if hash == self.hash => {
                self.facts = facts;
                FileCheck::Same
            }
            Ok(Ok(Some(_))) => FileCheck::Changed,
            Ok(Err(FileError::NotFound(_))) => FileCheck::Gone,
            Ok(Err(_)) => FileCheck::Changed,
        }
    }

    /// Reads the file again. After that there is nothing to write.
    pub(super) async fn reload(&mut self, path: &RelativePath) -> Result<Model, OpenError> {
        let (model, facts, hash) = read(self.files.clone(), path.clone(), self.limit_bytes).await?;
        (self.facts, self.hash) = (facts, hash);
        self.due = None;
        self.conflict = false;
        Ok(model)
    }

    /// Keeps our text: copies what is on disk to another file; the next write then overwrites the file.
    pub(super) async fn keep_mine(&mut self, path: &RelativePath, model: &Model) -> Result<(), FileError> {
        let (files, path, limit, file) =
            (self.files.clone(), path.clone(), self.limit_bytes, model.to_file());
        let written = tokio::task::spawn_blocking(move || {
            match files.read(&path, limit) {
                Ok((bytes, _)) => write_copy(&files, &path, &bytes)?,
                Err(FileError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            let bytes = file.to_bytes();
            Ok((files.write(&path, &bytes)?, hash(&bytes)))
        });
        let written = written.await.map_err(|error| FileError::Unfit(format!("writing failed: {error}")))?;
        (self.facts, self.hash) = written?;
        self.due = None;
        self.conflict = false;
        Ok(())
    }

    /// Saves our text in a copy beside the file.
    pub(super) async fn write_copy(&self, path: &RelativePath, model: &Model) -> Result<(), FileError> {
        let (files, path, file) = (self.files.clone(), path.clone(), model.to_file());
        let written = tokio::task::spawn_blocking(move || write_copy(&files, &path, &file.to_bytes())).await;
        written.map_err(|error| FileError::Unfit(format!("writing failed: {error}")))?
    }
}

fn write_copy(files: &Files, path: &RelativePath, bytes: &[u8]) -> Result<(), FileError> {
    let (stem, ext) = path.split_name();
    let folder = path.parent().unwrap_or_default();
    let copy = files.free_path(&folder, |number| match number {
        0 => format!("{stem}-conflict{ext}"),
        number => format!("{stem}-conflict{number}{ext}"),
    })?;
    files.write_expecting(&copy, bytes, Expect::Absent).map(|_| ())
}

async fn read(files: Files, path: RelativePath, limit: usize) -> Result<(Model, Facts, [u8; 32]), OpenError> {
    let task = tokio::task::spawn_blocking(move || {
        let (bytes, facts) = files.read(&path, limit)?;
        let file = format::parse(&bytes).map_err(|error| OpenError::Format(path.to_string(), error))?;
        Ok((Model::new(file), facts, hash(&bytes)))
    });
    task.await.map_err(|error| OpenError::Busy(format!("reading failed: {error}")))?
}
