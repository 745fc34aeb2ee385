//! The developer's page: which part failed, why, and for which request.

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use handlebars::html_escape;
use http::request::Parts;
use regex::Regex;

use super::page::{STYLE, shown};
use crate::environ::Environ;
use crate::error::Traceback;
use crate::inflight::CapturedLines;
use crate::middleware::secret::masked;
use crate::spans::{Span, SpanRecorder, new_id};

/// Fields whose values are hidden.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];
/// Lines of a source file around the place of an error.
const AROUND: usize = 3;
/// Longest source file that is read, in bytes.
const LONGEST_SOURCE: u64 = 4 << 20;
/// How many places of one message are shown.
const MOST_PLACES: usize = 3;

/// Lets the page show the parts that the request passes through, and what is logged meanwhile.
pub(super) fn observe(request: &mut Parts) {
    if request.extensions.get::<SpanRecorder>().is_none() {
        request.extensions.insert(SpanRecorder::new(Instant::now(), new_id()));
    }
    if let Some(environ) = request.extensions.get::<Environ>() {
        environ.handle.capture();
    }
}

/// The message of one error: a traceback with the variables of its frames.
pub(super) fn described(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<Traceback>() {
        Some(Traceback { with_variables: Some(text), .. }) => text.clone(),
        _ => error.to_string(),
    }
}

/// What was seen of a request.
#[derive(Default)]
pub(super) struct Observed {
    /// In the order in which they began.
    spans: Vec<Span>,
    log: CapturedLines,
}

impl Observed {
    pub(super) fn of(request: &Parts) -> Observed {
        let mut spans = request.extensions.get::<SpanRecorder>().map(SpanRecorder::seen).unwrap_or_default();
        spans.sort_by_key(|span| span.began);
        let environ = request.extensions.get::<Environ>();
        let log = environ.map(|environ| environ.handle.captured()).unwrap_or_default();
        Observed { spans, log }
    }
}

/// The page as HTML. `causes` are the messages of the error, outermost first.
pub(super) fn html(request: &Parts, causes: &[String], observed: &Observed) -> String {
    let headline = html_escape(causes.first().map_or("the application failed", String::as_str));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{headline}</title>\n<style>{STYLE}\
         mark{{background:#fa06;color:inherit}}</style>\n\
         </head>\n<body>\n<main>\n<p class=\"status\">500, shown only to developers on this machine</p>\n\
         <h1>{headline}</h1>\n"
    );
    if causes.len() > 1 {
        html += "<h2>Because</h2>\n<ol>\n";
        for cause in &causes[1..] {
            let _ = write!(html, "<li><pre>{}</pre>", html_escape(cause));
            sources(&mut html, cause);
            html += "</li>\n";
        }
        html += "</ol>\n";
    }
    stack(&mut html, &observed.spans);
    if !observed.log.is_empty() {
        let lines = observed.log.iter().map(|line| html_escape(line)).collect::<Vec<_>>().join("\n");
        let _ = writeln!(html, "<h2>Log of this request</h2>\n<pre>{lines}</pre>");
    }
    let mut facts = vec![
        ("Method".to_owned(), request.method.to_string()),
        ("Target".to_owned(), masked(&request.uri.to_string())),
    ];
    if let Some(environ) = request.extensions.get::<Environ>() {
        facts.extend([
            ("Mounted at".to_owned(), environ.script_name.to_string()),
            ("Host".to_owned(), environ.host.to_string()),
            ("Server".to_owned(), format!("{} on {}", environ.server, environ.listen)),
        ]);
    }
    facts.extend(shown(&super::ids(request)).into_iter().map(|(name, _, id)| (name.to_owned(), id)));
    table(&mut html, "Request", &facts);
    let fields = request.headers.iter().map(|(name, value)| {
        let secret = SECRET.contains(&name.as_str());
        let value = if secret { "***".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        (name.to_string(), value.into_owned())
    });
    table(&mut html, "Header fields", &fields.collect::<Vec<_>>());
    html += "</main>\n</body>\n</html>\n";
    html
}

/// The parts inside of `error_page`, with their times until there was a response or an error.
fn stack(html: &mut String, spans: &[Span]) {
    if spans.is_empty() {
        return;
    }
    let mut rows = Vec::new();
    for span in spans {
        let depth = ancestors(spans, span);
        let outcome = match (&span.status, &span.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => format!("failed: {error}"),
            (None, None) => String::new(),
        };
        let text = format!("{} {outcome}", time(span.took));
        rows.push((format!("{}{}", "\u{2003}".repeat(depth), span.name), text));
    }
    table(html, "Stack", &rows);
}

fn ancestors(spans: &[Span], span: &Span) -> usize {
    let (mut depth, mut parent) = (0, span.parent);
    while let Some(above) = spans.iter().find(|other| other.id == parent).filter(|_| depth < spans.len()) {
        depth += 1;
        parent = above.parent;
    }
    depth
}

fn time(took: Duration) -> String {
    format!("{:.3} ms", took.as_secs_f64() * 1000.0)
}

/// The source lines that a message names, as Rust and Python do.
fn sources(html: &mut String, message: &str) {
    static PLACES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"File "(?<python>/[^"\n]+)", line (?<at>\d+)|(?<rust>/[^\s:"]+\.rs):(?<line>\d+)"#)
            .expect("the pattern is valid")
    });
    // The last one is the innermost.
    let mut places: Vec<(&str, usize)> = Vec::new();
    for found in PLACES.captures_iter(message) {
        let path = found.name("python").or(found.name("rust")).map_or("", |path| path.as_str());
        let line = found.name("at").or(found.name("line")).and_then(|line| line.as_str().parse().ok());
        places.extend(line.map(|line| (path, line)));
    }
    for (path, line) in places.iter().rev().take(MOST_PLACES) {
        if let Some(text) = excerpt(Path::new(path), *line) {
            let _ = write!(html, "<p class=\"status\">{}:{line}</p>\n<pre>{text}</pre>", html_escape(path));
        }
    }
}

/// The lines around a place in a file, as HTML.
fn excerpt(path: &Path, line: usize) -> Option<String> {
    let short = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LONGEST_SOURCE);
    let text = short.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    let first = line.saturating_sub(AROUND).max(1);
    let lines = text.lines().enumerate().skip(first - 1).take(line + AROUND + 1 - first);
    let shown: Vec<_> = lines
        .map(|(index, text)| {
            let text = format!("{:5} {}", index + 1, html_escape(text));
            if index + 1 == line { format!("<mark>{text}</mark>") } else { text }
        })
        .collect();
    (shown.len() > line - first).then(|| shown.join("\n"))
}

fn table(html: &mut String, caption: &str, rows: &[(String, String)]) {
    // Writing to a string does not fail.
    let _ = writeln!(html, "<h2>{caption}</h2>\n<table>");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let (name, value) = (html_escape(name), html_escape(value));
        let _ = writeln!(html, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    }
    *html += "</table>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_lines_of_rust_and_python() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.rs");
        std::fs::write(&path, "one\ntwo\nlet x = a < b;\nfour\n").unwrap();
        for message in [
            format!("it failed at {}:3:5", path.display()),
            format!("  File \"{}\", line 3, in total", path.display()),
        ] {
            let mut html = String::new();
            sources(&mut html, &message);
            assert!(html.contains("<mark>    3 let x &#x3D; a &lt; b;</mark>\n    4 four"), "{html}");
        }
        let mut html = String::new();
        sources(&mut html, "at /none/at/all.rs:3 and nowhere.rs:1");
        assert_eq!(html, "");
        assert_eq!(excerpt(&path, 9), None);
    }
}
