//! Applies what a kernel sends to the document: states, outputs, replies.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", sections "Messages on the shell (ROUTER/DEALER) channel", "Messages on the
//! IOPub (PUB/SUB) channel" and "Messages on the stdin (ROUTER/DEALER) channel".

use serde_json::Value;

use super::{Effect, Engine, RunEvent};
use crate::documents::model::Model;
use crate::documents::overflow::OverflowOrder;
use crate::format::read_output;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Header, Message};
use crate::protocol::{CellState, CellType, CommKind, InputRequest, KernelState, Object, Output};

impl Engine {
    /// Handles message `number` of the kernel.
    pub(in crate::documents) fn message(
        &mut self,
        model: &mut Model,
        number: u64,
        message: &Message,
    ) -> Vec<Effect> {
        self.entry = number;
        let parent = message.parent();
        match (message.channel, message.header().msg_type.as_str()) {
            (Channel::Iopub, "status") => self.take_status(model, message, &parent),
            (Channel::Iopub, "comm_open") => self.take_comm(CommKind::Open, message, &parent),
            (Channel::Iopub, "comm_msg") => self.take_comm(CommKind::Message, message, &parent),
            (Channel::Iopub, "comm_close") => self.take_comm(CommKind::Close, message, &parent),
            (Channel::Iopub, "debug_event") => self.take_debug_event(&message.content()),
            (Channel::Iopub, kind) => self.take_output(model, kind, message, &parent),
            (Channel::Shell, "execute_reply") if self.queries.has(&parent.msg_id) => {
                self.effects.extend(self.queries.answer(&parent.msg_id, &message.content()));
            }
            (Channel::Shell, "execute_reply") => self.take_reply(model, &message.content(), &parent),
            (Channel::Shell, "complete_reply" | "inspect_reply") | (Channel::Control, "debug_reply") => {
                self.effects.extend(self.queries.answer(&parent.msg_id, &message.content()));
            }
            (Channel::Stdin, "input_request") if parent.session == DOCUMENT_SESSION => {
                let content = message.content();
                let cell_id = self.runs.find(&parent.msg_id).map(|execution| execution.cell_id.clone());
                self.set_input(Some(InputRequest {
                    cell_id,
                    prompt: content["prompt"].as_str().unwrap_or_default().to_owned(),
                    password: content["password"].as_bool().unwrap_or_default(),
                }));
            }
            _ => {}
        }
        self.take_effects()
    }

    /// Skips message `number` of the kernel, which cannot be read.
    pub(in crate::documents) fn skip(&mut self, number: u64) {
        self.entry = number;
    }

    /// Handles the loss of the kernel's messages `from .. to`.
    pub(in crate::documents) fn gap(&mut self, model: &mut Model, from: u64, to: u64) -> Vec<Effect> {
        self.entry = to - 1;
        if let Some(cell_id) = self.runs.current_cell() {
            let text = format!(
                "[{} messages of the kernel were lost: the setting `limits.journal_bytes` is too small to keep them]\n",
                to - from
            );
            self.add_output(model, &cell_id, Output::Stream { name: "stderr".into(), text }, None);
        }
        self.take_effects()
    }

    fn take_status(&mut self, model: &mut Model, message: &Message, parent: &Header) {
        let content = message.content();
        // A query of a page (`list_variables`) is not a run.
        let asked = parent.session == DOCUMENT_SESSION && parent.msg_id.starts_with("ask:");
        let is_run =
            self.runs.find(&parent.msg_id).is_some() || (parent.msg_type == "execute_request" && !asked);
        match content["execution_state"].as_str() {
            Some("busy") if is_run => {
                self.set_kernel_state(KernelState::Busy, None);
                if let Some(execution) = self.runs.find(&parent.msg_id) {
                    execution.started = true;
                    let changes = model.set_state(&execution.cell_id, CellState::Running, None);
                    self.change(changes, false);
                }
            }
            Some("idle") if is_run => {
                self.set_kernel_state(KernelState::Idle, None);
                if let Some(execution) = self.runs.find(&parent.msg_id) {
                    execution.idle = true;
                }
                self.end_run(model, &parent.msg_id);
            }
            Some("idle") => self.comm_handled(&parent.msg_id),
            Some("restarting") => {
                self.give_up_runs(model);
                self.close_comms();
            }
            Some("dead") => {
                self.take_death(model, content["reason"].as_str().unwrap_or("the kernel ended"));
            }
            _ => {}
        }
    }

    /// Shows the reason in the cell that was running.
    fn take_death(&mut self, model: &mut Model, reason: &str) {
        if let Some(cell_id) = self.runs.current_cell() {
            let traceback = reason.lines().map(str::to_owned).collect();
            let error = Output::Error { ename: "KernelDied".into(), evalue: reason.to_owned(), traceback };
            self.add_output(model, &cell_id, error, None);
        }
        self.give_up_runs(model);
        self.close_comms();
        self.set_kernel_state(KernelState::Dead, Some(reason.to_owned()));
    }

