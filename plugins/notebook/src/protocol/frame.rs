//! What the server sends.

use serde::Serialize;

use super::{Change, Comm, Cursor, Document, Object};
use crate::access::Level;

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
        /// What this page's user may do.
        level: Level,
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
        /// The login name of the user whose request made this change; null if the kernel or the server made it.
        author: Option<String>,
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
    /// The comments at the document have changed: fetch them again. Not numbered.
    Commented,
    /// Another user has the document open, or moved their cursor. Not numbered, and only sent between accounts.
    Present {
        /// Identifies their page.
        client: u64,
        /// Their login name.
        name: String,
        /// Where they type.
        cursor: Option<Cursor>,
    },
    /// Their page is closed.
    Absent {
        /// Identifies their page.
        client: u64,
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
    /// The variables of the kernel; null if it cannot list them.
    Variables {
        /// By name.
        variables: Option<Vec<Variable>>,
    },
    /// What the debugger of the kernel answered.
    Debug {
        /// Whether it did what was asked; also false if the kernel has no debugger, or did not answer.
        success: bool,
        /// Why not.
        message: Option<String>,
        /// The body of the response.
        #[cfg_attr(test, ts(type = "JsonObject"))]
        body: Object,
    },
    /// The open comms.
    Comms {
        /// In no order.
        comms: Vec<Comm>,
    },
}

/// A variable of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Its length or shape; empty if it has none.
    pub size: String,
    /// Its value, if that is short; else empty.
    pub value: String,
}

/// One completion.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Completion {
    /// The text to insert.
    pub text: String,
    /// `function`, `module`, `keyword` and so on, if the kernel sends it.
    pub kind: Option<String>,
}
