//! The protocol between the browser and the server over a document's WebSocket.
//!
//! `GET api/documents/PATH` (an upgrade) opens the notebook at `PATH`. Both sides send JSON text frames: the
//! page sends [`Request`]s, and the server sends [`ServerFrame`]s. The document lives on the server, so every
//! change, from this page, from another or from a kernel, comes back as a numbered [`Change`]. A page that
//! was disconnected connects again with `?instance=…&after=…` (from the last [`ServerFrame::Opened`] and the
//! last event that it saw). It gets what it missed, or a fresh snapshot if that is no longer kept.
//!
//! The test in this file writes the TypeScript of these types, `web/src/protocol/index.ts`. Nothing here
//! reads sockets or files.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object, as notebooks use it for metadata.
pub type Object = Map<String, Value>;

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
    /// Answers an [`Change::InputRequested`]. Replies `done`.
    AnswerInput {
        /// What the user typed.
        value: String,
    },
    /// Writes the file now. Replies `done` when it is on disk. (By default it is written a second after a
    /// change.)
    Save,
    /// Ends a [`Change::Conflict`]. Replies `done`.
    ResolveConflict {
        /// Which text to keep.
        keep: Keep,
    },
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

/// The type of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// Runs in the kernel.
    Code,
    /// Markdown with formulas.
    Markdown,
    /// Kept as it is.
    Raw,
}

/// One frame from the server.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame of a connection: the whole document after event `event`.
    Opened {
        /// Identifies this opening of the document; send it as `?instance=` to resume.
        instance: String,
        /// Number of the last event that the document includes.
        event: u64,
        /// The document.
        document: Document,
    },
    /// The first frame of a resumed connection: the events `event + 1` to `last` follow.
    Resumed {
        /// As asked.
        instance: String,
        /// The event number that was asked for.
        event: u64,
        /// Number of the document's newest event: when it has arrived, the page knows everything that
        /// happened.
        last: u64,
    },
    /// The only frame of a connection whose document cannot be opened; then the server closes.
    Error {
        /// The HTTP status that a plain GET of the same address gets: 404 for a missing file, 400 for a file that is
        /// not a notebook, 503 for one that is busy (connect again soon).
        code: u16,
        /// What went wrong and what to do, for users.
        message: String,
    },
    /// The document changed.
    Changed {
        /// Increases by one with each change.
        event: u64,
        /// The id of the request that made this change, if it came from this connection; else null.
        request: Option<u32>,
        /// What changed.
        change: Change,
    },
    /// Success of a request.
    Reply {
        /// Of the request.
        id: u32,
        /// The result.
        reply: Reply,
    },
    /// Failure of a request: nothing was changed.
    Failed {
        /// Of the request; null if the frame could not be read at all.
        id: Option<u32>,
        /// What went wrong and what to do, for users.
        message: String,
    },
    /// The last frame: the server will close. Connect again at once if `again` is set (a reload or upgrade).
    Closing {
        /// Whether to connect again.
        again: bool,
        /// The reason, for users.
        message: String,
    },
}

/// The result of a request.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The source is changed; this is the cell's new revision.
    Edited {
        /// The base of the next edit.
        revision: u32,
    },
    /// The source was not changed, because another text came first.
    Stale {
        /// The current source.
        source: String,
        /// Its revision.
        revision: u32,
    },
    /// The cell is in the document.
    Inserted {
        /// The new cell.
        cell_id: String,
    },
    /// Possible completions at the cursor.
    Completions {
        /// Texts that may replace `start..end`.
        matches: Vec<Completion>,
        /// UTF-16 offset of the first replaced unit.
        start: usize,
        /// UTF-16 offset after the last replaced unit.
        end: usize,
    },
    /// Help on a name; null if the kernel has none.
    Inspection {
        /// By MIME type, as an output's data.
        #[cfg_attr(test, ts(type = "JsonObject | null"))]
        data: Option<Object>,
    },
}

/// One completion.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Completion {
    /// The text to insert.
    pub text: String,
    /// `function`, `module`, `keyword` and so on, if the kernel says.
    pub kind: Option<String>,
}

