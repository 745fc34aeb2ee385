//! `buffer`: receives a whole body before it passes it on, in memory or in a temporary file.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRAILER, UPGRADE};
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use schemars::JsonSchema;
use serde::Deserialize;

use super::refusal::refusal;
use crate::body::file::{BodyPiece, FileBody};
use crate::body::{App, Body, Request, Response};
use crate::config::{OutputPath, Table};
use crate::context::Context;
use crate::error::{BoxError, Errors, Result};

/// Options of a `[middleware.NAME]` table with `use = "buffer"`.
///
/// The app gets a request only when it has arrived completely, with its `Content-Length`, so that slow clients do not occupy
/// the app. A buffered response frees the app before the client has read it. WebSockets, event streams
/// and responses to HEAD are not buffered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Buffer the bodies of requests.
    requests: bool,
    /// Buffer the bodies of responses.
    responses: bool,
    /// Maximum length of a body in bytes. Longer requests get 413. Longer responses are passed on unbuffered.
    max_bytes: u64,
    /// Maximum number of bytes of a body in memory. A longer body goes to a temporary file.
    memory_bytes: u64,
    /// Directory for temporary files; by default that of the system.
    spool_dir: Option<OutputPath>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            requests: true,
            responses: false,
            max_bytes: 10 * 1024 * 1024,
            memory_bytes: 64 * 1024,
            spool_dir: None,
        }
    }
}

/// Wraps `next`.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    if let Some(dir) = &options.spool_dir {
        let found = match context.checking {
            true => std::fs::metadata(&**dir).map(drop),
            false => tempfile::tempfile_in(&**dir).map(drop),
        };
        errors.extend(found.err().map(|cause| {
            let error = table.error("spool_dir", format!("cannot create files in `{}`", dir.display()));
            error.because(cause).help("create the directory, and let the server's user write to it")
        }));
    }
    Errors::check(errors)?;
    let options = Arc::new(options);
    Ok(App::from_call(move |request| {
        let buffers = options.requests && is_streamed(&request);
        if !buffers && !options.responses {
            return next.handle(request);
        }
        let (options, next) = (options.clone(), next.clone());
        Box::pin(async move {
            let head = *request.method() == Method::HEAD;
            let request = match buffers {
                true => match options.receive(request).await? {
                    Some(request) => request,
                    None => return Ok(too_long()),
                },
                false => request,
            };
            let response = next.handle(request).await?;
            match options.responses && !head && may_wait(&response) {
                true => options.keep(response).await,
                false => Ok(response),
            }
        })
    }))
}

/// Whether the body of a request arrives in pieces. A WebSocket's does too, but never ends.
fn is_streamed(request: &Request) -> bool {
    let upgrades = request.headers().contains_key(UPGRADE) || *request.method() == Method::CONNECT;
    !request.body().is_whole() && !request.body().is_end_stream() && !upgrades
}

/// Whether a response can be held until it is complete.
fn may_wait(response: &Response) -> bool {
    let media = response.headers().get(CONTENT_TYPE);
    let events = media.is_some_and(|media| media.as_bytes().starts_with(b"text/event-stream"));
    !response.body().is_whole() && !events && response.status() != StatusCode::SWITCHING_PROTOCOLS
}

fn too_long() -> Response {
    let text = "The request's body is too long.\n";
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "a body that is too long to buffer", text)
}

/// A buffered body.
enum Buffered {
    Whole {
        body: Body,
        length: u64,
        trailers: Option<HeaderMap>,
    },
    /// Longer than the limit: what has arrived, and the rest.
    Longer(Body, Body),
}

impl Options {
    /// The request with its whole body; `None` if that is too long.
    async fn receive(&self, request: Request) -> Result<Option<Request>, BoxError> {
        let (mut head, body) = request.into_parts();
        if body.size_hint().lower() > self.max_bytes {
            return Ok(None);
        }
        match self.read(body).await? {
            Buffered::Longer(..) => Ok(None),
            Buffered::Whole { body, length, .. } => {
                head.headers.insert(CONTENT_LENGTH, length.into());
                head.headers.remove(TRAILER);
                Ok(Some(Request::from_parts(head, body)))
            }
        }
    }

    /// The response with its whole body, or the rest of it if it is too long.
    async fn keep(&self, response: Response) -> Result<Response, BoxError> {
        let (head, body) = response.into_parts();
        if body.size_hint().lower() > self.max_bytes {
            return Ok(Response::from_parts(head, body));
        }
        let body = match self.read(body).await? {
            Buffered::Whole { body, trailers: None, .. } => body,
            Buffered::Whole { body, trailers: Some(trailers), .. } => {
                Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))))
            }
            Buffered::Longer(first, rest) => Body::new(super::chain::chain(first, rest)),
        };
        Ok(Response::from_parts(head, body))
    }

    async fn read(&self, mut body: Body) -> Result<Buffered, BoxError> {
        let mut spool = Spool { memory: BytesMut::new(), file: None, length: 0 };
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    let over = spool.length + data.len() as u64 > self.max_bytes;
                    spool.write(data, self).await?;
                    if over {
                        return Ok(Buffered::Longer(spool.body(), body));
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let length = spool.length;
        Ok(Buffered::Whole { body: spool.body(), length, trailers })
    }
}

/// The bytes that have arrived.
struct Spool {
    memory: BytesMut,
    file: Option<Arc<File>>,
    length: u64,
}

impl Spool {
    async fn write(&mut self, data: Bytes, options: &Options) -> Result<(), BoxError> {
        self.length += data.len() as u64;
        if self.file.is_none() && self.length <= options.memory_bytes {
            self.memory.extend_from_slice(&data);
            return Ok(());
        }
        let (file, dir) = (self.file.take(), options.spool_dir.as_deref().map(ToOwned::to_owned));
        let before = std::mem::take(&mut self.memory);
        let written = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(match dir {
                    Some(dir) => tempfile::tempfile_in(dir)?,
                    None => tempfile::tempfile()?,
                }),
            };
            (&*file).seek(SeekFrom::End(0))?;
            (&*file).write_all(&before)?;
            (&*file).write_all(&data)?;
            Ok::<_, std::io::Error>(file)
        });
        self.file = Some(written.await??);
        Ok(())
    }

    fn body(self) -> Body {
        match self.file {
            Some(file) => FileBody::new(file, [BodyPiece::File(0..self.length)]).into(),
            None => self.memory.freeze().into(),
        }
    }
}
