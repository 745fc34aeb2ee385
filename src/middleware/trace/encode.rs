//! Requests and their parts as OTLP JSON.
//!
//! # Source
//! OTLP 1.x, section "JSON Protobuf Encoding": <https://opentelemetry.io/docs/specs/otlp/>; semantic conventions for
//! HTTP spans: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::parent::hex;
use crate::spans::Span;
use crate::tls_client::{number, resource, scope, text};

/// Span kinds in OTLP: internal work, and the server side of a request.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// Status code for an error.
const ERROR: u8 = 2;

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
    pub(super) parts: Vec<Span>,
}

impl FinishedRequest {
    /// The number of its spans.
    pub(super) fn spans(&self) -> usize {
        1 + self.parts.len()
    }

    fn encode(&self, spans: &mut Vec<Value>) {
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let times = |from: Duration, took: Duration| {
            ((began + from).as_nanos().to_string(), (began + from + took).as_nanos().to_string())
        };
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
        spans.push(json!({
            "traceId": hex(&self.trace),
            "spanId": hex(&self.id),
            "parentSpanId": self.parent.map(|parent| hex(&parent)).unwrap_or_default(),
            "name": self.method,
            "kind": SERVER,
            "startTimeUnixNano": start,
            "endTimeUnixNano": end,
            "attributes": facts,
            "status": status(self.status, self.error.as_deref().or(gone)),
        }));
        for part in &self.parts {
            let mut facts = vec![text("paster.app", &part.app)];
            facts.extend(part.middleware.as_ref().map(|name| text("paster.middleware", name)));
            facts.extend(part.status.map(|status| number("http.response.status_code", status.into())));
            let (start, end) = times(part.began, part.took);
            spans.push(json!({
                "traceId": hex(&self.trace),
                "spanId": hex(&part.id),
                "parentSpanId": hex(&part.parent),
                "name": part.name,
                "kind": INTERNAL,
                "startTimeUnixNano": start,
                "endTimeUnixNano": end,
                "attributes": facts,
                "status": status(part.status, part.error.as_deref()),
            }));
        }
    }
}

/// An `ExportTraceServiceRequest` with these requests.
pub(super) fn encode(service: &str, generation: u64, requests: &[FinishedRequest]) -> Value {
    let mut spans = Vec::new();
    for request in requests {
        request.encode(&mut spans);
    }
    json!({ "resourceSpans": [{
        "resource": resource(service, [number("paster.generation", generation.cast_signed())]),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }]})
}

/// For a server span, 4xx is not an error, because the client caused it.
fn status(status: Option<u16>, error: Option<&str>) -> Value {
    match (error, status) {
        (Some(error), _) => json!({ "code": ERROR, "message": error }),
        (None, Some(500..)) => json!({ "code": ERROR }),
        _ => json!({}),
    }
}
