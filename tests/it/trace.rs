//! `trace`: spans as a collector receives them, and `traceparent` as an upstream does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::{Connection, Serving, folder, patience, wait_until};

/// A small HTTP server that passes each request (target, fields, body) to `with` and responds with 200.
struct Collector {
    address: String,
    requests: Receiver<(BTreeMap<String, String>, Vec<u8>)>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            // It ends with the process. Idle, it costs nothing.
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = receive(stream) else { continue };
                if sender.send(request).is_err() {
                    break;
                }
            }
        });
        Collector { address, requests }
    }

    /// Collects spans from the batches until there are enough.
    fn spans(&self, count: usize) -> (Vec<Value>, BTreeMap<String, String>) {
        let mut spans = Vec::new();
        loop {
            let (fields, body) = self.requests.recv_timeout(patience()).unwrap();
            let message = crate::otlp::decode("/v1/traces", &body);
            let resource = &message["resourceSpans"][0]["resource"];
            assert_eq!(attributes(resource)["service.name"], "shop");
            spans.extend(message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone());
            if spans.len() >= count {
                return (spans, fields);
            }
        }
    }
}

fn receive(stream: TcpStream) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
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
    let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    stream
        .get_mut()
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        .ok()?;
    Some((fields, body))
}

fn attributes(thing: &Value) -> BTreeMap<&str, &str> {
    let value = |entry: &Value| entry["value"].as_object().and_then(|value| value.values().next()).cloned();
    let list = thing["attributes"].as_array().unwrap();
    list.iter().for_each(|entry| assert!(value(entry).is_some_and(|value| value.is_string()), "{entry}"));
    let pair = |entry: &'_ Value| entry["key"].as_str().is_some();
    assert!(list.iter().all(pair));
    list.iter()
        .map(|entry| {
            let value = entry["value"].as_object().and_then(|value| value.values().next());
            (entry["key"].as_str().unwrap(), value.and_then(Value::as_str).unwrap())
        })
        .collect()
}

fn config(endpoint: &str, more: &str) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [app.main]\nuse = \"mount\"\nmiddleware = [\"spans\", \"request_id\", \"mark\"]\n\
         [app.main.routes]\n\"/\" = \"hello\"\n\"/fails\" = \"fails\"\n\
         [app.hello]\nuse = \"respond\"\nbody = \"hello\"\n\
         [app.fails]\nuse = \"respond\"\nstatus = 503\nmiddleware = [\"compress\"]\n\
         [middleware.mark]\nuse = \"headers\"\nresponse.set = {{ x-marked = \"yes\" }}\n\
         [middleware.spans]\nuse = \"trace\"\nservice = \"shop\"\nendpoint = \"http://{endpoint}/v1/traces\"\n{more}"
    )
}

