//! The pages: a small HTML document that the front end fills, the front end's built files, and the frame for rich output.

use std::borrow::Cow;

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::{HeaderValue, StatusCode, header};
use rust_embed::RustEmbed;

use super::error::{ApiError, blocking};
use super::handover::refusal;
use super::location::RequestLocation;
use super::percent::encode;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::settings::FrontEnd;
use crate::state::Shared;

/// The front end as `npm run build` writes it. A debug build reads it from disk on each request.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// The page that the front end fills.
const INDEX: &str = "index.html";
/// The frame for rich output. Scripts in the output run in its opaque origin, so they have no cookies of ours and cannot reach
/// the page. From other hosts, it loads only images, media and frames over https, which `Image(url=…)` and `IFrame(…)` need.
/// (A script from `blob:` is one that the output has created.) The page sends it the files beside the notebook. Links open in
/// new tabs.
const FRAME: &str = "frame.html";
const FRAME_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; \
    img-src https: data: blob:; font-src data:; media-src https: data: blob:; frame-src https: blob:; connect-src data: blob:; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'; \
    sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads";

/// Escapes text for HTML, including quoted attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) async fn root(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
) -> Redirect {
    if notebook.settings.front_end == FrontEnd::Lab {
        return Redirect::to(&format!("{}lab", place.base()));
    }
    let home = principal.home().map(|home| format!("/{home}")).unwrap_or_default();
    Redirect::to(&format!("{}tree{home}", place.base()))
}

pub(super) async fn tree_root(principal: Principal, place: RequestLocation) -> Response {
    page(&place, &principal)
}

pub(super) async fn tree(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    if let Err(error) = notebook.may(&principal, Level::View, &path) {
        return Ok(refusal(error, &principal, &path));
    }
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if !facts.is_dir {
        let kind = if path.is_notebook() { "notebooks" } else { "files" };
        return Ok(Redirect::to(&format!("{}{kind}/{}", place.base(), encode(path.as_str()))).into_response());
    }
    Ok(page(&place, &principal))
}

pub(super) async fn notebook(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    if let Err(error) = notebook.may(&principal, Level::View, &path) {
        return Ok(refusal(error, &principal, &path));
    }
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if facts.is_dir {
        return Ok(Redirect::to(&format!("{}tree/{}", place.base(), encode(path.as_str()))).into_response());
    }
    Ok(page(&place, &principal))
}

/// The page of a file or of a terminal, as in Jupyter Notebook.
pub(super) async fn edit(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if facts.is_dir {
        return Ok(Redirect::to(&format!("{}tree/{}", place.base(), encode(path.as_str()))).into_response());
    }
    Ok(page(&place, &principal))
}

pub(super) async fn terminal(principal: Principal, place: RequestLocation) -> Response {
    page(&place, &principal)
}

pub(super) fn page(place: &RequestLocation, principal: &Principal) -> Response {
    let built = Built::get(INDEX).filter(|_| Built::get("app.js").is_some());
    match built.as_ref().and_then(|file| std::str::from_utf8(&file.data).ok()) {
        // Scripts are our own files, which the policy allows without a nonce.
        Some(index) => {
            // The single user has no account.
            let user = principal.user.map(|_| principal.name.as_str()).unwrap_or_default();
            let index = index.replace("{{base}}", &escape(&place.base())).replace("{{user}}", &escape(user));
            let content = place.content_origin.as_deref().unwrap_or_default();
            let index = index.replace("{{content}}", &escape(content));
            Html(index.replace("{{role}}", principal.role.name())).into_response()
        }
        None => Html(unbuilt(place)).into_response(),
    }
}

fn unbuilt(place: &RequestLocation) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Notebook</title></head><body><main>\
         <h1>The notebook's page is not built</h1><p>Run <code>npm ci &amp;&amp; npm run build</code> in <code>{}</code> (it needs \
         Node), then build the plugin again. The API works without it: \
         <a href=\"{}api/contents\">api/contents</a>.</p></main></body></html>\n",
        escape(concat!(env!("CARGO_MANIFEST_DIR"), "/web")),
        escape(&place.base()),
    )
}

/// A file of the front end.
pub(super) async fn asset(place: RequestLocation, Path(path): Path<String>) -> Result<Response, ApiError> {
    if path == FRAME && place.content_origin.is_some() {
        return Err(ApiError::missing("outputs are served from another origin (`content_origin`)"));
    }
    built(&path)
}

/// The frame for rich output, at its own origin.
pub(super) fn frame(ancestors: &str) -> Result<Response, ApiError> {
    let mut response = built(FRAME)?;
    let policy = FRAME_POLICY.replace("frame-ancestors 'self'", &format!("frame-ancestors {ancestors}"));
    let policy = HeaderValue::from_str(&policy).map_err(|error| ApiError::bad(error.to_string()))?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

fn built(path: &str) -> Result<Response, ApiError> {
    let file =
        Built::get(path).ok_or_else(|| ApiError::missing(format!("the front end has no file `{path}`")))?;
    let kind = mime_guess::from_path(path).first_or_octet_stream().to_string();
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
    let mut response = (headers, body).into_response();
    if path == FRAME {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(FRAME_POLICY));
    }
    Ok(response)
}

pub(super) async fn favicon() -> Response {
    match Built::get("icon.svg") {
        Some(file) => ([(header::CONTENT_TYPE, "image/svg+xml")], file.data.into_owned()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
