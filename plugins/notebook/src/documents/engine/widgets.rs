//! The state of widgets, for readers without the kernel and for the checks of an app's controls.
//!
//! # Source
//! ipywidgets, "Embedding Jupyter Widgets in Other Contexts than the Notebook", section "Widget state JSON".

use serde_json::{Map, Value, json};

use super::Engine;
use super::comms::{OpenComm, WIDGET};
use crate::protocol::Object;

/// Maximum size of the state of all widgets that is kept, in bytes.
const MAX_BYTES: usize = 8 << 20;

impl Engine {
    /// The state of all widgets as notebooks keep it in their metadata: the present one, or else the last one of a kernel that has
    /// ended. `None` if there are no widgets, or if they are too large.
    pub(in crate::documents) fn widgets(&self) -> Option<Value> {
        let open = self.comms.open.iter().filter(|(_, comm)| comm.target_name == WIDGET);
        let states: Map<String, Value> = open.map(|(id, comm)| (id.clone(), model_json(comm))).collect();
        if states.is_empty() {
            return self.last_widgets.clone();
        }
        (self.comms.bytes() <= MAX_BYTES)
            .then(|| json!({"version_major": 2, "version_minor": 0, "state": states}))
    }

    /// The state of an open widget.
    pub(in crate::documents) fn widget_state(&self, comm_id: &str) -> Option<&Object> {
        self.comms.open.get(comm_id).filter(|comm| comm.target_name == WIDGET).map(|comm| &comm.state)
    }
}

fn model_json(comm: &OpenComm) -> Value {
    let text = |key: &str| comm.state.get(key).cloned().unwrap_or_default();
    let buffers = comm.buffers.iter();
    let buffers: Vec<Value> =
        buffers.map(|(path, data)| json!({"encoding": "base64", "path": path, "data": data})).collect();
    json!({
        "model_name": text("_model_name"), "model_module": text("_model_module"),
        "model_module_version": text("_model_module_version"), "state": comm.state, "buffers": buffers,
    })
}
