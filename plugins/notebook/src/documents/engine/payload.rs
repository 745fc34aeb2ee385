//! Requests of a kernel to the front end in its reply to a run.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", section "Payloads (DEPRECATED)".

use serde_json::Value;

use super::Engine;
use crate::documents::model::{Model, NewCell};
use crate::protocol::{CellType, Object, Output};

impl Engine {
    /// Performs what `payload` asks for. Unknown payloads are ignored, as Jupyter's front ends do.
    pub(super) fn take_payload(&mut self, model: &mut Model, cell_id: &str, payload: &Value) {
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
                    self.set_next_input(
                        model,
                        cell_id,
                        text,
                        payload["replace"].as_bool().unwrap_or_default(),
                    );
                }
            }
            Some("edit_magic") => {
                let file = payload["filename"].as_str().unwrap_or_default();
                let text = format!("[cannot open an editor here; the file is {file}]\n");
                self.add_output(model, cell_id, Output::Stream { name: "stderr".into(), text }, None);
            }
            // The kernel then ends by itself, and its end is reported.
            Some("ask_exit") => {}
            Some(source) => tracing::debug!(source, document = %self.path, "ignored an unknown payload"),
            None => {}
        }
    }

    /// Replaces the source of the cell, or inserts a new cell below it.
    fn set_next_input(&mut self, model: &mut Model, cell_id: &str, text: &str, replace: bool) {
        let done = match model.cell(cell_id).map(|cell| cell.shown.revision) {
            Some(revision) if replace => model.set_source(cell_id, text.to_owned(), revision, None),
            _ => {
                let below = model.index(cell_id).map_or(usize::MAX, |index| index + 1);
                let cell = NewCell {
                    cell_type: CellType::Code,
                    source: text.to_owned(),
                    metadata: Object::new(),
                    attachments: None,
                    outputs: Vec::new(),
                    execution_count: None,
                };
                model.insert_cell(below, None, cell)
            }
        };
        match done {
            Ok((_, changes)) => self.change(changes, true),
            Err(why) => {
                let text = format!("[ignored the kernel's text for the next cell: {why}]\n");
                self.add_output(model, cell_id, Output::Stream { name: "stderr".into(), text }, None);
            }
        }
    }
}
