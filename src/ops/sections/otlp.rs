//! The table `[otlp]`: log records and metrics for an OpenTelemetry collector.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ReadPath};
use crate::error::{Errors, Result};
use crate::tls_client::OtlpTarget;

/// Options of the table `[otlp]`: sends the log and the metrics of the whole server to an OpenTelemetry collector. (Spans
/// are sent by the middleware `trace`.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// The collector (OTLP over HTTP or HTTPS, in protobuf). `/v1/logs` and `/v1/metrics` are appended.
    endpoint: String,
    /// PEM file with the certificate authorities to trust for `https`, instead of the public ones (Mozilla's list).
    ca_file: Option<ReadPath>,
    /// Additional header fields, such as `authorization`.
    headers: BTreeMap<String, String>,
    /// Name of the service (`service.name`).
    pub(crate) service: String,
    /// Send the log of workers, the supervisor, plugins, applications and programs. The record of a line that belongs to a
    /// request has the request's `trace_id` and `span_id`.
    pub(crate) logs: bool,
    /// Send the metrics: the sums over all workers, as in the middleware `metrics`.
    pub(crate) metrics: bool,
    /// How often metrics are sent.
    pub(crate) interval_secs: NonZeroU32,
    /// Maximum number of log lines that wait while the collector cannot be reached. Beyond that, the oldest are dropped, and
    /// counted in the log.
    pub(crate) queue_lines: NonZeroUsize,
}

impl Default for Otlp {
    fn default() -> Self {
        Otlp {
            endpoint: "http://127.0.0.1:4318".into(),
            ca_file: None,
            headers: BTreeMap::new(),
            service: "paster".into(),
            logs: true,
            metrics: true,
            interval_secs: const { NonZeroU32::new(60).unwrap() },
            queue_lines: const { NonZeroUsize::new(4096).unwrap() },
        }
    }
}

impl Otlp {
    /// Reads the table `[otlp]` of `config`, and the file that it names; `None` without the table.
    /// # Errors
    /// All faults of its options.
    pub(crate) fn read(config: &Config) -> Result<Option<(Otlp, OtlpTarget)>> {
        let Some(table) = config.section("otlp") else { return Ok(None) };
        let otlp: Otlp = table.options()?;
        let mut errors = Vec::new();
        let target = OtlpTarget::read(
            (&otlp.endpoint, ""),
            otlp.ca_file.as_deref(),
            &otlp.headers,
            &table,
            &mut errors,
        );
        Errors::check(errors)?;
        Ok(target.map(|target| (otlp, target)))
    }
}
