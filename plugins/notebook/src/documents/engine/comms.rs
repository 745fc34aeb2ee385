//! The comms of a kernel, with the state of its widgets, for pages that connect later.
//!
//! A page shows a widget from this state, and then follows the messages of its comm. The kernel reports each change by a page
//! to all pages (`echo_update`). Outputs that an `Output` widget captures are collected here, as in nbclient, so that they are
//! complete without a page.
//!
//! # Source
//! ipywidgets, "Jupyter widget messaging protocol 2", sections "Model state", "Synchronizing" and "Control messages".

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Effect, Engine, new_msg_id};
use crate::format::is_cell_id;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Header, Message};
use crate::protocol::{Change, Comm, CommKind, CommMessage, Object, Reply};

/// How many comms are kept, and how many bytes of their states.
const MAX_COMMS: usize = 10_000;
const MAX_BYTES: usize = 64 << 20;
/// Maximum size of the outputs of an `Output` widget, in bytes of JSON. Each change sends all of them.
const MAX_CAPTURED_BYTES: usize = 1 << 20;
/// The comm over which a kernel reports the state of all of its widgets.
const CONTROL: &str = "jupyter.widget.control";
pub(super) const WIDGET: &str = "jupyter.widget";

/// One comm.
#[derive(Debug, Default)]
pub(super) struct OpenComm {
    pub(super) target_name: String,
    metadata: Object,
    pub(super) state: Object,
    /// The binary parts of the state, with their paths in it.
    pub(super) buffers: Vec<(Vec<Value>, String)>,
    /// The size of the state as JSON, without its binary parts.
    state_bytes: usize,
}

impl OpenComm {
    /// Replaces parts of the state.
    fn update(&mut self, state: &Object, paths: &Value, buffers: &[String]) {
        self.buffers.retain(|(path, _)| {
            let key = path.first().and_then(Value::as_str).unwrap_or_default();
            !state.contains_key(key)
        });
        for (key, value) in state {
            self.state_bytes += value.to_string().len();
            if let Some(old) = self.state.insert(key.clone(), value.clone()) {
                self.state_bytes -= old.to_string().len();
            }
        }
        let paths = paths.as_array().into_iter().flatten().filter_map(Value::as_array);
        self.buffers.extend(paths.cloned().zip(buffers.iter().cloned()));
    }

    fn bytes(&self) -> usize {
        self.state_bytes + self.buffers.iter().map(|(_, data)| data.len()).sum::<usize>()
    }

    fn text(&self, key: &str) -> &str {
        self.state.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn is_output(&self) -> bool {
        self.text("_model_name") == "OutputModel"
    }

    fn shown(&self, comm_id: &str) -> Comm {
        let paths: Vec<&Vec<Value>> = self.buffers.iter().map(|(path, _)| path).collect();
        let data = json!({"state": self.state, "buffer_paths": paths});
        Comm {
            comm_id: comm_id.to_owned(),
            target_name: self.target_name.clone(),
            data: data.as_object().cloned().unwrap_or_default(),
            metadata: self.metadata.clone(),
            buffers: self.buffers.iter().map(|(_, data)| data.clone()).collect(),
        }
    }
}

/// All comms of the kernel.
#[derive(Debug, Default)]
pub(super) struct Comms {
    pub(super) open: BTreeMap<String, OpenComm>,
    /// The comm over which the states were asked for.
    control: Option<String>,
    /// `Output` widgets that capture, the latest last, with the message whose outputs they capture.
    capturing: Vec<(String, String)>,
    /// `Output` widgets whose next output replaces the previous ones (`clear_output(wait=True)`).
    clearing: Vec<String>,
    /// Messages of pages that the kernel has not handled: the page and its request to reply to.
    sent: HashMap<String, (u64, u32)>,
}

impl Comms {
    pub(super) fn bytes(&self) -> usize {
        self.open.values().map(OpenComm::bytes).sum()
    }

