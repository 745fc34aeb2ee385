//! The pages: a small HTML document that the front end fills, the front end's built files, and the frame for rich output.

use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::assets;
use super::error::{ApiError, blocking};
use super::handover::refusal;
use super::location::RequestLocation;
use super::percent::encode;
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::settings::FrontEnd;
use crate::state::{Notebook, Shared};

/// The page that the front end fills.
const INDEX: &str = "index.html";

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
    if let Some(app) = only_app(&notebook, &principal, &place, &path) {
        return Ok(app);
    }
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
    if let Some(app) = only_app(&notebook, &principal, &place, &path) {
        return Ok(app);
    }
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

/// Leads users who may open a notebook only as an app to its app.
fn only_app(
    notebook: &Notebook,
    principal: &Principal,
    place: &RequestLocation,
    path: &RelativePath,
) -> Option<Response> {
    let is_app = path.is_notebook() && notebook.access.level(principal, path) == Some(Level::App);
    is_app.then(|| Redirect::to(&format!("{}app/{}", place.base(), encode(path.as_str()))).into_response())
}

/// The page of a notebook as an app.
pub(super) async fn app(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(path): Path<String>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    if let Err(error) = notebook.may(&principal, Level::App, &path) {
        return Ok(refusal(error, &principal, &path));
    }
    let (files, looked) = (notebook.files.clone(), path.clone());
    let facts = blocking(move || files.facts(&looked)).await?;
    if facts.is_dir || !path.is_notebook() {
        return Err(ApiError::bad(format!("`{path}` is not a notebook, so it cannot be opened as an app")));
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
    match assets::text(INDEX).filter(|_| assets::is_built()) {
        // Scripts are our own files, which the policy allows without a nonce.
        Some(index) => {
            // The single user has no account.
            let user = principal.user.map(|_| principal.name.as_str()).unwrap_or_default();
            let index = ["app.css", "early.js", "app.js"].iter().fold(index, |index, file| {
                let plain = format!("{{{{base}}}}static/{file}");
                index.replace(&plain, &escape(&assets::address(place, file)))
            });
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
