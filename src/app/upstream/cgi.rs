//! What SCGI, FastCGI and CGI have in common: a request is meta-variables, a response is a CGI document.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RANGE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body::Body as _;

use super::exchange::UpstreamExchange;
use super::failure::{FailureReason, UpstreamFailure};
use super::group::Group;
use super::member::Member;
use super::outgoing::Outgoing;
use super::protocol::{Decoded, Protocol, ResponseHead};
use super::response::{into_bodiless, into_response};
use super::run::{may_repeat, run};
use super::spool::{SpoolTooLong, spool};
use crate::app::hand_off::HandOff;
use crate::app::target::escaped;
use crate::body::{Body, Request, Response, text_response};
use crate::codec::cgi::{CgiResponse, parse_head};
use crate::codec::variables::from_request;
use crate::codec::{PairsError, Variables};
use crate::environ::Environ;
use crate::error::BoxError;

/// Longest head of a response, and the maximum number of its fields.
const HEAD_LIMIT: (usize, usize) = (64 * 1024, 128);
/// Maximum number of local redirects for one request.
const REDIRECTS: u32 = 10;
/// Client fields that could make a framework serve files.
const NOT_THE_CLIENTS: [&str; 3] = ["x-accel-mapping", "x-accel-redirect", "x-sendfile-type"];

impl From<PairsError> for FailureReason {
    fn from(fault: PairsError) -> FailureReason {
        match fault {
            PairsError::TooLong => FailureReason::Malformed("its head is too long"),
            PairsError::Malformed(rule) => FailureReason::Malformed(rule),
        }
    }
}

/// Parses a CGI document.
#[derive(Default)]
pub(in crate::app) struct CgiAnswer {
    headed: bool,
    left: Option<u64>,
}

impl CgiAnswer {
    /// Whether the head has been read.
    pub(in crate::app) fn has_head(&self) -> bool {
        self.headed
    }

    /// Whether a part of the announced length is missing.
    pub(in crate::app) fn is_short(&self) -> bool {
        self.left.is_some_and(|left| left > 0)
    }

    /// The head, once it is complete.
    /// # Errors
    /// If it is malformed.
    pub(in crate::app) fn head(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
    ) -> Result<Option<ResponseHead>, FailureReason> {
        let Some((answer, length)) = parse_head(input, HEAD_LIMIT.0, HEAD_LIMIT.1)? else {
            return match ended && !input.is_empty() {
                true => Err(FailureReason::Malformed("its head is incomplete")),
                false => Ok(None),
            };
        };
        input.advance(length);
        self.headed = true;
        Ok(Some(match answer {
            CgiResponse::Document { status, mut headers } => {
                let length = headers
                    .get(CONTENT_LENGTH)
                    .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
                let length = match length {
                    Some(None) => return Err(FailureReason::Malformed("its Content-Length is not a number")),
                    Some(length) => length,
                    None => None,
                };
                if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                    headers.remove(CONTENT_LENGTH);
                } else {
                    self.left = length;
                }
                ResponseHead { status, headers, length: self.left, redirect: None }
            }
            CgiResponse::LocalRedirect(path) => ResponseHead {
                status: StatusCode::FOUND,
                headers: Default::default(),
                length: None,
                redirect: Some(path),
            },
        }))
    }

    /// The part of `data` that belongs to the body: anything beyond the announced length is cut off.
    pub(in crate::app) fn body(&mut self, mut data: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= data.len() as u64;
        }
        data
    }

    /// The next part of a document that ends with its connection.
    /// # Errors
    /// If it is malformed or cut off.
    pub(in crate::app) fn plain(
        &mut self,
        input: &mut BytesMut,
        ended: bool,
    ) -> Result<Decoded, FailureReason> {
        if !self.headed {
            return Ok(self.head(input, ended)?.map_or(Decoded::More, Decoded::Head));
        }
        if self.left == Some(0) {
            return Ok(Decoded::End(None));
        }
        if !input.is_empty() {
            return Ok(Decoded::Data(self.body(input.split().freeze())));
        }
        match (ended, self.left) {
            (true, Some(_)) => Err(FailureReason::BrokenOff),
            (true, None) => Ok(Decoded::End(None)),
            (false, _) => Ok(Decoded::More),
        }
    }
}

/// A kind of application that gets requests as meta-variables.
pub(in crate::app) trait GatewayProtocol: Sync {
    /// Its protocol.
    type Protocol: Protocol;

    /// Sends one request, and waits for the head of its response.
    fn send(
        &self,
        gateway: &Gateway,
        parts: &Parts,
        variables: Variables,
        body: Body,
    ) -> impl Future<Output = Result<(UpstreamExchange<Self::Protocol>, ResponseHead), UpstreamFailure>> + Send;
}

