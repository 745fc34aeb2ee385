//! A notebook as LaTeX. It needs only packages that nbconvert's output also needs.

use std::fmt::Write;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use super::bundle::Bundle;
use super::{IMAGES, ansi, html, text};
use crate::format::NotebookFile;
use crate::protocol::{CellType, Object, Output};

const PREAMBLE: &str = r"\documentclass[11pt]{article}
\usepackage{iftex}
\ifPDFTeX\usepackage[T1]{fontenc}\usepackage[utf8]{inputenc}\usepackage{textcomp}\else\usepackage{fontspec}\fi
\usepackage[margin=2.5cm]{geometry}
\usepackage[export]{adjustbox}
\usepackage{amsmath,amssymb,graphicx,longtable,fancyvrb,xcolor,ulem,hyperref}
\normalem
\DefineVerbatimEnvironment{source}{Verbatim}{frame=single,rulecolor=\color{gray},fontsize=\small}
\DefineVerbatimEnvironment{printed}{Verbatim}{fontsize=\small}
\setlength{\parindent}{0pt}\setlength{\parskip}{6pt}
";

/// The document and its images.
pub(super) fn document(notebook: &NotebookFile, title: &str) -> Bundle {
    let mut bundle = Bundle::default();
    let title = escape(title);
    bundle.text = format!("{PREAMBLE}\\title{{{title}}}\\date{{}}\n\\begin{{document}}\n\\maketitle\n\n");
    for cell in &notebook.cells {
        match cell.cell_type {
            CellType::Code => {
                bundle.text.push_str(&verbatim("source", &cell.source));
                cell.outputs.iter().for_each(|output| show(&mut bundle, output));
            }
            CellType::Markdown => markdown(&mut bundle, &cell.source, cell.attachments.as_ref()),
            CellType::Raw => bundle.text.push_str(&verbatim("printed", &cell.source)),
        }
    }
    bundle.text.push_str("\\end{document}\n");
    bundle
}

/// Escapes characters with a meaning in LaTeX.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out
}

/// An address in `\href`.
fn address(text: &str) -> String {
    text.replace('\\', "/").replace('%', "\\%").replace('#', "\\#").replace(['{', '}'], "")
}

/// Text as it is.
fn verbatim(environment: &str, text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    // The end of the environment in the text would end it.
    let text =
        text.trim_end().replace(&format!("\\end{{{environment}}}"), &format!("\\end {{{environment}}}"));
    format!("\\begin{{{environment}}}\n{text}\n\\end{{{environment}}}\n\n")
}

fn picture(bundle: &mut Bundle, data: &Object) -> bool {
    // LaTeX cannot show SVG, GIF and WebP.
    let known = IMAGES.iter().filter(|(mime, _)| matches!(*mime, "image/png" | "image/jpeg"));
    let image = known.into_iter().find_map(|(mime, ext)| Some((*mime, data.get(*mime)?, *ext)));
    let file = image.and_then(|(mime, value, ext)| bundle.add_image(mime, value, ext));
    let Some(file) = file else { return false };
    let _ = writeln!(
        bundle.text,
        "\\begin{{center}}\\includegraphics[max width=\\linewidth]{{{file}}}\\end{{center}}\n"
    );
    true
}

fn show(bundle: &mut Bundle, output: &Output) {
    match output {
        Output::Stream { text, .. } => bundle.text.push_str(&verbatim("printed", &ansi::plain(text))),
        Output::Error { traceback, .. } => {
            bundle.text.push_str(&verbatim("printed", &ansi::plain(&traceback.join("\n"))));
        }
        Output::DisplayData { data, .. } | Output::ExecuteResult { data, .. } => {
            if let Some(formula) = data.get("text/latex") {
                let _ = writeln!(bundle.text, "{}\n", text(formula));
            } else if let Some(source) = data.get("text/markdown") {
                markdown(bundle, &text(source), None);
            } else if !picture(bundle, data)
                && let Some(plain) = data.get("text/plain")
            {
                bundle.text.push_str(&verbatim("printed", &ansi::plain(&text(plain))));
            }
        }
    }
}

