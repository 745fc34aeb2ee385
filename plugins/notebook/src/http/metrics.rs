//! `/metrics`: the notebook's metrics, under the names of Jupyter Server. paster itself reports requests and workers.
//!
//! # Source
//! Prometheus, "Exposition formats" (text format 0.0.4); Jupyter Server, `prometheus/metrics.py`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::error::{ApiError, Result};
use crate::identity::{Principal, Role};
use crate::state::Shared;

pub(super) async fn show(State(notebook): State<Shared>, principal: Principal) -> Result<Response> {
    if principal.role != Role::Admin {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "only an administrator may see the metrics"));
    }
    let kernels = notebook.link.list().await?;
    let mut of_kind: BTreeMap<&str, usize> = BTreeMap::new();
    kernels.iter().for_each(|kernel| *of_kind.entry(&kernel.name).or_default() += 1);
    let prewarmed = notebook.link.prewarmed().await.map_or(0, |kernels| kernels.len());
    let terminals = notebook.link.terminals().await?.len();
    let mut text = String::new();
    let mut family = |name: &str, help: &str, values: &[(String, usize)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let kinds: Vec<_> =
        of_kind.iter().map(|(name, count)| (format!("{{type=\"{}\"}}", escape(name)), *count)).collect();
    family("kernel_currently_running_total", "Number of running kernels, by kernelspec.", &kinds);
    family(
        "paster_notebook_prewarmed_kernels",
        "Number of kernels that were started in advance and are not used yet.",
        &[(String::new(), prewarmed)],
    );
    family("terminal_currently_running_total", "Number of open terminals.", &[(String::new(), terminals)]);
    let channels = notebook.channels.load(Ordering::Relaxed);
    let pages = notebook.documents.connections();
    family(
        "paster_notebook_connections",
        "Number of open WebSockets of this process, by purpose.",
        &[("{to=\"kernel\"}".to_owned(), channels), ("{to=\"document\"}".to_owned(), pages)],
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// A label's value.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
