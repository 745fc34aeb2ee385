//! Receives what a kernel's process sends: records it in the journal and derives the kernel's state.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::running::Running;
use crate::clock;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Header, Message};
use crate::kernel::transport::HOST_SESSION;
use crate::protocol::KernelState;

/// How many unanswered control requests are remembered.
const MAX_CONTROL_REQUESTS: usize = 1024;

/// What a message means for the host's own tasks.
pub(super) enum KernelEvent {
    /// The kernel replied to our `kernel_info_request`.
    Answered,
    /// We receive its iopub channel. Only reported while it starts, and for messages that are not recorded.
    Heard,
    /// A document's run has ended.
    Replied {
        /// The id of its request.
        msg_id: String,
        /// The runs queued after it must not run.
        failed: bool,
    },
    /// A gateway has started the kernel again: what ran is gone. The message that reports it is not recorded yet, so that no
    /// reader sends a request to the previous process because of it.
    Restarted(Message),
}

/// The ids of the requests on the control channel that are not answered yet. A kernel also sends `busy` and
/// `idle` for those, which do not describe the cell that it runs.
#[derive(Default)]
pub(super) struct ControlRequests(Mutex<VecDeque<String>>);

impl ControlRequests {
    /// Remembers `message` if it goes to the control channel.
    pub(super) fn sent(&self, message: &Message) {
        if message.channel != Channel::Control {
            return;
        }
        let mut ids = self.0.lock();
        if ids.len() >= MAX_CONTROL_REQUESTS {
            ids.pop_front();
        }
        ids.push_back(message.header().msg_id);
    }

    /// Whether a status message with this parent is about a control request. `idle` ends the request.
    fn owns(&self, parent: &Header, state: &str) -> bool {
        let mut ids = self.0.lock();
        let Some(at) = ids.iter().position(|id| *id == parent.msg_id) else { return false };
        if state == "idle" {
            ids.remove(at);
        }
        true
    }

    /// Forgets all of them, because their process has ended.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Running {
    /// Records a message from the kernel, except replies to the host's own requests and restarts.
    pub(super) fn take(&self, message: Message) -> Option<KernelEvent> {
        let header = message.header();
        let parent = message.parent();
        if parent.session == HOST_SESSION {
            if header.msg_type == "kernel_info_reply" {
                self.model.lock().info = Some(message.content());
                return Some(KernelEvent::Answered);
            }
            return (message.channel == Channel::Iopub).then_some(KernelEvent::Heard);
        }
        let heard = message.channel == Channel::Iopub;
        let state = match (message.channel, header.msg_type.as_str()) {
            (Channel::Iopub, "iopub_welcome") => return Some(KernelEvent::Heard),
            (Channel::Iopub, "status") => match message.content()["execution_state"].as_str() {
                // Only a gateway reports this; the host records the same for kernels of this machine.
                Some("restarting" | "autorestarting") => {
                    return Some(KernelEvent::Restarted(message));
                }
                _ => self.state_of(&message, &parent),
            },
            _ => None,
        };
        let replied = parent.session == DOCUMENT_SESSION && header.msg_type == "execute_reply";
        let replied = replied.then(|| KernelEvent::Replied {
            msg_id: parent.msg_id,
            failed: message.content()["status"] != "ok",
        });
        // Recorded first, so that a reader who learns the new state finds the message that caused it.
        self.journal.append(message.encode_v1());
        let is_starting = {
            let mut model = self.model.lock();
            model.last_activity = clock::rfc3339(SystemTime::now());
            self.used.touch();
            // While it starts, the host determines the state.
            let is_starting = matches!(model.state, KernelState::Starting | KernelState::Restarting);
            if let Some(state) = state.filter(|_| !is_starting) {
                model.state = state;
            }
            is_starting
        };
        // A kernel that has started needs no report of each message, which would wake its task.
        replied.or((heard && is_starting).then_some(KernelEvent::Heard))
    }

    /// The state that a status message puts the kernel into. Only a request on the shell channel changes it:
    /// a debugger may send requests on the control channel while a cell runs.
    fn state_of(&self, message: &Message, parent: &Header) -> Option<KernelState> {
        let content = message.content();
        let said = content["execution_state"].as_str()?;
        let state = match said {
            "busy" => KernelState::Busy,
            "idle" => KernelState::Idle,
            _ => return None,
        };
        (!self.control_requests.owns(parent, said)).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_control_request_owns_its_status_until_it_is_idle() {
        let requests = ControlRequests::default();
        let request = |channel, id: &str| Message::new(channel, "debug_request", id, "s", &json!({}));
        requests.sent(&request(Channel::Control, "c"));
        requests.sent(&request(Channel::Shell, "s"));
        let parent = |id: &str| request(Channel::Control, id).header();
        assert!(requests.owns(&parent("c"), "busy") && requests.owns(&parent("c"), "idle"));
        assert!(!requests.owns(&parent("c"), "idle") && !requests.owns(&parent("s"), "idle"));
        for number in 0..2 * MAX_CONTROL_REQUESTS {
            requests.sent(&request(Channel::Control, &number.to_string()));
        }
        assert_eq!(requests.0.lock().len(), MAX_CONTROL_REQUESTS);
    }
}