/// A notebook.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Document {
    /// Path below the served folder, `/` between names.
    pub path: String,
    /// The cells, top to bottom.
    pub cells: Vec<Cell>,
    /// The notebook's metadata.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub metadata: Object,
    /// Its kernel.
    pub kernel: Kernel,
    /// Whether changes wait to be written.
    pub unsaved: bool,
    /// Another program changed the file; see [`Change::Conflict`].
    pub conflict: bool,
    /// When the file was last written, RFC 3339.
    pub last_modified: String,
    /// A kernel's open question.
    pub input: Option<InputRequest>,
    /// Whether the file may be written.
    pub writable: bool,
}

/// One cell.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Cell {
    /// Unique in the document.
    pub id: String,
    /// Its kind.
    pub cell_type: CellType,
    /// Its text.
    pub source: String,
    /// Increases with each change of the source.
    pub revision: u32,
    /// Its metadata.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub metadata: Object,
    /// Images pasted into a Markdown cell: name to MIME bundle.
    #[cfg_attr(test, ts(type = "JsonObject | null"))]
    pub attachments: Option<Object>,
    /// What it printed and showed; empty except in code cells.
    pub outputs: Vec<Output>,
    /// The number in `In [n]`.
    pub execution_count: Option<u32>,
    /// Its state.
    pub state: CellState,
}

/// The state of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// Neither queued nor running.
    Idle,
    /// Waits for its turn.
    Queued,
    /// Is running.
    Running,
}

/// One output, as in nbformat 4, with texts joined into one string.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "output_type", rename_all = "snake_case")]
pub enum Output {
    /// Printed text.
    Stream {
        /// `stdout` or `stderr`.
        name: String,
        /// The text, with ANSI colours.
        text: String,
    },
    /// Shown by `display`.
    DisplayData {
        /// By MIME type.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        data: Object,
        /// By MIME type.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// The value of the cell's last expression.
    ExecuteResult {
        /// The number in `Out[n]`.
        execution_count: Option<u32>,
        /// By MIME type.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        data: Object,
        /// By MIME type.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// An exception.
    Error {
        /// Its class.
        ename: String,
        /// Its message.
        evalue: String,
        /// Lines, with ANSI colours.
        traceback: Vec<String>,
    },
}

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

/// A kernel's question, as of `input()`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct InputRequest {
    /// The cell that asks.
    pub cell_id: Option<String>,
    /// The question.
    pub prompt: String,
    /// Whether to hide what the user types.
    pub password: bool,
}

/// The kernel of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Kernel {
    /// Its id in `/api/kernels`; null if none is running.
    pub id: Option<String>,
    /// Name of its kernelspec, or of the one that would be started; null if this machine has none.
    pub name: Option<String>,
    /// The name that users see.
    pub display_name: Option<String>,
    /// The language, for example `python`.
    pub language: Option<String>,
    /// Its state.
    pub state: KernelState,
    /// Why it died, or what to do if there is no kernel; for users.
    pub message: Option<String>,
}

/// The state of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KernelState {
    /// Not started yet.
    None,
    /// Is starting and does not answer yet.
    Starting,
    /// Waits for work.
    Idle,
    /// Is running a cell.
    Busy,
    /// Is ending and will start again.
    Restarting,
    /// Ended by itself; `message` tells why.
    Dead,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ts_rs::{Config, TS};

    fn typescript() -> String {
        let config = Config::default().with_large_int("number");
        let mut out = String::from(
            "// Written from plugins/notebook/src/protocol.rs by `PASTER_BLESS=1 cargo test -p notebook --lib protocol`.\n\
             // Do not edit.\n\n\
             /** Any JSON object. */\nexport type JsonObject = { [key: string]: unknown };\n",
        );
        macro_rules! write_types {
            ($($name:ty),*) => {$({
                out.push('\n');
                if let Some(docs) = <$name as TS>::docs() { out.push_str(&docs); }
                out.push_str("export ");
                out.push_str(&<$name as TS>::decl(&config));
                out.push('\n');
            })*};
        }
        write_types!(
            Request,
            Operation,
            Keep,
            CellType,
            ServerFrame,
            Reply,
            Completion,
            Document,
            Cell,
            CellState,
            Output,
            Change,
            InputRequest,
            Kernel,
            KernelState
        );
        out
    }

    #[test]
    fn typescript_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/web/src/protocol/index.ts");
        let wanted = typescript();
        if std::env::var_os("PASTER_BLESS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, &wanted).unwrap();
        }
        let present = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            present == wanted,
            "{path} is stale: run PASTER_BLESS=1 cargo test -p notebook --lib protocol"
        );
    }
}
