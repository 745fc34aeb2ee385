//! With several servers, a request for a document that another server has open is answered by that server, and one for a kernel by
//! the server that runs it. The server that received the request checks who sends it. The other one checks what they may do.

mod client;
mod lists;
mod servers;
mod signed;
mod target;
mod terminals;
mod tunnel;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use hyper::body::Body as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use self::client::RelayFailure;
use self::signed::{RELAYED, Scope};
use self::target::Target;
use super::error::{ApiError, Result};
use super::location::RequestLocation;
use super::percent::encode;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::kernel::wire::ProblemKind;
use crate::settings::Settings;
use crate::state::{Notebook, Shared};
use crate::store::{Store, StoreError};
use crate::tls_client::tls_config;

pub(super) use self::servers::{SERVERS, answer};
pub(super) use self::signed::RelayedRequest;

/// How long a request waits for a server that has a document open: longer than a lease lasts that is not renewed.
const PATIENCE: Duration = Duration::from_secs(6);
const RETRY: Duration = Duration::from_millis(250);
/// How often it is checked whether a server still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How many events may wait for the other servers. Further ones are lost, as they are for a slow subscriber.
const EVENTS: usize = 256;
/// The shortest time between two warnings about one server.
const QUIET: Duration = Duration::from_secs(60);
/// The values of the header in the response of a server: it answers, or it does not have the document.
const HERE: &str = "here";
const ELSEWHERE: &str = "elsewhere";

/// Relays requests to the other servers of the database, and accepts theirs.
pub(crate) struct Relay {
    key: Vec<u8>,
    /// Where other servers reach this one; `None`: they do not.
    own: Option<String>,
    tls: Arc<rustls::ClientConfig>,
    /// The servers that ran at this time.
    running: Mutex<Option<(Instant, Vec<String>)>>,
    /// When there was a warning about a server.
    warned: Mutex<HashMap<String, Instant>>,
    /// Events for the other servers, in their order.
    events: mpsc::Sender<Value>,
}

impl Relay {
    /// `None` if no other server can share the database.
    /// # Errors
    /// If `address` is not an address, or the certificates or the key cannot be read.
    pub(crate) fn open(settings: &Settings, store: &Store) -> io::Result<Option<Arc<Relay>>> {
        let Some(key) = store.relay_key().map_err(io::Error::other)? else { return Ok(None) };
        let own = settings.address.clone();
        if let Some(address) = &own {
            if !is_address(address) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "the setting `address`, `{address}`, is not an address such as `https://one.example.org/`"
                    ),
                ));
            }
            store.announce(address).map_err(io::Error::other)?;
        }
        let file = settings.servers_ca_file.as_deref();
        let tls = tls_config(file).map_err(|cause| {
            let file = file.unwrap_or(std::path::Path::new("")).display();
            io::Error::other(format!("the setting `servers_ca_file`: cannot read `{file}`: {cause}"))
        })?;
        let (running, warned) = (Mutex::default(), Mutex::default());
        let (events, announced) = mpsc::channel(EVENTS);
        let relay = Arc::new(Relay { key, own, tls: Arc::new(tls), running, warned, events });
        tokio::spawn(servers::announce(Arc::downgrade(&relay), store.clone(), announced));
        Ok(Some(relay))
    }

    /// The addresses of the other servers that run.
    fn running(&self, store: &Store) -> Result<Vec<String>, StoreError> {
        let mut running = self.running.lock();
        if let Some((at, servers)) = &*running
            && at.elapsed() < LOOK / 2
            && !servers.is_empty()
        {
            return Ok(servers.clone());
        }
        let servers = store.other_servers()?;
        *running = Some((Instant::now(), servers.clone()));
        Ok(servers)
    }

    /// Logs why the server at `to` cannot be reached, once a minute for each `what`.
    fn warn(&self, to: &str, what: &str, why: &dyn std::fmt::Display) {
        let mut warned = self.warned.lock();
        warned.retain(|_, at| at.elapsed() < QUIET);
        if let Entry::Vacant(first) = warned.entry(format!("{to} {what}")) {
            first.insert(Instant::now());
            tracing::warn!("cannot reach {to}, which {what}: {why}");
        }
    }
}

