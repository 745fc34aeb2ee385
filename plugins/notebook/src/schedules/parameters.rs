//! Sets the parameters of a notebook, as papermill does: in a new cell after the one with the tag `parameters`.
//!
//! # Source
//! papermill 2.7, "Parameterize" (the tags `parameters` and `injected-parameters`).

use serde_json::{Map, Value, json};

use crate::format::new_cell_id;

/// The tag of the cell with the defaults, and that of the cell that is put after it.
const DEFAULTS: &str = "parameters";
const INJECTED: &str = "injected-parameters";

/// How a language writes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    R,
    Julia,
}

/// Whether a text can be the name of a parameter.
/// # Errors
/// What is wrong, for users.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && name.len() <= 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(format!("`{name}` cannot be the name of a parameter: use letters, digits and _"))
}

/// Puts a cell with `parameters` into a notebook (its JSON, with joined texts), and clears all outputs.
/// # Errors
/// For users: the notebook's language is not known here.
pub fn inject(notebook: &mut Value, parameters: &Map<String, Value>) -> Result<(), String> {
    let language = language(notebook);
    let cells = notebook["cells"].as_array_mut().ok_or_else(|| "it has no cells".to_owned())?;
    for cell in cells.iter_mut().filter(|cell| cell["cell_type"] == "code") {
        cell["outputs"] = json!([]);
        cell["execution_count"] = Value::Null;
    }
    if parameters.is_empty() {
        return Ok(());
    }
    let source = assignments(language?, parameters)?;
    cells.retain(|cell| !has_tag(cell, INJECTED));
    let at = cells.iter().position(|cell| has_tag(cell, DEFAULTS)).map_or(0, |at| at + 1);
    let cell = json!({
        "cell_type": "code", "id": new_cell_id(), "metadata": {"tags": [INJECTED]}, "source": source, "outputs": [], "execution_count": null,
    });
    cells.insert(at, cell);
    Ok(())
}

fn has_tag(cell: &Value, tag: &str) -> bool {
    cell["cell_type"] == "code"
        && cell["metadata"]["tags"].as_array().is_some_and(|tags| tags.iter().any(|one| one == tag))
}

fn language(notebook: &Value) -> Result<Language, String> {
    let metadata = &notebook["metadata"];
    let named = [&metadata["kernelspec"]["language"], &metadata["language_info"]["name"]];
    let name = named.iter().find_map(|name| name.as_str()).unwrap_or("python").to_lowercase();
    match name.as_str() {
        "python" | "sage" | "ipython" => Ok(Language::Python),
        "r" => Ok(Language::R),
        "julia" => Ok(Language::Julia),
        other => {
            Err(format!("parameters can only be set in notebooks in Python, R and Julia, not in `{other}`"))
        }
    }
}

fn assignments(language: Language, parameters: &Map<String, Value>) -> Result<String, String> {
    let mut source = "# Parameters\n".to_owned();
    for (name, value) in parameters {
        check_name(name)?;
        source.push_str(&format!("{name} = {}\n", literal(language, value)));
    }
    Ok(source.trim_end().to_owned())
}

/// A value as the language writes it.
fn literal(language: Language, value: &Value) -> String {
    let list = |values: &[Value]| {
        values.iter().map(|value| literal(language, value)).collect::<Vec<String>>().join(", ")
    };
    let pairs = |pairs: &Map<String, Value>, between: &str| {
        let pair = |(key, value): (&String, &Value)| {
            format!("{}{between}{}", quoted(language, key), literal(language, value))
        };
        pairs.iter().map(pair).collect::<Vec<String>>().join(", ")
    };
    match (language, value) {
        (Language::Python, Value::Null) => "None".to_owned(),
        (Language::R, Value::Null) => "NULL".to_owned(),
        (Language::Julia, Value::Null) => "nothing".to_owned(),
        (Language::Python, Value::Bool(value)) => if *value { "True" } else { "False" }.to_owned(),
        (Language::R, Value::Bool(value)) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        (Language::Julia, Value::Bool(value)) => value.to_string(),
        (_, Value::Number(number)) => number.to_string(),
        (_, Value::String(text)) => quoted(language, text),
        (Language::R, Value::Array(values)) => format!("list({})", list(values)),
        (_, Value::Array(values)) => format!("[{}]", list(values)),
        (Language::Python, Value::Object(object)) => format!("{{{}}}", pairs(object, ": ")),
        (Language::R, Value::Object(object)) => format!("list({})", pairs(object, " = ")),
        (Language::Julia, Value::Object(object)) => format!("Dict({})", pairs(object, " => ")),
    }
}

