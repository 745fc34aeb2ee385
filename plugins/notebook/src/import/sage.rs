//! Worksheets of the Sage Notebook: its text form `{{{ input /// output }}}`, and `.sws`, a tar archive compressed with bzip2.
//!
//! # Source
//! sagenb 1.1, `notebook/worksheet.py` (`body`, `basic`, `edit_text`) and `notebook/cell.py` (`edit_text`, `percent_directives`).

use std::collections::HashMap;
use std::io::Read;

use base64::Engine;
use serde_json::json;
use serde_pickle::{DeOptions, HashableValue, Value as Pickle};

use super::{
    ImportError, Imported, ImportedFile, NewCell, UNPACKED_BYTES, UNPACKED_FILES, display, notebook,
};

/// The folder in the archive.
const ROOT: &str = "sage_worksheet/";
/// The longest pickle that is read, in bytes.
const PICKLE_BYTES: usize = 1 << 20;

/// Reads a `.sws` archive.
pub(super) fn archive(bytes: &[u8]) -> Result<Imported, ImportError> {
    let mut files = entries(bytes)?;
    let worksheet = files.remove("worksheet.html").or_else(|| files.remove("worksheet.txt"));
    let Some(worksheet) = worksheet else {
        return Err(ImportError::new(
            "it is not a worksheet: it has neither worksheet.html nor worksheet.txt",
        ));
    };
    let text = String::from_utf8_lossy(&worksheet).replace("\r\n", "\n");
    let title = files.remove("worksheet_conf.pickle").and_then(|pickle| title_of(&pickle));
    let (first, body) = head(&text);
    let cells = cells(body, &files);
    let mut data: Vec<ImportedFile> = files
        .into_iter()
        .filter_map(|(path, content)| {
            let name = path.strip_prefix("data/").filter(|name| !name.contains('/'))?;
            Some(ImportedFile { path: name.to_owned(), content })
        })
        .collect();
    data.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Imported { title: title.or(first), notebook: notebook(cells), files: data })
}

/// Reads the text form.
pub(super) fn text(text: &str) -> Imported {
    let (title, body) = head(text);
    Imported { title, notebook: notebook(cells(body, &HashMap::new())), files: Vec::new() }
}

