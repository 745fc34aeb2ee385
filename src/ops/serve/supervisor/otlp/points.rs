//! Counts as metrics of OTLP: sums over all workers since the start of the supervisor.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as NumberValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary,
    SummaryDataPoint,
};

use crate::metrics::{BOUNDS, Counts, MetricFamily, MetricKind, MetricUnit, Series, Value, families};
use crate::tls_client::{nanos, text};

/// Sums since the start.
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const NANOS: f64 = 1e9;

/// The name of a metric, its family, and its series with their values.
type OneMetric<'c> = (String, Option<&'static MetricFamily>, Vec<(&'c Series, &'c Value)>);

/// When the counts began, and when they were read, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct MeasuredPeriod {
    start: u64,
    now: u64,
}

/// The list of metrics, at this time.
pub(super) fn metrics(counts: &Counts, now: SystemTime) -> Vec<Metric> {
    let start = match counts.find(families::START_TIME_SECONDS.name, &[]) {
        Some(Value::Level(secs)) => Duration::from_secs(u64::try_from(*secs).unwrap_or(0)),
        _ => Duration::ZERO,
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let period = MeasuredPeriod { start: nanos(start), now: nanos(now) };
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
    metrics.into_iter().map(|(name, family, values)| metric(name, family, &values, period)).collect()
}

fn metric(
    name: String,
    family: Option<&MetricFamily>,
    values: &[(&Series, &Value)],
    period: MeasuredPeriod,
) -> Metric {
    let in_seconds = family.is_some_and(|family| family.unit == MetricUnit::Nanoseconds);
    let unit = if in_seconds || name.ends_with("_seconds") {
        "s"
    } else if name.contains("_bytes") {
        "By"
    } else {
        "1"
    };
    let numbers =
        || values.iter().map(|(series, value)| number_point(series, value, in_seconds, period)).collect();
    let data = match (family.map(|family| family.kind), values.first().map(|(_, value)| *value)) {
        (Some(MetricKind::Summary), _) => {
            let points = values.iter().map(|(series, value)| summary_point(series, value, period));
            Data::Summary(Summary { data_points: points.collect() })
        }
        (_, Some(Value::Times { .. })) => {
            let points = values.iter().map(|(series, value)| histogram_point(series, value, period));
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: CUMULATIVE })
        }
        (_, Some(Value::Count(_))) => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        _ => Data::Gauge(Gauge { data_points: numbers() }),
    };
    let description = family.map(|family| family.help.to_owned()).unwrap_or_default();
    Metric { name, description, unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn number_point(series: &Series, value: &Value, in_seconds: bool, period: MeasuredPeriod) -> NumberDataPoint {
    let whole = |count: u64| NumberValue::AsInt(i64::try_from(count).unwrap_or(i64::MAX));
    let (start, number) = match value {
        Value::Count(count) if in_seconds => (period.start, NumberValue::AsDouble(*count as f64 / NANOS)),
        Value::Count(count) => (period.start, whole(*count)),
        Value::Times { count, .. } => (period.start, whole(*count)),
        Value::Level(level) => (0, NumberValue::AsInt(*level)),
    };
    NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: start,
        time_unix_nano: period.now,
        value: Some(number),
        ..NumberDataPoint::default()
    }
}

fn summary_point(series: &Series, value: &Value, period: MeasuredPeriod) -> SummaryDataPoint {
    let (count, sum) = count_and_sum(value);
    SummaryDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: period.start,
        time_unix_nano: period.now,
        count,
        sum,
        ..SummaryDataPoint::default()
    }
}

fn histogram_point(series: &Series, value: &Value, period: MeasuredPeriod) -> HistogramDataPoint {
    let (count, sum) = count_and_sum(value);
    let bucket_counts = match value {
        Value::Times { buckets, .. } => buckets.clone(),
        _ => Vec::new(),
    };
    HistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: period.start,
        time_unix_nano: period.now,
        count,
        sum: Some(sum),
        explicit_bounds: if bucket_counts.is_empty() { Vec::new() } else { BOUNDS.to_vec() },
        bucket_counts,
        ..HistogramDataPoint::default()
    }
}

/// How many durations there were, and their sum in seconds.
fn count_and_sum(value: &Value) -> (u64, f64) {
    match value {
        Value::Times { count, nanos, .. } => (*count, *nanos as f64 / NANOS),
        Value::Count(count) => (*count, 0.0),
        Value::Level(_) => (0, 0.0),
    }
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    series.labels.iter().map(|(name, value)| text(name, value)).collect()
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
        let find = |name: &str| list.iter().find(|one| one.name == name).unwrap();
        let data = |name: &str| find(name).data.clone().unwrap();

        let Data::Sum(errors) = data("paster_app_errors_total") else { panic!("a sum") };
        assert_eq!((errors.is_monotonic, errors.aggregation_temporality), (true, 2));
        let point = &errors.data_points[1];
        assert_eq!((point.value, &point.attributes), (Some(NumberValue::AsInt(4)), &vec![text("app", "b")]));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (3_000_000_000, 7_000_000_000));

        let Data::Histogram(wait) = data("paster_turn_wait_seconds") else { panic!("a histogram") };
        let point = &wait.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts[2]), (1, Some(0.002), 1));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);

        let Data::Sum(processor) = data("paster_process_cpu_seconds_total") else { panic!("a sum") };
        assert_eq!(processor.data_points[0].value, Some(NumberValue::AsDouble(1.5)));
        assert_eq!(find("paster_process_cpu_seconds_total").unit, "s");
        let Data::Summary(duration) = data("paster_app_duration_seconds") else { panic!("a summary") };
        assert_eq!((duration.data_points[0].count, duration.data_points[0].sum), (2, 3.0));
        let Data::Gauge(start) = data("paster_start_time_seconds") else { panic!("a gauge") };
        assert_eq!(start.data_points[0].value, Some(NumberValue::AsInt(3)));
    }
}
