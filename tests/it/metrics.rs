//! `metrics`: what all workers have counted, read with Prometheus' own parser; and `health`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use paster::codec::fastcgi::kind;

use crate::support::{Connection, Serving, folder, get, paster, piped, plugin, wait_until};

const CONFIG: &str = r#"
[process]
workers = 2
[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[server.admin]
use = "http"
listen = ["127.0.0.1:0"]
app = "admin"
[app.main]
use = "mount"
middleware = ["pages"]
[app.main.routes]
"/" = "hello"
"/missing" = "missing"
[app.hello]
use = "respond"
body = "hello\n"
[app.missing]
use = "respond"
status = 404
[app.admin]
use = "respond"
status = 404
middleware = ["health", "metrics"]
[middleware.pages]
use = "error_page"
"#;

/// Parses Prometheus text or OpenMetrics with Prometheus' Python client, which refuses malformed input.
fn parse(text: &str, module: &str) -> BTreeMap<String, f64> {
    const SCRIPT: &str = "
import sys, json, importlib
parser = importlib.import_module(sys.argv[1])
out = {}
for family in parser.text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    for s in family.samples:
        labels = ','.join(f'{k}={v}' for k, v in sorted(s.labels.items()))
        name = s.name + ('{' + labels + '}' if labels else '')
        assert name not in out, name
        out[name] = s.value
print(json.dumps(out))
";
    let python = std::env::var("PASTER_TEST_PYTHON")
        .expect("PASTER_TEST_PYTHON must name a python with prometheus_client: `cargo xtask test` makes one");
    let output = piped(Command::new(python).args(["-c", SCRIPT, module]), text);
    assert!(output.status.success(), "not parsed: {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn address(serving: &Serving, server: &str) -> String {
    serving.urls[server].trim_start_matches("http://").to_owned()
}

fn scrape(serving: &Serving) -> BTreeMap<String, f64> {
    let (head, text) = Connection::open(&address(serving, "admin")).get("/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    parse(&text, "prometheus_client.parser")
}

#[test]
fn counts_are_the_sum_of_all_workers_and_never_go_backwards() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let mut serving = Serving::start(folder.path(), &[]);
    // The addresses of both servers come before `ready`.
    for _ in 0..20 {
        // One connection each, so that both workers get some.
        assert_eq!(get(&serving, "/"), "hello\n");
    }
    get(&serving, "/missing");
    let ok = "paster_requests_total{outcome=2xx,server=main}";
    let mut first = BTreeMap::new();
    // The last response may have ended a moment before it was counted.
    wait_until("all are counted", || {
        first = scrape(&serving);
        first[ok] == 20.0 && first["paster_requests_total{outcome=4xx,server=main}"] == 1.0
    });
    assert_eq!(first["paster_app_requests_total{app=hello,class=2xx}"], 20.0);
    assert_eq!(first["paster_app_requests_total{app=missing,class=4xx}"], 1.0);
    assert_eq!(first["paster_middleware_duration_seconds_count{app=main,middleware=pages}"], 21.0);
    assert_eq!(first["paster_request_duration_seconds_count{server=main}"], 21.0);
    assert_eq!(first["paster_request_duration_seconds_bucket{le=+Inf,server=main}"], 21.0);
    assert_eq!(first["paster_accept_to_app_seconds_count{server=main}"], 21.0);
    assert!(first["paster_response_bytes_total{server=main}"] >= 120.0);
    assert_eq!(first["paster_workers{generation=1}"], 2.0);
    assert_eq!(first["paster_generation"], 1.0);
    assert!(first["paster_process_resident_bytes"] > 1e6);

    serving.signal("HUP");
    serving.wait_for("reloaded");
    std::fs::write(folder.path().join("server.toml"), "nonsense").unwrap();
    serving.signal("HUP");
    serving.wait_for("reload_failed");
    wait_until("the old workers are gone", || serving.children().len() == 2);
    assert_eq!(get(&serving, "/"), "hello\n");
    let mut second = BTreeMap::new();
    wait_until("the new worker's requests are counted", || {
        second = scrape(&serving);
        second[ok] == 21.0
    });
    assert_eq!(second["paster_reloads_total{outcome=done}"], 1.0);
    assert_eq!(second["paster_reloads_total{outcome=failed}"], 1.0);
    assert_eq!(second["paster_worker_exits_total{expected=true}"], 2.0);
    assert!(!second.keys().any(|name| name.contains("generation=1")), "{second:?}");
    let worker = serving.children()[0];
    assert!(Command::new("kill").args(["-KILL", &worker.to_string()]).status().unwrap().success());
    serving.wait_for("worker_ready");
    let third = scrape(&serving);
    assert_eq!(third["paster_worker_exits_total{expected=false}"], 1.0);
    assert_eq!(third["paster_worker_restarts_total{reason=ended}"], 1.0);
    for (before, after) in [(&first, &second), (&second, &third)] {
        for (name, value) in before {
            let counts = ["_total", "_count", "_sum", "_bucket"].iter().any(|part| name.contains(part));
            if counts && !name.contains("generation=") {
                assert!(after.get(name).is_some_and(|later| later >= value), "{name} went backwards");
            }
        }
    }
    // OpenMetrics, and methods that are not allowed.
    let mut connection = Connection::open(&address(&serving, "admin"));
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n";
    let (head, text) = connection.request(ask);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let open = parse(&text, "prometheus_client.openmetrics.parser");
    assert!(open[ok] >= 21.0);
    let (head, _) =
        connection.request("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
}

#[test]
fn a_stranger_sees_no_metrics() {
    let config = CONFIG.replace("[server.admin]\n", "[server.admin]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let status = |server: &str, path: &str, field: &str| {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        let (head, _) = Connection::open(&address(&serving, server)).request(&ask);
        head[9..12].to_owned()
    };
    assert_eq!(status("admin", "/metrics", ""), "200");
    assert_eq!(status("admin", "/metrics", "X-Forwarded-For: 192.0.2.7\r\n"), "404");
    assert_eq!(status("admin", "/metrics", "X-Forwarded-For: 127.0.0.1\r\n"), "200");
    drop(serving);
    // A proxy that is not trusted hides the client.
    let config = CONFIG.replace("[server.admin]\n", "[server.admin]\nhosts = [\"localhost\"]\n");
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    let ask = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n";
    let (head, _) = Connection::open(&address(&serving, "admin")).request(ask);
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[test]
fn waits_for_the_turn_and_clients_that_leave_are_counted() {
    let library = plugin("faulty");
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\none_at_a_time = true\n\
         [server.admin]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"admin\"\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {library:?}\n\
         [app.admin]\nuse = \"respond\"\nmiddleware = [\"metrics\"]\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let body = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let mut bad = TcpStream::connect(serving.address()).unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    bad.read_to_end(&mut Vec::new()).unwrap();
    wait_until("both are counted", || {
        let counts = scrape(&serving);
        counts["paster_requests_total{outcome=refused,server=main}"] == 1.0
            && counts["paster_turn_wait_seconds_count{server=main}"] == 1.0
    });
}

#[test]
fn connections_of_a_web_server_are_counted_too() {
    let config = "[server.main]\nuse = \"scgi\"\nlisten = [\"127.0.0.1:0\"]\n\
        [server.records]\nuse = \"fastcgi\"\nlisten = [\"127.0.0.1:0\"]\n\
        [server.admin]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"admin\"\n\
        [app.main]\nuse = \"respond\"\nbody = \"hello\"\n\
        [app.admin]\nuse = \"respond\"\nmiddleware = [\"metrics\"]\n";
    let folder = folder(&[("server.toml", config)]);
    let serving = Serving::start(folder.path(), &[]);
    let open = |server: &str| {
        let (_, address) = serving.urls[server].split_once("://").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::support::patience())).unwrap();
        stream
    };
    // Each SCGI request has its own connection. The three FastCGI requests share one, and only the first is
    // timed from the accept.
    for _ in 0..2 {
        let mut stream = open("main");
        stream.write_all(&crate::scgi::ask("/", &[], "")).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("hello"), "{text}");
    }
    let mut kept = open("records");
    for _ in 0..3 {
        kept.write_all(&crate::fastcgi::ask(1, true, "/", "")).unwrap();
        let mut header = [0; 8];
        while header[1] != kind::END_REQUEST {
            kept.read_exact(&mut header).unwrap();
            let length = u16::from_be_bytes([header[4], header[5]]) + u16::from(header[6]);
            kept.read_exact(&mut vec![0; length.into()]).unwrap();
        }
    }
    drop(kept);
    // A connection without a request never reaches the application.
    drop(open("records"));
    wait_until("all are counted", || {
        let counts = scrape(&serving);
        let of = |name: &str, server: &str| counts[&format!("{name}{{server={server}}}")];
        of("paster_connections_total", "main") == 2.0
            && of("paster_connections_total", "records") == 2.0
            && of("paster_accept_to_app_seconds_count", "main") == 2.0
            && of("paster_accept_to_app_seconds_count", "records") == 1.0
            && of("paster_connections_open", "records") == 0.0
    });
}

#[test]
fn paster_request_shows_what_its_one_process_counts() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let arguments = ["request", "GET", "/metrics", "--app", "admin", "--no-include"];
    let output = paster().args(arguments).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("paster_app_requests_total{app=\"hello\",class=\"2xx\"} 0"), "{text}");
}

