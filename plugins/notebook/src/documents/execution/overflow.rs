//! Output beyond a cell's limit. A separate task appends it, in order, to one file per cell, so that a slow
//! disk does not hold up the document.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::documents::actor::Command;

/// How many orders may wait for the disk. Beyond that, the kernel's messages wait too.
const WAITING_ORDERS: usize = 64;

/// The files of one document.
pub(super) struct Overflow {
    folder: PathBuf,
    /// Cells whose outputs name the file with the rest.
    told: HashSet<String>,
    /// Not yet passed to the task.
    next: Vec<Order>,
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

struct Order {
    cell_id: String,
    path: PathBuf,
    what: What,
}

enum What {
    Remove,
    Append(String),
}

impl Overflow {
    /// The files are below `folder`. Failures are sent to `commands`.
    pub(super) fn new(folder: PathBuf, commands: mpsc::UnboundedSender<Command>) -> Overflow {
        let (orders, queue) = mpsc::channel(WAITING_ORDERS);
        let task = tokio::spawn(write_all(queue, commands));
        Overflow { folder, told: HashSet::new(), next: Vec::new(), orders, task }
    }

    /// The path of the file for the rest of a cell's output.
    pub(super) fn path(&self, document: &str, cell_id: &str) -> PathBuf {
        let name: String =
            Sha256::digest(document.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).join(format!("{cell_id}.txt"))
    }

    /// Removes the file of an earlier run.
    pub(super) fn remove(&mut self, document: &str, cell_id: &str) {
        self.told.remove(cell_id);
        let path = self.path(document, cell_id);
        self.next.push(Order { cell_id: cell_id.to_owned(), path, what: What::Remove });
    }

    /// Appends to a cell's file.
    pub(super) fn append(&mut self, path: PathBuf, cell_id: &str, text: String) {
        self.next.push(Order { cell_id: cell_id.to_owned(), path, what: What::Append(text) });
    }

    /// Records that the cell names its file. Returns whether it already did.
    pub(super) fn tell(&mut self, cell_id: &str) -> bool {
        !self.told.insert(cell_id.to_owned())
    }

    /// Passes the orders to the task. Waits while it has too much to do.
    pub(super) async fn hand_over(&mut self) {
        for order in self.next.drain(..) {
            // Closed only if the task failed, which is logged there.
            let _ = self.orders.send(order).await;
        }
    }

    /// Waits until everything is written.
    pub(super) async fn finish(mut self) {
        self.hand_over().await;
        let Overflow { orders, task, .. } = self;
        drop(orders);
        let _ = task.await;
    }
}

async fn write_all(mut queue: mpsc::Receiver<Order>, commands: mpsc::UnboundedSender<Command>) {
    let mut failed: HashSet<PathBuf> = HashSet::new();
    while let Some(Order { cell_id, path, what }) = queue.recv().await {
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || match what {
            What::Remove => std::fs::remove_file(&target).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
            What::Append(text) => append(&target, &text),
        });
        match written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => drop(failed.remove(&path)),
            // Report it once: a full disk would fill the notebook with notes.
            Err(error) => {
                if failed.insert(path.clone()) {
                    let message = format!("cannot write to {}: {error}", path.display());
                    let _ = commands.send(Command::OverflowFailed { cell_id, message });
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
