//! The pages that the server writes itself, without scripts: login, logout, errors. They look like those of
//! the front end.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

use super::error::ErrorMessage;
use super::handover::AskFor;
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;

/// The colors and fonts of `web/src/app.css`.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--text:#1f2328;--faint:#5f6670;--line:#e2e3e1;--line-strong:#c9ccca;\
--accent:#0f766e;--accent-text:#fff;--bad:#b3261e;--bad-soft:#fcebe9;--shadow:0 1px 2px rgb(0 0 0/.05),0 8px 24px rgb(0 0 0/.1)}\
@media(prefers-color-scheme:dark){:root{--page:#15181b;--card:#1c2024;--text:#e4e7ea;--faint:#9aa3ad;--line:#2c3238;\
--line-strong:#444c55;--accent:#4fd1c0;--accent-text:#06231f;--bad:#ff9b92;--bad-soft:#3c1f1d;\
--shadow:0 1px 2px rgb(0 0 0/.4),0 8px 28px rgb(0 0 0/.5)}}\
*{box-sizing:border-box}[hidden]{display:none!important}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--page);color:var(--text);\
font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}\
main{width:100%;max-width:26rem;padding:1.75rem;background:var(--card);border:1px solid var(--line);border-radius:12px;\
box-shadow:var(--shadow);overflow-wrap:anywhere}\
h1{margin:0 0 .75rem;font-size:1.3rem;line-height:1.25;text-wrap:balance}p{margin:.75rem 0}a{color:var(--accent)}\
.faint{color:var(--faint);font-size:.9rem}\
.bad{padding:.5rem .75rem;border-radius:6px;background:var(--bad-soft);color:var(--bad)}\
label{display:block;font-weight:600}\
input,button{font:inherit;color:inherit}\
input{width:100%;margin:.3rem 0 1rem;padding:.45rem .6rem;background:var(--page);border:1px solid var(--line-strong);border-radius:6px}\
button{padding:.4rem 1rem;border:0;border-radius:6px;background:var(--accent);color:var(--accent-text);font-weight:600;cursor:pointer}\
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}\
select{font:inherit;color:inherit;background:var(--page);border:1px solid var(--line-strong);border-radius:6px;padding:.35rem .4rem}\
body.wide{display:block}.wide main{max-width:58rem;margin:0 auto}.wide input,.wide select{width:auto;max-width:100%;margin:0}\
.wide form:not(.inline){display:flex;flex-wrap:wrap;gap:.6rem .9rem;align-items:end;margin:.75rem 0}\
.wide label{display:flex;flex-direction:column;gap:.2rem;font-size:.9rem}.wide td form:not(.inline){margin:0}\
h2{margin:1.75rem 0 .5rem;font-size:1.05rem}h3{margin:1rem 0 .25rem;font-size:.95rem}\
table{display:block;overflow-x:auto;border-collapse:collapse;width:100%}th,td{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);\
text-align:left;vertical-align:middle;font-size:.9rem}th{color:var(--faint);font-weight:600;white-space:nowrap}td{overflow-wrap:break-word}\
.inline{display:inline-block;margin:0 .25rem 0 0}button.plain{padding:.2rem .6rem;background:none;border:1px solid var(--line-strong);\
color:inherit;font-weight:400}nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin-bottom:1rem}\
code{font-size:.9em;overflow-wrap:anywhere}ul{margin:0;padding-left:1.2rem}\
.good{padding:.5rem .75rem;border-radius:6px;border:1px solid var(--accent)}";

/// A page with a title and a body of HTML.
pub(super) fn page(place: &RequestLocation, title: &str, body: &str) -> Html<String> {
    document(place, title, "", "", body)
}

/// A page for tables, with links above the title.
pub(super) fn wide_page(place: &RequestLocation, title: &str, links: &str, body: &str) -> Html<String> {
    document(place, title, " class=\"wide\"", links, body)
}

fn document(place: &RequestLocation, title: &str, class: &str, links: &str, body: &str) -> Html<String> {
    let (base, title) = (escape(&place.base()), escape(title));
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Notebook</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"{base}favicon.ico\"><style>{STYLE}</style></head>\
         <body{class}><main>{links}<h1>{title}</h1>{body}</main></body></html>\n"
    ))
}

/// Whether a browser opened the address to show the response to a user, rather than a program or a page's script. The API
/// always responds with JSON.
pub(super) fn is_navigation(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let accepts = text(header::ACCEPT.as_str()).is_some_and(|accept| {
        accept.split(',').any(|range| range.split(';').next().unwrap_or_default().trim() == "text/html")
    });
    let is_form = *method == Method::POST && is_form(path);
    accepts
        && (matches!(*method, Method::GET | Method::HEAD) || is_form)
        && text("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
        && path != "/api"
        && !path.starts_with("/api/")
}

/// Whether a path is that of a page with a form.
pub(super) fn is_form(path: &str) -> bool {
    matches!(
        path,
        "/login"
            | "/logout"
            | "/signup"
            | "/forgot"
            | "/confirm"
            | "/account"
            | "/admin"
            | "/shared"
            | "/join"
            | "/schedules"
    ) || ["/account/", "/admin/", "/share/", "/publish/", "/handover/", "/ask/", "/requests/", "/schedules/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Turns a JSON error into a page.
pub(super) fn show_error(place: &RequestLocation, response: Response) -> Response {
    let Some(ErrorMessage(message)) = response.extensions().get().cloned() else { return response };
    let status = response.status();
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::TOO_MANY_REQUESTS => "Too many attempts",
        status if status.is_server_error() => "Something went wrong",
        _ => "This does not work",
    };
    let ask = match response.extensions().get() {
        Some(AskFor(path)) => format!(
            "<p>If someone sent you this address, <a href=\"{}ask/{}\">ask for access</a>.</p>",
            escape(&place.base()),
            escape(&encode(path))
        ),
        None => String::new(),
    };
    let body = format!(
        "<p>{}</p>{ask}<p><a href=\"{}\">Open the list of notebooks</a></p><p class=\"faint\">{status}</p>",
        escape(&sentence(&message)),
        escape(&place.base()),
    );
    let mut shown = (status, page(place, title, &body)).into_response();
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            shown.headers_mut().append(name, value.clone());
        }
    }
    shown
}

/// An error message as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_no_pages() {
        let check = |method: Method, path: &str, fields: &[(&'static str, &'static str)]| {
            let headers = fields.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            is_navigation(&method, path, &headers.collect())
        };
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        assert!(check(Method::GET, "/tree/x", &[html]));
        assert!(check(Method::GET, "/files/x", &[html, ("sec-fetch-mode", "navigate")]));
        assert!(check(Method::POST, "/logout", &[html]));
        for (method, path, fields) in [
            (Method::GET, "/tree/x", &[("accept", "*/*")][..]),
            (Method::GET, "/tree/x", &[]),
            (Method::GET, "/tree/x", &[html, ("sec-fetch-mode", "cors")]),
            (Method::POST, "/tree/x", &[html]),
            (Method::GET, "/api/contents/x", &[html]),
            (Method::GET, "/api", &[html]),
        ] {
            assert!(!check(method, path, fields), "{path} {fields:?}");
        }
        assert_eq!(sentence("there is nothing"), "There is nothing.");
        assert_eq!(sentence(""), ".");
    }
}
