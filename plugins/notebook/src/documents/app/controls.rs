//! The messages that the readers of an app may send: new values of its controls, each checked against the control.
//!
//! A reader can neither run code nor make or change widgets. A value has the type of its control and lies within its limits, so
//! that a notebook may rely on them.
//!
//! # Source
//! ipywidgets, "Model state" (the attributes of `@jupyter-widgets/controls` 2.0).

use serde_json::{Value, json};

use crate::protocol::{CommKind, CommMessage, Object};

/// Maximum length of a text, in bytes.
const TEXT_BYTES: usize = 10_000;
/// The package of the controls.
const CONTROLS: &str = "@jupyter-widgets/controls";
/// An attribute with which widgets count their views.
const VIEW_COUNT: &str = "_view_count";

/// What a control accepts.
enum Accepts {
    /// A whole number between `min` and `max`.
    Whole,
    /// A number between `min` and `max`.
    Number,
    /// A number between the powers of `base`.
    Power,
    /// Two numbers between `min` and `max`, in order.
    Range,
    Flag,
    Text,
    /// A day, a time or both: an object of whole numbers.
    Date,
    /// A place in `_options_labels`.
    Choice,
    /// Several places in `_options_labels`.
    Choices,
    /// A place in `children`.
    Page,
    Nothing,
}

/// What the attributes of a control accept, by its model.
fn accepts(model: &str, attribute: &str) -> Accepts {
    match (model.strip_suffix("Model").unwrap_or(model), attribute) {
        ("IntSlider" | "BoundedIntText" | "Play" | "IntText", "value") => Accepts::Whole,
        ("Play", "playing" | "repeat") => Accepts::Flag,
        ("FloatSlider" | "BoundedFloatText" | "FloatText", "value") => Accepts::Number,
        ("FloatLogSlider", "value") => Accepts::Power,
        ("IntRangeSlider" | "FloatRangeSlider", "value") => Accepts::Range,
        ("Checkbox" | "ToggleButton", "value") => Accepts::Flag,
        ("Text" | "Textarea" | "Password" | "Combobox" | "ColorPicker", "value") => Accepts::Text,
        ("DatePicker" | "TimePicker" | "DatetimePicker" | "NaiveDatetimePicker", "value") => Accepts::Date,
        ("Dropdown" | "RadioButtons" | "Select" | "SelectionSlider" | "ToggleButtons", "index") => {
            Accepts::Choice
        }
        ("SelectMultiple" | "SelectionRangeSlider", "index") => Accepts::Choices,
        ("Tab" | "Accordion" | "Stack", "selected_index") => Accepts::Page,
        _ => Accepts::Nothing,
    }
}

/// The message that the kernel gets for `message` of a reader. `state` is the state of its widget; `None` if there is no such
/// widget.
/// # Errors
/// Why it is refused, for the reader.
pub(super) fn checked(message: &CommMessage, state: Option<&Object>) -> Result<CommMessage, String> {
    let state = state.ok_or("there is no such control")?;
    if message.kind != CommKind::Message || !message.buffers.is_empty() {
        return Err("an app accepts only new values of its controls".to_owned());
    }
    let text = |key: &str| state.get(key).and_then(Value::as_str).unwrap_or_default();
    let model = match text("_model_module") {
        CONTROLS => text("_model_name"),
        other => return Err(format!("widgets of the package {other} cannot be used in an app")),
    };
    let data = match message.data.get("method").and_then(Value::as_str) {
        Some("update") => {
            let new = message.data.get("state").and_then(Value::as_object).ok_or("the state is missing")?;
            json!({"method": "update", "state": new_state(model, state, new)?, "buffer_paths": []})
        }
        Some("custom") => json!({"method": "custom", "content": event(model, &message.data["content"])?}),
        _ => return Err("an app accepts only new values of its controls".to_owned()),
    };
    Ok(CommMessage {
        comm_id: message.comm_id.clone(),
        kind: CommKind::Message,
        target_name: None,
        data: data.as_object().cloned().unwrap_or_default(),
        metadata: Object::new(),
        buffers: Vec::new(),
        request: message.request.clone(),
    })
}

