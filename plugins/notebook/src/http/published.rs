//! `/publish/PATH`: freezes a notebook for readers without an account. `/pub/SLUG` and `/api/published/SLUG`: what they read.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking};
use super::forms::Visitor;
use super::location::RequestLocation;
use super::pages;
use super::percent::encode;
use crate::access::Level;
use crate::clock;
use crate::files::RelativePath;
use crate::format;
use crate::identity::Principal;
use crate::state::Shared;
use crate::store::Publication;

#[derive(Deserialize)]
pub(super) struct PublishForm {
    #[serde(default)]
    unpublish: bool,
}

/// Publishes a notebook as it is now, or takes it back.
pub(super) async fn publish(
    visitor: Visitor,
    Path(path): Path<String>,
    Form(form): Form<PublishForm>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let notebook = &visitor.notebook;
    notebook.may(&visitor.principal, Level::Manage, &path)?;
    if form.unpublish {
        notebook.store.unpublish(&path).await?;
        visitor.audit("unpublish", path.as_str()).await?;
        return Ok(visitor.back(&format!("share/{}", encode(path.as_str()))));
    }
    if !path.is_notebook() {
        return Err(ApiError::bad(format!("`{path}` is not a notebook: only notebooks can be published")));
    }
    notebook.documents.flush(&path).await;
    let (files, limit, read) = (notebook.files.clone(), notebook.settings.limits.body_bytes, path.clone());
    let content = blocking(move || {
        let (bytes, _) = files.read(&read, limit)?;
        let file = format::parse(&bytes)
            .map_err(|error| ApiError::bad(format!("`{read}` is not a notebook: {error}")))?;
        Ok::<_, ApiError>(file.to_joined_json().to_string())
    })
    .await?;
    let (title, _) = path.split_name();
    notebook.store.publish(&path, &visitor.principal.name, title, content).await?;
    visitor.audit("publish", path.as_str()).await?;
    Ok(visitor.back(&format!("share/{}", encode(path.as_str()))))
}

fn found(notebook: &Shared, slug: &str) -> Result<(Publication, String)> {
    let found = notebook.store.publication(slug)?;
    found.ok_or_else(|| ApiError::missing("nothing is published here, or it was taken back"))
}

/// The page, which the front end fills.
pub(super) async fn page(
    State(notebook): State<Shared>,
    principal: Principal,
    place: RequestLocation,
    Path(slug): Path<String>,
) -> Result<Response> {
    found(&notebook, &slug)?;
    Ok(pages::page(&place, &principal))
}

#[derive(Deserialize)]
pub(super) struct ContentQuery {
    download: Option<String>,
}

/// What the page shows, or the notebook's file.
pub(super) async fn content(
    State(notebook): State<Shared>,
    Path(slug): Path<String>,
    Query(query): Query<ContentQuery>,
) -> Result<Response> {
    let (publication, content) = found(&notebook, &slug)?;
    let content: Value = serde_json::from_str(&content)
        .map_err(|error| ApiError::bad(format!("what was published cannot be read: {error}")))?;
    if query.download.is_some() {
        let name = format!("attachment; filename*=UTF-8''{}.ipynb", encode(&publication.title));
        return Ok(([(header::CONTENT_DISPOSITION, name)], Json(content)).into_response());
    }
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(publication.at.max(0).cast_unsigned());
    let shown = json!({
        "title": publication.title, "author": publication.author, "published": clock::rfc3339(at), "content": content,
    });
    Ok(Json(shown).into_response())
}
