//! Sends a request to another server.

use std::fmt;
use std::io;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::signed::{RELAYED, RelayedRequest, Scope, sign};
use super::{ELSEWHERE, Relay, tunnel};
use crate::http::cookies::valid_xsrf;
use crate::state::Shared;
use crate::tls_client::{self, ByteStream};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long another server may take to answer a question of this one.
const QUESTION: Duration = Duration::from_secs(2);
/// Maximum length of an answer, in bytes.
const ANSWER_BYTES: usize = 16 << 20;

/// Fields that are about one connection (RFC 9110, section 7.6.1).
const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Fields that were for the server that received the request: it has authenticated the user and checked the origin.
const CHECKED: &[&str] = &[
    "host",
    "cookie",
    "authorization",
    "origin",
    "referer",
    "sec-fetch-site",
    "x-xsrftoken",
    "x-csrftoken",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Why another server did not answer a request.
#[derive(Debug)]
pub(super) struct RelayFailure {
    why: String,
    /// Whether it may have done what was requested.
    pub(super) is_begun: bool,
    /// Whether its certificate was refused. It will be refused again.
    pub(super) is_certificate: bool,
}

impl fmt::Display for RelayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl RelayFailure {
    /// The server has not begun to do what was requested.
    pub(super) fn before(why: impl fmt::Display) -> RelayFailure {
        RelayFailure { why: why.to_string(), is_begun: false, is_certificate: false }
    }

    pub(super) fn during(why: impl fmt::Display) -> RelayFailure {
        RelayFailure { why: why.to_string(), is_begun: true, is_certificate: false }
    }

    /// The connection to the server failed.
    fn connecting(error: &io::Error) -> RelayFailure {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        if !matches!(cause, Some(rustls::Error::InvalidCertificate(_))) {
            return RelayFailure::before(error);
        }
        let why = format!("{error}: check its `address` and the `servers_ca_file` of this server");
        RelayFailure { why, is_begun: false, is_certificate: true }
    }

    /// What is wrong, for users.
    pub(super) fn words(&self) -> &'static str {
        if self.is_certificate {
            "its certificate is not accepted: the log of this server says why"
        } else {
            "it cannot be reached: try again"
        }
    }
}

impl Relay {
    pub(super) async fn connect(&self, to: &str) -> Result<Box<dyn ByteStream>, RelayFailure> {
        let uri: Uri = to.parse().map_err(RelayFailure::before)?;
        let connected = tls_client::connect(&uri, &self.tls, CONNECT).await;
        connected.map_err(|error| RelayFailure::connecting(&error))
    }

    /// Sends a request over a new connection to the server at `to`. Returns its response unchanged.
    pub(super) async fn send(
        &self,
        notebook: &Shared,
        stream: Box<dyn ByteStream>,
        to: &str,
        (parts, body): (&Parts, Body),
        relayed: &RelayedRequest,
    ) -> Result<Response, RelayFailure> {
        let mut request = self.request(to, parts, relayed).map_err(RelayFailure::before)?.map(|()| body);
        if let Some(value) = valid_xsrf(notebook, &parts.headers)
            && let Ok(cookie) = HeaderValue::try_from(format!("_xsrf={value}"))
        {
            // Forms repeat it. It is not a secret of the user's.
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        let response = tokio::select! {
            response = exchange(stream, request) => response?,
            () = notebook.until_lost(to) => return Err(RelayFailure::during("it has stopped")),
        };
        match response.headers().get(RELAYED) {
            Some(value) if value == ELSEWHERE => Err(RelayFailure::before("it does not have it any more")),
            Some(_) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                join(notebook, to, parts, response)
            }
            Some(_) => {
                let mut response = response.map(Body::new);
                remove(response.headers_mut(), HOP);
                response.headers_mut().remove(RELAYED);
                Ok(response)
            }
            None => Err(refusal(response).await),
        }
    }

    /// Asks the server at `to`. Returns the JSON of its response; null if it is an error.
    pub(super) async fn ask(
        &self,
        to: &str,
        target: &str,
        relayed: &RelayedRequest,
    ) -> Result<Value, RelayFailure> {
        let (status, body) = self.exchange(to, (Method::GET, target), relayed, QUESTION).await?;
        Ok(if status.is_success() { body } else { Value::Null })
    }

