//! Applies what a kernel sends to the document: states, outputs, replies.

use serde_json::Value;

use super::{Actor, Execution};
use crate::format::read_output;
use crate::kernel::link::Delivery;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Header, Message};
use crate::protocol::{CellState, InputRequest, KernelState, Output};

impl Actor {
    /// Handles what comes from the kernel.
    pub(in crate::documents) async fn deliver(&mut self, delivery: Option<Delivery>) {
        match delivery {
            Some(Delivery::Message(number, bytes)) => {
                self.engine.entry = number;
                match Message::parse_v1(&bytes) {
                    Ok(message) => self.take(&message),
                    Err(error) => tracing::warn!(%error, "an unreadable message in a kernel's journal"),
                }
                self.engine.overflow.hand_over().await;
            }
            Some(Delivery::Gap(from, to)) => {
                self.engine.entry = to - 1;
                let text = format!(
                    "[{} messages of the kernel were lost: the setting `limits.journal_bytes` is too small to keep them]\n",
                    to - from
                );
                if let Some(cell_id) = self.engine.pending.first().map(|execution| execution.cell_id.clone())
                {
                    self.add_output(&cell_id, Output::Stream { name: "stderr".into(), text }, None);
                }
            }
            None => {
                self.engine.reader = None;
                self.refresh_kernel().await;
            }
        }
    }

    pub(super) fn take(&mut self, message: &Message) {
        let header = message.header();
        let parent = message.parent();
        match (message.channel, header.msg_type.as_str()) {
            (Channel::Iopub, "status") => self.take_status(message, &parent),
            (Channel::Iopub, kind) => self.take_output(kind, message, &parent),
            (Channel::Shell, "execute_reply") => self.take_reply(&message.content(), &parent),
            (Channel::Shell, "complete_reply" | "inspect_reply") => {
                self.answer_question(&parent.msg_id, Some(&message.content()))
            }
            (Channel::Stdin, "input_request") if parent.session == DOCUMENT_SESSION => {
                let content = message.content();
                let input = InputRequest {
                    cell_id: self.execution(&parent.msg_id).map(|execution| execution.cell_id.clone()),
                    prompt: content["prompt"].as_str().unwrap_or_default().to_owned(),
                    password: content["password"].as_bool().unwrap_or_default(),
                };
                self.set_input(Some(input));
            }
            _ => {}
        }
    }

    pub(super) fn execution(&mut self, msg_id: &str) -> Option<&mut Execution> {
        self.engine.pending.iter_mut().find(|execution| execution.msg_id == msg_id)
    }

    pub(super) fn take_status(&mut self, message: &Message, parent: &Header) {
        let content = message.content();
        let is_run = parent.msg_type == "execute_request" || self.execution(&parent.msg_id).is_some();
        match content["execution_state"].as_str() {
            Some("busy") if is_run => {
                self.set_kernel_state(KernelState::Busy, None);
                if let Some(execution) = self.execution(&parent.msg_id) {
                    execution.started = true;
                    let cell_id = execution.cell_id.clone();
                    let changes = self.model.set_state(&cell_id, CellState::Running, None);
                    self.change(changes, false);
                }
            }
            Some("idle") if is_run => {
                self.set_kernel_state(KernelState::Idle, None);
                if let Some(execution) = self.execution(&parent.msg_id) {
                    execution.idle = true;
                }
                self.end_run(&parent.msg_id);
            }
            Some("restarting") => self.give_up_runs(),
            Some("dead") => {
                let reason = content["reason"].as_str().unwrap_or("the kernel ended").to_owned();
                // Show the reason in the cell that was running.
                let running = self
                    .engine
                    .pending
                    .iter()
                    .find(|execution| execution.started)
                    .or(self.engine.pending.first());
                if let Some(cell_id) = running.map(|execution| execution.cell_id.clone()) {
                    let traceback = reason.lines().map(str::to_owned).collect();
                    self.add_output(
                        &cell_id,
                        Output::Error { ename: "KernelDied".into(), evalue: reason.clone(), traceback },
                        None,
                    );
                }
                self.give_up_runs();
                self.set_kernel_state(KernelState::Dead, Some(reason));
            }
            _ => {}
        }
    }

    pub(super) fn take_reply(&mut self, content: &Value, parent: &Header) {
        let Some(execution) = self.execution(&parent.msg_id) else { return };
        execution.replied = true;
        // An aborted run never started, and some kernels send no status for it.
        execution.idle |= matches!(content["status"].as_str(), Some("aborted" | "abort"));
        let cell_id = execution.cell_id.clone();
        for payload in content["payload"].as_array().into_iter().flatten() {
            self.take_payload(&cell_id, payload);
        }
        self.end_run(&parent.msg_id);
    }

    pub(super) fn end_run(&mut self, msg_id: &str) {
        let Some(at) =
            self.engine.pending.iter().position(|run| run.msg_id == msg_id && run.replied && run.idle)
        else {
            return;
        };
        let execution = self.engine.pending.remove(at);
        let state = self.engine.state_of(&execution.cell_id);
        let changes = self.model.set_state(&execution.cell_id, state, None);
        self.change(changes, false);
        self.end_question_of(&execution.cell_id);
    }