    /// Applies a message of the kernel to the state.
    fn take(&mut self, message: &CommMessage) {
        let state = message.data.get("state").and_then(Value::as_object).cloned().unwrap_or_default();
        let paths = message.data.get("buffer_paths").cloned().unwrap_or_default();
        match message.kind {
            CommKind::Open => {
                if self.open.len() >= MAX_COMMS || self.bytes() > MAX_BYTES {
                    return;
                }
                let target_name = message.target_name.clone().unwrap_or_default();
                let mut comm =
                    OpenComm { target_name, metadata: message.metadata.clone(), ..OpenComm::default() };
                comm.update(&state, &paths, &message.buffers);
                self.open.insert(message.comm_id.clone(), comm);
            }
            CommKind::Message => {
                let method = message.data.get("method").and_then(Value::as_str);
                let Some(comm) = self.open.get_mut(&message.comm_id) else { return };
                if matches!(method, Some("update" | "echo_update")) {
                    comm.update(&state, &paths, &message.buffers);
                }
            }
            CommKind::Close => {
                self.open.remove(&message.comm_id);
                self.capturing.retain(|(comm_id, _)| *comm_id != message.comm_id);
            }
        }
        self.follow_capture(message, &state);
    }

    /// An `Output` widget begins to capture the outputs of a message, or stops.
    fn follow_capture(&mut self, message: &CommMessage, state: &Object) {
        let Some(msg_id) = state.get("msg_id").and_then(Value::as_str) else { return };
        if self.open.get(&message.comm_id).is_none_or(|comm| !comm.is_output()) {
            return;
        }
        self.capturing.retain(|(comm_id, _)| *comm_id != message.comm_id);
        if !msg_id.is_empty() {
            self.capturing.push((message.comm_id.clone(), msg_id.to_owned()));
        }
    }
}

impl Engine {
    /// All comms, for a page that shows a widget.
    pub(in crate::documents) fn comms(&self) -> Reply {
        Reply::Comms { comms: self.comms.open.iter().map(|(id, comm)| comm.shown(id)).collect() }
    }

    /// Passes a page's message to the kernel. The page gets its reply when the kernel has handled it.
    /// # Errors
    /// If there is no kernel, or the message is not valid.
    pub(in crate::documents) fn send_comm(
        &mut self,
        client: u64,
        id: u32,
        message: &CommMessage,
    ) -> Result<Vec<Effect>, String> {
        if !self.has_kernel() {
            return Err("the kernel is not running: run the cell again".to_owned());
        }
        if let Some(request) = message.request.as_deref().filter(|request| !is_cell_id(request)) {
            return Err(format!(
                "`{request}` is not a valid id: use 1 to 64 of the characters A-Z a-z 0-9 - _"
            ));
        }
        let buffers: Result<Vec<_>, _> =
            message.buffers.iter().map(|data| STANDARD.decode(data).map(Into::into)).collect();
        let buffers = buffers.map_err(|error| format!("a buffer is not base64: {error}"))?;
        let sent = comm_message(message, buffers);
        self.comms.sent.insert(sent.header().msg_id, (client, id));
        self.effects.push(Effect::Send(sent));
        Ok(self.take_effects())
    }

    /// The kernel has handled a message.
    pub(super) fn comm_handled(&mut self, msg_id: &str) {
        if let Some((client, id)) = self.comms.sent.remove(msg_id) {
            self.effects.push(Effect::Answer { client, id, result: Ok(Reply::Done) });
        }
    }

    /// Requests the state of the widgets from a kernel that this document did not start.
    pub(in crate::documents) fn ask_for_comms(&mut self) -> Vec<Effect> {
        let comm_id = uuid::Uuid::new_v4().simple().to_string();
        let say = |kind, data: Value| CommMessage {
            comm_id: comm_id.clone(),
            kind,
            target_name: Some(CONTROL.to_owned()),
            data: data.as_object().cloned().unwrap_or_default(),
            metadata: Object::from_iter([("version".to_owned(), "1.0.0".into())]),
            buffers: Vec::new(),
            request: None,
        };
        for message in
            [say(CommKind::Open, json!({})), say(CommKind::Message, json!({"method": "request_states"}))]
        {
            self.effects.push(Effect::Send(comm_message(&message, Vec::new())));
        }
        self.comms.control = Some(comm_id);
        self.take_effects()
    }