/// A text in double quotes. Everything beyond printable ASCII is escaped, so that no text can end the literal.
fn quoted(language: Language, text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // It begins an interpolation.
            '$' if language == Language::Julia => quoted.push_str("\\$"),
            ' '..='~' => quoted.push(c),
            c => match (language, u32::from(c)) {
                (_, code @ 1..=0xffff) => quoted.push_str(&format!("\\u{code:04x}")),
                (_, code) => quoted.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    quoted.push('"');
    quoted
}

/// Why a run did not succeed: the first error among the outputs, or the first cell that did not run. `None`: it did.
pub fn failure(notebook: &Value) -> Option<String> {
    let cells = notebook["cells"].as_array()?;
    for (at, cell) in cells.iter().enumerate() {
        let outputs = cell["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(error) = outputs.iter().find(|output| output["output_type"] == "error") {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            let message = format!("cell {}: {}: {}", at + 1, text("ename"), text("evalue"));
            return Some(message.chars().take(500).collect());
        }
    }
    let has_source = |cell: &Value| cell["source"].as_str().is_some_and(|source| !source.trim().is_empty());
    let idle =
        |cell: &Value| cell["cell_type"] == "code" && has_source(cell) && cell["execution_count"].is_null();
    let at = cells.iter().position(idle)?;
    Some(format!("cell {} did not run", at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook(language: &str) -> Value {
        json!({
            "metadata": {"kernelspec": {"name": "k", "language": language}},
            "cells": [
                {"cell_type": "markdown", "source": "x", "metadata": {"tags": ["parameters"]}},
                {"cell_type": "code", "source": "a = 1", "metadata": {"tags": ["parameters"]}, "outputs": [1], "execution_count": 3},
                {"cell_type": "code", "source": "a = 2", "metadata": {"tags": ["injected-parameters"]}, "outputs": []},
                {"cell_type": "code", "source": "a", "metadata": {}, "outputs": []},
            ],
        })
    }

    fn sources(notebook: &Value) -> Vec<&str> {
        notebook["cells"].as_array().unwrap().iter().map(|cell| cell["source"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_cell_is_put_after_the_defaults() {
        let mut python = notebook("python");
        let parameters = json!({"a": [1, null, true], "b": {"k": "it's \"é\"\n"}});
        inject(&mut python, parameters.as_object().unwrap()).unwrap();
        let set = "# Parameters\na = [1, None, True]\nb = {\"k\": \"it's \\\"\\u00e9\\\"\\u000a\"}";
        assert_eq!(sources(&python), ["x", "a = 1", set, "a"]);
        assert_eq!(
            (&python["cells"][1]["outputs"], &python["cells"][1]["execution_count"]),
            (&json!([]), &Value::Null)
        );
        let mut julia = notebook("julia");
        inject(&mut julia, json!({"a": "$(rm)", "b": {"c": false}}).as_object().unwrap()).unwrap();
        assert_eq!(sources(&julia)[2], "# Parameters\na = \"\\$(rm)\"\nb = Dict(\"c\" => false)");
        let mut r = notebook("R");
        inject(&mut r, json!({"a": [true, null]}).as_object().unwrap()).unwrap();
        assert_eq!(sources(&r)[2], "# Parameters\na = list(TRUE, NULL)");
        assert!(inject(&mut notebook("ocaml"), json!({"a": 1}).as_object().unwrap()).is_err());
        assert!(inject(&mut notebook("ocaml"), &Map::new()).is_ok());
        assert!(inject(&mut notebook("python"), json!({"a;b": 1}).as_object().unwrap()).is_err());
        let mut bare =
            json!({"metadata": {}, "cells": [{"cell_type": "code", "source": "1", "metadata": {}}]});
        inject(&mut bare, json!({"a": 1.5}).as_object().unwrap()).unwrap();
        assert_eq!(sources(&bare), ["# Parameters\na = 1.5", "1"]);
    }

    #[test]
    fn the_first_error_is_told() {
        let error = json!({"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []});
        let cells = json!([{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [{"output_type": "stream"}, error]}]);
        assert_eq!(failure(&json!({"cells": cells})).as_deref(), Some("cell 2: ValueError: no"));
        assert_eq!(failure(&notebook("python")).as_deref(), Some("cell 3 did not run"));
        let ran = json!([{"cell_type": "code", "source": "1", "execution_count": 1}, {"cell_type": "code", "source": " "}]);
        assert_eq!(failure(&json!({"cells": ran})), None);
    }
}
