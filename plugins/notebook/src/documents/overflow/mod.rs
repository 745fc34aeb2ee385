//! Output beyond a cell's limit. A separate task appends it, in order, to one file per cell, so that a slow
//! disk does not hold up the document. With an object store, the files are uploaded in parts.

mod upload;

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::upload::OutputUploader;
use crate::http::encode;
use crate::store::Store;

/// How many orders may wait for the disk. Beyond that, the kernel's messages wait too.
const WAITING_ORDERS: usize = 64;

/// A change of the file of one cell.
#[derive(Debug)]
pub(super) struct OverflowOrder {
    cell_id: String,
    path: PathBuf,
    action: OverflowAction,
}

#[derive(Debug)]
enum OverflowAction {
    Remove,
    Append(String),
    /// Answers when what came before is durable.
    Sync(oneshot::Sender<Result<(), String>>),
}

impl OverflowOrder {
    /// Removes the file of an earlier run.
    pub(super) fn remove(path: PathBuf, cell_id: &str) -> OverflowOrder {
        OverflowOrder { cell_id: cell_id.to_owned(), path, action: OverflowAction::Remove }
    }

    /// Appends to the file.
    pub(super) fn append(path: PathBuf, cell_id: &str, text: String) -> OverflowOrder {
        OverflowOrder { cell_id: cell_id.to_owned(), path, action: OverflowAction::Append(text) }
    }
}

/// Where readers find the rest of outputs if there is an object store, below the notebook's address.
pub(super) const REMOTE: &str = "api/outputs";

/// The path of the file for the rest of a cell's output, or with [`REMOTE`] its address.
pub(super) fn overflow_path(folder: &Path, document: &str, cell_id: &str) -> PathBuf {
    if folder.is_relative() {
        return folder.join(format!("{}?cell={}", encode(document), encode(cell_id)));
    }
    overflow_folder(folder, document).join(format!("{cell_id}.txt"))
}

/// The folder of the files of a document.
pub(super) fn overflow_folder(folder: &Path, document: &str) -> PathBuf {
    let name: String =
        Sha256::digest(document.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.join(name)
}

/// Writes the files of one document.
pub(super) struct OverflowWriter {
    orders: mpsc::Sender<OverflowOrder>,
    task: JoinHandle<()>,
}

impl OverflowWriter {
    /// For the document with this id; `folder` has the files of all. Must be called within a tokio runtime. `failed` gets the cell and the reason of a failure.
    pub(super) fn new(
        store: &Store,
        document: &str,
        folder: &Path,
        failed: impl Fn(String, String) + Send + 'static,
    ) -> OverflowWriter {
        let (orders, queue) = mpsc::channel(WAITING_ORDERS);
        let task = match store.objects() {
            None => tokio::spawn(write_all(queue, failed)),
            Some(_) => {
                let buffers = folder.join(document);
                let uploader = OutputUploader::new(store.clone(), document.to_owned(), buffers, failed);
                tokio::spawn(uploader.run(queue))
            }
        };
        OverflowWriter { orders, task }
    }

    /// Waits until everything that was sent before is durable.
    pub(super) fn synced(&self) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let orders = self.orders.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let (cell_id, path) = Default::default();
            let order = OverflowOrder { cell_id, path, action: OverflowAction::Sync(reply) };
            // Closed only if the task failed, which is logged there.
            match orders.send(order).await {
                Ok(()) => answer.await.unwrap_or(Ok(())),
                Err(_) => Ok(()),
            }
        }
    }

    /// Passes changes to the task. Waits while its queue is full.
    pub(super) async fn send(&self, orders: Vec<OverflowOrder>) {
        for order in orders {
            // Closed only if the task failed, which is logged there.
            let _ = self.orders.send(order).await;
        }
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) {
        drop(self.orders);
        let _ = self.task.await;
    }
}

async fn write_all(
    mut queue: mpsc::Receiver<OverflowOrder>,
    failed: impl Fn(String, String) + Send + 'static,
) {
    let mut failing: HashSet<PathBuf> = HashSet::new();
    while let Some(OverflowOrder { cell_id, path, action }) = queue.recv().await {
        if let OverflowAction::Sync(reply) = action {
            let _ = reply.send(Ok(()));
            continue;
        }
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || match action {
            OverflowAction::Remove => std::fs::remove_file(&target).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            OverflowAction::Append(text) => append(&target, &text),
            OverflowAction::Sync(_) => Ok(()),
        });
        match written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => drop(failing.remove(&path)),
            // Report it once: a full disk would fill the notebook with notes.
            Err(error) => {
                if failing.insert(path.clone()) {
                    failed(cell_id, format!("cannot write to {}: {error}", path.display()));
                }
            }
        }
    }
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::options().create(true).append(true).open(path)?.write_all(text.as_bytes())
}
