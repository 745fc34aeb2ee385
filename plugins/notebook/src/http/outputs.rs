//! `/api/outputs/PATH?cell=ID`: the rest of an output that is too long for its notebook, as text.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::header;
use serde::Deserialize;

use super::error::{ApiError, Result};
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::state::Shared;

#[derive(Deserialize)]
pub(super) struct OutputQuery {
    cell: String,
}

pub(super) async fn get(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<OutputQuery>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    let missing = || ApiError::missing(format!("the cell `{}` of `{path}` has no long output", query.cell));
    let body = if notebook.store.objects().is_some() {
        let (document, _) = notebook.store.document_at(&path)?.ok_or_else(missing)?;
        let parts = notebook.store.output_parts(&document, &query.cell)?;
        if parts.is_empty() {
            return Err(missing());
        }
        let store = notebook.store.clone();
        Body::from_stream(futures_util::stream::iter(parts).then(move |key| {
            let store = store.clone();
            async move { store.object(&key).await }
        }))
    } else {
        // A cell's id is a name.
        if query.cell.contains(['/', '\0']) {
            return Err(missing());
        }
        let file = notebook.documents.overflow_file(&path, &query.cell);
        let file = tokio::fs::File::open(&file).await.map_err(|_| missing())?;
        Body::from_stream(futures_util::stream::try_unfold(file, read_part))
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"output.txt\""),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, body).into_response())
}

async fn read_part(mut file: tokio::fs::File) -> std::io::Result<Option<(bytes::Bytes, tokio::fs::File)>> {
    use tokio::io::AsyncReadExt;
    let mut part = bytes::BytesMut::with_capacity(64 << 10);
    let count = file.read_buf(&mut part).await?;
    Ok((count > 0).then(|| (part.freeze(), file)))
}