fn markdown(bundle: &mut Bundle, source: &str, attachments: Option<&Object>) {
    let mut verbatims: Option<String> = None;
    let (mut cells, mut has_picture) = (0, false);
    for event in Parser::new_ext(source, html::options()) {
        if let Some(code) = &mut verbatims {
            match event {
                Event::Text(text) => code.push_str(&text),
                Event::End(TagEnd::CodeBlock) => {
                    let code = verbatims.take().unwrap_or_default();
                    bundle.text.push_str(&verbatim("printed", &code));
                }
                _ => {}
            }
            continue;
        }
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented)) => {
                verbatims = Some(String::new());
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                let images = dest_url.strip_prefix("attachment:").and_then(|name| attachments?.get(name));
                has_picture =
                    images.and_then(|images| images.as_object()).is_some_and(|data| picture(bundle, data));
                if !has_picture {
                    let _ = write!(bundle.text, "\\href{{{}}}{{", address(&dest_url));
                }
            }
            Event::End(TagEnd::Image) => {
                bundle.text.push_str(if has_picture { "" } else { "}" });
                has_picture = false;
            }
            // The placeholder for an image.
            Event::Text(_) | Event::Code(_) if has_picture => {}
            Event::Start(Tag::TableHead | Tag::TableRow) => cells = 0,
            Event::Start(Tag::TableCell) => {
                bundle.text.push_str(if cells > 0 { " & " } else { "" });
                cells += 1;
            }
            Event::Start(tag) => bundle.text.push_str(&begin(&tag)),
            Event::End(tag) => bundle.text.push_str(end(tag)),
            Event::Text(text) => bundle.text.push_str(&escape(&text)),
            Event::Code(code) => {
                let _ = write!(bundle.text, "\\texttt{{{}}}", escape(&code));
            }
            Event::InlineMath(formula) => {
                let _ = write!(bundle.text, "${formula}$");
            }
            Event::DisplayMath(formula) => bundle.text.push_str(&display(&formula)),
            Event::SoftBreak => bundle.text.push('\n'),
            Event::HardBreak => bundle.text.push_str("\\\\\n"),
            Event::Rule => {
                bundle.text.push_str("\\begin{center}\\rule{0.5\\linewidth}{0.5pt}\\end{center}\n\n")
            }
            Event::TaskListMarker(done) => {
                bundle.text.push_str(if done { "$\\boxtimes$ " } else { "$\\square$ " })
            }
            Event::FootnoteReference(name) => {
                let _ = write!(bundle.text, "\\textsuperscript{{{}}}", escape(&name));
            }
            // HTML has no meaning here.
            Event::Html(_) | Event::InlineHtml(_) => {}
        }
    }
}

/// A formula on a separate line. One that is an environment brings its own line.
fn display(formula: &str) -> String {
    let own = ["align", "equation", "gather", "multline", "eqnarray"];
    let is_own = own.iter().any(|name| formula.trim_start().starts_with(&format!("\\begin{{{name}")));
    if is_own { format!("{}\n", formula.trim()) } else { format!("\\[{}\\]\n", formula.trim()) }
}

fn begin(tag: &Tag<'_>) -> String {
    match tag {
        Tag::Heading { level, .. } => match level {
            HeadingLevel::H1 => "\\section{".to_owned(),
            HeadingLevel::H2 => "\\subsection{".to_owned(),
            HeadingLevel::H3 => "\\subsubsection{".to_owned(),
            HeadingLevel::H4 => "\\paragraph{".to_owned(),
            _ => "\\subparagraph{".to_owned(),
        },
        Tag::Emphasis => "\\emph{".to_owned(),
        Tag::Strong => "\\textbf{".to_owned(),
        Tag::Strikethrough => "\\sout{".to_owned(),
        Tag::Link { dest_url, .. } => format!("\\href{{{}}}{{", address(dest_url)),
        Tag::List(Some(_)) => "\\begin{enumerate}\n".to_owned(),
        Tag::List(None) => "\\begin{itemize}\n".to_owned(),
        Tag::Item => "\\item ".to_owned(),
        Tag::BlockQuote(_) => "\\begin{quote}\n".to_owned(),
        Tag::Table(columns) => format!("\\begin{{longtable}}{{{}}}\n", "l".repeat(columns.len())),
        Tag::FootnoteDefinition(name) => format!("\\textsuperscript{{{}}} ", escape(name)),
        _ => String::new(),
    }
}

fn end(tag: TagEnd) -> &'static str {
    match tag {
        TagEnd::Heading(_) => "}\n\n",
        TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link => "}",
        TagEnd::List(true) => "\\end{enumerate}\n\n",
        TagEnd::List(false) => "\\end{itemize}\n\n",
        TagEnd::Item => "\n",
        TagEnd::BlockQuote(_) => "\\end{quote}\n\n",
        TagEnd::Table => "\\end{longtable}\n\n",
        TagEnd::TableHead => " \\\\ \\hline\n",
        TagEnd::TableRow => " \\\\\n",
        TagEnd::Paragraph => "\n\n",
        _ => "",
    }
}
