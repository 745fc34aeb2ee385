//! The state of widgets in a notebook's metadata: only of widgets that its outputs show, because others may be private.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::format::NotebookFile;

/// The key of the state of widgets in a notebook's metadata, below `widgets`.
pub(super) const WIDGET_STATE: &str = "application/vnd.jupyter.widget-state+json";
/// How the state of a widget refers to another.
const REFERENCE: &str = "IPY_MODEL_";

/// The state of widgets in a notebook's metadata.
pub(super) fn saved(file: &NotebookFile) -> Option<Value> {
    file.metadata.get("widgets")?.get(WIDGET_STATE).cloned()
}

/// Puts the state of the widgets that the outputs show into the JSON of a notebook.
pub(crate) fn add_widgets(notebook: &mut Value, widgets: Option<Value>) {
    let Some(widgets) = widgets.and_then(|widgets| shown_in(&notebook["cells"], widgets)) else { return };
    let Some(metadata) = notebook["metadata"].as_object_mut() else { return };
    let all = metadata.entry("widgets").or_insert_with(|| json!({}));
    if let Some(all) = all.as_object_mut() {
        all.insert(WIDGET_STATE.to_owned(), widgets);
    }
}

/// The states of the widgets that `outputs` show, and of those within them. `None` if there are none.
pub(super) fn shown_in(outputs: &Value, mut widgets: Value) -> Option<Value> {
    let all = widgets["state"].as_object()?;
    let (mut waiting, mut shown) = (Vec::new(), BTreeSet::new());
    add_references(outputs, &mut waiting);
    while let Some(id) = waiting.pop() {
        if let Some(model) = all.get(&id)
            && shown.insert(id)
        {
            add_references(&model["state"], &mut waiting);
        }
    }
    let states: Map<String, Value> = all
        .iter()
        .filter(|(id, _)| shown.contains(*id))
        .map(|(id, model)| (id.clone(), model.clone()))
        .collect();
    if states.is_empty() {
        return None;
    }
    widgets["state"] = states.into();
    Some(widgets)
}

/// The ids of widgets in a value.
fn add_references(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::String(text) => ids.extend(text.strip_prefix(REFERENCE).map(str::to_owned)),
        Value::Array(values) => values.iter().for_each(|value| add_references(value, ids)),
        Value::Object(fields) => {
            ids.extend(fields.get("model_id").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| add_references(value, ids));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shown_widgets_keep_their_state() {
        let model = |state: Value| json!({"model_name": "X", "state": state});
        let inner = json!([{"data": {"application/vnd.jupyter.widget-view+json": {"model_id": "d"}}}]);
        let widgets = json!({"version_major": 2, "state": {
            "a": model(json!({"children": ["IPY_MODEL_b"], "layout": "IPY_MODEL_l"})),
            "b": model(json!({"outputs": inner})),
            "d": model(json!({"value": 1, "parent": "IPY_MODEL_a"})),
            "l": model(json!({})),
            "private": model(json!({"value": "secret", "children": ["IPY_MODEL_a"]})),
        }});
        let view = json!({"data": {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}});
        let mut notebook = json!({"cells": [{"outputs": [view]}], "metadata": {"kept": 1}});
        add_widgets(&mut notebook, Some(widgets.clone()));
        let kept = notebook["metadata"]["widgets"][WIDGET_STATE]["state"].as_object().unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "b", "d", "l"]);
        let mut without = json!({"cells": [{"outputs": []}], "metadata": {}});
        add_widgets(&mut without, Some(widgets));
        assert_eq!(without["metadata"], json!({}));
    }
}
