//! What the browser and the server say to each other over a document's WebSocket.
//!
//! `GET api/documents/PATH` (an upgrade) opens the notebook at `PATH`. Both sides send JSON text frames: the page
//! sends [`Request`]s, the server sends [`ServerFrame`]s. The document lives on the server, so every change, from
//! this page, from another or from a kernel, comes back as a numbered [`Change`]. A page that was cut off connects again with
//! `?instance=…&after=…` (from the last [`ServerFrame::Opened`] and the last event seen) and gets what it missed,
//! or a fresh snapshot where that is no longer kept.
//!
//! The TypeScript of these types is `web/src/protocol/index.ts`, written by the test in this file. Nothing here
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
    /// Chosen by the page; the reply carries it back.
    pub id: u32,
    /// What to do.
    pub op: Operation,
}

/// What a page can ask of a document. Each request gets exactly one [`ServerFrame::Reply`] or [`ServerFrame::Failed`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Replaces a cell's source. Replies `edited`, or `stale` where `base_revision` is not the cell's present
    /// revision and the text differs (another page wrote first): nothing is changed then.
    SetSource {
        /// The cell.
        cell_id: String,
        /// Its whole new source.
        source: String,
        /// The cell revision that this text is based on.
        base_revision: u32,
    },
    /// Inserts a cell so that it stands at `index`. Replies `inserted`. Repeating it with the same `cell_id` does nothing.
    InsertCell {
        /// 0 is the top; a larger number than there are cells means the end.
        index: usize,
        /// Code, Markdown or raw.
        cell_type: CellType,
        /// Its source.
        source: String,
        /// The new cell's id (`[A-Za-z0-9_-]{1,64}`), or null to have one made.
        cell_id: Option<String>,
        /// Its metadata; none by default. This and the rest are a deleted or copied cell's.
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
    /// Removes a cell. Replies `done`, also where it is gone already.
    DeleteCell {
        /// The cell.
        cell_id: String,
    },
    /// Moves a cell so that it stands at `index` afterwards. Replies `done`.
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
    /// Replaces a cell's metadata whole. Replies `done`.
    SetCellMetadata {
        /// The cell.
        cell_id: String,
        /// All of its metadata.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// Replaces a cell's attachments (the pictures that its text shows as `attachment:NAME`) whole. Replies `done`.
    SetCellAttachments {
        /// The cell.
        cell_id: String,
        /// All of its attachments; null for none.
        #[cfg_attr(test, ts(type = "JsonObject | null"))]
        attachments: Option<Object>,
    },
    /// Replaces the notebook's metadata whole. Replies `done`.
    SetMetadata {
        /// All of the metadata.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        metadata: Object,
    },
    /// Queues code cells in the given order; others are skipped. Starts a kernel where none runs. Replies `done` when
    /// they are queued; what happens to them arrives as changes. An error stops the rest of the queue.
    Run {
        /// The cells.
        cell_ids: Vec<String>,
    },
    /// Queues every code cell from top to bottom. Replies `done`.
    RunAll,
    /// Removes outputs of some cells, or of all with null. Replies `done`.
    ClearOutputs {
        /// The cells, or null for all.
        cell_ids: Option<Vec<String>>,
    },
    /// Interrupts the running cell and drops the queue. Replies `done`.
    Interrupt,
    /// Restarts the kernel. Replies `done` once the new one answers.
    Restart {
        /// Queue every code cell then.
        run_all: bool,
    },
    /// Starts a kernel, or changes to another kernelspec (the old kernel ends). Replies `done` once it answers.
    StartKernel {
        /// Name of a kernelspec; null for the one that the notebook names, else the default.
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
    /// Asks for help on what is at the cursor. Replies `inspection`.
    Inspect {
        /// The cell's source.
        code: String,
        /// Cursor in `code`, in UTF-16 units.
        cursor: usize,
        /// 0: signature and documentation; 1: source code too.
        detail: u8,
    },
    /// Answers an [`Change::InputRequested`]. Replies `done`.
    AnswerInput {
        /// What the user typed.
        value: String,
    },
    /// Writes the file now. Replies `done` when it is on disk. (It is written by itself a second after a change.)
    Save,
    /// Ends a [`Change::Conflict`]. Replies `done`.
    ResolveConflict {
        /// Which text stays.
        keep: Keep,
    },
}

/// How a conflict with the file on disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Take what is on disk; changes made here since are put into a copy beside it first.
    Disk,
    /// Keep what is in the page; what is on disk is put into a copy beside it first.
    Mine,
}

/// Kind of a cell.
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
    /// The first frame of a connection: the whole document, as it is after event `event`.
    Opened {
        /// Names this opening of the document; give it back as `?instance=` to resume.
        instance: String,
        /// Number of the last event that the document already holds.
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
        /// Number of the document's newest event: once it has arrived, the page knows everything that happened.
        last: u64,
    },
    /// The only frame of a connection whose document cannot be opened; the server closes then.
    Error {
        /// The HTTP status that a plain GET of the same address gets: 404 for a missing file, 400 for a file that is
        /// not a notebook, 503 for one that is busy (connect again soon).
        code: u16,
        /// What went wrong and what to do, for the user.
        message: String,
    },
    /// The document changed.
    Changed {
        /// Counts up by one with each change.
        event: u64,
        /// The id of the page's request that made this change, where this connection made it; else null.
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
    /// Failure of a request: nothing was done.
    Failed {
        /// Of the request; null where the frame could not be read at all.
        id: Option<u32>,
        /// What went wrong and what to do, for the user.
        message: String,
    },
    /// The last frame: the server will close. Connect again at once when `again` is set (a reload or upgrade).
    Closing {
        /// Whether to connect again.
        again: bool,
        /// Why, for the user.
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
    /// The source is changed; the cell has this revision now.
    Edited {
        /// Base of the next edit.
        revision: u32,
    },
    /// The source was not changed: somebody else's text came first.
    Stale {
        /// The present source.
        source: String,
        /// Its revision.
        revision: u32,
    },
    /// The cell stands in the document.
    Inserted {
        /// The new cell.
        cell_id: String,
    },
    /// What could stand at the cursor.
    Completions {
        /// Texts that may replace `start..end`.
        matches: Vec<Completion>,
        /// UTF-16 offset of the first replaced unit.
        start: usize,
        /// UTF-16 offset after the last replaced unit.
        end: usize,
    },
    /// Help on a name; null where the kernel knows nothing of it.
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
    /// `function`, `module`, `keyword` and so on, where the kernel says it.
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
    /// The file was changed by somebody else; see [`Change::Conflict`].
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
    /// Counts up with each change of the source.
    pub revision: u32,
    /// Its metadata.
    #[cfg_attr(test, ts(type = "JsonObject"))]
    pub metadata: Object,
    /// Images pasted into a Markdown cell: name to MIME bundle.
    #[cfg_attr(test, ts(type = "JsonObject | null"))]
    pub attachments: Option<Object>,
    /// What it printed and showed; empty but for code cells.
    pub outputs: Vec<Output>,
    /// The number in `In [n]`.
    pub execution_count: Option<u32>,
    /// What it does now.
    pub state: CellState,
}

/// What a cell does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CellState {
    /// Nothing.
    Idle,
    /// Waits for its turn.
    Queued,
    /// Runs.
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
    /// A cell stands at `index` now.
    CellInserted {
        /// Its place.
        index: usize,
        /// The cell.
        cell: Cell,
    },
    /// A cell is gone.
    CellDeleted {
        /// The cell.
        cell_id: String,
    },
    /// A cell stands elsewhere now.
    CellMoved {
        /// The cell.
        cell_id: String,
        /// Its place, counted after the move.
        index: usize,
    },
    /// A cell's source is another.
    SourceChanged {
        /// The cell.
        cell_id: String,
        /// Its source.
        source: String,
        /// Its new revision.
        revision: u32,
    },
    /// A cell's type changed: take the whole cell.
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
    /// A cell has one output more, at the end.
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
    /// The output at `index` is another now.
    OutputReplaced {
        /// The cell.
        cell_id: String,
        /// Which output.
        index: usize,
        /// The output.
        output: Output,
    },
    /// A cell waits, runs or has finished.
    CellStateChanged {
        /// The cell.
        cell_id: String,
        /// What it does now.
        state: CellState,
        /// The number in `In [n]`.
        execution_count: Option<u32>,
    },
    /// The kernel is another, or does something else.
    KernelChanged {
        /// The kernel.
        kernel: Kernel,
    },
    /// The kernel asks the user; answer with [`Operation::AnswerInput`]. Null: the question is over.
    InputRequested {
        /// The question.
        input: Option<InputRequest>,
    },
    /// The file is written.
    Saved {
        /// All events up to this one are in the file.
        up_to: u64,
        /// When, RFC 3339.
        last_modified: String,
    },
    /// Writing failed; it is tried again.
    SaveFailed {
        /// Why, and what to do.
        message: String,
    },
    /// Somebody else changed the file while there are changes here. Nothing is written until
    /// [`Operation::ResolveConflict`]. (Without changes here the file is read again by itself: [`Change::Reloaded`].)
    Conflict {
        /// For the user.
        message: String,
    },
    /// The whole document is another: read again from disk.
    Reloaded {
        /// The document.
        document: Document,
    },
    /// The file has another path now.
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
    /// Do not show what is typed.
    pub password: bool,
}

/// The kernel of a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Kernel {
    /// Its id in `/api/kernels`; null where none runs.
    pub id: Option<String>,
    /// Name of its kernelspec, or of the one that would be started; null where this machine has none.
    pub name: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// The language, as `python`.
    pub language: Option<String>,
    /// What it does.
    pub state: KernelState,
    /// Why it died, or what to do where there is no kernel; for people.
    pub message: Option<String>,
}

/// What a kernel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KernelState {
    /// None is started yet.
    None,
    /// Starts and does not answer yet.
    Starting,
    /// Waits for work.
    Idle,
    /// Runs a cell.
    Busy,
    /// Ends and starts again.
    Restarting,
    /// Ended by itself; `message` says why.
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
