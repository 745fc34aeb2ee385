//! What an engine decides.

use crate::documents::overflow::OverflowOrder;
use crate::kernel::message::Message;
use crate::protocol::{Change, Operation, Reply};

/// What the actor must do, in this order. Long output may be written last, in its own order. The model is already changed,
/// except by an edit.
#[derive(Debug)]
pub(in crate::documents) enum Effect {
    /// Send changes of the model to the pages.
    Change {
        /// Never empty.
        changes: Vec<Change>,
        /// Whether the file must be written.
        content: bool,
    },
    /// Send a message to the kernel.
    Send(Message),
    /// Send a run to the kernel for another language, which is started if there is none.
    SendToOther { language: String, message: Message },
    /// Reply to a page's request.
    Answer { client: u64, id: u32, result: Result<Reply, String> },
    /// Write output beyond a cell's limit to its file.
    Overflow(OverflowOrder),
    /// Keep the engine's record for the next owner before carrying out what follows.
    KeepRecord,
    /// Keep a record of a run.
    Run(RunEvent),
    /// Change the content for the run of a cell, in the name of who ran it.
    Edit { msg_id: String, cell_id: String, operation: Operation },
}

/// What happened to a run of a cell.
#[derive(Debug)]
pub(in crate::documents) enum RunEvent {
    /// It is about to be sent to the kernel.
    Queued { msg_id: String, cell_id: String, source: String },
    /// It ended: `ok`, `error`, `aborted`, or `lost` with its kernel.
    Ended { msg_id: String, status: String },
}