    fn take_reply(&mut self, model: &mut Model, content: &Value, parent: &Header) {
        let Some(execution) = self.runs.find(&parent.msg_id) else { return };
        execution.replied = true;
        // Some kernels send no status for an aborted run, because it never started. IRkernel also calls an interrupted run
        // "abort", and then aborts what it receives until it is idle.
        let aborted = matches!(content["status"].as_str(), Some("aborted" | "abort"));
        execution.idle |= aborted && !execution.started;
        let cell_id = execution.cell_id.clone();
        let status = content["status"].as_str().unwrap_or("ok");
        let status = if status == "abort" { "aborted" } else { status }.to_owned();
        // The run stays in the list, because the reply may come before the kernel's other messages about the run.
        if let Some(shown) = execution.shown.clone().filter(|_| status == "ok") {
            let output = Output::DisplayData { data: shown.data(), metadata: Object::new() };
            self.add_output(model, &cell_id, output, None);
        }
        for payload in content["payload"].as_array().into_iter().flatten() {
            self.take_payload(model, &parent.msg_id, &cell_id, payload);
        }
        // After the edits. The edits of an ended run are in the log already and are not repeated.
        let failed = status == "error";
        self.effects.push(Effect::Run(RunEvent::Ended { msg_id: parent.msg_id.clone(), status }));
        // Before the end of the run, which would send the runs that are held.
        if failed {
            let effects = self.abort_held(model, None);
            self.effects.extend(effects);
        }
        self.end_run(model, &parent.msg_id);
    }

    fn end_run(&mut self, model: &mut Model, msg_id: &str) {
        let Some(cell_id) = self.runs.end(msg_id) else { return };
        self.change(model.set_state(&cell_id, self.runs.state_of(&cell_id), None), false);
        self.end_input_of(model, &cell_id);
        self.release();
    }

    /// Ends an unanswered question of a cell that has ended.
    pub(super) fn end_input_of(&mut self, model: &mut Model, cell_id: &str) {
        if self.input.as_ref().is_some_and(|input| input.cell_id.as_deref() == Some(cell_id)) {
            self.end_input(model, None);
        }
    }

    fn take_output(&mut self, model: &mut Model, kind: &str, message: &Message, parent: &Header) {
        if kind == "update_display_data" {
            return self.update_display(model, &message.content());
        }
        if self.captures(&parent.msg_id) && self.capture(kind, &message.content(), &parent.msg_id) {
            return;
        }
        if parent.session != DOCUMENT_SESSION {
            return;
        }
        // Our message ids begin with the cell's id, so that even late outputs (of threads) reach the cell.
        let Some((cell_id, _)) = parent.msg_id.rsplit_once(':') else { return };
        match model.cell(cell_id) {
            Some(cell)
                if cell.shown.cell_type == CellType::Code
                    && cell.run.as_deref().is_none_or(|run| run == parent.msg_id) => {}
            // Outputs of an earlier run of the cell, or of a cell that was deleted or has another type now.
            _ => return,
        }
        let content = message.content();
        if !content.is_object() {
            tracing::warn!(kind, document = %self.path, "ignored an unreadable output of a kernel");
            return;
        }
        match kind {
            // Outputs that the document makes itself have no number.
            "execute_input" if self.runs.find(&parent.msg_id).is_some_and(|run| run.shown.is_some()) => {}
            "execute_input" => {
                let count = content["execution_count"].as_u64().and_then(|count| count.try_into().ok());
                self.change(model.set_state(cell_id, CellState::Running, Some(count)), true);
            }
            "stream" | "display_data" | "execute_result" | "error" => {
                if kind == "error" {
                    self.end_input_of(model, cell_id);
                }
                let mut output = content.clone();
                output["output_type"] = kind.into();
                let display_id = content["transient"]["display_id"].as_str();
                self.add_output(model, cell_id, read_output(output), display_id);
            }
            "clear_output" if content["wait"].as_bool().unwrap_or_default() => model.clear_later(cell_id),
            "clear_output" => self.change(model.clear(cell_id), true),
            _ => {}
        }
    }

    /// Updates a display in all cells. The message may come from any cell, even from a thread of a cell that was deleted or
    /// run again.
    fn update_display(&mut self, model: &mut Model, content: &Value) {
        let id = content["transient"]["display_id"].as_str();
        if let (Some(id), Some(data)) = (id, content["data"].as_object()) {
            let metadata = content["metadata"].as_object().cloned().unwrap_or_default();
            self.change(model.update_display(id, data, &metadata), true);
        }
    }

    /// Adds an output. Text beyond the cell's limit goes to a file, and the cell names that file.
    pub(super) fn add_output(
        &mut self,
        model: &mut Model,
        cell_id: &str,
        output: Output,
        display_id: Option<&str>,
    ) {
        let limit = self.output_limit;
        let before = model.cell(cell_id).map_or(0, |cell| cell.output_bytes);
        let text = match output {
            Output::Stream { text, .. } if before + text.len() > limit => text,
            output => return self.change(model.add_output(cell_id, output, display_id), true),
        };
        let path = self.overflow_path(cell_id);
        let note = format!(
            "\n[the output is longer than {limit} bytes (setting `limits.cell_output_bytes`): the rest is in {}]\n",
            path.display()
        );
        self.effects.push(Effect::Overflow(OverflowOrder::append(path, cell_id, text)));
        let was_told = !self.overflowing.insert(cell_id.to_owned());
        // If the outputs were cleared since, the note is gone too.
        if was_told && before > limit {
            return;
        }
        self.add_note(model, cell_id, note);
        if let Some(cell) = model.cell(cell_id) {
            // From here on, everything goes to the file.
            cell.output_bytes = cell.output_bytes.max(limit + 1);
        }
    }

    /// Adds a note from the document to a cell's output, regardless of the limit.
    pub(super) fn add_note(&mut self, model: &mut Model, cell_id: &str, text: String) {
        let note = Output::Stream { name: "stderr".into(), text };
        self.change(model.add_output(cell_id, note, None), true);
    }
}
