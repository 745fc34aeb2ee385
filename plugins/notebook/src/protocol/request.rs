//! What a page sends.

use serde::{Deserialize, Serialize};

use super::{CellType, CommMessage, Object, Output};
#[cfg(doc)]
use super::{Change, ServerFrame};

/// One frame from the page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the page; the reply repeats it.
    pub id: u32,
    /// What to do.
    pub op: Operation,
}

/// The operations that a page can request. Each request gets exactly one [`ServerFrame::Reply`] or
/// [`ServerFrame::Failed`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Replaces a cell's source. Replies `edited`, or `stale` if `base_revision` is not the cell's current
    /// revision and the text differs (another page wrote first): then nothing is changed.
    SetSource {
        /// The cell.
        cell_id: String,
        /// Its complete new source.
        source: String,
        /// The cell revision that this text is based on.
        base_revision: u32,
        /// What turned that text into this one: the JSON of CodeMirror's `ChangeSet`. It is passed on to other pages, which keep in
        /// its place what is typed there. They compare the texts if it is absent or wrong.
        #[serde(default)]
        #[cfg_attr(test, ts(optional = nullable, type = "unknown"))]
        changes: Option<serde_json::Value>,
    },
    /// Inserts a cell at `index`. Replies `inserted`. Repeating it with the same `cell_id` does nothing.
    InsertCell {
        /// 0 is the top; a number larger than the number of cells means the end.
        index: usize,
        /// Code, Markdown or raw.
        cell_type: CellType,
        /// Its source.
        source: String,
        /// The new cell's id (`[A-Za-z0-9_-]{1,64}`), or null to get a new one.
        cell_id: Option<String>,
        /// Its metadata; none by default. This field and the rest are for a deleted or copied cell.
        #[serde(default)]
        #[cfg_attr(test, ts(optional = nullable, type = "JsonObject | null"))]
        metadata: Option<Object>,
        /// Its attachments.
        #[serde(default)]
        #[cfg_attr(test, ts(optional = nullable, type = "JsonObject | null"))]
        attachments: Option<Object>,
        /// Outputs of a code cell.
        #[serde(default)]
        #[cfg_attr(test, ts(optional = nullable))]
        outputs: Option<Vec<Output>>,
        /// The number in `In [n]` of a code cell.
        #[serde(default)]
        #[cfg_attr(test, ts(optional = nullable))]
        execution_count: Option<u32>,
    },
    /// Removes a cell. Replies `done`, even if it is already gone.
    DeleteCell {
        /// The cell.
        cell_id: String,
    },
    /// Moves a cell so that it is at `index` afterwards. Replies `done`.
    MoveCell {
        /// The cell.
        cell_id: String,
        /// Its new place.
        index: usize,
    },
    /// Makes a cell code, Markdown or raw. Replies `done`.
    SetCellType {
        /// The cell.
        cell_id: String,
        /// Its new kind.
        cell_type: CellType,
    },
    /// Replaces all of a cell's metadata. Replies `done`.
    SetCellMetadata {
        /// The cell.
        cell_id: String,
        /// All of its metadata.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// Replaces all of a cell's attachments (the images that its text shows as `attachment:NAME`). Replies
    /// `done`.
    SetCellAttachments {
        /// The cell.
        cell_id: String,
        /// All of its attachments; null for none.
        #[cfg_attr(test, ts(type = "JsonObject | null"))]
        attachments: Option<Object>,
    },
    /// Replaces all of the notebook's metadata. Replies `done`.
    SetMetadata {
        /// All of the metadata.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// Queues code cells in the given order; skips other cells. Starts a kernel if none is running. Replies
    /// `done` when they are queued; their progress arrives as changes. An error stops the rest of the queue.
    Run {
        /// The cells.
        cell_ids: Vec<String>,
    },
    /// Queues every code cell from top to bottom. Replies `done`.
    RunAll,
    /// Removes the outputs of some cells or, with null, of all. Replies `done`.
    ClearOutputs {
        /// The cells, or null for all.
        cell_ids: Option<Vec<String>>,
    },
    /// Interrupts the running cell and drops the queue. Replies `done`.
    Interrupt,
    /// Takes cells that wait to run out of the queue. Replies `done`.
    Cancel {
        /// The cells.
        cell_ids: Vec<String>,
    },
    /// Asks for the open comms, with the state of their widgets. Replies `comms`; what happens to them afterwards arrives
    /// as [`Change::CommSent`].
    OpenComms,
    /// Sends a comm message to the kernel. Replies `done` when the kernel has handled it, so that a page does not send more
    /// than the kernel can handle.
    SendComm {
        /// The message.
        message: CommMessage,
    },
    /// Restarts the kernel. Replies `done` when the new one answers.
    Restart {
        /// Then queue every code cell.
        run_all: bool,
    },
    /// Starts a kernel, or changes to another kernelspec (the old kernel ends). Replies `done` when it
    /// answers.
    StartKernel {
        /// Name of a kernelspec; null for the one that the notebook names, or else the default.
        name: Option<String>,
    },
    /// Ends the kernel. Replies `done`.
    ShutdownKernel,
    /// Asks for completions. Replies `completions`.
    Complete {
        /// The cell's source.
        code: String,
        /// Cursor in `code`, in UTF-16 units.
        cursor: usize,
    },
    /// Asks for help on the name at the cursor. Replies `inspection`.
    Inspect {
        /// The cell's source.
        code: String,
        /// Cursor in `code`, in UTF-16 units.
        cursor: usize,
        /// 0: signature and documentation; 1: also the source code.
        detail: u8,
    },
    /// Asks for the variables of a Python kernel. Replies `variables`, when the kernel is idle.
    ListVariables,
    /// Sends a request of the Debug Adapter Protocol to a kernel with [`super::Kernel::debugger`]. Replies `debug`; its events arrive
    /// as [`Change::DebugEvent`].
    Debug {
        /// The command, also one of Jupyter's own (`debugInfo`, `dumpCell`).
        command: String,
        /// Its arguments.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        arguments: Object,
    },
    /// Answers an [`Change::InputRequested`]. Replies `done`.
    AnswerInput {
        /// What the user typed.
        value: String,
    },
    /// Shows the other pages where this page's cursor is. Replies `done`.
    SetCursor {
        /// The cursor; null if the user types nowhere.
        cursor: Option<Cursor>,
    },
    /// Checks that the connection works. Replies `done` at once.
    Ping,
    /// Writes the file now. Replies `done` when it is on disk. (By default it is written a second after a
    /// change.)
    Save,
    /// Ends a [`Change::Conflict`]. Replies `done`.
    ResolveConflict {
        /// Which text to keep.
        keep: Keep,
    },
}

/// The position where a user types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The cell.
    pub cell_id: String,
    /// Where the selection begins, in UTF-16 units of the cell's source.
    pub anchor: u32,
    /// Where the cursor is.
    pub head: u32,
}

/// How to end a conflict with the file on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Take what is on disk; first save a copy of the changes made here beside it.
    Disk,
    /// Keep what is in the page; first save a copy of what is on disk beside it.
    Mine,
}