fn new_state(model: &str, state: &Object, new: &Object) -> Result<Object, String> {
    let mut checked = Object::new();
    for (attribute, value) in new {
        // Pages report it for themselves.
        if attribute == VIEW_COUNT {
            continue;
        }
        if !is_accepted(&accepts(model, attribute), value, state) {
            return Err(format!("the control does not accept this value of `{attribute}`"));
        }
        checked.insert(attribute.clone(), value.clone());
    }
    Ok(checked)
}

/// An event of a control without a value: a click on a button, the end of an input.
fn event(model: &str, content: &Value) -> Result<Value, String> {
    match (model, content["event"].as_str()) {
        ("ButtonModel" | "ToggleButtonsModel", Some("click")) => Ok(json!({"event": "click"})),
        ("TextModel" | "PasswordModel" | "ComboboxModel", Some("submit")) => Ok(json!({"event": "submit"})),
        _ => Err("the control does not accept this event".to_owned()),
    }
}

fn is_accepted(accepts: &Accepts, value: &Value, state: &Object) -> bool {
    let is_place = |value: &Value, list: &str| {
        let length = state.get(list).and_then(Value::as_array).map_or(0, Vec::len);
        value.as_u64().is_some_and(|place| usize::try_from(place).is_ok_and(|place| place < length))
    };
    match accepts {
        Accepts::Whole => is_whole(value) && is_within(value, state),
        Accepts::Number => is_within(value, state),
        Accepts::Power => {
            let limit = |key: &str| state.get(key).and_then(Value::as_f64);
            let (Some(base), Some(min), Some(max)) = (limit("base"), limit("min"), limit("max")) else {
                return false;
            };
            // Rounding must not refuse the limits themselves.
            let (low, high) = (base.powf(min) * (1.0 - 1e-9), base.powf(max) * (1.0 + 1e-9));
            value.as_f64().is_some_and(|value| (low..=high).contains(&value))
        }
        Accepts::Range => match value.as_array().map(Vec::as_slice) {
            Some([low, high]) => {
                let is_whole_range =
                    state.get("_model_name").is_some_and(|name| name == "IntRangeSliderModel");
                low.as_f64() <= high.as_f64()
                    && [low, high].iter().all(|end| is_within(end, state))
                    && (!is_whole_range || [low, high].iter().all(|end| is_whole(end)))
            }
            _ => false,
        },
        Accepts::Flag => value.is_boolean(),
        Accepts::Text => value.is_null() || value.as_str().is_some_and(|text| text.len() <= TEXT_BYTES),
        Accepts::Date => {
            value.is_null()
                || value.as_object().is_some_and(|parts| parts.len() <= 8 && parts.values().all(is_whole))
        }
        Accepts::Choice => value.is_null() || is_place(value, "_options_labels"),
        Accepts::Choices => value.as_array().is_some_and(|places| {
            places.len() <= 1000 && places.iter().all(|place| is_place(place, "_options_labels"))
        }),
        Accepts::Page => value.is_null() || is_place(value, "children"),
        Accepts::Nothing => false,
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64()
}

/// Whether a number lies between `min` and `max`, as far as the control has them.
fn is_within(value: &Value, state: &Object) -> bool {
    let limit = |key: &str| state.get(key).and_then(Value::as_f64);
    value.as_f64().is_some_and(|value| {
        limit("min").is_none_or(|min| value >= min) && limit("max").is_none_or(|max| value <= max)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: &Value, data: &Value) -> Result<Value, String> {
        let message: CommMessage =
            serde_json::from_value(json!({"comm_id": "c", "kind": "message", "data": data})).unwrap();
        checked(&message, state.as_object()).map(|message| message.data.into())
    }

    fn state(model: &str, more: Value) -> Value {
        let mut state = json!({"_model_module": CONTROLS, "_model_name": format!("{model}Model")});
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state
    }

    #[test]
    fn values_fit_their_controls() {
        let slider = || state("IntSlider", json!({"min": 1, "max": 10}));
        let real = || state("FloatSlider", json!({"min": 0.5, "max": 2.5}));
        let power = || state("FloatLogSlider", json!({"base": 10.0, "min": -2.0, "max": 2.0}));
        let range = || state("IntRangeSlider", json!({"min": 0, "max": 9}));
        let choice = || state("Dropdown", json!({"_options_labels": ["a", "b"]}));
        for (state, attribute, good, bad) in [
            (slider(), "value", json!([1, 10]), json!([0, 11, 1.5, "1", null, true, [1]])),
            (real(), "value", json!([0.5, 2, 2.5]), json!([0, 3, "1", null])),
            (power(), "value", json!([0.01, 1, 100]), json!([0, 101, "1"])),
            (range(), "value", json!([[0, 9], [3, 3]]), json!([[9, 0], [0], [0, 10], [0.5, 1], 3])),
            (choice(), "index", json!([0, 1, null]), json!([2, -1, "a", 0.5])),
            (
                state("SelectMultiple", json!({"_options_labels": ["a", "b"]})),
                "index",
                json!([[], [0, 1]]),
                json!([[2], 0]),
            ),
            (state("Checkbox", json!({})), "value", json!([true]), json!([0, null, "true"])),
            (state("Text", json!({})), "value", json!(["", "text"]), json!([1, ["a"], "x".repeat(10_001)])),
            (
                state("DatePicker", json!({})),
                "value",
                json!([null, {"year": 2026}]),
                json!(["2026", {"year": "x"}]),
            ),
            (state("Tab", json!({"children": ["x"]})), "selected_index", json!([0, null]), json!([1])),
            (slider(), "max", json!([]), json!([1_000_000])),
            (slider(), "_model_name", json!([]), json!(["HTMLModel"])),
            (state("HTML", json!({})), "value", json!([]), json!(["<b>"])),
            (state("FileUpload", json!({})), "value", json!([]), json!([[]])),
        ] {
            for value in good.as_array().unwrap() {
                let sent = check(&state, &json!({"method": "update", "state": {attribute: value}}));
                assert_eq!(sent.unwrap()["state"], json!({attribute: value}), "{state}");
            }
            for value in bad.as_array().unwrap() {
                let sent = check(&state, &json!({"method": "update", "state": {attribute: value}}));
                assert!(sent.is_err(), "{state}: {value}");
            }
        }
    }

    #[test]
    fn only_values_and_clicks_reach_the_kernel() {
        let button = state("Button", json!({}));
        let click = json!({"method": "custom", "content": {"event": "click", "more": 1}});
        assert_eq!(check(&button, &click).unwrap()["content"], json!({"event": "click"}));
        let slider = state("IntSlider", json!({"min": 0, "max": 3}));
        let counted =
            json!({"method": "update", "state": {"value": 1, "_view_count": 2}, "buffer_paths": [["x"]]});
        let sent = json!({"method": "update", "state": {"value": 1}, "buffer_paths": []});
        assert_eq!(check(&slider, &counted).unwrap(), sent);
        let output = json!({"_model_module": "@jupyter-widgets/output", "_model_name": "OutputModel"});
        for (state, data) in [
            (&slider, json!({"method": "custom", "content": {"event": "click"}})),
            (&slider, json!({"method": "request_state"})),
            (&slider, json!({"code": "1"})),
            (&output, json!({"method": "update", "state": {"msg_id": "x"}})),
            (&Value::Null, json!({"method": "update", "state": {"value": 1}})),
        ] {
            assert!(check(state, &data).is_err(), "{state} {data}");
        }
        for more in [
            json!({"kind": "open", "target_name": "x"}),
            json!({"kind": "close"}),
            json!({"buffers": ["QQ=="]}),
        ] {
            let mut message = json!({"comm_id": "c", "kind": "message", "data": {"method": "update", "state": {"value": 1}}});
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let message: CommMessage = serde_json::from_value(message).unwrap();
            assert!(checked(&message, slider.as_object()).is_err(), "{more}");
        }
    }
}
