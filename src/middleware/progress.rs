//! `progress`: reports the progress of uploads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::{header, path, value};
use super::refusal::at_once;
use crate::body::{App, Body, Request, Response};
use crate::config::{OutputPath, Table};
use crate::context::Context;
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "progress"`.
///
/// A page chooses a random id and sends it with its upload, in the header field `X-Progress-ID` or as the query parameter
/// `progress_id`. Meanwhile, it requests `/progress?id=ID`. The response is JSON, as from nginx's upload progress module:
///
/// ```json
/// { "state": "uploading", "received": 1048576, "size": 4194304 }
/// ```
///
/// `state` is `starting` (nothing has arrived), `uploading`, `done` or `error`. Put it outside of `buffer`. With
/// several workers, set `dir`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// The path that returns the progress.
    path: String,
    /// Header field of an upload with its id.
    header: String,
    /// Directory through which workers share the progress, such as one below `/run`. Without it, each worker knows only its
    /// own uploads.
    dir: Option<OutputPath>,
    /// How long the result of an upload is available, in seconds.
    keep_secs: u32,
    /// Maximum number of uploads to follow at once in each worker.
    max_uploads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            path: "/progress".into(),
            header: "x-progress-id".into(),
            dir: None,
            keep_secs: 60,
            max_uploads: 1000,
        }
    }
}

/// Longest id in bytes.
const ID_LIMIT: usize = 64;
/// The shortest time between two writes to the directory.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum UploadState {
    Uploading,
    Done,
    Error,
}

/// What is known about an upload.
#[derive(Debug, Clone, Serialize)]
struct Upload {
    state: UploadState,
    received: u64,
    /// The announced length.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip)]
    changed: Instant,
}

struct Uploads {
    path: String,
    header: HeaderName,
    dir: Option<PathBuf>,
    keep: Duration,
    max_uploads: usize,
    known: Mutex<HashMap<String, Upload>>,
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    value(table, "path", &options.path, &mut errors, path);
    let header = value(table, "header", &options.header, &mut errors, header);
    if let Some(dir) = &options.dir {
        let found = match context.checking {
            true => std::fs::metadata(&**dir).map(drop),
            false => tempfile::tempfile_in(&**dir).map(drop),
        };
        errors.extend(found.err().map(|cause| {
            let error = table.error("dir", format!("cannot create files in `{}`", dir.display()));
            error.because(cause).help("create the directory, and let the server's user write to it")
        }));
    }
    Errors::check(errors)?;
    let Some(header) = header else { unreachable!("checked above") };
    let uploads = Arc::new(Uploads {
        path: options.path,
        header,
        dir: options.dir.as_ref().map(|dir| dir.to_path_buf()),
        keep: Duration::from_secs(options.keep_secs.into()),
        max_uploads: options.max_uploads,
        known: Mutex::default(),
    });
    Ok(App::from_call(move |request| {
        if request.uri().path() == uploads.path {
            return at_once(uploads.answer(request.uri().query().and_then(|query| parameter(query, "id"))));
        }
        let id = uploads.id(&request).filter(|_| !request.body().is_end_stream());
        let Some(id) = id else { return next.handle(request) };
        let size = request.body().size_hint().exact();
        let Some(progress) = UploadsInProgress::begin(uploads.clone(), id, size) else {
            return next.handle(request);
        };
        next.handle(request.map(|body| Body::new(CountedUpload { body, progress })))
    }))
}

/// The value of a query parameter, if it is an id: letters, digits, `-` and `_`.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value).filter(|id| is_id(id))
}

fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= ID_LIMIT && text.bytes().all(plain)
}

impl Uploads {
    fn id(&self, request: &Request) -> Option<String> {
        let field = request.headers().get(&self.header).and_then(|value| value.to_str().ok());
        let query = || parameter(request.uri().query()?, "progress_id");
        field.filter(|id| is_id(id)).or_else(query).map(str::to_owned)
    }

    fn answer(&self, id: Option<&str>) -> Response {
        let known =
            id.and_then(|id| self.known.lock().get(id).map(|upload| serde_json::json!(upload).to_string()));
        let shared = || std::fs::read_to_string(self.dir.as_ref()?.join(id?)).ok();
        let text = known.or_else(shared).unwrap_or_else(|| r#"{"state":"starting"}"#.to_owned());
        let mut response = Response::new(text.into());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Forgets the uploads that ended long ago.
    fn sweep(&self, known: &mut HashMap<String, Upload>) {
        known.retain(|id, upload| {
            let running = upload.state == UploadState::Uploading;
            let keep = running || upload.changed.elapsed() < self.keep;
            if let Some(dir) = self.dir.as_ref().filter(|_| !keep) {
                let _ = std::fs::remove_file(dir.join(id)); // another process may have removed it
            }
            keep
        });
    }

    /// Writes what other workers answer with. An error only makes the progress invisible to them.
    fn share(&self, id: &str, upload: &Upload) {
        let Some(dir) = &self.dir else { return };
        let file = dir.join(id);
        let new = dir.join(format!(".{id}"));
        let text = serde_json::json!(upload).to_string();
        if let Err(error) = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file)) {
            tracing::debug!(file = %file.display(), "cannot share the progress of an upload: {error}");
        }
    }
}

/// An upload in progress.
struct UploadsInProgress {
    uploads: Arc<Uploads>,
    id: String,
    upload: Upload,
    shared: Instant,
}

impl UploadsInProgress {
    /// `None` if there are too many, or the id is in use.
    fn begin(uploads: Arc<Uploads>, id: String, size: Option<u64>) -> Option<UploadsInProgress> {
        let now = Instant::now();
        let upload = Upload { state: UploadState::Uploading, received: 0, size, changed: now };
        {
            let mut known = uploads.known.lock();
            uploads.sweep(&mut known);
            if known.len() >= uploads.max_uploads || known.contains_key(&id) {
                return None;
            }
            known.insert(id.clone(), upload.clone());
        }
        uploads.share(&id, &upload);
        Some(UploadsInProgress { uploads, id, upload, shared: now })
    }

    fn add(&mut self, bytes: u64) {
        self.upload.received += bytes;
        self.note();
        if self.shared.elapsed() >= PAUSE {
            self.shared = Instant::now();
            self.uploads.share(&self.id, &self.upload);
        }
    }

    fn end(&mut self, state: UploadState) {
        if self.upload.state == UploadState::Uploading {
            self.upload.state = state;
            self.note();
            self.uploads.share(&self.id, &self.upload);
        }
    }

    fn note(&mut self) {
        self.upload.changed = Instant::now();
        self.uploads.known.lock().insert(self.id.clone(), self.upload.clone());
    }
}

/// The body of an upload.
struct CountedUpload {
    body: Body,
    progress: UploadsInProgress,
}

impl HttpBody for CountedUpload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.progress.add(frame.data_ref().map_or(0, |data| data.len() as u64));
                if self.body.is_end_stream() {
                    self.progress.end(UploadState::Done);
                }
            }
            Poll::Ready(Some(Err(_))) => self.progress.end(UploadState::Error),
            Poll::Ready(None) => self.progress.end(UploadState::Done),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An app that stops reading, or a client that leaves, ends the upload.
impl Drop for CountedUpload {
    fn drop(&mut self) {
        self.progress.end(UploadState::Error);
    }
}