fn is_address(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok();
    uri.is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
}

/// The request that another server relays; `None` if a client sent it.
/// # Errors
/// 403 if the header is not valid.
pub(super) fn accept(notebook: &Notebook, parts: &Parts) -> Result<Option<RelayedRequest>> {
    let Some(value) = parts.headers.get(RELAYED) else { return Ok(None) };
    let refused = |why: &str| ApiError::new(StatusCode::FORBIDDEN, why);
    let relay = notebook.relay.as_ref();
    let Some((relay, to)) = relay.and_then(|relay| Some((relay, relay.own.as_deref()?))) else {
        return Err(refused("this server accepts no requests of other servers: it has no `address`"));
    };
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let scope = Scope { to, method: &parts.method, target };
    signed::verify(&relay.key, &scope, value).map(Some).map_err(refused)
}

/// Tells the other server that a notebook has answered.
pub(super) fn mark(response: &mut Response) {
    response.headers_mut().entry(RELAYED).or_insert(HeaderValue::from_static(HERE));
}

/// Passes a request on to the server that must answer it.
pub(super) async fn relay(State(notebook): State<Shared>, request: Request, next: Next) -> Response {
    let Some(relay) = &notebook.relay else { return next.run(request).await };
    let was_relayed = request.extensions().get::<RelayedRequest>().is_some();
    let (target, request, repeated) = match find(&notebook, request).await {
        Ok(found) => found,
        Err(error) => return error.into_response(),
    };
    match target {
        Some(Target::Lists) if !was_relayed => lists::gather(&notebook, relay, request, next).await,
        Some(target) if !was_relayed => forward(&notebook, relay, &target, (request, repeated), next).await,
        // Never relayed twice.
        Some(Target::Document { path, .. }) => match notebook.held_elsewhere(&path) {
            Ok(Some(_)) => elsewhere(&path),
            Ok(None) => next.run(request).await,
            Err(error) => error.into_response(),
        },
        _ => next.run(request).await,
    }
}

/// What a request is about, and its body if that can be sent again.
async fn find(notebook: &Notebook, request: Request) -> Result<(Option<Target>, Request, Option<Bytes>)> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let of_head = target::of_head(&method, &path);
    if !target::is_in_body(&method, &path) {
        let is_empty = request.body().is_end_stream();
        return Ok((of_head, request, is_empty.then(Bytes::new)));
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, notebook.settings.limits.body_bytes).await.map_err(|error| {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("cannot read the body: {error}"))
    })?;
    let target = target::of_body(&path, &body).or(of_head);
    Ok((target, Request::from_parts(parts, Body::from(body.clone())), Some(body)))
}

/// Who sent a request.
fn sender(request: &Request) -> RelayedRequest {
    let principal = request.extensions().get::<Principal>().cloned();
    let mut place = request.extensions().get::<RequestLocation>().cloned().unwrap_or_default();
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(http::uri::Authority::as_str).or(host);
    place.authority = place.authority.or_else(|| authority.map(str::to_owned));
    RelayedRequest { principal: principal.unwrap_or_else(Principal::nobody), place }
}

