//! A notebook as one HTML file: styles and images are inside, formulas are MathML.

use std::fmt::Write;

use pulldown_cmark::{Event, Options, Parser, Tag};
use pulldown_latex::config::{DisplayMode, RenderConfig};
use pulldown_latex::{Storage, push_mathml};

use super::{IMAGES, ansi, packed, script, text};
use crate::format::{FileCell, NotebookFile};
use crate::protocol::{CellType, Object, Output};

pub(super) const STYLE: &str = include_str!("page.css");

/// Escapes text for HTML, including quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The extensions of Markdown that notebooks use.
pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_MATH
}

/// The whole page.
pub(super) fn page(notebook: &NotebookFile, title: &str, sanitize: bool) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\n<body><main>\n"
    );
    let language = escape(script::language(notebook).unwrap_or("python"));
    for cell in &notebook.cells {
        write_cell(&mut out, cell, &language, sanitize);
    }
    out.push_str("</main></body>\n</html>\n");
    out
}

/// One cell. `language` is escaped.
pub(super) fn write_cell(out: &mut String, cell: &FileCell, language: &str, sanitize: bool) {
    match cell.cell_type {
        CellType::Code => code(out, cell, language, sanitize),
        CellType::Markdown => {
            let shown = markdown(&cell.source, cell.attachments.as_ref(), sanitize);
            let _ = writeln!(out, "<section class=\"text\">{shown}</section>");
        }
        CellType::Raw => {
            let _ = writeln!(out, "<section><pre>{}</pre></section>", escape(&cell.source));
        }
    }
}

fn code(out: &mut String, cell: &FileCell, language: &str, sanitize: bool) {
    let number = cell.execution_count.map_or(" ".to_owned(), |count| count.to_string());
    let _ = write!(
        out,
        "<section class=\"code\"><span class=\"number\">[{number}]</span><pre class=\"source\"><code class=\"language-{language}\">{}</code></pre>",
        escape(&cell.source)
    );
    for output in &cell.outputs {
        let _ = write!(out, "<div class=\"output\">{}</div>", output_html(output, sanitize));
    }
    out.push_str("</section>\n");
}

fn output_html(output: &Output, sanitize: bool) -> String {
    match output {
        Output::Stream { name, text } => {
            format!(
                "<pre class=\"{}\">{}</pre>",
                if name == "stderr" { "stderr" } else { "stdout" },
                ansi::html(text)
            )
        }
        Output::Error { ename, evalue, traceback } => {
            let lines =
                if traceback.is_empty() { format!("{ename}: {evalue}") } else { traceback.join("\n") };
            format!("<pre class=\"error\">{}</pre>", ansi::html(&lines))
        }
        Output::DisplayData { data, .. } | Output::ExecuteResult { data, .. } => rich(data, sanitize),
    }
}

fn rich(data: &Object, sanitize: bool) -> String {
    let of = |mime: &str| data.get(mime).map(text);
    if let Some(html) = of("text/html") {
        return if sanitize { format!("<pre>{}</pre>", escape(&html)) } else { html };
    }
    if let Some(image) = image(data) {
        return format!("<img src=\"{image}\" alt=\"{}\">", escape(&of("text/plain").unwrap_or_default()));
    }
    if let Some(source) = of("text/markdown") {
        return markdown(&source, None, sanitize);
    }
    if let Some(source) = of("text/latex") {
        return markdown(&source, None, true);
    }
    let shown = of("text/plain").or_else(|| of("application/json"));
    shown.map_or(String::new(), |text| format!("<pre>{}</pre>", ansi::html(&text)))
}

/// The address of an image of a MIME bundle. Scripts in an SVG do not run in `<img>`.
fn image(data: &Object) -> Option<String> {
    use base64::Engine;
    let (mime, value) = IMAGES.iter().find_map(|(mime, _)| Some((*mime, data.get(*mime)?)))?;
    let content = match mime {
        "image/svg+xml" => base64::engine::general_purpose::STANDARD.encode(text(value)),
        _ => escape(&packed(value)),
    };
    Some(format!("data:{mime};base64,{content}"))
}

/// The address of the image that `attachment:NAME` names.
pub(crate) fn attached_image(attachments: Option<&Object>, address: &str) -> Option<String> {
    let name = address.strip_prefix("attachment:")?;
    image(attachments?.get(name)?.as_object()?)
}

/// Markdown as HTML.
fn markdown(source: &str, attachments: Option<&Object>, sanitize: bool) -> String {
    let events = Parser::new_ext(source, options()).map(|event| match event {
        Event::InlineMath(formula) => Event::InlineHtml(math(&formula, DisplayMode::Inline).into()),
        Event::DisplayMath(formula) => Event::InlineHtml(math(&formula, DisplayMode::Block).into()),
        Event::Html(html) | Event::InlineHtml(html) if sanitize => Event::Text(html),
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let dest_url = attached_image(attachments, &dest_url).map_or(dest_url, Into::into);
            Event::Start(Tag::Image { link_type, dest_url, title, id })
        }
        // A link that a click runs as a script.
        Event::Start(Tag::Link { link_type, dest_url, title, id }) if is_script(&dest_url) => {
            drop(dest_url);
            Event::Start(Tag::Link { link_type, dest_url: "#".into(), title, id })
        }
        event => event,
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events);
    out
}

fn is_script(address: &str) -> bool {
    let address: String = address.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    ["javascript:", "vbscript:", "data:text/html"]
        .iter()
        .any(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// A formula as MathML, or as its source if it cannot be converted.
fn math(formula: &str, display_mode: DisplayMode) -> String {
    let storage = Storage::new();
    let events: Vec<_> = pulldown_latex::Parser::new(formula, &storage).collect();
    let mut out = String::new();
    let config = RenderConfig { display_mode, ..RenderConfig::default() };
    if events.iter().all(Result::is_ok) && push_mathml(&mut out, events.into_iter(), config).is_ok() {
        return out;
    }
    format!("<code class=\"formula\">{}</code>", escape(formula))
}
