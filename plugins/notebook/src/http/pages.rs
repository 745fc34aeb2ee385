//! The pages: a small head that the front end fills, its built files, and the frame that rich output is shown in.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use rust_embed::RustEmbed;

use super::error::{ApiError, blocking};
use super::guard::encode;
use super::place::Place;
use crate::files::RelativePath;
use crate::state::Shared;

/// The front end as `npm run build` leaves it; read from disk with each request in a debug build.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// Policy of the frame: scripts and styles that stand in the output run, nothing is fetched, and its origin is nobody's.
const FRAME_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; \
    img-src data: blob:; font-src data:; media-src data: blob:; connect-src data: blob:; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'self'; sandbox allow-scripts allow-popups";

/// Shows what its parent sends, and tells its height. `innerHTML` would leave scripts dead, so each is made anew, in order.
const FRAME: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Output</title>
<style>html{color-scheme:light dark}body{margin:0;font:14px/1.4 system-ui,sans-serif;overflow:auto hidden}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.25em .6em;text-align:right;border-bottom:1px solid #8884}
img,svg{max-width:100%}</style></head><body><script>
(() => {
  const parent = window.parent;
  let told = -1;
  const tell = () => {
    const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
    if (height !== told) { told = height; parent.postMessage({type: "paster-size", height}, "*"); }
  };
  new ResizeObserver(tell).observe(document.documentElement);
  let shown = false;
  addEventListener("message", async event => {
    if (event.source !== parent || !event.data || event.data.type !== "paster-show" || shown) return;
    shown = true;
    const holder = document.createElement("template");
    holder.innerHTML = String(event.data.html);
    const scripts = [...holder.content.querySelectorAll("script")];
    document.body.append(holder.content);
    for (const old of scripts) {
      const script = document.createElement("script");
      for (const {name, value} of old.attributes) script.setAttribute(name, value);
      script.textContent = old.textContent;
      old.replaceWith(script);
    }
    tell();
  });
  parent.postMessage({type: "paster-ready"}, "*");
})();
</script></body></html>
"#;

/// Text for HTML, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) async fn root(place: Place) -> Redirect {
    Redirect::to(&format!("{}tree", place.base()))
}

pub(super) async fn tree_root(place: Place) -> Response {
    page(&place, "tree", &RelativePath::default())
}

pub(super) async fn tree(
    State(notebook): State<Shared>,
    place: Place,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if !facts.is_dir {
        let kind = if path.is_notebook() { "notebooks" } else { "files" };
        return Ok(Redirect::to(&format!("{}{kind}/{}", place.base(), encode(path.as_str()))).into_response());
    }
    Ok(page(&place, "tree", &path))
}

pub(super) async fn notebook(
    State(notebook): State<Shared>,
    place: Place,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if facts.is_dir {
        return Ok(Redirect::to(&format!("{}tree/{}", place.base(), encode(path.as_str()))).into_response());
    }
    Ok(page(&place, "notebook", &path))
}

fn page(place: &Place, kind: &str, path: &RelativePath) -> Response {
    if Built::get("app.js").is_none() {
        return (StatusCode::OK, Html(unbuilt(place))).into_response();
    }
    let base = escape(&place.base());
    let title = if path.is_root() { "Notebook" } else { path.name() };
    let style = match Built::get("app.css") {
        Some(_) => format!("<link rel=\"stylesheet\" href=\"{base}static/app.css\">"),
        None => String::new(),
    };
    Html(format!(
        "<!doctype html>\n<html lang=\"en\" data-base=\"{base}\" data-page=\"{kind}\" data-path=\"{}\" data-version=\"{}\"><head>\
         <meta charset=\"utf-8\"><title>{}</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{style}\
         <script type=\"module\" src=\"{base}static/app.js\"></script></head><body><div id=\"app\"></div>\
         <noscript>The notebook needs JavaScript. Its files can be reached at <a href=\"{base}api/contents\">api/contents</a>.\
         </noscript></body></html>\n",
        escape(path.as_str()),
        env!("CARGO_PKG_VERSION"),
        escape(title),
    ))
    .into_response()
}

fn unbuilt(place: &Place) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Notebook</title></head><body><main>\
         <h1>The notebook's page is not built</h1><p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>{}</code> (it needs \
         Node), then build the plugin again. The interface for programs works without it: \
         <a href=\"{}api/contents\">api/contents</a>.</p></main></body></html>\n",
        escape(concat!(env!("CARGO_MANIFEST_DIR"), "/web")),
        escape(&place.base()),
    )
}

pub(super) async fn asset(Path(path): Path<String>) -> Result<Response, ApiError> {
    let file =
        Built::get(&path).ok_or_else(|| ApiError::missing(format!("the front end has no file `{path}`")))?;
    let kind = mime_guess::from_path(&path).first_or_octet_stream().to_string();
    let kind = if kind.starts_with("text/") && !kind.contains("charset") {
        format!("{kind}; charset=utf-8")
    } else {
        kind
    };
    let tag: String = file.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let body = match file.data {
        Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::ETAG, format!("\"{tag}\"")),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok((headers, body).into_response())
}

pub(super) async fn output_frame() -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, FRAME_POLICY), (header::CACHE_CONTROL, "max-age=3600")];
    (headers, Html(FRAME)).into_response()
}

pub(super) async fn favicon() -> Response {
    match Built::get("favicon.ico") {
        Some(file) => ([(header::CONTENT_TYPE, "image/x-icon")], file.data.into_owned()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
