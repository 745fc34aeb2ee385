//! The decisions of an engine.

use crate::documents::overflow::OverflowOrder;
use crate::kernel::message::Message;
use crate::protocol::{Change, Operation, Reply};

/// What the actor must do, in this order. Long output may be written last, in its own order. The model already contains the
/// changes, except for edits.
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
    /// Store the engine's record for the next owner before carrying out the following effects.
    KeepRecord,
    /// Record a run.
    Run(RunEvent),
    /// Change the content on behalf of a run, with the person who started it as the author.
    Edit { msg_id: String, cell_id: String, operation: Operation },
}

/// The start or the end of a run.
#[derive(Debug)]
pub(in crate::documents) enum RunEvent {
    /// It is about to be sent to the kernel.
    Queued { msg_id: String, cell_id: String, source: String },
    /// It ended: `ok`, `error`, `aborted`, or `lost` with its kernel.
    Ended { msg_id: String, status: String },
}
