//! A notebook as Markdown, as nbconvert writes it: code in fences, printed text indented, images as files.

use super::{IMAGES, ansi, bundle::Bundle, script, text};
use crate::format::NotebookFile;
use crate::protocol::{CellType, Object, Output};

/// The document and its images.
pub(super) fn document(notebook: &NotebookFile) -> Bundle {
    let mut bundle = Bundle::default();
    let language = script::language(notebook).unwrap_or("python").to_owned();
    for cell in &notebook.cells {
        match cell.cell_type {
            CellType::Code => {
                let fence = fence(&cell.source);
                let source = cell.source.trim_end();
                bundle.text.push_str(&format!("{fence}{language}\n{source}\n{fence}\n\n"));
                cell.outputs.iter().for_each(|output| show(&mut bundle, output));
            }
            CellType::Markdown => {
                let source = attached(&mut bundle, &cell.source, cell.attachments.as_ref());
                bundle.text.push_str(&format!("{}\n\n", source.trim_end()));
            }
            CellType::Raw => bundle.text.push_str(&format!("{}\n\n", cell.source.trim_end())),
        }
    }
    let end = bundle.text.trim_end().len();
    bundle.text.truncate(end);
    bundle.text.push('\n');
    bundle
}

/// A fence that is longer than all in `source`.
fn fence(source: &str) -> String {
    let longest = source.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(3.max(longest + 1))
}

/// Replaces `attachment:NAME` by files.
fn attached(bundle: &mut Bundle, source: &str, attachments: Option<&Object>) -> String {
    let mut source = source.to_owned();
    for (name, images) in attachments.into_iter().flatten() {
        let image = IMAGES.iter().find_map(|(mime, ext)| Some((*mime, images.get(*mime)?, *ext)));
        if let Some((mime, value, extension)) = image
            && source.contains(&format!("attachment:{name}"))
            && let Some(file) = bundle.add_image(mime, value, extension)
        {
            source = source.replace(&format!("attachment:{name}"), &file);
        }
    }
    source
}

fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| format!("    {line}").trim_end().to_owned());
    format!("{}\n\n", lines.collect::<Vec<_>>().join("\n"))
}

fn show(bundle: &mut Bundle, output: &Output) {
    let shown = match output {
        Output::Stream { text, .. } => indented(&ansi::plain(text)),
        Output::Error { traceback, .. } => indented(&ansi::plain(&traceback.join("\n"))),
        Output::DisplayData { data, .. } | Output::ExecuteResult { data, .. } => {
            let image = IMAGES.iter().find_map(|(mime, ext)| Some((*mime, data.get(*mime)?, *ext)));
            let file = image.and_then(|(mime, value, ext)| bundle.add_image(mime, value, ext));
            let of = |mime: &str| data.get(mime).map(text);
            match (of("text/markdown").or_else(|| of("text/latex")), file, of("text/html")) {
                (Some(markdown), ..) => format!("{}\n\n", markdown.trim_end()),
                (None, Some(file), _) => format!("![output]({file})\n\n"),
                (None, None, Some(html)) => format!("{}\n\n", html.trim_end()),
                (None, None, None) => of("text/plain").map_or(String::new(), |text| indented(&text)),
            }
        }
    };
    bundle.text.push_str(&shown);
}
