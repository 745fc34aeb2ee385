//! Writes worksheets of the Sage Notebook (`.sws`), as the reader in `sage.rs` and sagenb read them.
//!
//! # Source
//! sagenb 1.1, `notebook/notebook.py` (`export_worksheet`) and `notebook/worksheet.py` (`basic`, `reconstruct_from_basic`).

use std::io::Write;

use base64::Engine;
use serde_pickle::{HashableValue, SerOptions, Value as Pickle};

use super::{ImportError, ImportedFile};
use crate::format::{FileCell, NotebookFile};
use crate::protocol::{CellType, Output};

/// The folder in the archive.
const ROOT: &str = "sage_worksheet";

/// A worksheet with this title: the cells with their texts and pictures, and data files.
/// # Errors
/// [`ImportError`].
pub fn sws(notebook: &NotebookFile, title: &str, data: &[ImportedFile]) -> Result<Vec<u8>, ImportError> {
    let mut body = String::new();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (at, cell) in notebook.cells.iter().enumerate() {
        body.push_str(&text(cell, at + 1));
        files.extend(pictures(cell, at + 1));
    }
    let whole = format!("{title}\nsystem:python\n{body}");
    files.push(("worksheet.html".to_owned(), body.clone().into_bytes()));
    files.push(("worksheet.txt".to_owned(), whole.into_bytes()));
    files.push(("worksheet_conf.pickle".to_owned(), settings(title)?));
    files.extend(data.iter().map(|file| (format!("data/{}", file.path), file.content.clone())));
    pack(&files)
}

/// The settings, a pickle of plain values.
fn settings(title: &str) -> Result<Vec<u8>, ImportError> {
    let text = |text: &str| Pickle::String(text.to_owned());
    let values = [
        ("name", text(title)),
        ("system", text("python")),
        ("owner", text("admin")),
        ("viewers", Pickle::List(Vec::new())),
        ("collaborators", Pickle::List(Vec::new())),
        ("pretty_print", Pickle::Bool(false)),
        ("ratings", Pickle::List(Vec::new())),
        ("auto_publish", Pickle::Bool(false)),
        (
            "tags",
            Pickle::Dict(
                [(HashableValue::String("admin".to_owned()), Pickle::List(vec![Pickle::I64(1)]))].into(),
            ),
        ),
    ];
    let values = values.into_iter().map(|(name, value)| (HashableValue::String(name.to_owned()), value));
    serde_pickle::value_to_vec(&Pickle::Dict(values.collect()), SerOptions::new().proto_v2())
        .map_err(|error| ImportError::new(format!("the settings cannot be written: {error}")))
}

/// A cell in the text form. What would end it is moved by a space.
fn text(cell: &FileCell, id: usize) -> String {
    let kept = |text: &str| text.replace("\n}}}", "\n }}}").replace("\n///", "\n ///");
    match cell.cell_type {
        CellType::Raw => format!("\n{}\n", cell.source.replace("{{{", "{ {{")),
        CellType::Markdown => format!("\n{{{{{{id={id}|\n%md\n{}\n///\n}}}}}}\n", kept(&cell.source)),
        CellType::Code => {
            let hidden = cell.metadata.get("jupyter").is_some_and(|jupyter| jupyter["source_hidden"] == true);
            let directive = if hidden { "%hide\n" } else { "" };
            let output: String = cell.outputs.iter().map(shown).collect();
            format!(
                "\n{{{{{{id={id}|\n{directive}{}\n///\n{}\n}}}}}}\n",
                kept(&cell.source),
                kept(output.trim_end())
            )
        }
    }
}

/// An output as text, or as HTML if it has any. Pictures are files.
fn shown(output: &Output) -> String {
    match output {
        Output::Stream { text, .. } => text.clone(),
        Output::Error { ename, evalue, .. } => format!("{ename}: {evalue}\n"),
        Output::ExecuteResult { data, .. } | Output::DisplayData { data, .. } => {
            let part = |mime: &str| data.get(mime).and_then(|text| text.as_str());
            let is_picture = data.keys().any(|mime| mime.starts_with("image/"));
            match (part("text/html"), part("text/plain")) {
                (Some(html), _) => format!("<html>{}</html>\n", html.replace("</html>", "")),
                (None, Some(text)) if !is_picture => format!("{text}\n"),
                _ => String::new(),
            }
        }
    }
}

fn pictures(cell: &FileCell, id: usize) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (at, output) in cell.outputs.iter().enumerate() {
        let (Output::ExecuteResult { data, .. } | Output::DisplayData { data, .. }) = output else {
            continue;
        };
        for (mime, extension) in [("image/png", "png"), ("image/jpeg", "jpg"), ("image/svg+xml", "svg")] {
            let Some(text) = data.get(mime).and_then(|text| text.as_str()) else { continue };
            let content = match extension {
                "svg" => Some(text.as_bytes().to_vec()),
                _ => {
                    let text: String = text.split_whitespace().collect();
                    base64::engine::general_purpose::STANDARD.decode(text).ok()
                }
            };
            files.extend(content.map(|content| (format!("cells/{id}/image{at}.{extension}"), content)));
            break;
        }
    }
    files
}

fn pack(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, ImportError> {
    let failed = |error: std::io::Error| ImportError::new(format!("the archive cannot be written: {error}"));
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{ROOT}/{name}"), content.as_slice()).map_err(failed)?;
    }
    let plain = archive.into_inner().map_err(failed)?;
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    packed.write_all(&plain).map_err(failed)?;
    packed.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::shown;
    use super::super::{NewCell, display, import, notebook};
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut plot = NewCell::code("plot(x)\n}}}\n///").printed("text");
        plot.outputs.push(display("text/html", "<b>bold</b>"));
        plot.outputs.push(display("image/png", base64::engine::general_purpose::STANDARD.encode(b"png")));
        plot.outputs.push(display("image/svg+xml", "<svg/>"));
        let mut hidden = NewCell::code("1+1").printed("2");
        hidden.metadata.insert("jupyter".into(), json!({"source_hidden": true}));
        let written = notebook(vec![NewCell::markdown("# Title\n\nwörds"), plot, hidden, NewCell::code("")]);
        let data = [ImportedFile { path: "table.csv".into(), content: b"1,2".to_vec() }];
        let read = import(".sws", &sws(&written, "Heat & mäß", &data).unwrap()).unwrap();
        assert_eq!((read.title.as_deref(), &read.files[..]), (Some("Heat & mäß"), &data[..]));
        assert_eq!(
            shown(&read.notebook),
            [
                "m # Title\n\nwörds",
                "c plot(x)\n }}}\n /// -> text -> text/html -> image/png -> image/svg+xml",
                "c 1+1 -> 2",
                "c "
            ]
        );
        assert_eq!(read.notebook.cells[2].metadata["jupyter"]["source_hidden"], true);
        let Output::DisplayData { data, .. } = &read.notebook.cells[1].outputs[2] else {
            panic!("a picture")
        };
        assert_eq!(data["image/png"], base64::engine::general_purpose::STANDARD.encode(b"png"));
    }
}
