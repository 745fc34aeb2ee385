//! The changes of a document.

use serde::Serialize;

#[cfg(doc)]
use super::Operation;
use super::{Cell, CellState, CommMessage, Document, InputRequest, Kernel, Object, Output};

/// One change of a document.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Change {
    /// A new cell is at `index`.
    CellInserted {
        /// Its place.
        index: usize,
        /// The cell.
        cell: Cell,
    },
    /// A cell was deleted.
    CellDeleted {
        /// The cell.
        cell_id: String,
    },
    /// A cell was moved.
    CellMoved {
        /// The cell.
        cell_id: String,
        /// Its place, counted after the move.
        index: usize,
    },
    /// A cell's source changed.
    SourceChanged {
        /// The cell.
        cell_id: String,
        /// Its source.
        source: String,
        /// Its new revision.
        revision: u32,
        /// As in [`Operation::SetSource`].
        #[cfg_attr(test, ts(type = "unknown"))]
        changes: Option<serde_json::Value>,
    },
    /// A cell's type changed: use this whole cell.
    CellReplaced {
        /// The cell.
        cell: Cell,
    },
    /// A cell's metadata changed.
    CellMetadataChanged {
        /// The cell.
        cell_id: String,
        /// All of it.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// A cell's attachments changed.
    CellAttachmentsChanged {
        /// The cell.
        cell_id: String,
        /// All of them; null for none.
        #[cfg_attr(test, ts(type = "JsonObject | null"))]
        attachments: Option<Object>,
    },
    /// The notebook's metadata changed.
    MetadataChanged {
        /// All of it.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// A cell has no outputs any more.
    OutputsCleared {
        /// The cell.
        cell_id: String,
    },
    /// A cell has a new output, at the end.
    OutputAdded {
        /// The cell.
        cell_id: String,
        /// The output.
        output: Output,
    },
    /// Text was printed to the stream output at `index`.
    TextAppended {
        /// The cell.
        cell_id: String,
        /// Which output.
        index: usize,
        /// What to append.
        text: String,
    },
    /// The output at `index` was replaced.
    OutputReplaced {
        /// The cell.
        cell_id: String,
        /// Which output.
        index: usize,
        /// The output.
        output: Output,
    },
    /// A cell was queued, is running or has finished.
    CellStateChanged {
        /// The cell.
        cell_id: String,
        /// Its state.
        state: CellState,
        /// The number in `In [n]`.
        execution_count: Option<u32>,
    },
    /// The document has another kernel, or the kernel's state changed.
    KernelChanged {
        /// The kernel.
        kernel: Kernel,
    },
    /// The kernel asks the user; answer with [`Operation::AnswerInput`]. Null: the question has ended.
    InputRequested {
        /// The question.
        input: Option<InputRequest>,
    },
    /// The kernel sent a comm message, or changed a comm.
    CommSent {
        /// The message.
        message: CommMessage,
    },
    /// The debugger of the kernel reports something: `stopped`, `continued`, and so on.
    DebugEvent {
        /// The name of the event in the Debug Adapter Protocol.
        event: String,
        /// Its body.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        body: Object,
    },
    /// The file was written.
    Saved {
        /// All events up to this one are in the file.
        up_to: u64,
        /// When, RFC 3339.
        last_modified: String,
    },
    /// Writing failed; it will be tried again.
    SaveFailed {
        /// Why, and what to do.
        message: String,
    },
    /// Another program changed the file while there are unsaved changes here. Nothing is written until
    /// [`Operation::ResolveConflict`]. (If there are no changes here, the file is simply read again:
    /// [`Change::Reloaded`].)
    Conflict {
        /// For users.
        message: String,
    },
    /// The whole document was read again from disk.
    Reloaded {
        /// The document.
        document: Document,
    },
    /// The file was moved.
    Moved {
        /// Its new path.
        path: String,
    },
}
