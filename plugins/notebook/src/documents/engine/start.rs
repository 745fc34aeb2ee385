//! Starts runs of cells.

use serde_json::json;

use super::directives::{Plan, directives};
use super::runs::Execution;
use super::{Effect, Engine, RunEvent, new_msg_id};
use crate::documents::model::Model;
use crate::documents::overflow::OverflowOrder;
use crate::kernel::message::{Channel, DOCUMENT_SESSION, Message};
use crate::protocol::{CellType, Operation};

impl Engine {
    /// Queues code cells in this order. Skips other cells.
    pub(in crate::documents) fn run(&mut self, model: &mut Model, cell_ids: &[String]) -> Vec<Effect> {
        for cell_id in self.automatic_cells(model, cell_ids).iter().chain(cell_ids) {
            self.queue_run(model, cell_id);
        }
        if !self.release() {
            self.effects.push(Effect::KeepRecord);
        }
        self.take_effects()
    }

    /// Records that the document has a new kernel.
    pub(in crate::documents) fn kernel_is_new(&mut self) {
        self.is_new = true;
    }

    /// The cells with `%auto` if the kernel is new, except those that run anyway.
    fn automatic_cells(&mut self, model: &Model, cell_ids: &[String]) -> Vec<String> {
        if !std::mem::take(&mut self.is_new) {
            return Vec::new();
        }
        let code = model.cells.iter().map(|cell| &cell.shown).filter(|cell| cell.cell_type == CellType::Code);
        let automatic =
            code.filter(|cell| directives(&cell.source, None).auto && !cell_ids.contains(&cell.id));
        automatic.map(|cell| cell.id.clone()).collect()
    }

    fn queue_run(&mut self, model: &mut Model, cell_id: &str) -> Option<()> {
        let cell = model.cell(cell_id).filter(|cell| cell.shown.cell_type == CellType::Code)?;
        let source = cell.shown.source.clone();
        let msg_id = new_msg_id(cell_id);
        cell.run = Some(msg_id.clone());
        let mut changes = model.clear(cell_id);
        self.overflowing.remove(cell_id);
        self.effects.push(Effect::Overflow(OverflowOrder::remove(self.overflow_path(cell_id), cell_id)));
        let is_empty = source.trim().is_empty();
        if !is_empty {
            let found = directives(&source, self.kernel.language.as_deref());
            let queued = RunEvent::Queued { msg_id: msg_id.clone(), cell_id: cell_id.to_owned(), source };
            self.effects.push(Effect::Run(queued));
            if found.hide {
                self.hide_source(model, &msg_id, cell_id);
            }
            self.hold(&msg_id, cell_id, found.plan);
        }
        changes.extend(model.set_state(cell_id, self.runs.state_of(cell_id), Some(None)));
        self.change(changes, true);
        Some(())
    }

    /// Queues a run that is not sent to the document's kernel.
    fn hold(&mut self, msg_id: &str, cell_id: &str, plan: Plan) {
        let mut execution = Execution { held: true, ..Execution::new(msg_id.to_owned(), cell_id) };
        let code = match plan {
            Plan::Code(code) => code,
            Plan::Show(text) => {
                execution.shown = Some(text);
                String::new()
            }
            Plan::Other { language, code } => {
                execution.language = Some(language);
                code
            }
        };
        let request = execute_request(msg_id, cell_id, &code, execution.shown.is_none());
        self.held.push_back((msg_id.to_owned(), execution.language.clone(), request));
        self.runs.add(execution);
    }

    /// Hides the source of a cell, as a page does.
    fn hide_source(&mut self, model: &mut Model, msg_id: &str, cell_id: &str) {
        let Some(cell) = model.cell(cell_id) else { return };
        let mut metadata = cell.shown.metadata.clone();
        let hidden = metadata.entry("jupyter").or_insert_with(|| json!({}));
        if !hidden.is_object() || hidden["source_hidden"] == true {
            return;
        }
        hidden["source_hidden"] = true.into();
        let operation = Operation::SetCellMetadata { cell_id: cell_id.to_owned(), metadata };
        let (msg_id, cell_id) = (msg_id.to_owned(), cell_id.to_owned());
        self.effects.push(Effect::Edit { msg_id, cell_id, operation });
    }
}

fn execute_request(msg_id: &str, cell_id: &str, source: &str, numbered: bool) -> Message {
    let content = json!({
        "code": source, "silent": false, "store_history": numbered, "user_expressions": {}, "allow_stdin": true, "stop_on_error": true,
    });
    let mut message = Message::new(Channel::Shell, "execute_request", msg_id, DOCUMENT_SESSION, &content);
    // Some kernels and tools (debuggers, ipywidgets) read these.
    message.metadata =
        json!({"cellId": cell_id, "deletedCells": [], "recordTiming": false}).to_string().into();
    message
}
