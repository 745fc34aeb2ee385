//! What the rest of the program can tell a document.

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::Unreadable;
use crate::access::Level;
use crate::files::RelativePath;
use crate::format::NotebookFile;
use crate::identity::Principal;
use crate::protocol::{Request, ServerFrame};

/// A page that connects.
pub(super) struct Joining {
    pub(super) principal: Principal,
    pub(super) level: Level,
    /// The instance and the last event that it knows.
    pub(super) resume: Option<(String, u64)>,
}

/// A page that is connected.
pub(super) struct Joined {
    /// Its number.
    pub(super) id: u64,
    pub(super) frames: mpsc::Receiver<Utf8Bytes>,
    /// Where the document is.
    pub(super) path: watch::Receiver<RelativePath>,
}

/// What the cells of a document do.
#[derive(Debug, Clone)]
pub(crate) struct RunState {
    /// Whether cells are queued or running.
    pub(crate) running: bool,
    /// Whether the kernel waits for an answer of a person.
    pub(crate) asks: bool,
    /// Why the kernel is dead, if it is.
    pub(crate) dead: Option<String>,
}

/// What the rest of the program can tell a document.
pub(super) enum Command {
    /// A page connects.
    Connect { page: Joining, reply: oneshot::Sender<Joined> },
    /// A page sends a request.
    Request { client: u64, request: Box<Result<Request, Unreadable>> },
    /// A page has disconnected.
    Disconnect { client: u64 },
    /// Write now, and check the file.
    Flush { reply: oneshot::Sender<()> },
    /// The file has been moved.
    Moved { to: RelativePath, reply: oneshot::Sender<()> },
    /// Become what it was, by operations of `author`.
    Restore { target: Box<NotebookFile>, author: String, reply: oneshot::Sender<Result<(), String>> },
    /// Run all cells, without a page.
    RunAll { reply: oneshot::Sender<Result<(), String>> },
    /// Tell what its cells do.
    RunState { reply: oneshot::Sender<RunState> },
    /// Tell the pages something that is not part of the document.
    Tell { frame: Box<ServerFrame> },
    /// Write, tell the pages, end.
    Close { again: bool, reason: String },
    /// Output beyond a cell's limit could not be written.
    OverflowFailed { cell_id: String, message: String },
    /// A restart is done.
    Restarted { client: u64, id: u32, result: Result<(), String>, run_all: bool },
}