#[test]
fn a_collector_gets_a_span_of_each_request_and_each_part() {
    let collector = Collector::start();
    let more = "headers = { authorization = \"Bearer s3cr3t\" }\n";
    let folder = folder(&[("server.toml", &config(&collector.address, more))]);
    let serving = Serving::start(folder.path(), &[]);
    let ask = "GET /?token=abc HTTP/1.1\r\nHost: shop.example:81\r\nUser-Agent: test\r\n\
               traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
    Connection::open(serving.address()).request(ask);
    let (spans, fields) = collector.spans(5);
    assert_eq!(
        (fields["target"].as_str(), fields["content-type"].as_str()),
        ("/v1/traces", "application/x-protobuf")
    );
    assert_eq!(fields["authorization"], "Bearer s3cr3t");
    assert!(spans.iter().all(|span| span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736"), "{spans:#?}");
    let by_name: BTreeMap<&str, &Value> =
        spans.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect();
    let names: Vec<_> = by_name.keys().copied().collect();
    assert_eq!(names, ["GET", "app hello", "app main", "middleware mark", "middleware request_id"]);
    let root = by_name["GET"];
    assert_eq!((root["kind"].as_u64(), root["parentSpanId"].as_str()), (Some(2), Some("00f067aa0ba902b7")));
    let facts = attributes(root);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("server.port", "81"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(facts[key], value);
    }
    assert!(facts["paster.request_id"].len() > 10);
    // Each is inside the one around it, also in time.
    for (inner, outer) in [
        ("middleware request_id", "GET"),
        ("middleware mark", "middleware request_id"),
        ("app main", "middleware mark"),
        ("app hello", "app main"),
    ] {
        let (inner, outer) = (by_name[inner], by_name[outer]);
        assert_eq!(inner["parentSpanId"], outer["spanId"], "{inner:#}");
        let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time(inner, "startTimeUnixNano") >= time(outer, "startTimeUnixNano"));
        assert!(time(inner, "endTimeUnixNano") <= time(outer, "endTimeUnixNano"));
    }
    assert!(!format!("{spans:?}").contains("token"), "the query stays out");

    // 5xx is an error. Without a field from the caller, a new trace starts.
    Connection::open(serving.address()).get("/fails");
    let (spans, _) = collector.spans(5);
    let root = spans.iter().find(|span| span["name"] == "GET").unwrap();
    assert_eq!((root["status"]["code"].as_u64(), root["parentSpanId"].as_str()), (Some(2), Some("")));
    assert!(spans.iter().any(|span| span["name"] == "middleware compress"));
    assert!(!serving.stderr().contains("s3cr3t"));
}

#[test]
fn who_is_not_sampled_costs_no_span_and_the_word_of_a_caller_holds() {
    let collector = Collector::start();
    let folder = folder(&[("server.toml", &config(&collector.address, "sample = 0.0\n"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    for flags in ["00", "01", "00"] {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e47{flags}-00f067aa0ba902b7-{flags}");
        connection.request(&format!("GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {parent}\r\n\r\n"));
        connection.get("/");
    }
    // The rest is sent at the end.
    assert_eq!(serving.stop(), Some(0));
    let (spans, _) = collector.spans(5);
    assert_eq!(spans.len(), 5, "{spans:#?}");
    assert_eq!(spans[0]["traceId"], "4bf92f3577b34da6a3ce929d0e0e4701");
    assert!(collector.requests.try_recv().is_err());
}

#[test]
fn a_visitors_trace_is_not_continued_unless_the_config_says_so() {
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (more, continued) in [("", false), ("trust_parent = true\n", true)] {
        let collector = Collector::start();
        let config = config(&collector.address, more).replace("trusted_proxies = [\"127.0.0.1\"]\n", "");
        let folder = folder(&[("server.toml", &config)]);
        let serving = Serving::start(folder.path(), &[]);
        let ask =
            format!("GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{theirs}-00f067aa0ba902b7-01\r\n\r\n");
        Connection::open(serving.address()).request(&ask);
        let (spans, _) = collector.spans(5);
        assert!(spans.iter().all(|span| (span["traceId"] == theirs) == continued), "{spans:#?}");
    }
}

#[test]
fn the_next_service_sees_our_span_as_its_parent() {
    let upstream = Collector::start();
    let collector = Collector::start();
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"proxy\"\nupstreams = [\"http://{}\"]\nmiddleware = [\"spans\"]\n\
         [middleware.spans]\nuse = \"trace\"\nservice = \"shop\"\nendpoint = \"http://{}/v1/traces\"\ntrust_parent = false\n",
        upstream.address, collector.address
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = format!(
        "GET /a HTTP/1.1\r\nHost: a\r\ntraceparent: 00-{theirs}-00f067aa0ba902b7-00\r\ntracestate: x=y\r\n\r\n"
    );
    Connection::open(serving.address()).request(&ask);
    let (fields, _) = upstream.requests.recv_timeout(patience()).unwrap();
    let (spans, _) = collector.spans(2);
    let root = spans.iter().find(|span| span["kind"] == 2).unwrap();
    let text = |key: &str| root[key].as_str().unwrap();
    assert_eq!(fields["traceparent"], format!("00-{}-{}-01", text("traceId"), text("spanId")));
    assert!(text("traceId") != theirs && text("parentSpanId").is_empty(), "nobody's word is taken");
    assert!(!fields.contains_key("tracestate"), "it belongs to the other trace");
}

#[test]
fn a_collector_that_is_away_costs_no_request() {
    // Bound and released: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = folder(&[("server.toml", &config(&nobody, "queue_spans = 20\n"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    for _ in 0..50 {
        assert_eq!(connection.get("/").1, "hello");
    }
    wait_until("it is told of", || serving.stderr().contains("cannot send spans to"));
    drop(connection);
    assert_eq!(serving.stop(), Some(0));
    wait_until("losses are told of", || serving.stderr().contains("spans were dropped"));
}

#[test]
fn a_collector_may_be_reached_over_tls() {
    let collector = Collector::start();
    let pki = tempfile::tempdir().unwrap();
    let authority = crate::pki::Authority::new("Collectors");
    let pair = authority.pair(pki.path(), "collector", &["localhost"]);
    let ca = authority.file(pki.path());
    // Another paster does TLS for the collector.
    let front = folder(&[(
        "server.toml",
        &format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\ntls.certificates = [{}]\n\
             [app.main]\nuse = \"proxy\"\nupstreams = [\"http://{}\"]\n",
            pair.item(),
            collector.address
        ),
    )]);
    let front = Serving::start(front.path(), &[]);
    let port = front.url().rsplit(':').next().unwrap();
    let config = config("none", &format!("ca_file = {ca:?}\n"))
        .replace("http://none/v1", &format!("https://localhost:{port}/v1"));
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    Connection::open(serving.address()).get("/");
    let (spans, fields) = collector.spans(5);
    assert_eq!((spans.len(), fields["target"].as_str()), (5, "/v1/traces"));
    // Without the authority, nothing is sent.
    let distrusted = config.replace(&format!("ca_file = {ca:?}\n"), "");
    std::fs::write(folder.path().join("server.toml"), distrusted).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    Connection::open(serving.address()).get("/");
    wait_until("it is logged", || serving.stderr().contains("cannot send spans"));
    assert!(serving.stderr().contains("UnknownIssuer"), "{}", serving.stderr());
}
