//! A notebook in other formats: HTML, Markdown, a script, LaTeX, slides, PDF. All in memory, except that PDF needs a browser.

mod ansi;
mod bundle;
mod html;
mod latex;
mod markdown;
mod pdf;
mod script;
mod slides;

use serde_json::Value;

use crate::format::NotebookFile;

pub(crate) use self::html::{attached_image, escape, options as markdown_options};
pub use self::pdf::PdfError;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One HTML file.
    Html,
    /// LaTeX, with its images in a ZIP file.
    Latex,
    /// Markdown, with its images in a ZIP file.
    Markdown,
    /// The notebook itself.
    Notebook,
    /// PDF, which a browser prints.
    Pdf,
    /// A script in Python.
    Python,
    /// A script in the language of the notebook.
    Script,
    /// One HTML file that shows the slides of the notebook.
    Slides,
}

/// An exported notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The content.
    pub bytes: Vec<u8>,
    /// Its media type.
    pub mime: &'static str,
    /// The extension of its name, with the dot.
    pub extension: String,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 8] = [
        Format::Html,
        Format::Latex,
        Format::Markdown,
        Format::Notebook,
        Format::Pdf,
        Format::Python,
        Format::Script,
        Format::Slides,
    ];

    /// As nbconvert names it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Html => "html",
            Format::Latex => "latex",
            Format::Markdown => "markdown",
            Format::Notebook => "notebook",
            Format::Pdf => "pdf",
            Format::Python => "python",
            Format::Script => "script",
            Format::Slides => "slides",
        }
    }

    /// The media type of its files.
    pub fn mime(self) -> &'static str {
        match self {
            Format::Html | Format::Slides => "text/html",
            Format::Latex => "text/latex",
            Format::Markdown => "text/markdown",
            Format::Notebook => "application/json",
            Format::Pdf => "application/pdf",
            Format::Python => "text/x-python",
            Format::Script => "text/plain",
        }
    }

    /// Why this machine cannot export in the format, for users; `None`: it can.
    pub fn problem(self) -> Option<String> {
        (self == Format::Pdf && !pdf::has_browser()).then(|| PdfError::NoBrowser.to_string())
    }

    /// The format with this name.
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// Exports a notebook. `title` is its name without the extension. With `sanitize`, HTML in it is shown as text. Blocks
/// for as long as a browser takes to print, if the format is PDF.
/// # Errors
/// [`PdfError`], only for [`Format::Pdf`].
pub fn export(
    notebook: &NotebookFile,
    title: &str,
    format: Format,
    sanitize: bool,
) -> Result<Exported, PdfError> {
    let (bytes, mime, extension) = match format {
        Format::Html => {
            (html::page(notebook, title, sanitize).into_bytes(), format.mime(), ".html".to_owned())
        }
        Format::Slides => {
            (slides::page(notebook, title, sanitize).into_bytes(), format.mime(), ".slides.html".to_owned())
        }
        Format::Notebook => (notebook.to_bytes(), format.mime(), ".ipynb".to_owned()),
        Format::Pdf => (pdf::print(&html::page(notebook, title, false))?, format.mime(), ".pdf".to_owned()),
        Format::Python => (script::script(notebook, true).into_bytes(), format.mime(), ".py".to_owned()),
        Format::Script => {
            let text = script::script(notebook, script::is_python(notebook));
            (text.into_bytes(), format.mime(), script::extension(notebook))
        }
        Format::Markdown => markdown::document(notebook).pack(title, ".md", format.mime()),
        Format::Latex => latex::document(notebook, title).pack(title, ".tex", format.mime()),
    };
    Ok(Exported { bytes, mime, extension })
}

/// The text of a value of a MIME bundle.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) if lines.iter().all(Value::is_string) => {
            lines.iter().filter_map(Value::as_str).collect()
        }
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// Base64 without the line ends that kernels write.
fn packed(value: &Value) -> String {
    text(value).split_ascii_whitespace().collect()
}

/// The images that browsers and LaTeX know, with their extensions. The first match is shown.
const IMAGES: [(&str, &str); 5] = [
    ("image/svg+xml", ".svg"),
    ("image/png", ".png"),
    ("image/jpeg", ".jpg"),
    ("image/gif", ".gif"),
    ("image/webp", ".webp"),
];

#[cfg(test)]
mod tests;