    /// Handles a comm message of the kernel.
    pub(super) fn take_comm(&mut self, kind: CommKind, message: &Message, parent: &Header) {
        let content = message.content();
        let Some(comm_id) = content["comm_id"].as_str().map(str::to_owned) else { return };
        let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let metadata: Value = serde_json::from_slice(&message.metadata).unwrap_or_default();
        let buffers = message.buffers.iter().map(|bytes| STANDARD.encode(bytes)).collect();
        let target_name = content["target_name"].as_str().map(str::to_owned);
        let (data, metadata) = (object(&content["data"]), object(&metadata));
        let request = Some(parent.msg_id.clone());
        let message = CommMessage { comm_id, kind, target_name, data, metadata, buffers, request };
        if self.comms.control.as_deref() == Some(message.comm_id.as_str()) {
            return self.take_states(&message);
        }
        self.comms.take(&message);
        self.change(vec![Change::CommSent { message }], false);
    }

    /// Handles the kernel's report of the state of all widgets. Sends the pages those that they do not know.
    fn take_states(&mut self, message: &CommMessage) {
        let states = message.data.get("states").and_then(Value::as_object).cloned().unwrap_or_default();
        let paths = message.data.get("buffer_paths").and_then(Value::as_array).cloned().unwrap_or_default();
        for (comm_id, model) in states {
            // A path begins with the id of its widget.
            let own = paths.iter().zip(&message.buffers).filter_map(|(path, data)| {
                let (first, rest) = path.as_array()?.split_first()?;
                (first == comm_id.as_str()).then(|| (Value::from(rest.to_vec()), data.clone()))
            });
            // Its state is in `state`, after the id.
            let (own_paths, buffers): (Vec<Value>, Vec<String>) =
                own.map(|(path, data)| (state_path(&path), data)).unzip();
            let open = CommMessage {
                comm_id,
                kind: CommKind::Open,
                target_name: Some(WIDGET.to_owned()),
                data: json!({"state": model["state"], "buffer_paths": own_paths})
                    .as_object()
                    .cloned()
                    .unwrap_or_default(),
                metadata: Object::from_iter([("version".to_owned(), "2.1.0".into())]),
                buffers,
                request: None,
            };
            if !self.comms.open.contains_key(&open.comm_id) {
                self.comms.take(&open);
                self.change(vec![Change::CommSent { message: open }], false);
            }
        }
    }

    /// Removes all comms, because the kernel's process has ended.
    pub(super) fn close_comms(&mut self) {
        self.last_widgets = self.widgets();
        let comms = std::mem::take(&mut self.comms);
        for comm_id in comms.open.into_keys() {
            let message = CommMessage {
                comm_id,
                kind: CommKind::Close,
                target_name: None,
                data: Object::new(),
                metadata: Object::new(),
                buffers: Vec::new(),
                request: None,
            };
            self.change(vec![Change::CommSent { message }], false);
        }
        for (client, id) in comms.sent.into_values() {
            self.effects.push(Effect::Answer { client, id, result: Err("the kernel has ended".to_owned()) });
        }
    }

    /// Whether an `Output` widget captures the outputs of a message.
    pub(super) fn captures(&self, msg_id: &str) -> bool {
        self.comms.capturing.iter().any(|(_, captured)| captured == msg_id)
    }

