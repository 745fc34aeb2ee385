//! The `cgi` server: one request from the environment and standard input, its response on standard output. No
//! socket.
//!
//! The web server that started this process is trusted about the client, and has its own time limits.
//! If a response without `Content-Length` breaks off, it cannot be distinguished from a short one: CGI has no other
//! end mark than the end of the program.
//!
//! # Source
//! RFC 3875.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http::{Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::Server;
use super::control::Control;
use super::gate::forwarded::TrustedPeers;
use super::gate::{Admitted, HostCache, reply};
use super::gateway::{Belief, Fronts, refused_head};
use super::listener::{Listen, Socket};
use super::options::GateOptions;
use super::requests::{CountedBody, Requests};
use super::throughput::{BodyError, BodyOutcome};
use crate::body::{App, Body, BoxFuture};
use crate::codec::variables::Split;
use crate::codec::{Variables, cgi};
use crate::config::Table;
use crate::error::{Errors, Result};

/// Bytes of the body that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Options of a `[server.NAME]` table with `use = "cgi"`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Trust `REMOTE_USER` and `AUTH_TYPE` from the web server, as if a middleware had authenticated the
    /// user. Off by default, because some servers forward a name that nobody has checked: without
    /// `auth_basic`, nginx's `$remote_user` is whatever the client sent.
    remote_user: bool,
    #[serde(flatten)]
    gate: GateOptions,
}

struct CgiServer(Fronts);

/// Checks the options and creates the server.
/// # Errors
/// Every malformed host and network.
pub(super) fn build(options: Options, table: &Table) -> Result<Box<dyn Server>> {
    let mut errors = Vec::new();
    let gate = options.gate.gate(table, &mut errors);
    Errors::check(errors)?;
    Ok(Box::new(CgiServer(Fronts {
        gate,
        believed: TrustedPeers::default(),
        remote_user: options.remote_user,
    })))
}

/// Whether the environment contains a request.
pub fn is_asked() -> bool {
    std::env::var_os("REQUEST_METHOD").is_some()
}

impl Server for CgiServer {
    fn listen(&self) -> &[Listen] {
        &[]
    }

    fn run(self: Box<Self>, _: Vec<Socket>, app: App, control: Control) -> BoxFuture<()> {
        Box::pin(async move {
            let mut variables = Variables::new();
            for (name, value) in std::env::vars_os() {
                variables.push(name.as_bytes(), value.as_bytes());
            }
            if let Err(error) = answer(&self.0, &variables, app, &control).await {
                tracing::info!(%error, "the response was not written completely");
            }
        })
    }
}

/// Answers the request; the body is read from standard input as the app asks for it.
async fn answer(fronts: &Fronts, variables: &Variables, app: App, control: &Control) -> io::Result<()> {
    let requests = Requests::new(app, control.load.clone(), usize::MAX, false);
    let mut guard = requests.take(std::time::Instant::now());
    let welcome = fronts.admit(
        variables,
        Split::Prefix,
        Belief::Always,
        None,
        &"cgi".into(),
        &mut HostCache::default(),
    );
    let (mut response, admitted) = match welcome {
        Ok(welcome) => {
            let fate = Arc::<BodyOutcome>::default();
            let request = with_body(welcome.request, variables, welcome.content_length, &fate);
            let mut work = guard.begin(request);
            let response = poll_fn(|cx| work.poll(cx, &mut guard, || fate.fault())).await;
            (response, welcome.admitted)
        }
        Err(rejection) => {
            let response = reply::rejection(rejection, Version::HTTP_2);
            let (client, head) = (fronts.client(variables, Belief::Always, None), refused_head(variables));
            let admitted = Admitted { head: head.method == "HEAD", upgrade: false };
            guard.refused_with(&rejection, client, head, &response);
            (response, admitted)
        }
    };
    // As over HTTP/2: `Connection` concerns the web server and its client.
    guard.settle(&mut response, &admitted, Version::HTTP_2);
    let (parts, body) = response.into_parts();
    // Rust's own standard output is not used because it is line-buffered.
    let mut out = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let mut head = Vec::with_capacity(256);
    cgi::encode_head(parts.status, &parts.headers, &mut head);
    out.write_all(&head)?;
    let mut body = CountedBody::new(body, guard);
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(io::Error::other)?.data_ref() {
            out.write_all(data)?;
        }
    }
    Ok(())
}

/// The request with its body: the number of bytes in its length, or everything up to the end if the web server has decoded a
/// chunked body and sends no length.
fn with_body(
    request: Request<()>,
    variables: &Variables,
    length: Option<u64>,
    fate: &Arc<BodyOutcome>,
) -> Request<Body> {
    let chunked = variables.get("HTTP_TRANSFER_ENCODING").is_some();
    let left = match length {
        Some(length) => length,
        None if chunked => u64::MAX,
        None => 0,
    };
    if left == 0 {
        return request.map(|()| Body::empty());
    }
    let input = rustix::io::dup(rustix::stdio::stdin()).map(File::from);
    let state = (input.map(tokio::fs::File::from_std), BytesMut::new(), left, fate.clone());
    let frames = unfold(state, move |(mut input, mut space, left, fate)| async move {
        let read = match &mut input {
            Ok(input) => read(input, &mut space, left).await,
            Err(error) => Err((*error).into()),
        };
        let frame = match read {
            Ok(data) if data.is_empty() && (left == 0 || length.is_none()) => return None,
            Ok(data) if data.is_empty() => {
                fate.set(BodyError::Broken);
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the request's body is incomplete"))
            }
            Ok(data) => Ok(data),
            Err(error) => {
                fate.set(BodyError::Broken);
                Err(error)
            }
        };
        let left = left - frame.as_ref().map_or(left, |data| data.len() as u64);
        Some((frame.map(Frame::data), (input, space, left, fate)))
    });
    request.map(|()| match length {
        Some(length) => Body::new(Sized { frames: Box::pin(StreamBody::new(frames)), left: length }),
        None => Body::new(StreamBody::new(frames)),
    })
}

/// Reads up to `left` bytes; empty at the end.
async fn read(input: &mut tokio::fs::File, space: &mut BytesMut, left: u64) -> io::Result<Bytes> {
    if left == 0 {
        return Ok(Bytes::new());
    }
    space.reserve(READ_BYTES);
    input.take(left).read_buf(space).await?;
    Ok(space.split().freeze())
}

/// A body with a known length.
struct Sized<B> {
    frames: Pin<Box<B>>,
    left: u64,
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Sized<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = self.frames.as_mut().poll_frame(cx);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &frame {
            self.left -= frame.data_ref().map_or(0, |data| data.len() as u64).min(self.left);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}