    /// Sends a request without a body to the server at `to`. Returns the status and the JSON of its response.
    pub(super) async fn exchange(
        &self,
        to: &str,
        (method, target): (Method, &str),
        relayed: &RelayedRequest,
        limit: Duration,
    ) -> Result<(StatusCode, Value), RelayFailure> {
        let asking = async {
            let uri: Uri = target.parse().map_err(RelayFailure::before)?;
            let request = Request::builder().method(method).uri(uri).body(());
            let (parts, ()) = request.map_err(RelayFailure::before)?.into_parts();
            let request = self.request(to, &parts, relayed).map_err(RelayFailure::before)?;
            let response = exchange(self.connect(to).await?, request.map(|()| Body::empty())).await?;
            if !response.headers().contains_key(RELAYED) {
                return Err(refusal(response).await);
            }
            let status = response.status();
            let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await;
            let body = serde_json::from_slice(&body.map_err(RelayFailure::during)?);
            match body {
                Ok(body) => Ok((status, body)),
                Err(_) if !status.is_success() => Ok((status, Value::Null)),
                Err(error) => Err(RelayFailure::during(error)),
            }
        };
        let late = |_| RelayFailure::during(format!("it did not respond within {} s", limit.as_secs()));
        tokio::time::timeout(limit, asking).await.map_err(late)?
    }

    /// The head of the request to the server at `to`.
    fn request(&self, to: &str, parts: &Parts, relayed: &RelayedRequest) -> http::Result<Request<()>> {
        let base: Uri = to.parse()?;
        let target = without_token(&parts.uri);
        let mut request = Request::builder()
            .method(&parts.method)
            .uri(format!("{}{target}", base.path().trim_end_matches('/')))
            .body(())?;
        let headers = request.headers_mut();
        headers.clone_from(&parts.headers);
        remove(headers, HOP);
        remove(headers, CHECKED);
        let authority = base.authority().map_or("", http::uri::Authority::as_str);
        headers.insert(header::HOST, HeaderValue::try_from(authority)?);
        let scope = Scope { to, method: &parts.method, target: &target };
        headers.insert(RELAYED, sign(&self.key, &scope, relayed));
        if is_upgrade(parts) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        Ok(request)
    }
}

/// Whether a request opens a WebSocket.
pub(super) fn is_upgrade(parts: &Parts) -> bool {
    parts.headers.contains_key(header::UPGRADE)
}

async fn exchange(
    stream: Box<dyn ByteStream>,
    request: Request<Body>,
) -> Result<http::Response<Incoming>, RelayFailure> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(RelayFailure::before)?;
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    sender.send_request(request).await.map_err(RelayFailure::during)
}

/// The failure for a response that does not come from a notebook with the same database.
async fn refusal(response: http::Response<Incoming>) -> RelayFailure {
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = body["message"].as_str().unwrap_or("its setting `address` does not lead to its notebook");
    RelayFailure::before(format!("it answered {status}: {said}"))
}

/// Connects the client's WebSocket with that of the other server. Returns the response for the client.
fn join(
    notebook: &Shared,
    to: &str,
    parts: &Parts,
    response: http::Response<Incoming>,
) -> Result<Response, RelayFailure> {
    let client = parts.extensions.get::<OnUpgrade>().cloned();
    let client = client.ok_or_else(|| RelayFailure::during("the connection cannot be upgraded"))?;
    let host = parts.extensions.get::<paster_sdk::Host>().cloned();
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let hop = [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT];
    let passed = [header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_EXTENSIONS];
    for name in hop.into_iter().chain(passed) {
        if let Some(value) = response.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    let (notebook, to) = (notebook.clone(), to.to_owned());
    tokio::spawn(async move {
        let (Ok(client), Ok(server)) = tokio::join!(client, hyper::upgrade::on(response)) else { return };
        let ends = async {
            match host {
                Some(host) => host.shutdown().await,
                None => std::future::pending().await,
            }
        };
        let lost = async {
            tokio::select! {
                () = notebook.until_lost(&to) => {}
                () = ends => {}
            }
        };
        tunnel::run(TokioIo::new(client), TokioIo::new(server), lost).await;
    });
    Ok(answer)
}

fn remove(headers: &mut HeaderMap, names: &[&str]) {
    for name in names {
        headers.remove(*name);
    }
}

/// Path and query without the token, which has been checked.
fn without_token(uri: &Uri) -> String {
    let query: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    let query: Vec<&str> =
        query.into_iter().filter(|pair| !pair.is_empty() && !pair.starts_with("token=")).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{mark}{}", uri.path(), query.join("&"))
}
