//! Runs that documents have queued, passed to the kernel one at a time.
//!
//! A kernel drops the requests in its own queue only after an error. So the queue is kept here, where an
//! interrupt drops it even if the running cell catches `KeyboardInterrupt` and continues. Messages from other
//! clients bypass it.

use std::collections::VecDeque;

use serde_json::json;

use crate::kernel::message::{Channel, DOCUMENT_SESSION, Message};
use crate::kernel::transport::HOST_SESSION;

#[derive(Default)]
pub(super) struct Queue {
    /// The message id of the run that the kernel has.
    running: Option<String>,
    waiting: VecDeque<Message>,
}

impl Queue {
    /// Adds a message for the kernel; returns what can be sent now.
    pub(super) fn push(&mut self, message: Message) -> Option<Message> {
        if message.channel != Channel::Shell {
            return Some(message);
        }
        let header = message.header();
        if header.session != DOCUMENT_SESSION || header.msg_type != "execute_request" {
            return Some(message);
        }
        if self.running.is_some() {
            self.waiting.push_back(message);
            return None;
        }
        self.running = Some(header.msg_id);
        Some(message)
    }

    /// Handles the reply to a run; returns the next one to send. If a run has failed, the caller first drops
    /// the runs queued after it.
    pub(super) fn replied(&mut self, msg_id: &str) -> Option<Message> {
        if self.running.as_deref() != Some(msg_id) {
            return None;
        }
        let next = self.waiting.pop_front();
        self.running = next.as_ref().map(|message| message.header().msg_id);
        next
    }

    /// Drops the waiting runs with these message ids; returns what a kernel would send for them.
    pub(super) fn cancel(&mut self, ids: &[String]) -> Vec<Message> {
        let waiting = std::mem::take(&mut self.waiting);
        let (dropped, kept) = waiting.into_iter().partition(|message| ids.contains(&message.header().msg_id));
        self.waiting = kept;
        let dropped: VecDeque<Message> = dropped;
        dropped.iter().flat_map(aborted).collect()
    }

    /// Drops the waiting runs; returns what a kernel would send for them.
    pub(super) fn drop_waiting(&mut self) -> Vec<Message> {
        self.waiting.drain(..).flat_map(|request| aborted(&request)).collect()
    }
}

/// Busy, the reply and idle, as from a kernel that aborts a request.
fn aborted(request: &Message) -> [Message; 3] {
    let say = |channel, kind: &str, content| {
        let id = format!("host-{}", uuid::Uuid::new_v4().simple());
        let mut message = Message::new(channel, kind, &id, HOST_SESSION, &content);
        message.parent_header = request.header.clone();
        message
    };
    [
        say(Channel::Iopub, "status", json!({"execution_state": "busy"})),
        say(Channel::Shell, "execute_reply", json!({"status": "aborted"})),
        say(Channel::Iopub, "status", json!({"execution_state": "idle"})),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, session: &str) -> Message {
        Message::new(Channel::Shell, "execute_request", id, session, &json!({}))
    }

    fn id(message: Option<Message>) -> Option<String> {
        message.map(|message| message.header().msg_id)
    }

    #[test]
    fn runs_of_documents_wait_for_one_another() {
        let mut queue = Queue::default();
        let ours = |id| run(id, DOCUMENT_SESSION);
        assert_eq!(id(queue.push(ours("a"))).as_deref(), Some("a"));
        assert_eq!(id(queue.push(ours("b"))), None);
        assert_eq!(id(queue.push(run("x", "a client's"))).as_deref(), Some("x"));
        assert_eq!(id(queue.push(ours("c"))), None);
        assert_eq!(id(queue.replied("x")), None);
        assert_eq!(id(queue.replied("a")).as_deref(), Some("b"));
        let said = queue.drop_waiting();
        assert!(said.iter().all(|message| message.parent().msg_id == "c"));
        assert_eq!(said[1].content()["status"], "aborted");
        assert_eq!(id(queue.replied("b")), None);
        assert_eq!(id(queue.push(ours("d"))).as_deref(), Some("d"));
        for waiting in ["e", "f", "g"] {
            assert_eq!(id(queue.push(ours(waiting))), None);
        }
        let said = queue.cancel(&["d".to_owned(), "f".to_owned()]);
        assert!(said.len() == 3 && said.iter().all(|message| message.parent().msg_id == "f"));
        assert_eq!(id(queue.replied("d")).as_deref(), Some("e"));
        assert_eq!(id(queue.replied("e")).as_deref(), Some("g"));
    }
}
