//! The debugger of a kernel: passes on the requests of pages, its responses and its events. Only the pages interpret them.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", sections "Debug request" and "Additions to the DAP"; Microsoft, "Debug Adapter Protocol".

use serde_json::{Value, json};

use super::queries::{Query, QueryKind};
use super::{Effect, Engine};
use crate::kernel::message::Channel;
use crate::protocol::{Change, Kernel, Object, Reply};

impl Engine {
    /// Sends a request to the kernel's debugger, which also responds while a cell runs.
    pub(in crate::documents) fn debug(
        &mut self,
        client: u64,
        id: u32,
        command: &str,
        arguments: Object,
    ) -> Vec<Effect> {
        let query = Query::new(client, id, String::new(), QueryKind::Debug);
        if !self.kernel.debugger {
            self.effects.push(query.answer(None));
            return self.take_effects();
        }
        self.debug_requests += 1;
        let content = json!({
            "type": "request", "seq": self.debug_requests, "command": command, "arguments": arguments,
        });
        self.ask(Channel::Control, "debug_request", &content, query)
    }

    pub(super) fn take_debug_event(&mut self, content: &Value) {
        let Some(event) = content["event"].as_str() else { return };
        let body = content["body"].as_object().cloned().unwrap_or_default();
        self.change(vec![Change::DebugEvent { event: event.to_owned(), body }], false);
    }

    /// Reads from a `kernel_info_reply` whether the kernel has a debugger.
    pub(super) fn learn_debugger(&mut self, info: Option<&Value>) {
        let Some(info) = info else { return };
        self.set_kernel(Kernel { debugger: has_debugger(info), ..self.kernel.clone() });
    }
}

/// Whether a `kernel_info_reply` names a debugger.
pub(in crate::documents) fn has_debugger(info: &Value) -> bool {
    let features = info["supported_features"].as_array();
    // The field of older kernels, which have no list.
    features.is_some_and(|features| features.iter().any(|one| one == "debugger")) || info["debugger"] == true
}

/// The response of the debugger.
pub(super) fn read_response(content: &Value) -> Reply {
    Reply::Debug {
        success: content["success"] == true,
        message: content["message"].as_str().map(str::to_owned),
        body: content["body"].as_object().cloned().unwrap_or_default(),
    }
}
