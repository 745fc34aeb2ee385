//! Payloads: requests of a kernel to the front end, in its reply to a run.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", section "Payloads (DEPRECATED)".

use serde_json::Value;

use super::{Effect, Engine};
use crate::documents::model::Model;
use crate::protocol::{CellType, Object, Operation, Output};

impl Engine {
    /// Performs what `payload` asks for. Unknown payloads are ignored, as Jupyter's front ends do.
    pub(super) fn take_payload(&mut self, model: &mut Model, msg_id: &str, cell_id: &str, payload: &Value) {
        match payload["source"].as_str() {
            // Help of `name?` and `%pinfo`.
            Some("page") => {
                if let Some(data) = payload["data"].as_object() {
                    let output = Output::DisplayData { data: data.clone(), metadata: Object::new() };
                    self.add_output(model, cell_id, output, None);
                }
            }
            // `%load` and `get_ipython().set_next_input()`.
            Some("set_next_input") => {
                if let Some(text) = payload["text"].as_str() {
                    let replace = payload["replace"].as_bool().unwrap_or_default();
                    self.set_next_input(model, msg_id, cell_id, text, replace);
                }
            }
            Some("edit_magic") => {
                let file = payload["filename"].as_str().unwrap_or_default();
                let text = format!("[cannot open an editor here; the file is {file}]\n");
                self.add_output(model, cell_id, Output::Stream { name: "stderr".into(), text }, None);
            }
            // The kernel then ends on its own, and its end is reported.
            Some("ask_exit") => {}
            Some(source) => tracing::debug!(source, document = %self.path, "ignored an unknown payload"),
            None => {}
        }
    }

    /// Replaces the source of the cell, or inserts a new cell below it.
    fn set_next_input(&mut self, model: &mut Model, msg_id: &str, cell_id: &str, text: &str, replace: bool) {
        let operation = match model.cell(cell_id).map(|cell| cell.shown.revision) {
            Some(revision) if replace => Operation::SetSource {
                cell_id: cell_id.to_owned(),
                source: text.to_owned(),
                base_revision: revision,
                changes: None,
            },
            _ => Operation::InsertCell {
                index: model.index(cell_id).map_or(usize::MAX, |index| index + 1),
                cell_type: CellType::Code,
                source: text.to_owned(),
                cell_id: None,
                metadata: None,
                attachments: None,
                outputs: None,
                execution_count: None,
            },
        };
        let (msg_id, cell_id) = (msg_id.to_owned(), cell_id.to_owned());
        self.effects.push(Effect::Edit { msg_id, cell_id, operation });
    }

    /// Reports in the cell that an edit on behalf of its run was not possible.
    pub(in crate::documents) fn edit_refused(
        &mut self,
        model: &mut Model,
        cell_id: &str,
        why: &str,
    ) -> Vec<Effect> {
        self.add_note(model, cell_id, format!("[ignored the kernel's text for the next cell: {why}]\n"));
        self.take_effects()
    }
}