    /// Gives an output to the `Output` widget that captures it. Returns whether there is one.
    pub(super) fn capture(&mut self, kind: &str, content: &Value, msg_id: &str) -> bool {
        let captures = |(_, captured): &&(String, String)| captured == msg_id;
        let Some((comm_id, _)) = self.comms.capturing.iter().rev().find(captures).cloned() else {
            return false;
        };
        match kind {
            "stream" | "display_data" | "execute_result" | "error" => {
                let mut outputs = self.captured(&comm_id);
                if let Some(at) = self.comms.clearing.iter().position(|id| *id == comm_id) {
                    self.comms.clearing.remove(at);
                    outputs.clear();
                }
                if captured_bytes(&outputs) > MAX_CAPTURED_BYTES {
                    return true;
                }
                add_captured(&mut outputs, kind, content);
                if captured_bytes(&outputs) > MAX_CAPTURED_BYTES {
                    let text = "\n[the rest of the output is not shown: an Output widget keeps 1 MiB]\n";
                    outputs.push(json!({"output_type": "stream", "name": "stderr", "text": text}));
                }
                self.set_captured(&comm_id, outputs);
            }
            "clear_output" if content["wait"].as_bool().unwrap_or_default() => {
                self.comms.clearing.push(comm_id);
            }
            "clear_output" => self.set_captured(&comm_id, Vec::new()),
            _ => return false,
        }
        true
    }

    fn captured(&self, comm_id: &str) -> Vec<Value> {
        let comm = self.comms.open.get(comm_id);
        comm.and_then(|comm| comm.state.get("outputs")?.as_array().cloned()).unwrap_or_default()
    }

    /// Sets the outputs of an `Output` widget, here, in the pages and in the kernel.
    fn set_captured(&mut self, comm_id: &str, outputs: Vec<Value>) {
        let data = json!({"method": "update", "state": {"outputs": outputs}, "buffer_paths": []});
        let message = CommMessage {
            comm_id: comm_id.to_owned(),
            kind: CommKind::Message,
            target_name: None,
            data: data.as_object().cloned().unwrap_or_default(),
            metadata: Object::new(),
            buffers: Vec::new(),
            request: None,
        };
        self.comms.take(&message);
        self.effects.push(Effect::Send(comm_message(&message, Vec::new())));
        self.change(vec![Change::CommSent { message }], false);
    }
}

/// The path of a buffer in the state of its widget.
fn state_path(path: &Value) -> Value {
    match path.as_array().map(Vec::as_slice) {
        Some([first, rest @ ..]) if first == "state" => rest.to_vec().into(),
        _ => path.clone(),
    }
}

fn captured_bytes(outputs: &[Value]) -> usize {
    outputs.iter().map(|output| output.to_string().len()).sum()
}

/// Adds an output in the form of nbformat, or appends its text to the stream before it.
fn add_captured(outputs: &mut Vec<Value>, kind: &str, content: &Value) {
    if kind == "stream"
        && let Some(last) = outputs.last_mut()
        && last["output_type"] == "stream"
        && last["name"] == content["name"]
    {
        let text = format!(
            "{}{}",
            last["text"].as_str().unwrap_or_default(),
            content["text"].as_str().unwrap_or_default()
        );
        last["text"] = text.into();
        return;
    }
    let mut output = content.clone();
    output["output_type"] = kind.into();
    if let Some(output) = output.as_object_mut() {
        output.remove("transient");
    }
    outputs.push(output);
}

fn comm_message(message: &CommMessage, buffers: Vec<bytes::Bytes>) -> Message {
    let msg_type = match message.kind {
        CommKind::Open => "comm_open",
        CommKind::Message => "comm_msg",
        CommKind::Close => "comm_close",
    };
    let mut content = json!({"comm_id": message.comm_id, "data": message.data});
    if message.kind == CommKind::Open {
        content["target_name"] = message.target_name.clone().into();
    }
    let msg_id = message.request.clone().unwrap_or_else(|| new_msg_id("comm"));
    let mut sent = Message::new(Channel::Shell, msg_type, &msg_id, DOCUMENT_SESSION, &content);
    sent.metadata = Value::from(message.metadata.clone()).to_string().into();
    sent.buffers = buffers;
    sent
}
