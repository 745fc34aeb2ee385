//! What the readers of an app see: no sources, and nothing that quotes them.
//!
//! Tracebacks and warnings quote lines of the code, so of errors only their class is shown, and nothing of standard error. An
//! output keeps its place in its cell, because changes name the place.

use serde_json::{Value, json};

use super::text;
use super::widgets::WIDGET_STATE;
use crate::documents::model::Model;
use crate::protocol::{
    Cell, CellState, CellType, Change, Comm, CommMessage, Document, Kernel, KernelState, Object, Output,
};

/// The metadata of a cell that its readers need.
const KEPT_METADATA: [&str; 3] = ["collapsed", "scrolled", "jupyter"];
/// The prefix of the targets of widgets.
const WIDGETS: &str = "jupyter.widget";
const STDERR: &str = "stderr";

/// A notebook without its sources. `widgets` is the state of its widgets.
pub(super) fn document(title: &str, model: &Model, widgets: Option<Value>) -> Document {
    let mut metadata = Object::new();
    if let Some(mut widgets) = widgets {
        for state in widgets["state"].as_object_mut().into_iter().flatten() {
            if let Some(state) = state.1["state"].as_object_mut() {
                hide_in_state(state);
            }
        }
        metadata.insert("widgets".to_owned(), json!({WIDGET_STATE: widgets}));
    }
    let kernel = Kernel {
        id: None,
        name: None,
        display_name: None,
        language: None,
        state: KernelState::None,
        message: None,
        debugger: false,
    };
    Document {
        path: title.to_owned(),
        cells: model.cells.iter().map(|live| cell(&live.shown)).collect(),
        metadata,
        kernel,
        unsaved: false,
        conflict: false,
        last_modified: String::new(),
        input: None,
        writable: false,
    }
}

fn cell(cell: &Cell) -> Cell {
    let source = match cell.cell_type {
        CellType::Markdown => text::html(&cell.source, cell.attachments.as_ref()),
        CellType::Code | CellType::Raw => String::new(),
    };
    let mut metadata = cell.metadata.clone();
    metadata.retain(|key, _| KEPT_METADATA.contains(&key.as_str()));
    if let Some(flags) = metadata.get_mut("jupyter") {
        *flags = json!({"outputs_hidden": flags["outputs_hidden"] == true});
    }
    Cell {
        id: cell.id.clone(),
        cell_type: cell.cell_type,
        source,
        revision: 0,
        metadata,
        attachments: None,
        outputs: cell.outputs.iter().map(output).collect(),
        execution_count: None,
        state: CellState::Idle,
    }
}

fn output(output: &Output) -> Output {
    match output {
        Output::Stream { name, .. } if name == STDERR => {
            Output::Stream { name: name.clone(), text: String::new() }
        }
        Output::Error { ename, .. } => {
            Output::Error { ename: ename.clone(), evalue: String::new(), traceback: Vec::new() }
        }
        Output::ExecuteResult { data, metadata, .. } => {
            Output::ExecuteResult { execution_count: None, data: data.clone(), metadata: metadata.clone() }
        }
        shown => shown.clone(),
    }
}

/// A change for the readers; `None`: they do not see it. `model` already contains it.
pub(super) fn change(model: &mut Model, change: Change) -> Option<Change> {
    Some(match change {
        Change::OutputAdded { cell_id, output: added } => {
            Change::OutputAdded { cell_id, output: output(&added) }
        }
        Change::OutputReplaced { cell_id, index, output: new } => {
            Change::OutputReplaced { cell_id, index, output: output(&new) }
        }
        Change::TextAppended { ref cell_id, index, .. } => {
            let is_hidden = model
                .cell(cell_id)
                .and_then(|cell| cell.shown.outputs.get(index))
                .is_none_or(|output| !matches!(output, Output::Stream { name, .. } if name != STDERR));
            if is_hidden {
                return None;
            }
            change
        }
        Change::CellStateChanged { cell_id, state, .. } => {
            Change::CellStateChanged { cell_id, state, execution_count: None }
        }
        Change::CommSent { message } => Change::CommSent { message: comm_message(message)? },
        Change::OutputsCleared { .. } => change,
        _ => return None,
    })
}

/// The comms of widgets.
pub(super) fn comms(comms: Vec<Comm>) -> Vec<Comm> {
    let mut comms: Vec<Comm> = comms.into_iter().filter(|comm| comm.target_name == WIDGETS).collect();
    for comm in &mut comms {
        hide_in_data(&mut comm.data);
    }
    comms
}

fn comm_message(mut message: CommMessage) -> Option<CommMessage> {
    if message.target_name.as_deref().is_some_and(|target| target != WIDGETS) {
        return None;
    }
    hide_in_data(&mut message.data);
    Some(message)
}

fn hide_in_data(data: &mut Object) {
    if let Some(state) = data.get_mut("state").and_then(Value::as_object_mut) {
        hide_in_state(state);
    }
}

/// Hides errors in the outputs that an `Output` widget has captured.
fn hide_in_state(state: &mut Object) {
    let Some(outputs) = state.get_mut("outputs").and_then(Value::as_array_mut) else { return };
    outputs.retain(|output| !(output["output_type"] == "stream" && output["name"] == STDERR));
    for output in outputs.iter_mut().filter(|output| output["output_type"] == "error") {
        *output = json!({"output_type": "error", "ename": output["ename"], "evalue": "", "traceback": []});
    }
}
