//! `.sagews`, the worksheets of CoCalc: text in which marked lines begin cells and hold their outputs.
//!
//! A line between two U+FE20 has a cell's UUID and its states; the lines after it are the input. A line that begins with
//! U+FE21 has the UUID of the outputs and then JSON messages, each ended by U+FE21.

use serde_json::Value;

use super::{NewCell, display};
use crate::protocol::Output;

const CELL: char = '\u{fe20}';
const OUTPUT: char = '\u{fe21}';

pub(super) fn cells(text: &str) -> Vec<NewCell> {
    let mut cells = Vec::new();
    let mut current: Option<(Vec<&str>, Vec<Output>)> = None;
    for line in text.split('\n') {
        if line.starts_with(CELL) {
            finish(&mut cells, current.take());
            current = Some((Vec::new(), Vec::new()));
        } else if line.starts_with(OUTPUT) {
            let (_, outputs) = current.get_or_insert_default();
            // The first part is the UUID.
            let messages = line.split(OUTPUT).filter(|part| part.starts_with('{'));
            outputs.extend(
                messages
                    .filter_map(|message| serde_json::from_str(message).ok())
                    .flat_map(|message| output(&message)),
            );
        } else {
            current.get_or_insert_default().0.push(line);
        }
    }
    finish(&mut cells, current);
    cells
}

fn finish(cells: &mut Vec<NewCell>, cell: Option<(Vec<&str>, Vec<Output>)>) {
    let Some((lines, outputs)) = cell else { return };
    let source = lines.join("\n");
    let source = source.trim_matches('\n');
    if source.is_empty() && outputs.is_empty() {
        return;
    }
    let (first, rest) = source.split_once('\n').unwrap_or((source, ""));
    if matches!(
        first.trim(),
        "%md" | "%html" | "%md(hide=false)" | "%md(hide=true)" | "%md(hide=0)" | "%md(hide=1)"
    ) {
        cells.push(NewCell::markdown(rest));
    } else {
        cells.push(NewCell { outputs: joined(outputs), ..NewCell::code(source) });
    }
}

/// The outputs of one message. Messages of the kernel to the page itself have none.
fn output(message: &Value) -> Vec<Output> {
    let text = |name: &str| message[name].as_str();
    let mut outputs = Vec::new();
    for name in ["stdout", "stderr"] {
        if let Some(text) = text(name) {
            outputs.push(Output::Stream { name: name.into(), text: text.to_owned() });
        }
    }
    if let Some(html) = text("html") {
        outputs.push(display("text/html", html));
    }
    if let Some(markdown) = text("md") {
        outputs.push(display("text/markdown", markdown));
    }
    if let Some(tex) = message["tex"]["tex"].as_str() {
        let mark = if message["tex"]["display"] == true { "$$" } else { "$" };
        outputs.push(display("text/latex", format!("{mark}{tex}{mark}")));
    }
    if let Some(code) = message["code"]["source"].as_str() {
        outputs.push(display("text/plain", code));
    }
    outputs
}

/// Texts of one stream that follow each other become one.
fn joined(outputs: Vec<Output>) -> Vec<Output> {
    let mut all: Vec<Output> = Vec::new();
    for output in outputs {
        match (all.last_mut(), &output) {
            (Some(Output::Stream { name, text }), Output::Stream { name: other, text: more })
                if name == other =>
            {
                text.push_str(more)
            }
            _ => all.push(output),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;
    use super::super::{ImportError, import};

    #[test]
    fn cells_with_their_outputs() -> Result<(), ImportError> {
        let id = "b4a1c2d3-0000-4000-8000-000000000000";
        let text = format!(
            "\u{fe20}{id}i\u{fe20}\n%md\n# Title\n\u{fe21}{id}\u{fe21}{{\"md\":\"# Title\",\"done\":true}}\u{fe21}\n\
             \u{fe20}{id}\u{fe20}\nprint(1)\nprint(2)\n\u{fe21}{id}\u{fe21}{{\"stdout\":\"1\\n\"}}\u{fe21}{{\"stdout\":\"2\\n\"}}\u{fe21}{{\"tex\":{{\"tex\":\"x\",\"display\":true}}}}\u{fe21}\n"
        );
        let imported = import(".sagews", text.as_bytes())?;
        assert_eq!(shown(&imported.notebook), ["m # Title", "c print(1)\nprint(2) -> 1\n2 -> text/latex"]);
        let without = import(".sagews", b"only code")?;
        assert_eq!(shown(&without.notebook), ["c only code"]);
        Ok(())
    }
}
