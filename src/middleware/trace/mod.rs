//! `trace`: a span for each request and each part of its stack, for an OpenTelemetry collector.
//!
//! - `parent`: the field `traceparent`, in and out;
//! - `encode`: spans in the messages of OTLP;
//! - `export`: the queue, and the thread that sends its spans.
//!
//! Of the opentelemetry crates, it uses the messages only: the pipelines of the others are for one process, and their exporter
//! brings a second HTTP client for one POST (`tls_client::otlp`).

mod encode;
mod export;
mod parent;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::USER_AGENT;
use schemars::JsonSchema;
use serde::Deserialize;

use self::encode::FinishedRequest;
use self::export::{ExportTarget, SpanExporter};
use self::parent::Parent;
use crate::body::{App, Request, Response, Watch};
use crate::config::{ReadPath, Table};
use crate::context::Context;
use crate::environ::{Environ, RequestId};
use crate::error::{Errors, Result};
use crate::inflight::TraceIds;
use crate::spans::{SpanRecorder, new_id};
use crate::tls_client::OtlpTarget;

/// Options of a `[middleware.NAME]` table with `use = "trace"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// The address of the collector (OTLP over HTTP or HTTPS, in protobuf). If it cannot be reached, spans are dropped.
    endpoint: String,
    /// PEM file with the certificate authorities to trust for `https`, instead of the public ones (Mozilla's list).
    ca_file: Option<ReadPath>,
    /// Additional header fields, such as `authorization`.
    headers: BTreeMap<String, String>,
    /// Name of the service (`service.name`).
    service: String,
    /// Fraction of requests to trace, from 0 to 1, unless the caller has decided.
    #[schemars(range(min = 0.0, max = 1.0))]
    sample: f64,
    /// Whether to continue the `traceparent` and sampling decision of requests. By default, only those of the server's
    /// `trusted_proxies`; with `true`, all; with `false`, none. Other requests start a new trace.
    trust_parent: Option<bool>,
    /// Maximum number of spans waiting to be sent; further ones are dropped and counted in the log.
    queue_spans: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            endpoint: "http://127.0.0.1:4318/v1/traces".into(),
            ca_file: None,
            headers: BTreeMap::new(),
            service: "paster".into(),
            sample: 1.0,
            trust_parent: None,
            queue_spans: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

struct Tracing {
    sample: f64,
    trust_parent: Option<bool>,
    exporter: SpanExporter,
}

/// Wraps `next`: the request gets a new `traceparent`, which plugins and upstreams also see.
pub(super) fn build(options: Options, table: &Table, context: &Context, next: App) -> Result<App> {
    let mut errors = Vec::new();
    let target = OtlpTarget::read(
        (&options.endpoint, "/v1/traces"),
        options.ca_file.as_deref(),
        &options.headers,
        table,
        &mut errors,
    );
    Errors::check(errors)?;
    let Some(collector) = target else { return Err(table.error("endpoint", "no endpoint").into()) };
    let target = ExportTarget { collector, service: options.service, generation: context.generation };
    let exporter = SpanExporter::new(target, options.queue_spans.get());
    let tracing = Arc::new(Tracing { sample: options.sample, trust_parent: options.trust_parent, exporter });
    Ok(App::from_call(move |mut request| {
        let trusted = tracing
            .trust_parent
            .unwrap_or_else(|| request.extensions().get::<Environ>().is_some_and(|environ| environ.trusted));
        let given = if trusted { Parent::read(request.headers()) } else { None };
        let parent = given.unwrap_or_else(|| Parent::begin(tracing.sample));
        let own = new_id();
        parent.write(request.headers_mut(), own);
        let ids = TraceIds { trace: parent.trace, span: own };
        if let Some(environ) = request.extensions().get::<Environ>() {
            environ.handle.trace(ids);
        }
        request.extensions_mut().insert(ids);
        if !parent.sampled {
            let response = next.handle(request);
            return Box::pin(async move { response.await.map(|response| with_ids(response, ids)) });
        }
        let began = Instant::now();
        let recorder = SpanRecorder::new(began, own);
        let mut open = OpenTrace {
            tracing: tracing.clone(),
            recorder: recorder.clone(),
            began,
            ended: Some(describe(&request, &parent, own, given.is_some())),
        };
        request.extensions_mut().insert(recorder);
        let response = next.handle(request);
        Box::pin(async move {
            match response.await {
                Ok(response) => {
                    open.answered(&response);
                    Ok(with_ids(response, ids).map(|body| body.watched(open)))
                }
                Err(error) => {
                    open.failed(&*error);
                    Err(error)
                }
            }
        })
    }))
}

/// The response, with its trace for an access log outside.
fn with_ids(mut response: Response, ids: TraceIds) -> Response {
    response.extensions_mut().insert(ids);
    response
}

/// What a request's span contains before there is a response. The query is left out because it may contain
/// secrets.
fn describe(request: &Request, parent: &Parent, own: [u8; 8], continued: bool) -> FinishedRequest {
    let environ = request.extensions().get::<Environ>();
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
    let path = match environ {
        Some(environ) => format!("{}{}", environ.script_name, request.uri().path()),
        None => request.uri().path().to_owned(),
    };
    FinishedRequest {
        trace: parent.trace,
        id: own,
        parent: continued.then_some(parent.span),
        method: request.method().to_string(),
        path,
        scheme: if environ.is_some_and(|environ| environ.secure) { "https" } else { "http" },
        host: environ.map(|environ| environ.host.to_string()).unwrap_or_default(),
        port: environ.and_then(|environ| environ.port),
        client: environ.and_then(|environ| environ.client),
        agent: agent.map(str::to_owned),
        request_id: request.extensions().get::<RequestId>().map(|id| id.0.to_string()),
        began: SystemTime::now(),
        took: Default::default(),
        status: None,
        error: None,
        parts: Vec::new(),
    }
}

/// The span of a request in progress. It ends on drop, so that a request whose client leaves has a span too.
struct OpenTrace {
    tracing: Arc<Tracing>,
    recorder: SpanRecorder,
    began: Instant,
    ended: Option<FinishedRequest>,
}

impl OpenTrace {
    fn answered(&mut self, response: &Response) {
        if let Some(ended) = &mut self.ended {
            ended.status = Some(response.status().as_u16());
            if let Some(id) = response.extensions().get::<RequestId>() {
                ended.request_id = Some(id.0.to_string());
            }
        }
    }

    fn failed(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        if let Some(ended) = &mut self.ended {
            ended.error = Some(error.to_string());
        }
    }
}

impl Drop for OpenTrace {
    fn drop(&mut self) {
        if let Some(mut ended) = self.ended.take() {
            ended.took = self.began.elapsed();
            ended.parts = self.recorder.take();
            self.tracing.exporter.send(ended);
        }
    }
}

/// The response body keeps it: the span ends with the body.
impl Watch for OpenTrace {
    fn taken(&mut self, _: u64) {}
}
