//! The first messages to a kernel: until it replies, requests to it and its output could be lost.

use std::time::Duration;

use tokio::sync::mpsc;

use super::incoming::KernelEvent;
use crate::kernel::transport::{self, PendingTransport, Sink, Transport};

/// The longest time from the start of a process to its first reply.
const START: Duration = Duration::from_secs(60);
/// How long a starting kernel may take to reply before it is asked again.
const ASK: Duration = Duration::from_millis(500);
/// The same for a kernel that has replied, but on iopub before the subscription reached it.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Connects, and sends requests until the kernel replies and its iopub messages arrive. Before that, output
/// could be missed.
pub(super) async fn connect(
    pending: PendingTransport,
    sink: Sink,
    kernel_events: &mut mpsc::UnboundedReceiver<KernelEvent>,
) -> Result<Transport, String> {
    let connected = async {
        let transport =
            pending.connect(sink).await.map_err(|error| format!("could not be connected to: {error}"))?;
        let (mut answered, mut heard) = (false, false);
        let mut ask = tokio::time::interval(ASK);
        while !(answered && heard) {
            tokio::select! {
                _ = ask.tick() => transport.send(transport::kernel_info_request()),
                Some(kernel_event) = kernel_events.recv() => match kernel_event {
                    KernelEvent::Answered => {
                        answered = true;
                        ask.reset_after(ASK_AGAIN);
                    }
                    KernelEvent::Heard => heard = true,
                    KernelEvent::Replied { .. } | KernelEvent::Restarted(_) => {}
                },
            }
        }
        Ok(transport)
    };
    match tokio::time::timeout(START, connected).await {
        Ok(connected) => connected,
        Err(_) => Err(format!("did not respond within {} s", START.as_secs())),
    }
}
