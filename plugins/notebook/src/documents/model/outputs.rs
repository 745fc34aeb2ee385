//! The outputs of cells: added, cleared, and replaced by the id of a display.

use serde_json::Value;

use super::Model;
use super::terminal::rewrite_lines;
use crate::protocol::{Change, Object, Output, Reply};

impl Model {
    /// Removes a cell's outputs.
    pub(in crate::documents) fn clear(&mut self, id: &str) -> Vec<Change> {
        let Some(cell) = self.cell(id) else { return Vec::new() };
        cell.clear_next = false;
        let was_empty = cell.shown.outputs.is_empty();
        cell.shown.outputs.clear();
        cell.output_bytes = 0;
        for places in self.displays.values_mut() {
            places.retain(|(cell_id, _)| cell_id != id);
        }
        if was_empty { Vec::new() } else { vec![Change::OutputsCleared { cell_id: id.to_owned() }] }
    }

    /// Removes the outputs of these cells, or of all.
    pub(in crate::documents) fn clear_outputs(
        &mut self,
        cell_ids: Option<Vec<String>>,
    ) -> (Reply, Vec<Change>) {
        let mut changes = Vec::new();
        for id in cell_ids.unwrap_or_else(|| self.cell_ids()) {
            changes.extend(self.clear(&id));
            if let Some(state) = self.cell(&id).map(|cell| cell.shown.state) {
                changes.extend(self.set_state(&id, state, Some(None)));
            }
        }
        (Reply::Done, changes)
    }

    /// Like [`Model::clear`], but delayed until the next output.
    pub(in crate::documents) fn clear_later(&mut self, id: &str) {
        if let Some(cell) = self.cell(id) {
            cell.clear_next = true;
        }
    }

    /// Adds an output, or appends its text to the preceding stream.
    pub(in crate::documents) fn add_output(
        &mut self,
        id: &str,
        output: Output,
        display_id: Option<&str>,
    ) -> Vec<Change> {
        let mut changes = match self.cell(id) {
            Some(cell) if cell.clear_next => self.clear(id),
            _ => Vec::new(),
        };
        let Some(cell) = self.cell(id) else { return changes };
        cell.output_bytes += size(&output);
        let index = cell.shown.outputs.len();
        if let (Output::Stream { name, text }, Some(Output::Stream { name: last, text: whole })) =
            (&output, cell.shown.outputs.last_mut())
            && name == last
        {
            let index = index - 1;
            let before = whole.len();
            whole.push_str(text);
            if rewrite_lines(whole, before) {
                let output = Output::Stream { name: name.clone(), text: whole.clone() };
                cell.output_bytes = cell.shown.outputs.iter().map(size).sum();
                changes.push(Change::OutputReplaced { cell_id: id.to_owned(), index, output });
            } else {
                changes.push(Change::TextAppended { cell_id: id.to_owned(), index, text: text.clone() });
            }
            return changes;
        }
        let mut output = output;
        if let Output::Stream { text, .. } = &mut output {
            rewrite_lines(text, 0);
        }
        cell.shown.outputs.push(output.clone());
        if let Some(display_id) = display_id {
            self.displays.entry(display_id.to_owned()).or_default().push((id.to_owned(), index));
        }
        changes.push(Change::OutputAdded { cell_id: id.to_owned(), output });
        changes
    }

    /// Replaces the outputs with a display id in all cells.
    pub(in crate::documents) fn update_display(
        &mut self,
        display_id: &str,
        data: &Object,
        metadata: &Object,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (cell_id, index) in self.displays.get(display_id).cloned().unwrap_or_default() {
            let Some(cell) = self.cell(&cell_id) else { continue };
            let Some(output) = cell.shown.outputs.get_mut(index) else { continue };
            match output {
                Output::DisplayData { data: shown, metadata: about }
                | Output::ExecuteResult { data: shown, metadata: about, .. } => {
                    *shown = data.clone();
                    *about = metadata.clone();
                }
                _ => continue,
            }
            let output = output.clone();
            cell.output_bytes = cell.shown.outputs.iter().map(size).sum();
            changes.push(Change::OutputReplaced { cell_id, index, output });
        }
        changes
    }

    /// Whether an output is a widget.
    pub(in crate::documents) fn shows_widgets(&self) -> bool {
        let is_widget = |output: &Output| match output {
            Output::DisplayData { data, .. } | Output::ExecuteResult { data, .. } => {
                data.contains_key("application/vnd.jupyter.widget-view+json")
            }
            _ => false,
        };
        self.cells.iter().any(|cell| cell.shown.outputs.iter().any(is_widget))
    }

    /// The display ids for a record.
    pub(in crate::documents) fn displays(&self) -> Value {
        let recent = self.displays.iter().filter(|(_, places)| !places.is_empty()).take(1000);
        recent
            .map(|(id, places)| (id.clone(), serde_json::to_value(places).unwrap_or_default()))
            .collect::<Object>()
            .into()
    }

    pub(in crate::documents) fn restore_displays(&mut self, displays: &Value) {
        if let Ok(displays) = serde_json::from_value(displays.clone()) {
            self.displays = displays;
        }
    }
}

/// The size of an output in bytes, without its JSON syntax.
pub(super) fn size(output: &Output) -> usize {
    fn value(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(value_of).sum(),
            Value::Object(object) => object.iter().map(|(key, item)| key.len() + value_of(item)).sum(),
            _ => 8,
        }
    }
    fn value_of(item: &Value) -> usize {
        value(item) + 8
    }
    match output {
        Output::Stream { text, .. } => text.len(),
        Output::DisplayData { data, .. } | Output::ExecuteResult { data, .. } => {
            data.values().map(value).sum()
        }
        Output::Error { traceback, .. } => traceback.iter().map(String::len).sum(),
    }
}
