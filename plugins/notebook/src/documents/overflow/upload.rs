//! Output beyond a cell's limit with an object store: the file of a cell is only a buffer, from which parts are uploaded. A save of the
//! notebook's file waits until these parts are durable.

use std::collections::BTreeMap;
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{OverflowAction, OverflowOrder};
use crate::store::{Store, StoreError};

/// Size of a part.
const PART_BYTES: u64 = 4 << 20;
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// The file of a cell.
struct OutputBuffer {
    path: PathBuf,
    written: u64,
    uploaded: u64,
}

/// An upload: the cell, and the result with the number of bytes.
type Upload = JoinHandle<(String, Result<u64, StoreError>)>;

/// A task that waits until the present content of all buffers is uploaded.
struct UploadWaiter {
    /// The number of bytes of each cell.
    targets: BTreeMap<String, u64>,
    reply: oneshot::Sender<Result<(), String>>,
}

/// Buffers and uploads the outputs of one document.
pub(super) struct OutputUploader<F> {
    store: Store,
    document: String,
    /// The folder of the buffers.
    folder: PathBuf,
    failed: F,
    buffers: BTreeMap<String, OutputBuffer>,
    upload: Option<Upload>,
    waiters: Vec<UploadWaiter>,
    /// When to try again.
    retry: Option<Instant>,
}

impl<F: Fn(String, String) + Send + 'static> OutputUploader<F> {
    pub(super) fn new(store: Store, document: String, folder: PathBuf, failed: F) -> OutputUploader<F> {
        OutputUploader {
            store,
            document,
            folder,
            failed,
            buffers: BTreeMap::new(),
            upload: None,
            waiters: Vec::new(),
            retry: None,
        }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<OverflowOrder>) {
        loop {
            self.begin_upload();
            tokio::select! {
                order = queue.recv() => match order {
                    Some(order) => self.order(order).await,
                    None => break,
                },
                done = finished(&mut self.upload) => self.uploaded(done),
                () = pause(self.retry) => self.retry = None,
            }
        }
        let (reply, answer) = oneshot::channel();
        self.retry = None;
        self.wait(reply);
        while !self.waiters.is_empty() {
            self.begin_upload();
            let done = finished(&mut self.upload).await;
            self.uploaded(done);
        }
        if let Ok(Err(error)) = answer.await {
            tracing::error!(error, document = self.document, "long outputs were not uploaded");
            return;
        }
        let _ = tokio::fs::remove_dir_all(&self.folder).await;
    }

    async fn order(&mut self, OverflowOrder { cell_id, action, .. }: OverflowOrder) {
        let path = self.folder.join(format!("{cell_id}.txt"));
        match action {
            OverflowAction::Append(text) => {
                if let Err(error) = self.append(&cell_id, &path, text.as_bytes()).await {
                    (self.failed)(cell_id, format!("cannot write to {}: {error}", path.display()));
                }
            }
            OverflowAction::Remove => {
                if let Some(upload) = self.upload.take() {
                    let _ = upload.await;
                }
                self.buffers.remove(&cell_id);
                let _ = tokio::fs::remove_file(&path).await;
                if let Err(error) = self.store.remove_outputs(&self.document, Some(&cell_id)).await {
                    tracing::error!(%error, document = self.document, "cannot remove a long output");
                }
            }
            OverflowAction::Sync(reply) => {
                self.retry = None;
                self.wait(reply);
            }
        }
    }

    async fn append(&mut self, cell_id: &str, path: &Path, text: &[u8]) -> io::Result<()> {
        if !self.buffers.contains_key(cell_id) {
            // Replaces the file of an earlier process, whose unsaved output arrives again.
            create(path).await?;
            let buffer = OutputBuffer { path: path.to_owned(), written: 0, uploaded: 0 };
            self.buffers.insert(cell_id.to_owned(), buffer);
        }
        let mut file = tokio::fs::File::options().append(true).open(path).await?;
        file.write_all(text).await?;
        file.flush().await?;
        if let Some(buffer) = self.buffers.get_mut(cell_id) {
            buffer.written += text.len() as u64;
        }
        Ok(())
    }

    fn wait(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        let targets = self.buffers.iter().map(|(cell, buffer)| (cell.clone(), buffer.written)).collect();
        self.waiters.push(UploadWaiter { targets, reply });
        self.answer_waiters();
    }

    /// Uploads a part, if there is one and nothing is under way.
    fn begin_upload(&mut self) {
        if self.upload.is_some() || self.retry.is_some() {
            return;
        }
        let least = if self.waiters.is_empty() { PART_BYTES } else { 1 };
        let due = |buffer: &OutputBuffer| buffer.written - buffer.uploaded >= least;
        let Some((cell, buffer)) = self.buffers.iter().find(|(_, buffer)| due(buffer)) else { return };
        let bytes = (buffer.written - buffer.uploaded).min(PART_BYTES);
        let (store, document, cell) = (self.store.clone(), self.document.clone(), cell.clone());
        let (path, from) = (buffer.path.clone(), buffer.uploaded);
        self.upload = Some(tokio::spawn(async move {
            let uploaded = async {
                let text = read(&path, from, bytes).await.map_err(StoreError::of_file)?;
                store.add_output(&document, &cell, text).await?;
                Ok(bytes)
            };
            let result = uploaded.await;
            (cell, result)
        }));
    }

    fn uploaded(&mut self, (cell, result): (String, Result<u64, StoreError>)) {
        self.upload = None;
        match result {
            Ok(bytes) => {
                if let Some(buffer) = self.buffers.get_mut(&cell) {
                    buffer.uploaded += bytes;
                }
                self.answer_waiters();
            }
            Err(error) => {
                tracing::warn!(%error, document = self.document, "cannot upload a long output yet");
                self.retry = Some(Instant::now() + RETRY);
                for UploadWaiter { reply, .. } in self.waiters.drain(..) {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
        }
    }

    fn answer_waiters(&mut self) {
        let buffers = &self.buffers;
        let is_done = |waiter: &mut UploadWaiter| {
            let mut targets = waiter.targets.iter();
            targets.all(|(cell, target)| buffers.get(cell).is_none_or(|buffer| buffer.uploaded >= *target))
        };
        for UploadWaiter { reply, .. } in self.waiters.extract_if(.., is_done) {
            let _ = reply.send(Ok(()));
        }
    }
}

async fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    tokio::fs::File::create(path).await.map(drop)
}

async fn read(path: &Path, from: u64, bytes: u64) -> io::Result<Bytes> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(from)).await?;
    let mut text = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact(&mut text).await?;
    Ok(text.into())
}

/// The end of the upload. Never returns if there is none; may be cancelled.
async fn finished(upload: &mut Option<Upload>) -> (String, Result<u64, StoreError>) {
    let Some(task) = upload else { return std::future::pending().await };
    match task.await {
        Ok(done) => done,
        Err(error) => (String::new(), Err(StoreError::of_file(io::Error::other(error)))),
    }
}

async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