    /// Ends an unanswered question of a cell that has ended.
    fn end_question_of(&mut self, cell_id: &str) {
        if self.engine.input.as_ref().is_some_and(|input| input.cell_id.as_deref() == Some(cell_id)) {
            self.end_question(None);
        }
    }

    /// Ends the open question. It stays in the output with its answer, as in a terminal; a password does not.
    pub(super) fn end_question(&mut self, answer: Option<&str>) {
        let Some(input) = self.engine.input.clone() else { return };
        let answer = answer.filter(|_| !input.password).unwrap_or_default();
        let text = format!("{}{answer}\n", input.prompt);
        if let Some(cell_id) = input.cell_id {
            self.add_output(&cell_id, Output::Stream { name: "stdout".into(), text }, None);
        }
        self.set_input(None);
    }

    pub(super) fn take_output(&mut self, kind: &str, message: &Message, parent: &Header) {
        if kind == "update_display_data" {
            return self.update_display(&message.content());
        }
        if parent.session != DOCUMENT_SESSION {
            return;
        }
        // The cell's id is the first part of our message ids, so that even late outputs (of threads) find it.
        let Some((cell_id, _)) = parent.msg_id.rsplit_once(':') else { return };
        let cell_id = cell_id.to_owned();
        match self.model.cell(&cell_id) {
            Some(cell) if cell.run.as_deref().is_none_or(|run| run == parent.msg_id) => {}
            // Outputs from an earlier run of the cell, or from a deleted cell.
            _ => return,
        }
        let content = message.content();
        if !content.is_object() {
            tracing::warn!(kind, document = %self.path, "ignored an unreadable output of a kernel");
            return;
        }
        let display_id = content["transient"]["display_id"].as_str();
        match kind {
            "execute_input" => {
                let count = content["execution_count"].as_u64().and_then(|count| count.try_into().ok());
                let changes = self.model.set_state(&cell_id, CellState::Running, Some(count));
                self.change(changes, true);
            }
            "stream" | "display_data" | "execute_result" | "error" => {
                if kind == "error" {
                    self.end_question_of(&cell_id);
                }
                let mut output = content.clone();
                output["output_type"] = kind.into();
                self.add_output(&cell_id, read_output(output), display_id);
            }
            "clear_output" => {
                if content["wait"].as_bool().unwrap_or_default() {
                    self.model.clear_later(&cell_id);
                } else {
                    let changes = self.model.clear(&cell_id);
                    self.change(changes, true);
                }
            }
            _ => {}
        }
    }

    /// Updates a display wherever it is, on behalf of any cell: even from a thread of a cell that was deleted
    /// or run again.
    fn update_display(&mut self, content: &Value) {
        let id = content["transient"]["display_id"].as_str();
        if let (Some(id), Some(data)) = (id, content["data"].as_object()) {
            let metadata = content["metadata"].as_object().cloned().unwrap_or_default();
            let changes = self.model.update_display(id, data, &metadata);
            self.change(changes, true);
        }
    }

    /// Adds an output. Text beyond the cell's limit goes to a file, and the cell names that file.
    pub(super) fn add_output(&mut self, cell_id: &str, output: Output, display_id: Option<&str>) {
        let limit = self.engine.output_limit;
        let before = self.model.cell(cell_id).map_or(0, |cell| cell.output_bytes);
        let text = match output {
            Output::Stream { text, .. } if before + text.len() > limit => text,
            output => {
                let changes = self.model.add_output(cell_id, output, display_id);
                return self.change(changes, true);
            }
        };
        let path = self.engine.overflow.path(self.path.as_str(), cell_id);
        let note = format!(
            "\n[the output is longer than {limit} bytes (setting `limits.cell_output_bytes`): the rest is in {}]\n",
            path.display()
        );
        self.engine.overflow.append(path, cell_id, text);
        // If the outputs were cleared since, the note is gone too.
        if self.engine.overflow.tell(cell_id) && before > limit {
            return;
        }
        self.add_note(cell_id, note);
        if let Some(cell) = self.model.cell(cell_id) {
            // From here on, everything goes to the file.
            cell.output_bytes = cell.output_bytes.max(limit + 1);
        }
    }

    /// After a handover, finds the cells whose output already goes to a file.
    pub(super) fn restore_overflow(&mut self) {
        for run in &self.engine.pending {
            let path = self.engine.overflow.path(self.path.as_str(), &run.cell_id).display().to_string();
            let Some(cell) = self.model.cell(&run.cell_id) else { continue };
            let tells = |output: &Output| matches!(output, Output::Stream { name, text } if name == "stderr" && text.contains(&path));
            if cell.shown.outputs.iter().any(tells) {
                cell.output_bytes = cell.output_bytes.max(self.engine.output_limit + 1);
                self.engine.overflow.tell(&run.cell_id);
            }
        }
    }

    /// Adds a note from the document to a cell's output, regardless of the limit.
    fn add_note(&mut self, cell_id: &str, text: String) {
        let note = Output::Stream { name: "stderr".into(), text };
        let changes = self.model.add_output(cell_id, note, None);
        self.change(changes, true);
    }

    /// Part of an output could not be written to its file.
    pub(in crate::documents) fn overflow_failed(&mut self, cell_id: &str, message: &str) {
        tracing::warn!(message, document = %self.path, "part of an output was lost");
        self.add_note(cell_id, format!("\n[part of the output was lost: {message}]\n"));
    }
}
