//! [`Counts`] as text for Prometheus: its own format and OpenMetrics.
//!
//! The existing crates keep live metrics of one process. These are sums over processes that arrive as values,
//! for which a short encoder is enough.
//!
//! # Source
//! Prometheus text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>; OpenMetrics 1.0.0:
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.

use std::fmt::Write;

use super::{BOUNDS, Counts, MetricFamily, MetricKind, MetricUnit, Series, Value};

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` field asks for: OpenMetrics if its weight is at least that of plain text.
    pub fn accepted(accept: &str) -> Format {
        let weight = |wanted: &str| {
            let mut entries = accept.split(',').map(|entry| entry.split(';').map(str::trim));
            entries.find_map(|mut entry| {
                entry.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
                let weight = entry.find_map(|word| word.strip_prefix("q="));
                Some(weight.map_or(1.0, |weight| weight.parse::<f64>().unwrap_or(0.0)))
            })
        };
        let open = weight("application/openmetrics-text").unwrap_or(0.0);
        match open > 0.0 && open >= weight("text/plain").unwrap_or(0.0) {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }

    /// Value of its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes `counts` in the given format.
pub fn encode(counts: &Counts, format: Format) -> String {
    let mut text = String::new();
    let mut family = "";
    for (series, value) in counts.iter() {
        if series.family != family {
            family = &series.family;
            head(&mut text, family, value, format);
        }
        sample(&mut text, series, value);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

// Writing to a string does not fail.
fn head(text: &mut String, name: &str, value: &Value, format: Format) {
    let family = MetricFamily::find(name);
    let kind = match (family.map(|family| family.kind), value) {
        (Some(MetricKind::Info), _) if format == Format::OpenMetrics => "info",
        (Some(MetricKind::Counter), _) | (None, Value::Count(_)) => "counter",
        (Some(MetricKind::Gauge | MetricKind::Info), _) | (None, Value::Level(_)) => "gauge",
        (Some(MetricKind::Summary), _) => "summary",
        (Some(MetricKind::Histogram), _) | (None, Value::Times { .. }) => "histogram",
    };
    let name = match format {
        Format::OpenMetrics => {
            let ending = if kind == "info" { "_info" } else { "_total" };
            name.strip_suffix(ending).unwrap_or(name)
        }
        Format::Text => name,
    };
    if let Some(family) = family {
        let _ = writeln!(text, "# HELP {name} {}", family.help);
    }
    let _ = writeln!(text, "# TYPE {name} {kind}");
}

fn sample(text: &mut String, series: &Series, value: &Value) {
    let name = &series.family;
    match value {
        Value::Count(count)
            if MetricFamily::find(name).is_some_and(|f| f.unit == MetricUnit::Nanoseconds) =>
        {
            let _ = writeln!(text, "{name}{} {}", Labels(series, None), seconds(*count));
        }
        Value::Count(count) => {
            let _ = writeln!(text, "{name}{} {count}", Labels(series, None));
        }
        Value::Level(level) => {
            let _ = writeln!(text, "{name}{} {level}", Labels(series, None));
        }
        Value::Times { count, nanos, buckets } => {
            let mut sum = 0;
            for (index, bucket) in buckets.iter().enumerate() {
                sum += bucket;
                let bound = BOUNDS.get(index).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
                let _ = writeln!(text, "{name}_bucket{} {sum}", Labels(series, Some(&bound)));
            }
            let _ = writeln!(text, "{name}_sum{} {}", Labels(series, None), seconds(*nanos));
            let _ = writeln!(text, "{name}_count{} {count}", Labels(series, None));
        }
    }
}

fn seconds(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The labels of a series, and `le` for a bucket.
struct Labels<'a>(&'a Series, Option<&'a str>);

impl std::fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let own = self.0.labels.iter().map(|(name, value)| (&**name, &**value));
        let mut separator = '{';
        for (name, value) in own.chain(self.1.map(|bound| ("le", bound))) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{separator}{name}=\"{value}\"")?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Times, families};

    #[test]
    fn both_formats() {
        let times = Times::default();
        times.add(std::time::Duration::from_millis(2));
        let mut counts = Counts::default();
        counts.put(&families::APP_ERRORS, &[("app", "a\"\\\n")], Value::Count(2));
        counts.put(&families::CONNECTIONS_OPEN, &[], Value::Level(3));
        counts.put(&families::TURN_WAIT_SECONDS, &[("server", "main")], times.value());
        let text = encode(&counts, Format::Text);
        assert!(text.contains("# TYPE paster_app_errors_total counter\n"), "{text}");
        assert!(text.contains("paster_app_errors_total{app=\"a\\\"\\\\\\n\"} 2\n"), "{text}");
        assert!(text.contains("paster_turn_wait_seconds_bucket{server=\"main\",le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("paster_turn_wait_seconds_bucket{server=\"main\",le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("paster_turn_wait_seconds_sum{server=\"main\"} 0.002000000\n"), "{text}");
        let open = encode(&counts, Format::OpenMetrics);
        assert!(open.contains("# TYPE paster_app_errors counter\n") && open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    fn what_is_accepted() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("text/plain"), Format::Text);
        assert_eq!(Format::accepted("application/openmetrics-text;q=0.1, text/plain"), Format::Text);
        assert_eq!(Format::accepted(""), Format::Text);
    }
}
