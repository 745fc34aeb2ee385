//! Counts as metrics of OTLP: sums over all workers since the start of the supervisor.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value as Json, json};

use crate::metrics::{BOUNDS, Counts, MetricFamily, MetricKind, MetricUnit, Series, Value, families};
use crate::tls_client::text;

/// Sums since the start (`AGGREGATION_TEMPORALITY_CUMULATIVE`).
const CUMULATIVE: u8 = 2;
const NANOS: f64 = 1e9;

/// The name of a metric, its family, and its series with their values.
type OneMetric<'c> = (String, Option<&'static MetricFamily>, Vec<(&'c Series, &'c Value)>);

/// The list of metrics, at this time.
pub(super) fn metrics(counts: &Counts, now: SystemTime) -> Json {
    let start = match counts.find(families::START_TIME_SECONDS.name, &[]) {
        Some(Value::Level(secs)) => Duration::from_secs(u64::try_from(*secs).unwrap_or(0)),
        _ => Duration::ZERO,
    };
    let times = [start, now.duration_since(UNIX_EPOCH).unwrap_or_default()];
    let times = times.map(|time| time.as_nanos().to_string());
    let mut metrics: Vec<OneMetric<'_>> = Vec::new();
    for (series, value) in counts.iter() {
        match metrics.last_mut() {
            Some((name, _, values)) if **name == *series.family => values.push((series, value)),
            _ => {
                let family = MetricFamily::find(&series.family);
                metrics.push((series.family.to_string(), family, vec![(series, value)]));
            }
        }
    }
    metrics.iter().map(|(name, family, values)| metric(name, *family, values, &times)).collect()
}

fn metric(
    name: &str,
    family: Option<&MetricFamily>,
    values: &[(&Series, &Value)],
    times: &[String; 2],
) -> Json {
    let in_seconds = family.is_some_and(|family| family.unit == MetricUnit::Nanoseconds);
    let points: Vec<Json> =
        values.iter().map(|(series, value)| point(series, value, in_seconds, times)).collect();
    let unit = if in_seconds || name.ends_with("_seconds") {
        "s"
    } else if name.contains("_bytes") {
        "By"
    } else {
        "1"
    };
    let mut metric = Map::new();
    metric.insert("name".into(), name.into());
    if let Some(family) = family {
        metric.insert("description".into(), family.help.into());
    }
    metric.insert("unit".into(), unit.into());
    let (kind, data) = match (family.map(|family| family.kind), values.first().map(|(_, value)| *value)) {
        (Some(MetricKind::Summary), _) => ("summary", json!({ "dataPoints": points })),
        (_, Some(Value::Times { .. })) => {
            ("histogram", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }))
        }
        (_, Some(Value::Count(_))) => (
            "sum",
            json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true }),
        ),
        _ => ("gauge", json!({ "dataPoints": points })),
    };
    metric.insert(kind.into(), data);
    Json::Object(metric)
}

fn point(series: &Series, value: &Value, in_seconds: bool, [start, now]: &[String; 2]) -> Json {
    let attributes: Vec<Json> = series.labels.iter().map(|(name, value)| text(name, value)).collect();
    let mut point = json!({ "attributes": attributes, "timeUnixNano": now });
    if !matches!(value, Value::Level(_)) {
        point["startTimeUnixNano"] = json!(start);
    }
    match value {
        Value::Count(count) if in_seconds => point["asDouble"] = json!(*count as f64 / NANOS),
        Value::Count(count) => point["asInt"] = json!(count.to_string()),
        Value::Level(level) => point["asInt"] = json!(level.to_string()),
        Value::Times { count, nanos, buckets } => {
            point["count"] = json!(count.to_string());
            point["sum"] = json!(*nanos as f64 / NANOS);
            if !buckets.is_empty() {
                point["bucketCounts"] = buckets.iter().map(ToString::to_string).collect();
                point["explicitBounds"] = json!(BOUNDS);
            }
        }
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Times;

    #[test]
    fn each_kind_of_metric() {
        let times = Times::default();
        times.add(Duration::from_millis(2));
        let mut counts = Counts::default();
        counts.put(&families::START_TIME_SECONDS, &[], Value::Level(3));
        counts.put(&families::APP_ERRORS, &[("app", "a")], Value::Count(2));
        counts.put(&families::APP_ERRORS, &[("app", "b")], Value::Count(4));
        counts.put(&families::TURN_WAIT_SECONDS, &[], times.value());
        counts.put(&families::PROCESS_CPU_SECONDS, &[], Value::Count(1_500_000_000));
        let sum = Value::Times { count: 2, nanos: 3_000_000_000, buckets: Vec::new() };
        counts.put(&families::APP_DURATION_SECONDS, &[("app", "a")], sum);
        let list = metrics(&counts, UNIX_EPOCH + Duration::from_secs(7));
        let find = |name: &str| list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        let errors = &find("paster_app_errors_total")["sum"];
        assert_eq!((&errors["isMonotonic"], &errors["aggregationTemporality"]), (&json!(true), &json!(2)));
        let point = &errors["dataPoints"][1];
        assert_eq!(
            (&point["asInt"], &point["attributes"][0]["value"]["stringValue"]),
            (&json!("4"), &json!("b"))
        );
        assert_eq!(
            (&point["startTimeUnixNano"], &point["timeUnixNano"]),
            (&json!("3000000000"), &json!("7000000000"))
        );
        let wait = &find("paster_turn_wait_seconds")["histogram"]["dataPoints"][0];
        assert_eq!(
            (&wait["count"], &wait["sum"], &wait["bucketCounts"][2]),
            (&json!("1"), &json!(0.002), &json!("1"))
        );
        assert_eq!(
            wait["bucketCounts"].as_array().unwrap().len(),
            wait["explicitBounds"].as_array().unwrap().len() + 1
        );
        let processor = find("paster_process_cpu_seconds_total");
        assert_eq!(
            (&processor["sum"]["dataPoints"][0]["asDouble"], &processor["unit"]),
            (&json!(1.5), &json!("s"))
        );
        assert_eq!(find("paster_app_duration_seconds")["summary"]["dataPoints"][0]["count"], "2");
        assert_eq!(find("paster_start_time_seconds")["gauge"]["dataPoints"][0]["asInt"], "3");
    }
}
