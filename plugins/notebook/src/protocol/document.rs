//! A document, its cells and its kernel.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::Change;
use super::Object;

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
    /// Whether it has a debugger.
    pub debugger: bool,
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
