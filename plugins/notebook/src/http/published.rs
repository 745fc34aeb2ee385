//! `/publish/PATH`: publishes a copy of a notebook for readers without an account. `/pub/SLUG` and `/api/published/SLUG`: the
//! copy.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::forms::Visitor;
use super::history::time;
use super::location::RequestLocation;
use super::pages;
use super::percent::encode;
use crate::access::Level;
use crate::documents::add_widgets;
use crate::files::RelativePath;
use crate::format;
use crate::identity::Principal;
use crate::state::Shared;
use crate::store::{Publication, Rating};

/// The available licences: the name, and the address of the text.
const LICENCES: [(&str, &str); 6] = [
    ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
    ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
    ("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
    ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
    ("MIT", "https://opensource.org/license/mit"),
    ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
];
/// Maximum length of the comment in a rating, in bytes.
const RATING_BYTES: usize = 2000;

#[derive(Deserialize)]
pub(super) struct PublishForm {
    #[serde(default)]
    unpublish: bool,
    /// Only change the licence, `republish` and `interactive`.
    #[serde(default)]
    settings: bool,
    #[serde(default)]
    licence: String,
    #[serde(default)]
    republish: bool,
    #[serde(default)]
    interactive: bool,
}

/// The settings of a publication, for the page `/share/PATH`.
pub(super) fn settings_form(visitor: &Visitor, action: &str, publication: &Publication) -> String {
    let option = |name: &str| {
        let selected = if name == publication.licence { " selected" } else { "" };
        format!("<option value=\"{name}\"{selected}>{}</option>", if name.is_empty() { "none" } else { name })
    };
    let licences: String =
        std::iter::once("").chain(LICENCES.iter().map(|(name, _)| *name)).map(option).collect();
    let checked = |is_set: bool| if is_set { " checked" } else { "" };
    let (republish, interactive) = (checked(publication.republish), checked(publication.interactive));
    format!(
        "{}<input type=\"hidden\" name=\"settings\" value=\"true\"><label>Licence <select name=\"licence\">{licences}</select></label>\
         <label>Publish again with each save <input type=\"checkbox\" name=\"republish\" value=\"true\"{republish}></label>\
         <label>Allow interactive controls <input type=\"checkbox\" name=\"interactive\" value=\"true\"{interactive}></label>\
         <button class=\"plain\">Change</button></form>\
         <p class=\"faint\">With interactive controls, each reader runs the published cells in a separate sandbox, which has no network \
         and none of your files. Readers can only change the values of the controls.</p>",
        visitor.form(action)
    )
}

/// Publishes a notebook in its present state, or withdraws it.
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
    if form.settings {
        if !form.licence.is_empty() && !LICENCES.iter().any(|(name, _)| *name == form.licence) {
            return Err(ApiError::bad("there is no such licence"));
        }
        notebook.store.set_publication(&path, &form.licence, form.republish, form.interactive).await?;
        let controls = if form.interactive { "with controls" } else { "without controls" };
        visitor.audit("change publication", &format!("{path} {controls}")).await?;
        return Ok(visitor.back(&format!("share/{}", encode(path.as_str()))));
    }
    if !path.is_notebook() {
        return Err(ApiError::bad(format!("`{path}` is not a notebook: only notebooks can be published")));
    }
    notebook.documents.flush(&path).await;
    let (files, limit, read) = (notebook.files.clone(), notebook.settings.limits.body_bytes, path.clone());
    let widgets = notebook.documents.widgets(&path).await;
    let content = blocking(move || {
        let (bytes, _) = files.read(&read, limit)?;
        let file = format::parse(&bytes)
            .map_err(|error| ApiError::bad(format!("`{read}` is not a notebook: {error}")))?;
        let mut content = file.to_joined_json();
        add_widgets(&mut content, widgets);
        Ok::<_, ApiError>(content.to_string())
    })
    .await?;
    let (title, _) = path.split_name();
    notebook.store.publish(&path, &visitor.principal.name, title, content).await?;
    visitor.audit("publish", path.as_str()).await?;
    Ok(visitor.back(&format!("share/{}", encode(path.as_str()))))
}

pub(super) fn found(notebook: &Shared, slug: &str) -> Result<(Publication, String)> {
    let found = notebook.store.publication(slug)?;
    found.ok_or_else(|| ApiError::missing("nothing is published here, or it was withdrawn"))
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

/// The data for the page, or the notebook's file.
pub(super) async fn content(
    State(notebook): State<Shared>,
    Path(slug): Path<String>,
    Query(query): Query<ContentQuery>,
) -> Result<Response> {
    let (publication, content) = found(&notebook, &slug)?;
    let content: Value = serde_json::from_str(&content)
        .map_err(|error| ApiError::bad(format!("the published notebook cannot be read: {error}")))?;
    if query.download.is_some() {
        let name = format!("attachment; filename*=UTF-8''{}.ipynb", encode(&publication.title));
        return Ok(([(header::CONTENT_DISPOSITION, name)], Json(content)).into_response());
    }
    let ratings = notebook.store.ratings(&slug)?;
    let link = LICENCES.iter().find(|(name, _)| *name == publication.licence);
    let problem = notebook.published_problem(publication.interactive);
    let shown = json!({
        "controls": {"usable": problem.is_none(), "problem": problem},
        "title": publication.title, "author": publication.author, "published": time(publication.at), "content": content,
        "licence": link.map(|(name, address)| json!({"name": name, "address": address})),
        "ratings": ratings.iter().map(rating_json).collect::<Vec<Value>>(),
    });
    Ok(Json(shown).into_response())
}

fn rating_json(rating: &Rating) -> Value {
    json!({"name": rating.name, "stars": rating.stars, "text": rating.text, "at": time(rating.at)})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatingBody {
    stars: u8,
    #[serde(default)]
    text: String,
}

/// `PUT api/ratings/SLUG`: rates a published notebook. `DELETE`: removes the rating.
pub(super) async fn rate(
    State(notebook): State<Shared>,
    principal: Principal,
    method: Method,
    Path(slug): Path<String>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Json<Value>> {
    let (publication, _) = found(&notebook, &slug)?;
    let account = principal.user.ok_or_else(|| ApiError::missing("ratings need accounts"))?;
    if publication.author == principal.name {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "you published this yourself"));
    }
    let rating = match method {
        Method::DELETE => None,
        _ => {
            let body: RatingBody = serde_json::from_value(object(body)?.into())
                .map_err(|error| ApiError::bad(format!("cannot read the rating: {error}")))?;
            if body.stars > 4 || body.text.len() > RATING_BYTES {
                return Err(ApiError::bad(format!(
                    "a rating must have 0 to 4 stars and a text of at most {RATING_BYTES} bytes"
                )));
            }
            Some((body.stars, body.text.trim().to_owned()))
        }
    };
    notebook.store.rate(&slug, account, rating).await?;
    let ratings: Vec<Value> = notebook.store.ratings(&slug)?.iter().map(rating_json).collect();
    Ok(Json(json!({"ratings": ratings})))
}
