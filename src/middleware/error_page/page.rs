//! The built-in pages.

use bytes::Bytes;
use handlebars::html_escape;
use http::StatusCode;
use serde_json::json;

use super::negotiate::Form;
use crate::inflight::LoggedIds;

/// The information about the request on a page.
pub(super) struct Texts<'a> {
    /// The app's own text.
    pub(super) detail: Option<&'a str>,
    /// Only for developers.
    pub(super) causes: Option<&'a Vec<String>>,
    /// For those who look for the request in the log.
    pub(super) ids: &'a LoggedIds,
}

/// The media type and content of a page.
/// # Source
/// RFC 9457, section 3, for the JSON form.
pub(super) fn write(form: Form, status: StatusCode, texts: &Texts<'_>) -> (&'static str, Bytes) {
    let Texts { detail, causes, ids } = *texts;
    let title = title(status);
    let shown = shown(ids);
    let content = match form {
        Form::Html => html(status, title, detail.unwrap_or(advice(status)), &shown),
        Form::Json => {
            let mut problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16() });
            if let Some(detail) = detail {
                problem["detail"] = detail.into();
            }
            for (_, key, id) in &shown {
                problem[*key] = id.as_str().into();
            }
            if let Some(causes) = causes {
                problem["causes"] = causes.clone().into();
            }
            format!("{problem}\n")
        }
        Form::Plain => {
            let mut text = format!("{} {title}\n", status.as_u16());
            if let Some(detail) = detail {
                text += &format!("{detail}\n");
            }
            for cause in causes.into_iter().flatten() {
                text += &format!("  {cause}\n");
            }
            for (name, _, id) in &shown {
                text += &format!("{name}: {id}\n");
            }
            text
        }
    };
    (form.media(), content.into())
}

/// The names of the ids, in words and as members of JSON, and their values.
pub(super) fn shown(ids: &LoggedIds) -> Vec<(&'static str, &'static str, String)> {
    let request = ids.request.as_ref().map(|id| ("Request id", "request_id", id.to_string()));
    let trace = ids.trace.map(|ids| ("Trace id", "trace_id", ids.hex().0));
    request.into_iter().chain(trace).collect()
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Request failed")
}

/// A sentence for readers, if the app gives none.
fn advice(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "Sign in to see this page.",
        403 => "You do not have access to this page.",
        404 => "There is nothing at this address. It may have moved, or the address may be mistyped.",
        405 => "This address does not accept this kind of request.",
        413 => "The request is too large.",
        429 => "Too many requests. Wait a moment and try again.",
        502..=504 => "The service is not available right now. Try again in a minute.",
        500..=599 => "Something went wrong on our side. The error was logged. Try again later.",
        _ => "The request could not be handled.",
    }
}

/// Style of the pages: no scripts and no other files.
pub(super) const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:10vh auto;\
max-width:44rem;padding:0 1.5rem}h1{font-size:1.5rem;line-height:1.3}.status{font-size:1rem;opacity:.7;margin:0}\
pre,code{font-family:ui-monospace,monospace;font-size:.9em}pre{overflow-x:auto;padding:1rem;background:#8881;\
border-radius:.4rem;white-space:pre-wrap}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
vertical-align:top;padding:.2rem .8rem .2rem 0;overflow-wrap:anywhere}th{font-weight:600;white-space:nowrap}";

fn html(status: StatusCode, title: &str, text: &str, ids: &[(&str, &str, String)]) -> String {
    let (number, text) = (status.as_u16(), html_escape(text));
    let id = |(name, _, id): &(&str, &str, String)| {
        format!("<p class=\"status\">{name}: <code>{}</code></p>\n", html_escape(id))
    };
    let ids: String = ids.iter().map(id).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<p class=\"status\">{number}</p>\n<h1>{title}</h1>\n<p>{text}</p>\n{ids}</main>\n</body>\n\
         </html>\n"
    )
}
