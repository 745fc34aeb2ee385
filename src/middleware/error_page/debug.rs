//! The developer's page: which part failed, why, and for which request.

use std::fmt::Write;

use handlebars::html_escape;
use http::request::Parts;

use super::page::STYLE;
use crate::environ::Environ;
use crate::middleware::secret::masked;

/// Fields whose values are hidden.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// The page as HTML. `causes` are the messages of the error, outermost first.
pub(super) fn html(request: &Parts, causes: &[String]) -> String {
    let headline = html_escape(causes.first().map_or("the application failed", String::as_str));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{headline}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<p class=\"status\">500, shown to developers on this machine alone</p>\n\
         <h1>{headline}</h1>\n"
    );
    if causes.len() > 1 {
        html += "<h2>Because</h2>\n<ol>\n";
        for cause in &causes[1..] {
            let _ = writeln!(html, "<li><pre>{}</pre></li>", html_escape(cause));
        }
        html += "</ol>\n";
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

fn table(html: &mut String, caption: &str, rows: &[(String, String)]) {
    // Writing to a string does not fail.
    let _ = writeln!(html, "<h2>{caption}</h2>\n<table>");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let (name, value) = (html_escape(name), html_escape(value));
        let _ = writeln!(html, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    }
    *html += "</table>\n";
}
