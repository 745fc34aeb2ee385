//! `[otlp]`: log records and metrics as a collector receives them, over TLS too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, MetricsData, NumberDataPoint, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::pki::Authority;
use crate::support::{Connection, Serving, folder, paster, patience, plugin, wait_until};
use crate::workers::kill;

/// A message: the fields of its head, with `target`, and its content.
type OtlpMessage = (BTreeMap<String, String>, Value);

/// A collector, which accepts everything.
struct Collector {
    port: u16,
    messages: Receiver<OtlpMessage>,
}

impl Collector {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Collector {
        Collector::at(TcpListener::bind("127.0.0.1:0").unwrap(), tls)
    }

    fn at(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) -> Collector {
        let port = listener.local_addr().unwrap().port();
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            // It ends with the process. Idle, it costs nothing.
            for stream in listener.incoming().map_while(Result::ok) {
                let message = match &tls {
                    None => receive(stream),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config.clone()).unwrap();
                        receive(rustls::StreamOwned::new(session, stream))
                    }
                };
                if let Some(message) = message
                    && sender.send(message).is_err()
                {
                    break;
                }
            }
        });
        Collector { port, messages }
    }

    /// Waits for something in the messages of a signal (`logs`, `metrics`).
    fn wait<T>(&self, signal: &str, find: impl Fn(&Value) -> Option<T>) -> (T, BTreeMap<String, String>) {
        loop {
            let (fields, message) = self.messages.recv_timeout(patience()).unwrap();
            if fields["target"].ends_with(signal)
                && let Some(found) = find(&message)
            {
                return (found, fields);
            }
        }
    }

    /// The log record whose body contains a text, and its resource.
    fn record(&self, text: &str) -> Value {
        let find = |message: &Value| {
            let records = message["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
            let has = |record: &&Value| record["body"]["stringValue"].as_str().unwrap().contains(text);
            records.iter().find(has).cloned()
        };
        self.wait("/v1/logs", find).0
    }

    /// Waits until a metric has a point with these labels and this value.
    fn point(&self, name: &str, labels: &[(&str, &str)], value: &str) -> Value {
        let find = |message: &Value| {
            let metrics = message["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
            let metric = metrics.iter().find(|metric| metric["name"] == name)?;
            let data = ["sum", "gauge"].iter().find_map(|kind| metric.get(*kind)).unwrap();
            let points = data["dataPoints"].as_array().unwrap();
            let fits = |point: &&Value| {
                labels.iter().all(|(key, value)| attribute(point, key)["stringValue"] == *value)
                    && point["asInt"] == value
            };
            points.iter().find(fits).map(|_| metric.clone())
        };
        self.wait("/v1/metrics", find).0
    }
}

fn receive(stream: impl Read + Write) -> Option<OtlpMessage> {
    let mut stream = BufReader::new(stream);
    let mut fields = BTreeMap::new();
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    fields.insert("target".to_owned(), line.split(' ').nth(1)?.to_owned());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        fields.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; fields.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let inner = stream.get_mut();
    inner.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").ok()?;
    inner.flush().ok()?;
    let content = decode(&fields["target"], &body);
    Some((fields, content))
}

/// A message as OTLP's JSON writes it, with the fields that the tests read.
pub(crate) fn decode(target: &str, body: &[u8]) -> Value {
    if target.ends_with("/v1/logs") {
        let logs = &LogsData::decode(body).unwrap().resource_logs[0];
        let records: Vec<Value> = logs.scope_logs[0].log_records.iter().map(log_record).collect();
        let scope = json!({"logRecords": records});
        json!({"resourceLogs": [{"resource": resource(&logs.resource), "scopeLogs": [scope]}]})
    } else if target.ends_with("/v1/metrics") {
        let metrics = &MetricsData::decode(body).unwrap().resource_metrics[0];
        let list: Vec<Value> = metrics.scope_metrics[0].metrics.iter().map(metric).collect();
        let scope = json!({"metrics": list});
        json!({"resourceMetrics": [{"resource": resource(&metrics.resource), "scopeMetrics": [scope]}]})
    } else {
        let traces = &TracesData::decode(body).unwrap().resource_spans[0];
        let spans: Vec<Value> = traces.scope_spans[0].spans.iter().map(span).collect();
        let scope = json!({"spans": spans});
        json!({"resourceSpans": [{"resource": resource(&traces.resource), "scopeSpans": [scope]}]})
    }
}

fn resource(resource: &Option<Resource>) -> Value {
    json!({"attributes": attributes(&resource.as_ref().unwrap().attributes)})
}

fn attributes(list: &[KeyValue]) -> Vec<Value> {
    list.iter().map(|one| json!({"key": one.key, "value": any(one.value.as_ref().unwrap())})).collect()
}

fn any(value: &AnyValue) -> Value {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => json!({"stringValue": text}),
        any_value::Value::IntValue(number) => json!({"intValue": number.to_string()}),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log_record(record: &LogRecord) -> Value {
    json!({
        "body": any(record.body.as_ref().unwrap()), "severityNumber": record.severity_number,
        "attributes": attributes(&record.attributes),
        "traceId": hex(&record.trace_id), "spanId": hex(&record.span_id),
    })
}

fn metric(metric: &Metric) -> Value {
    let mut value = json!({"name": metric.name, "unit": metric.unit});
    match metric.data.as_ref().unwrap() {
        metric::Data::Sum(sum) => {
            let points = points(&sum.data_points);
            value["sum"] = json!({"isMonotonic": sum.is_monotonic, "dataPoints": points});
        }
        metric::Data::Gauge(gauge) => value["gauge"] = json!({"dataPoints": points(&gauge.data_points)}),
        _ => {}
    }
    value
}

fn points(points: &[NumberDataPoint]) -> Vec<Value> {
    let value = |point: &NumberDataPoint| match point.value {
        Some(number_data_point::Value::AsInt(number)) => json!(number.to_string()),
        _ => Value::Null,
    };
    let point = |point: &NumberDataPoint| {
        json!({
            "attributes": attributes(&point.attributes), "asInt": value(point),
            "startTimeUnixNano": point.start_time_unix_nano.to_string(),
            "timeUnixNano": point.time_unix_nano.to_string(),
        })
    };
    points.iter().map(point).collect()
}

fn span(span: &Span) -> Value {
    json!({
        "name": span.name, "kind": span.kind, "attributes": attributes(&span.attributes),
        "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "parentSpanId": hex(&span.parent_span_id),
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "status": {"code": span.status.as_ref().unwrap().code},
    })
}

fn attribute<'a>(thing: &'a Value, key: &str) -> &'a Value {
    let list = thing["attributes"].as_array().unwrap();
    list.iter().find(|one| one["key"] == key).map_or(&Value::Null, |one| &one["value"])
}

