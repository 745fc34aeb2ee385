//! Cells that kernels of other languages run (`%r`), and the order among the kernels of a document.
//!
//! The document's cells run one after the other, even in different kernels: a run is held until the earlier runs in other
//! kernels have ended. The kernel host has the queue of each kernel.

use std::collections::BTreeSet;

use super::{Effect, Engine, RunEvent};
use crate::documents::model::Model;
use crate::kernel::message::Message;
use crate::protocol::{CellState, Output};

impl Engine {
    /// Sends the runs whose turn it is. Returns whether there are any.
    pub(super) fn release(&mut self) -> bool {
        let mut any = false;
        while let Some((msg_id, language, _)) = self.held.front() {
            let waits = self.runs.all().iter().any(|run| !run.held && run.language != *language);
            if waits {
                break;
            }
            let msg_id = msg_id.clone();
            let Some((_, language, message)) = self.held.pop_front() else { break };
            if !std::mem::replace(&mut any, true) {
                // Stored first, so that the next owner of the document knows that these cells run.
                self.effects.push(Effect::KeepRecord);
            }
            if let Some(run) = self.runs.find(&msg_id) {
                run.held = false;
            }
            self.effects.push(match language {
                None => Effect::Send(message),
                Some(language) => Effect::SendToOther { language, message },
            });
        }
        any
    }

    /// Ends the held runs of these cells or of all cells, as a kernel does with its queue after an error.
    pub(in crate::documents) fn abort_held(
        &mut self,
        model: &mut Model,
        cell_ids: Option<&[String]>,
    ) -> Vec<Effect> {
        let ended =
            self.runs.remove(|run| run.held && cell_ids.is_none_or(|cells| cells.contains(&run.cell_id)));
        for run in ended {
            self.held.retain(|(msg_id, ..)| *msg_id != run.msg_id);
            self.end(model, &run.msg_id, &run.cell_id, "aborted");
        }
        self.release();
        self.take_effects()
    }

    /// The languages of the other kernels that run a cell.
    pub(in crate::documents) fn running_languages(&self) -> Vec<String> {
        let running = self.runs.all().iter().filter(|run| !run.held).filter_map(|run| run.language.clone());
        running.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Handles a message of the kernel for another language.
    pub(in crate::documents) fn message_of_other(
        &mut self,
        model: &mut Model,
        language: &str,
        message: &Message,
    ) -> Vec<Effect> {
        let kind = message.header().msg_type;
        let content = message.content();
        match (kind.as_str(), content["execution_state"].as_str()) {
            // Widgets of other kernels are not supported.
            ("comm_open" | "comm_msg" | "comm_close", _) => {}
            ("status", Some(state @ ("dead" | "restarting"))) => {
                let reason = content["reason"].as_str().unwrap_or("the kernel ended");
                return self.other_failed(
                    model,
                    language,
                    &format!("{reason} (kernel for {language}: {state})"),
                );
            }
            _ => {
                // Its messages have separate numbers.
                let entry = self.entry;
                let effects = self.message(model, entry, message);
                if kind == "input_request" && self.input.is_some() {
                    self.asking = Some(language.to_owned());
                }
                return effects;
            }
        }
        self.take_effects()
    }

    /// Fails the runs of a kernel for another language that could not be started or has ended, and all held runs.
    pub(in crate::documents) fn other_failed(
        &mut self,
        model: &mut Model,
        language: &str,
        reason: &str,
    ) -> Vec<Effect> {
        let failed = self.runs.remove(|run| !run.held && run.language.as_deref() == Some(language));
        let any = !failed.is_empty();
        for run in failed {
            let traceback = reason.lines().map(str::to_owned).collect();
            let error = Output::Error { ename: "KernelError".into(), evalue: reason.to_owned(), traceback };
            self.add_output(model, &run.cell_id, error, None);
            self.end(model, &run.msg_id, &run.cell_id, "error");
        }
        let mut effects = self.take_effects();
        if any {
            effects.extend(self.abort_held(model, None));
        }
        effects
    }

    /// After a change of the owner, ends the runs of other kernels and the held runs, which are lost.
    pub(super) fn lose_other_runs(&mut self, model: &mut Model) {
        for run in self.runs.remove(|run| run.held || run.language.is_some()) {
            if !run.held {
                let text = "[the server was restarted while this cell ran: the rest of its output is lost]\n";
                self.add_note(model, &run.cell_id, text.to_owned());
            }
            self.end(model, &run.msg_id, &run.cell_id, "lost");
        }
    }

    fn end(&mut self, model: &mut Model, msg_id: &str, cell_id: &str, status: &str) {
        let (msg_id, status) = (msg_id.to_owned(), status.to_owned());
        self.effects.push(Effect::Run(RunEvent::Ended { msg_id, status }));
        let state = self.runs.state_of(cell_id);
        self.change(model.set_state(cell_id, state, None), false);
        if state == CellState::Idle {
            self.end_input_of(model, cell_id);
        }
    }
}
