//! `/files/PATH`: a file's bytes. The content is never trusted, so its policy forbids everything.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::error::{ApiError, blocking};
use super::percent::encode;
use crate::access::Level;
use crate::clock;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::state::Shared;

const POLICY: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'";
/// How many bytes are read at once.
const CHUNK: usize = 64 << 10;

#[derive(Deserialize)]
pub(super) struct FilesQuery {
    download: Option<String>,
}

pub(super) async fn get(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(path): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, ApiError> {
    let path = RelativePath::parse(&path)?;
    notebook.may(&principal, Level::View, &path)?;
    notebook.documents.flush(&path).await;
    let (files, opened) = (notebook.files.clone(), path.clone());
    let (file, facts) = blocking(move || files.open_file(&opened)).await?;
    let file = tokio::fs::File::from_std(file).take(facts.size);
    let stream = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let count = file.read_buf(&mut chunk).await?;
        Ok::<_, std::io::Error>((count > 0).then(|| (chunk.freeze(), file)))
    });
    let mut response = Body::from_stream::<_>(
        Box::pin(stream) as std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, _>> + Send>>
    )
    .into_response();
    let kind = if path.is_notebook() {
        "application/json".to_owned()
    } else {
        mime_guess::from_path(path.name()).first_or_octet_stream().to_string()
    };
    let disposition = if query.download.is_some_and(|value| value != "0") { "attachment" } else { "inline" };
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(
        header::CONTENT_TYPE,
        if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind },
    );
    set(header::CONTENT_LENGTH, facts.size.to_string());
    set(header::CONTENT_DISPOSITION, format!("{disposition}; filename*=utf-8''{}", encode(path.name())));
    set(header::CONTENT_SECURITY_POLICY, POLICY.to_owned());
    set(header::ETAG, format!("\"{}-{}\"", facts.size, clock::rfc3339(facts.modified)));
    Ok(response)
}