/// An application that gets requests as meta-variables, and its kind, which sends them.
pub(in crate::app) struct Gateway {
    pub(in crate::app) group: Arc<Group>,
    pub(in crate::app) hand_off: Option<HandOff>,
    /// Longest body of unknown length.
    pub(in crate::app) spool_limit: u64,
    /// Variables that the config adds or replaces.
    pub(in crate::app) variables: BTreeMap<String, String>,
}

impl Gateway {
    /// Responds to a request, following local redirects.
    pub(in crate::app) async fn answer(
        &self,
        kind: &impl GatewayProtocol,
        request: Request,
    ) -> Result<Response, BoxError> {
        let mut request = request;
        for _ in 0..REDIRECTS {
            let (mut parts, body) = request.into_parts();
            let body = match spool(body, self.spool_limit).await? {
                Ok(body) => body,
                Err(SpoolTooLong) => {
                    let text =
                        format!("A body without a length must not exceed {} bytes.\n", self.spool_limit);
                    return Ok(text_response(StatusCode::PAYLOAD_TOO_LARGE, text));
                }
            };
            for name in NOT_THE_CLIENTS {
                parts.headers.remove(name);
            }
            let variables = self.variables(&parts, &body)?;
            let (exchange, head) = match kind.send(self, &parts, variables, body).await {
                Ok(sent) => sent,
                Err(failure) => return failure.settle(self.group.development),
            };
            if let Some(path) = head.redirect.clone() {
                drop(into_bodiless(exchange, head));
                match redirected(parts, &path) {
                    Ok(next) => request = next,
                    Err(response) => return Ok(*response),
                }
                continue;
            }
            let bodiless = parts.method == Method::HEAD
                || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            let response = match bodiless {
                true => into_bodiless(exchange, head),
                false => into_response(exchange, head),
            };
            return match &self.hand_off {
                Some(hand_off) => hand_off.apply(&parts, response).await,
                None => Ok(response),
            };
        }
        Ok(text_response(StatusCode::BAD_GATEWAY, format!("More than {REDIRECTS} local redirects.\n")))
    }

    fn variables(&self, parts: &Parts, body: &Body) -> Result<Variables, BoxError> {
        let environ = parts.extensions.get::<Environ>().ok_or("the request did not pass the gate")?;
        let mut variables = from_request(parts, environ, content_length(parts, body));
        for (name, value) in &self.variables {
            variables.set(name, value);
        }
        Ok(variables)
    }

    /// The variables of a probe.
    pub(in crate::app) fn probe_variables(&self, parts: &Parts) -> Variables {
        self.variables(parts, &Body::empty()).unwrap_or_default()
    }

    /// Sends one request to the group; `write` puts its head.
    pub(in crate::app) async fn send<P: Protocol>(
        &self,
        parts: &Parts,
        body: Body,
        mut write: impl FnMut(&Member, &mut Outgoing) -> P + Send,
    ) -> Result<(UpstreamExchange<P>, ResponseHead), UpstreamFailure> {
        run(&self.group, None, body, may_repeat(&parts.method), |member, out, _| write(member, out)).await
    }
}

/// The length of a request's body; `None` if the request has no body (RFC 3875 section 4.1.2). An empty body
/// whose length the client sent counts as a body, as in nginx.
fn content_length(parts: &Parts, body: &Body) -> Option<u64> {
    body.size_hint().exact().filter(|length| *length > 0 || parts.headers.contains_key(CONTENT_LENGTH))
}

/// The request for the path of a local redirect: a GET without a body. For a path outside the mount, the
/// client is redirected.
fn redirected(mut parts: Parts, path: &str) -> Result<Request, Box<Response>> {
    let mount =
        parts.extensions.get::<Environ>().map(|environ| environ.script_name.clone()).unwrap_or_default();
    let path = escaped(path);
    let plain_path = path.split('?').next().unwrap_or_default();
    let climbs = plain_path.split('/').any(|segment| matches!(segment, "." | ".."));
    let inner = path.strip_prefix(&*mount).filter(|rest| rest.starts_with('/') && !climbs);
    match inner.and_then(|rest| rest.parse::<Uri>().ok()) {
        Some(uri) => {
            parts.uri = uri;
            if parts.method != Method::HEAD {
                parts.method = Method::GET;
            }
            for name in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, RANGE] {
                parts.headers.remove(name);
            }
            Ok(Request::from_parts(parts, Body::empty()))
        }
        None => {
            let mut response = text_response(StatusCode::FOUND, format!("See {path}\n"));
            if let Ok(location) = HeaderValue::try_from(path) {
                response.headers_mut().insert(LOCATION, location);
            }
            Err(Box::new(response))
        }
    }
}