fn config(format: &str, otlp: &str) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [process]\nworkers = 2\n[log]\nformat = \"{format}\"\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"spans\", \"request_id\"]\n\
         [middleware.spans]\nuse = \"trace\"\nsample = 0.0\nendpoint = \"http://127.0.0.1:1/v1/traces\"\n\
         [otlp]\n{otlp}",
        plugin("faulty")
    )
}

/// Asks for a line in the log, as part of a trace.
fn log_one(serving: &Serving, path: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n\r\n"
    );
    let (head, _) = Connection::open(serving.address()).request(&request);
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    id.to_owned()
}

#[test]
fn a_collector_gets_log_records_and_sums_over_tls() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new("collectors");
    let (chain, key) = authority.sign(&["localhost"], std::time::SystemTime::now() + 90 * crate::pki::DAY);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let collector = Collector::start(Some(Arc::new(tls)));
    let ca = authority.file(place.path());
    let otlp = format!(
        "endpoint = \"https://localhost:{}/otel\"\nca_file = {ca:?}\nservice = \"shop\"\ninterval_secs = 1\n\
         queue_lines = 1000\nlogs = true\nmetrics = true\nheaders = {{ authorization = \"Bearer s3cr3t\" }}\n",
        collector.port
    );
    let folder = folder(&[("server.toml", &config("json", &otlp))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let id = log_one(&serving, "/say");
    let find = |message: &Value| {
        let resource = &message["resourceLogs"][0]["resource"];
        assert_eq!(attribute(resource, "service.name")["stringValue"], "shop");
        let records = message["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.iter().find(|one| attribute(one, "paster.request_id")["stringValue"] == id.as_str()).cloned()
    };
    let (record, fields) = collector.wait("/v1/logs", find);
    assert_eq!(
        (&*fields["target"], &*fields["authorization"], &*fields["content-type"]),
        ("/otel/v1/logs", "Bearer s3cr3t", "application/x-protobuf")
    );
    assert_eq!(record["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736", "{record:#}");
    assert_eq!(record["spanId"].as_str().unwrap().len(), 16);
    assert!(record["severityNumber"].as_u64().unwrap() >= 9, "{record:#}");
    assert!(attribute(&record, "paster.process")["stringValue"].as_str().unwrap().starts_with("worker "));
    // The sum of two workers, also after one of them was killed.
    for _ in 0..19 {
        log_one(&serving, "/say");
    }
    let metric = collector.point("paster_requests_total", &[("outcome", "2xx")], "20");
    assert_eq!((&metric["sum"]["isMonotonic"], &metric["unit"]), (&true.into(), &"1".into()), "{metric:#}");
    collector.point("paster_workers", &[("generation", "1")], "2");
    kill(serving.children()[0]);
    serving.wait_for("worker_ready");
    collector.point("paster_worker_exits_total", &[("expected", "false")], "1");
    let mut sent = 20;
    let metric = loop {
        log_one(&serving, "/say");
        sent += 1;
        if sent == 25 {
            break collector.point("paster_requests_total", &[("outcome", "2xx")], "25");
        }
    };
    let point = &metric["sum"]["dataPoints"][0];
    assert!(point["startTimeUnixNano"].as_str().unwrap() < point["timeUnixNano"].as_str().unwrap());
    // The last lines and counts arrive although the server stops.
    log_one(&serving, "/say");
    assert_eq!(serving.stop(), Some(0));
    collector.point("paster_requests_total", &[("outcome", "2xx")], "26");
}

#[test]
fn lines_in_text_and_of_the_supervisor_are_records_too() {
    let collector = Collector::start(None);
    let otlp = format!("endpoint = \"http://127.0.0.1:{}\"\nmetrics = false\n", collector.port);
    let folder = folder(&[("server.toml", &config("text", &otlp))]);
    let serving = Serving::start(folder.path(), &[]);
    let id = log_one(&serving, "/say");
    let find = |message: &Value| {
        assert!(message.get("resourceMetrics").is_none());
        let records = message["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.iter().find(|one| attribute(one, "paster.request_id")["stringValue"] == id.as_str()).cloned()
    };
    let (record, fields) = collector.wait("/v1/logs", find);
    assert_eq!(
        (&*fields["target"], &record["traceId"]),
        ("/v1/logs", &"4bf92f3577b34da6a3ce929d0e0e4736".into())
    );
    assert!(!record["body"]["stringValue"].as_str().unwrap().contains("trace_id="), "{record:#}");
    serving.signal("HUP");
    let record = collector.record("generation 2");
    assert_eq!(attribute(&record, "paster.process")["stringValue"], "supervisor");
}

#[test]
fn lines_wait_for_a_collector_that_is_away() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let otlp = format!("endpoint = \"http://127.0.0.1:{port}\"\nlogs = true\nmetrics = false\n");
    let folder = folder(&[("server.toml", &config("json", &otlp))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let id = log_one(&serving, "/say");
    wait_until("the failure is logged", || serving.stderr().contains("cannot send the log to"));
    let collector = Collector::at(TcpListener::bind(("127.0.0.1", port)).unwrap(), None);
    let find = |message: &Value| {
        let records = message["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.iter().find(|one| attribute(one, "paster.request_id")["stringValue"] == id.as_str()).cloned()
    };
    collector.wait("/v1/logs", find);
    assert_eq!(serving.stderr().matches("cannot send the log to").count(), 1);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn wrong_options_are_named() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\n[otlp]\nendpoint = \"collector\"\n\
                  ca_file = \"none.pem\"\nheaders = { \"a b\" = \"c\" }\n";
    let folder = folder(&[("server.toml", config)]);
    let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["`collector` is not the address of a collector", "none.pem", "`a b` is not a header field"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}
