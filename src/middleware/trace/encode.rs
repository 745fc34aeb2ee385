//! Requests and their parts as spans of OTLP.
//!
//! # Source
//! Semantic conventions for HTTP spans: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};

use crate::spans::Span as Part;
use crate::tls_client::{nanos, number, resource, scope, text};

/// One finished request.
#[derive(Debug)]
pub(super) struct FinishedRequest {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) scheme: &'static str,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) client: Option<IpAddr>,
    pub(super) agent: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) parts: Vec<Part>,
}

impl FinishedRequest {
    /// The number of its spans.
    pub(super) fn spans(&self) -> usize {
        1 + self.parts.len()
    }

    fn encode(&self, spans: &mut Vec<Span>) {
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let times = |from: Duration, took: Duration| (nanos(began + from), nanos(began + from + took));
        let mut facts = vec![
            text("http.request.method", &self.method),
            text("url.path", &self.path),
            text("url.scheme", self.scheme),
            text("server.address", &self.host),
        ];
        facts.extend(self.port.map(|port| number("server.port", port.into())));
        facts.extend(self.client.map(|client| text("client.address", &client.to_string())));
        facts.extend(self.agent.as_ref().map(|agent| text("user_agent.original", agent)));
        facts.extend(self.request_id.as_ref().map(|id| text("paster.request_id", id)));
        facts.extend(self.status.map(|status| number("http.response.status_code", status.into())));
        let gone = (self.status.is_none() && self.error.is_none())
            .then_some("the client left before there was a response");
        facts.extend(gone.map(|_| text("error.type", "client_gone")));
        let (start, end) = times(Duration::ZERO, self.took);
        spans.push(Span {
            trace_id: self.trace.to_vec(),
            span_id: self.id.to_vec(),
            parent_span_id: self.parent.map(Vec::from).unwrap_or_default(),
            name: self.method.clone(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            attributes: facts,
            status: Some(status(self.status, self.error.as_deref().or(gone))),
            ..Span::default()
        });
        for part in &self.parts {
            let mut facts = vec![text("paster.app", &part.app)];
            facts.extend(part.middleware.as_ref().map(|name| text("paster.middleware", name)));
            facts.extend(part.status.map(|status| number("http.response.status_code", status.into())));
            let (start, end) = times(part.began, part.took);
            spans.push(Span {
                trace_id: self.trace.to_vec(),
                span_id: part.id.to_vec(),
                parent_span_id: part.parent.to_vec(),
                name: part.name.clone(),
                kind: SpanKind::Internal.into(),
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                attributes: facts,
                status: Some(status(part.status, part.error.as_deref())),
                ..Span::default()
            });
        }
    }
}

/// The message with the spans of these requests.
pub(super) fn encode(service: &str, generation: u64, requests: &[FinishedRequest]) -> TracesData {
    let mut spans = Vec::new();
    for request in requests {
        request.encode(&mut spans);
    }
    let resource = resource(service, [number("paster.generation", generation.cast_signed())]);
    let spans = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
    let spans =
        ResourceSpans { resource: Some(resource), scope_spans: vec![spans], ..ResourceSpans::default() };
    TracesData { resource_spans: vec![spans] }
}

/// For a server span, 4xx is not an error, because the client caused it.
fn status(status: Option<u16>, error: Option<&str>) -> Status {
    let code = match (error, status) {
        (Some(_), _) | (None, Some(500..)) => StatusCode::Error,
        _ => StatusCode::Unset,
    };
    Status { code: code.into(), message: error.unwrap_or_default().to_owned() }
}
