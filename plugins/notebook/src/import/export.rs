//! Notebooks as files of other programs.

use crate::format::{FileCell, NotebookFile};
use crate::protocol::{CellType, Output};

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// The text form of the Sage Notebook.
    Text,
    /// A Python script with `# %%` lines.
    Script,
    /// A Markdown text with code blocks.
    Markdown,
}

impl ExportFormat {
    /// The format with this name, which is also its extension.
    pub fn parse(name: &str) -> Option<ExportFormat> {
        match name {
            "txt" => Some(ExportFormat::Text),
            "py" => Some(ExportFormat::Script),
            "md" => Some(ExportFormat::Markdown),
            _ => None,
        }
    }
}

/// The text of a notebook with this title.
pub fn export(notebook: &NotebookFile, title: &str, format: ExportFormat) -> String {
    let mut text = match format {
        ExportFormat::Text => format!("{title}\nsystem:python\n"),
        ExportFormat::Script | ExportFormat::Markdown => String::new(),
    };
    let parts = notebook.cells.iter().map(|cell| match format {
        ExportFormat::Text => sage(cell),
        ExportFormat::Script => script(cell),
        ExportFormat::Markdown => markdown(cell),
    });
    text.push_str(&parts.collect::<Vec<String>>().join("\n"));
    text
}

/// What a cell printed.
fn printed(cell: &FileCell) -> String {
    let text = |output: &Output| match output {
        Output::Stream { text, .. } => text.clone(),
        Output::ExecuteResult { data, .. } | Output::DisplayData { data, .. } => data
            .get("text/plain")
            .and_then(|text| text.as_str())
            .map(|text| format!("{text}\n"))
            .unwrap_or_default(),
        Output::Error { ename, evalue, .. } => format!("{ename}: {evalue}\n"),
    };
    cell.outputs.iter().map(text).collect()
}

fn sage(cell: &FileCell) -> String {
    match cell.cell_type {
        CellType::Code => format!("{{{{{{\n{}\n///\n{}\n}}}}}}\n", cell.source, printed(cell).trim_end()),
        CellType::Markdown => format!("{{{{{{\n%md\n{}\n}}}}}}\n", cell.source),
        CellType::Raw => format!("{}\n", cell.source),
    }
}

fn script(cell: &FileCell) -> String {
    let comment = |line: &str| format!("# {line}").trim_end().to_owned();
    match cell.cell_type {
        CellType::Code => format!("# %%\n{}\n", cell.source),
        _ => format!(
            "# %% [markdown]\n{}\n",
            cell.source.split('\n').map(comment).collect::<Vec<String>>().join("\n")
        ),
    }
}

fn markdown(cell: &FileCell) -> String {
    match cell.cell_type {
        CellType::Code => {
            let output = printed(cell);
            let output =
                if output.is_empty() { output } else { format!("\n{}\n", fenced("", output.trim_end())) };
            format!("{}\n{output}", fenced("python", &cell.source))
        }
        _ => format!("{}\n", cell.source),
    }
}

/// A block that its content cannot end.
fn fenced(language: &str, text: &str) -> String {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}{language}\n{text}\n{fence}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;
    use super::super::{NewCell, import, notebook};
    use super::*;

    #[test]
    fn what_is_exported_can_be_imported() {
        let cells = vec![
            NewCell::markdown("# Title\n\nwords"),
            NewCell::code("x = '```'\nx").printed("out"),
            NewCell::code("y"),
        ];
        let original = notebook(cells);
        let expected = ["m # Title\n\nwords", "c x = '```'\nx", "c y"];
        for (format, extension) in [(ExportFormat::Script, ".py"), (ExportFormat::Text, ".txt")] {
            let text = export(&original, "T", format);
            let again = shown(&import(extension, text.as_bytes()).unwrap().notebook);
            let without_output = again.iter().map(|cell| cell.split(" -> ").next().unwrap());
            assert_eq!(without_output.collect::<Vec<_>>(), expected, "{text}");
        }
        let text = export(&original, "T", ExportFormat::Markdown);
        assert!(text.contains("````python\nx = '```'\nx\n````\n\n```\nout\n```"), "{text}");
    }
}
