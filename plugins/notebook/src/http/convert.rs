//! `/nbconvert/FORMAT/PATH`, `/nbconvert/FORMAT` and `/api/nbconvert`: notebooks in other formats.
//!
//! # Source
//! Jupyter Server, `nbconvert/handlers.py`.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Result, blocking, object};
use super::percent::encode;
use crate::access::Level;
use crate::export::{Exported, Format, PdfError, export};
use crate::files::RelativePath;
use crate::format::{self, NotebookFile};
use crate::identity::Principal;
use crate::state::{Notebook, Shared};

/// The policy of exported pages. Scripts in outputs run in an opaque origin, without our cookies.
const POLICY: &str = "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox; default-src 'none'; \
    script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src https: data:; font-src data:; \
    media-src https: data:; frame-src https:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'";
/// Maximum number of notebooks that are printed at the same time.
static PRINTING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

#[derive(Deserialize)]
pub(super) struct ConvertQuery {
    download: Option<String>,
    sanitize_html: Option<String>,
}

/// Whether an argument is given and not false. Accepts Python's spelling, too.
fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "false" | "no"))
}

impl From<PdfError> for ApiError {
    fn from(error: PdfError) -> ApiError {
        let status = match error {
            PdfError::NoBrowser => StatusCode::NOT_IMPLEMENTED,
            PdfError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, error.to_string())
    }
}

pub(super) async fn formats() -> Json<Value> {
    let shown = |format: &Format| match format.problem() {
        None => json!({"output_mimetype": format.mime()}),
        Some(problem) => json!({"output_mimetype": format.mime(), "problem": problem}),
    };
    let all = Format::ALL.iter().map(|format| (format.name().to_owned(), shown(format)));
    Json(Value::Object(all.collect()))
}

fn parse(name: &str) -> Result<Format> {
    Format::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        ApiError::missing(format!("there is no format `{name}`: use one of {}", names.join(", ")))
    })
}

/// Converts a notebook of the served folder.
pub(super) async fn file(
    State(notebook): State<Shared>,
    principal: Principal,
    Path((name, path)): Path<(String, String)>,
    Query(query): Query<ConvertQuery>,
) -> Result<Response> {
    let format = parse(&name)?;
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    notebook.documents.flush(&path).await;
    let (files, limit, read) = (notebook.files.clone(), notebook.settings.limits.body_bytes, path.clone());
    let content = blocking(move || {
        let (bytes, _) = files.read(&read, limit)?;
        format::parse(&bytes).map_err(|error| ApiError::bad(format!("`{read}` is not a notebook: {error}")))
    });
    convert(&notebook, content.await?, path.split_name().0, format, &query).await
}

/// Converts the notebook in the body: an entry as in `/api/contents`.
pub(super) async fn body(
    State(notebook): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<ConvertQuery>,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response> {
    let format = parse(&name)?;
    let body: Map<String, Value> = object(body)?;
    let title = body.get("name").and_then(Value::as_str).unwrap_or("notebook.ipynb").to_owned();
    let content = body.get("content").cloned().ok_or_else(|| ApiError::bad("`content` is missing"))?;
    let content = format::from_json(content)
        .map_err(|error| ApiError::bad(format!("`content` is not a notebook: {error}")))?;
    convert(&notebook, content, title.strip_suffix(".ipynb").unwrap_or(&title), format, &query).await
}

async fn convert(
    notebook: &Notebook,
    content: NotebookFile,
    title: &str,
    format: Format,
    query: &ConvertQuery,
) -> Result<Response> {
    let sanitize = is_true(query.sanitize_html.as_deref());
    let _printing = match format {
        Format::Pdf => PRINTING.acquire().await.ok(),
        _ => None,
    };
    let name = title.to_owned();
    let Exported { bytes, mime, extension } =
        blocking(move || export(&content, &name, format, sanitize)).await?;
    let mime = if mime.starts_with("text/") { format!("{mime}; charset=utf-8") } else { mime.to_owned() };
    let attached = is_true(query.download.as_deref()) || mime == "application/zip";
    let kind = if attached { "attachment" } else { "inline" };
    let disposition = format!("{kind}; filename*=utf-8''{}", encode(&format!("{title}{extension}")));
    let mut response = ([(header::CONTENT_TYPE, mime)], bytes).into_response();
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    let policy = match notebook.content_origin {
        // With this policy, no script of an output runs, not even in an opaque origin.
        Some(_) => POLICY.replace(" allow-scripts", "").replace("'unsafe-inline' 'unsafe-eval'", "'none'"),
        None => POLICY.to_owned(),
    };
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