fn status(address: &str, path: &str) -> (String, String) {
    let (head, body) = Connection::open(address).get(path);
    (head[9..12].to_owned(), body)
}

#[test]
fn health_is_that_of_the_process_and_of_its_apps() {
    let folder = tempfile::tempdir().unwrap();
    let health = |path: &Path| path.join("unwell");
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"health\"]\n\
         [app.main.settings]\nunwell_file = {:?}\n",
        plugin("faulty"),
        health(folder.path()),
    );
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    assert_eq!(status(serving.address(), "/healthz"), ("200".into(), "alive\n".into()));
    assert_eq!(status(serving.address(), "/readyz"), ("200".into(), "ready\n".into()));
    std::fs::write(health(folder.path()), "the store is away").unwrap();
    wait_until("an answer no longer holds", || {
        status(serving.address(), "/readyz") == ("503".into(), "app `main`: the store is away\n".into())
    });
    assert_eq!(status(serving.address(), "/healthz").0, "200");
    std::fs::remove_file(health(folder.path())).unwrap();
    wait_until("it is well again", || status(serving.address(), "/readyz").0 == "200");
}

#[test]
fn nothing_is_ready_while_the_server_ends() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
        [app.main]\nuse = \"respond\"\nmiddleware = [\"health\"]\n";
    let folder = folder(&[("server.toml", config)]);
    let mut serving = Serving::start(folder.path(), &[]);
    // A request in flight keeps the server up, and its connection can still be used.
    let mut waiting = TcpStream::connect(serving.address()).unwrap();
    waiting.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut other = Connection::open(serving.address());
    assert!(other.get("/readyz").0.starts_with("HTTP/1.1 200"));
    serving.signal("TERM");
    serving.wait_for("stopping");
    wait_until("it accepts no more", || TcpStream::connect(serving.address()).is_err());
    waiting.write_all(b"\r\n").unwrap();
    let mut text = String::new();
    waiting.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("the server is shutting down"), "{text}");
    assert_eq!(serving.end(), Some(0));
}
