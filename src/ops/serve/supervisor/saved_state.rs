//! The states that plugins pass to the next generation.

use std::time::Duration;

use bytes::Bytes;

use super::event::Event;
use super::shared::SupervisorShared;
use crate::ops::serve::ipc::message::{SavedStates, WorkerReply};

/// The time limit for an old worker or process to save its state: longer than it waits for a plugin that blocks.
const SAVING: Duration = Duration::from_secs(8);

/// The states in the reply of `old`, a worker or a process.
pub(super) async fn saved_state(
    shared: &SupervisorShared,
    old: &str,
    reply: impl Future<Output = Option<(WorkerReply, Bytes)>>,
) -> SavedStates {
    match tokio::time::timeout(SAVING, reply).await {
        Ok(Some((WorkerReply::State(lengths), raw))) => (lengths, raw),
        Ok(_) => SavedStates::default(), // it has ended meanwhile
        Err(_) => {
            let message = format!("{old} did not save its state in time: the new one starts without it");
            shared.emit(&Event::Warning { message });
            SavedStates::default()
        }
    }
}
