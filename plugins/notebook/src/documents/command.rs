//! Commands from the rest of the program to a document.

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
    /// The document's path.
    pub(super) path: watch::Receiver<RelativePath>,
}

/// The state of the runs in a document.
#[derive(Debug, Clone)]
pub(crate) struct RunState {
    /// Whether cells are queued or running.
    pub(crate) running: bool,
    /// Whether the kernel waits for a person's input.
    pub(crate) asks: bool,
    /// Why the kernel is dead, if it is.
    pub(crate) dead: Option<String>,
}

/// A command from the rest of the program to a document.
pub(super) enum Command {
    /// A page connects.
    Connect { page: Joining, reply: oneshot::Sender<Joined> },
    /// A page sends a request.
    Request { client: u64, request: Box<Result<Request, Unreadable>> },
    /// A page has disconnected.
    Disconnect { client: u64 },
    /// Write now, and check the file.
    Flush { reply: oneshot::Sender<Result<(), String>> },
    /// Write now, and stop until `released` has the new path (`None`: the same). If it fails, the database has the path.
    Hold {
        reply: oneshot::Sender<()>,
        released: oneshot::Receiver<Option<RelativePath>>,
        end: oneshot::Sender<()>,
    },
    /// Restore a past state by operations of `author`.
    Restore { target: Box<NotebookFile>, author: String, reply: oneshot::Sender<Result<(), String>> },
    /// Run all cells, without a page.
    RunAll { reply: oneshot::Sender<Result<(), String>> },
    /// Report the state of its runs.
    RunState { reply: oneshot::Sender<RunState> },
    /// Report the state of its widgets.
    Widgets { reply: oneshot::Sender<Option<serde_json::Value>> },
    /// Send the pages something that is not part of the document.
    Tell { frame: Box<ServerFrame> },
    /// Write the file, inform the pages, and close.
    Close { again: bool, reason: String },
    /// Output beyond a cell's limit could not be written.
    OverflowFailed { cell_id: String, message: String },
    /// A restart is done.
    Restarted { client: u64, id: u32, result: Result<(), String>, run_all: bool },
}
