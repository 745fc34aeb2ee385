//! What the rest of the program can tell a document.

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, oneshot};

use super::error::Unreadable;
use crate::files::RelativePath;
use crate::protocol::Request;

/// What the rest of the program can tell a document.
pub(super) enum Command {
    /// A page connects.
    Connect { resume: Option<(String, u64)>, reply: oneshot::Sender<(u64, mpsc::Receiver<Utf8Bytes>)> },
    /// A page sends a request.
    Request { client: u64, request: Box<Result<Request, Unreadable>> },
    /// A page has disconnected.
    Disconnect { client: u64 },
    /// Write now, and check the file.
    Flush { reply: oneshot::Sender<()> },
    /// The file has been moved.
    Moved { to: RelativePath, reply: oneshot::Sender<()> },
    /// Write, tell the pages, end.
    Close { again: bool, reason: String },
    /// Output beyond a cell's limit could not be written.
    OverflowFailed { cell_id: String, message: String },
    /// A restart is done.
    Restarted { client: u64, id: u32, result: Result<(), String>, run_all: bool },
}