/// Sends a request to the server that must answer it. While that server cannot be reached, looks again, because its leases expire
/// soon if it has stopped.
async fn forward(
    notebook: &Shared,
    relay: &Relay,
    target: &Target,
    (request, repeated): (Request, Option<Bytes>),
    next: Next,
) -> Response {
    let from = sender(&request);
    let (parts, mut body) = request.into_parts();
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD);
    let repeated = repeated.or_else(|| client::is_upgrade(&parts).then(Bytes::new));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let to = match notebook.destination(relay, target, &from).await {
            Ok(Some(to)) => to,
            Ok(None) => return next.run(Request::from_parts(parts, body)).await,
            Err(error) => return error.into_response(),
        };
        let failure = match relay.connect(&to).await {
            Err(failure) => failure,
            Ok(stream) => {
                let rest = repeated.clone().map_or_else(Body::empty, Body::from);
                let body = std::mem::replace(&mut body, rest);
                match relay.send(notebook, stream, &to, (&parts, body), &from).await {
                    Ok(response) => return response,
                    Err(failure) if repeated.is_none() || (failure.is_begun && !is_safe) => {
                        relay.warn(&to, &target.held(), &failure);
                        return unavailable(target, &to, &failure);
                    }
                    Err(failure) => failure,
                }
            }
        };
        relay.warn(&to, &target.held(), &failure);
        if Instant::now() >= deadline || failure.is_certificate {
            return unavailable(target, &to, &failure);
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn unavailable(target: &Target, to: &str, failure: &RelayFailure) -> Response {
    let message = format!("another server ({to}) {}, but {}", target.held(), failure.words());
    with_retry(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message))
}

fn elsewhere(path: &RelativePath) -> Response {
    let message = format!("`{path}` is open on another server: try again");
    let mut response = with_retry(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
    response.headers_mut().insert(RELAYED, HeaderValue::from_static(ELSEWHERE));
    response
}

fn with_retry(error: ApiError) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

impl Notebook {
    /// The address of the server that must answer a request; `None`: this one.
    async fn destination(
        &self,
        relay: &Relay,
        target: &Target,
        from: &RelayedRequest,
    ) -> Result<Option<String>> {
        match target {
            Target::Document { path, opens } => {
                let holder = self.held_elsewhere(path)?;
                if holder.is_some() || !opens || self.documents.is_open(path) {
                    return Ok(holder);
                }
                // A closed document is opened where its kernel runs.
                if !matches!(self.sessions.of_path(path.as_str()).await, Ok(None)) {
                    return Ok(None);
                }
                let runs = |sessions: &Value| {
                    let mut sessions = sessions.as_array().into_iter().flatten();
                    sessions.any(|session| session["path"] == path.as_str())
                };
                self.ask(relay, "/api/sessions", from, runs).await
            }
            Target::Kernel(id) => match self.link.kernel(id).await {
                Err(problem) if problem.kind == ProblemKind::UnknownKernel => {
                    let path = format!("/api/kernels/{}", encode(id));
                    self.ask(relay, &path, from, Value::is_object).await
                }
                _ => Ok(None),
            },
            Target::Session(id) => match self.sessions.find(id).await {
                Ok(None) => {
                    let path = format!("/api/sessions/{}", encode(id));
                    self.ask(relay, &path, from, Value::is_object).await
                }
                _ => Ok(None),
            },
            Target::Terminal(name) => Ok(relay.server_of_terminal(&self.store, name)?),
            Target::Lists => Ok(None),
        }
    }

    /// The address of another server that has a document open.
    fn held_elsewhere(&self, path: &RelativePath) -> Result<Option<String>> {
        let other = self.store.holders(path, false)?.into_iter().find(|holder| !holder.is_own);
        Ok(other.map(|other| other.address).filter(|address| is_address(address)))
    }

    /// The first server whose answer satisfies `is_it`.
    async fn ask(
        &self,
        relay: &Relay,
        path: &str,
        from: &RelayedRequest,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Option<String>> {
        let servers = relay.running(&self.store)?;
        let answers = servers.iter().map(|to| relay.ask(to, path, from));
        let answers = futures_util::future::join_all(answers).await;
        let mut found = None;
        for (to, answer) in servers.iter().zip(answers) {
            match answer {
                Ok(answer) if is_it(&answer) => found = found.or(Some(to.clone())),
                Ok(_) => {}
                Err(failure) => relay.warn(to, &Target::Lists.held(), &failure),
            }
        }
        Ok(found)
    }

    /// Returns when the server at `to` no longer runs, as far as the database tells.
    async fn until_lost(&self, to: &str) {
        let Some(relay) = &self.relay else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            if relay.running(&self.store).is_ok_and(|running| !running.iter().any(|server| server == to)) {
                return;
            }
        }
    }
}