/// The files of the archive, by their paths below its folder.
fn entries(bytes: &[u8]) -> Result<HashMap<String, Vec<u8>>, ImportError> {
    let failed = |error: std::io::Error| ImportError::new(format!("the archive cannot be read: {error}"));
    // The unpacked size is limited, regardless of the sizes in the archive.
    let unpacked = bzip2::read::MultiBzDecoder::new(bytes).take(UNPACKED_BYTES);
    let mut archive = tar::Archive::new(unpacked);
    let mut files = HashMap::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let Some(name) = path.trim_start_matches("./").strip_prefix(ROOT).map(str::to_owned) else {
            continue;
        };
        // Snapshots are older versions of the whole worksheet.
        if name.starts_with("snapshots/") {
            continue;
        }
        if files.len() >= UNPACKED_FILES {
            return Err(ImportError::new(format!("the archive has more than {UNPACKED_FILES} files")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(failed)?;
        files.insert(name, content);
    }
    Ok(files)
}

/// The name in the worksheet's settings. Only plain values are read: a pickle that makes objects is ignored.
fn title_of(pickle: &[u8]) -> Option<String> {
    if pickle.len() > PICKLE_BYTES {
        return None;
    }
    let options = DeOptions::new().decode_strings();
    let Ok(Pickle::Dict(settings)) = serde_pickle::value_from_slice(pickle, options) else { return None };
    match settings.get(&HashableValue::String("name".to_owned()))? {
        Pickle::String(name) => Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
        _ => None,
    }
}

/// The title in the first line, if the second one names the system; and the rest.
fn head(text: &str) -> (Option<String>, &str) {
    let mut lines = text.splitn(3, '\n');
    match (lines.next(), lines.next(), lines.next()) {
        (Some(title), Some(system), rest) if system.starts_with("system:") => {
            (Some(title.trim().to_owned()).filter(|title| !title.is_empty()), rest.unwrap_or_default())
        }
        _ => (None, text),
    }
}

fn cells(body: &str, files: &HashMap<String, Vec<u8>>) -> Vec<NewCell> {
    let mut cells = Vec::new();
    let mut rest = body;
    while let Some(start) = rest.find("{{{") {
        text_cell(&mut cells, &rest[..start]);
        let inside = &rest[start + 3..];
        let end = inside
            .find("\n}}}")
            .map_or_else(|| inside.find("}}}").map(|at| (at, at + 3)), |at| Some((at, at + 4)));
        let (end, next) = end.unwrap_or((inside.len(), inside.len()));
        cells.push(code_cell(&inside[..end], files));
        rest = &inside[next..];
    }
    text_cell(&mut cells, rest);
    cells
}

fn text_cell(cells: &mut Vec<NewCell>, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        // Markdown may contain HTML.
        cells.push(NewCell::markdown(text));
    }
}

/// What is between the braces: `id=3|`, the input, `///`, the output.
fn code_cell(text: &str, files: &HashMap<String, Vec<u8>>) -> NewCell {
    let (attributes, text) = match text.split_once('\n') {
        Some((first, rest)) if first.trim_end().ends_with('|') => {
            (first.trim_end().trim_end_matches('|'), rest)
        }
        _ => ("", text.trim_start_matches('\n')),
    };
    let (input, output) = match text.split_once("\n///") {
        Some((input, output)) => (input, output),
        None => text.strip_prefix("///").map_or((text, ""), |output| ("", output)),
    };
    let (mut is_markdown, mut hidden, mut source) = (false, false, input.trim_end());
    while let Some(directive) = source.strip_prefix('%') {
        let (first, rest) = directive.split_once('\n').unwrap_or((directive, ""));
        match first.trim() {
            "md" | "html" | "latex" => is_markdown = true,
            "hide" | "hideall" => hidden = true,
            "auto" | "sage" | "python" | "save_server" => {}
            // Another system: the line stays, so that nothing is lost.
            _ => break,
        }
        source = rest;
    }
    if is_markdown {
        return NewCell::markdown(source);
    }
    let mut cell = NewCell::code(source);
    if hidden {
        cell.metadata.insert("jupyter".into(), json!({"source_hidden": true}));
    }
    add_outputs(&mut cell, output);
    if let Some(id) = attributes.split(',').find_map(|pair| pair.trim().strip_prefix("id=")) {
        add_images(&mut cell, id, files);
    }
    cell
}

/// Text, and HTML between `<html>` and `</html>`.
fn add_outputs(cell: &mut NewCell, output: &str) {
    let mut rest = output.trim_matches('\n');
    while let Some(start) = rest.find("<html>") {
        *cell = std::mem::replace(cell, NewCell::code("")).printed(&rest[..start]);
        let inside = &rest[start + 6..];
        let end = inside.find("</html>").unwrap_or(inside.len());
        let html = inside[..end].trim();
        // Links to images on the old server do not work. The picture itself is added.
        if !html.is_empty() && !html.contains("cell://") {
            cell.outputs.push(display("text/html", html));
        }
        rest = inside.get(end + 7..).unwrap_or_default();
    }
    *cell = std::mem::replace(cell, NewCell::code("")).printed(rest);
}

fn add_images(cell: &mut NewCell, id: &str, files: &HashMap<String, Vec<u8>>) {
    let folder = format!("cells/{id}/");
    let mut images: Vec<(&String, &Vec<u8>)> =
        files.iter().filter(|(path, _)| path.starts_with(&folder)).collect();
    images.sort();
    for (path, content) in images {
        let mime = match path.rsplit('.').next() {
            Some("png") => "image/png",
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("svg") => {
                cell.outputs.push(display("image/svg+xml", String::from_utf8_lossy(content).into_owned()));
                continue;
            }
            _ => continue,
        };
        cell.outputs.push(display(mime, base64::engine::general_purpose::STANDARD.encode(content)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::tests::shown;
    use super::*;

    const BODY: &str = "Heat\nsystem:sage\n<h1>Intro</h1>\n{{{id=1|\nplot(x)\n///\ntext\n<html><b>bold</b></html>\n}}}\n\nwords\n\n\
        {{{id=2|\n%hide\n%auto\n1+1\n///\n2\n}}}\n{{{\n%md\n*hi*\n}}}\n{{{id=4|\n%r\nsummary(a)\n///\n}}}";

    #[test]
    fn the_text_form() {
        let imported = text(BODY);
        assert_eq!(imported.title.as_deref(), Some("Heat"));
        assert_eq!(
            shown(&imported.notebook),
            [
                "m <h1>Intro</h1>",
                "c plot(x) -> text -> text/html",
                "m words",
                "c 1+1 -> 2",
                "m *hi*",
                "c %r\nsummary(a)"
            ]
        );
        assert_eq!(imported.notebook.cells[3].metadata["jupyter"]["source_hidden"], true);
        assert_eq!(shown(&text("{{{\nunclosed").notebook), ["c unclosed"]);
    }

    #[test]
    fn an_archive_with_a_picture_data_and_settings() {
        let settings = serde_pickle::value_to_vec(
            &Pickle::Dict(
                [(HashableValue::String("name".into()), Pickle::String("My worksheet".into()))].into(),
            ),
            serde_pickle::SerOptions::new().proto_v2(),
        )
        .unwrap();
        let sws = sws(&[
            ("worksheet.html", BODY.as_bytes()),
            ("worksheet_conf.pickle", &settings),
            ("cells/1/plot.png", b"png"),
            ("data/table.csv", b"1,2"),
            ("data/../../escape", b"x"),
            ("snapshots/1.bz2", b"old"),
        ]);
        let imported = archive(&sws).unwrap();
        assert_eq!(imported.title.as_deref(), Some("My worksheet"));
        assert!(shown(&imported.notebook)[1].ends_with("-> image/png"), "{:?}", shown(&imported.notebook));
        assert_eq!(imported.files, [ImportedFile { path: "table.csv".into(), content: b"1,2".to_vec() }]);
        // A pickle that would call something is not obeyed, and the worksheet is read all the same.
        let evil = b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.";
        let imported = archive(&sws_with(evil)).unwrap();
        assert_eq!(imported.title.as_deref(), Some("Heat"));
    }

    fn sws_with(pickle: &[u8]) -> Vec<u8> {
        sws(&[("worksheet.html", BODY.as_bytes()), ("worksheet_conf.pickle", pickle)])
    }

    fn sws(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            // `set_path` would refuse the paths that a hostile archive has.
            let path = format!("sage_worksheet/{name}");
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, *content).unwrap();
        }
        let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        packed.write_all(&archive.into_inner().unwrap()).unwrap();
        packed.finish().unwrap()
    }
}
