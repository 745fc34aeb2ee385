//! Requests that never reach an app: each gets a response with its reason, is in the access log, and is
//! counted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::support::{Connection, Serving, folder, patience, wait_until};

const LIMITS: &str = "head_timeout_secs = 1\nhead_limit_bytes = 2000\ntarget_limit_bytes = 100\nfields_limit = 8\n\
                      hosts = [\"a\"]\n";

fn config(kind: &str, limits: &str, format: &str) -> String {
    format!(
        "[server.main]\nuse = \"{kind}\"\nlisten = [\"127.0.0.1:0\"]\n{limits}\
         [app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"request_id\", \"log\"]\n\
         [middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"{format}\"\n"
    )
}

/// Sends bytes on a separate connection and reads until the server closes.
fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn lines(folder: &Path, count: usize) -> Vec<String> {
    let file = folder.join("access.log");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("the log has its lines", || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

/// How many requests the server counted as refused.
fn refused(serving: &Serving, server: &str) -> f64 {
    let counts = Connection::open(serving.urls["admin"].trim_start_matches("http://")).get("/metrics").1;
    let name = format!("paster_requests_total{{server=\"{server}\",outcome=\"refused\"}} ");
    let line = counts.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{counts}")).parse().unwrap()
}

const ADMIN: &str = "[server.admin]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"admin\"\n\
                     [app.admin]\nuse = \"respond\"\nmiddleware = [\"metrics\"]\n";

#[test]
fn what_cannot_be_read_or_is_too_much_is_answered_logged_and_counted() {
    let folder = folder(&[("server.toml", &(config("http", LIMITS, "json") + ADMIN))]);
    let serving = Serving::start(folder.path(), &[]);
    let long = "x".repeat(3000);
    let many = "A: b\r\n".repeat(9);
    /// Bytes and the expected result: status, reason, and the method and target as they are logged.
    type Case<'a> = (&'a [u8], u16, &'a str, Option<&'a str>, Option<&'a str>);
    let cases: &[Case<'_>] = &[
        (
            b"G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "the method is not valid",
            Some("G\u{fffd}T"),
            Some("/"),
        ),
        (
            b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "the request target is not valid",
            Some("GET"),
            Some("/a\u{1}b"),
        ),
        (
            b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
            400,
            "the HTTP version is neither 1.0 nor 1.1",
            Some("GET"),
            Some("/"),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nA b\r\n\r\n",
            400,
            "a header field is not valid",
            Some("GET"),
            Some("/"),
        ),
        (b"GET /?token=s3cret HTTP/1.1\r\n\r\n", 400, "no Host", Some("GET"), Some("/?token=***")),
        (
            b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "an encoded slash in the path: see the option `encoded_slashes`",
            Some("GET"),
            Some("/a%2fb"),
        ),
        (
            b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
            421,
            "this host is not served here: see the option `hosts`",
            Some("GET"),
            Some("/"),
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            400,
            "this port speaks plain HTTP: use http://",
            Some("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fffd}\u{3}\u{3}"),
            None,
        ),
        (
            b"GET / HTTP/1.1\r\nHost",
            408,
            "the head arrived too slowly: see the option `head_timeout_secs`",
            Some("GET"),
            Some("/"),
        ),
        (
            &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..200]).into_bytes(),
            414,
            "the request target is too long: see the option `target_limit_bytes`",
            Some("GET"),
            None,
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: a\r\nA: {long}\r\n\r\n").into_bytes(),
            431,
            "the head is too long: see the option `head_limit_bytes`",
            Some("GET"),
            Some("/"),
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n").into_bytes(),
            431,
            "too many header fields: see the option `fields_limit`",
            Some("GET"),
            Some("/"),
        ),
    ];
    for (count, (bytes, status, reason, method, target)) in cases.iter().enumerate() {
        let answer = exchange(serving.address(), bytes);
        let shown = String::from_utf8_lossy(bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
        let words = reason.split(": see the option").next().unwrap();
        assert!(answer.ends_with(&format!(": {words}\n")), "{shown}: {answer}");
        let line: Value = serde_json::from_str(&lines(folder.path(), count + 1)[count]).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1.len();
        assert_eq!((&line["status"], &line["bytes"]), (&(*status).into(), &body.into()), "{shown}: {line}");
        assert_eq!(
            (&line["reason"], &line["client"]),
            (&(*reason).into(), &"127.0.0.1".into()),
            "{shown}: {line}"
        );
        assert_eq!(line["method"].as_str(), *method, "{line}");
        if target.is_some() {
            assert_eq!(line["target"].as_str(), *target, "{line}");
        }
    }
    assert_eq!(refused(&serving, "main"), cases.len() as f64);
    // Also after a good request on the same connection. An app's own response is not changed.
    let two = exchange(serving.address(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\nB\x01D / HTTP/1.1\r\n\r\n");
    assert!(two.starts_with("HTTP/1.1 200 ") && two.contains("hello"), "{two}");
    assert!(two.ends_with("Bad Request: the method is not valid\n"), "{two}");
    assert_eq!(lines(folder.path(), cases.len() + 2).len(), cases.len() + 2);
    assert_eq!(refused(&serving, "main"), cases.len() as f64 + 1.0);
}

#[test]
fn no_request_breaks_a_line_of_the_text_formats() {
    for format in ["common", "combined"] {
        let folder = folder(&[("server.toml", &config("http", "", format))]);
        let serving = Serving::start(folder.path(), &[]);
        for bytes in [
            &b"\"\x1b[2J\xc2\x9b / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"GET /%2f HTTP/1.1\r\nHost: a\r\nReferer: \"x?token=s3cret\r\nUser-Agent: \xc2\x9b31m\\\r\n\r\n",
            b"\x16\x03\x01\n",
        ] {
            exchange(serving.address(), bytes);
        }
        let found: Vec<_> = lines(folder.path(), 3)
            .iter()
            .map(|line| {
                let (start, end) = (line.find('[').unwrap(), line.find(']').unwrap());
                format!("{}TIME{}", &line[..=start], &line[end..])
            })
            .collect();
        let fields = |fields: &str| if format == "combined" { format!(" {fields}") } else { String::new() };
        let expected = [
            format!(
                "127.0.0.1 - - [TIME] \"\\x22\\x1b[2J\\xc2\\x9b / HTTP/1.1\" 400 37{} \"the method is not valid\"",
                fields("\"-\" \"-\"")
            ),
            format!(
                "127.0.0.1 - - [TIME] \"GET /%2f HTTP/1.1\" 400 42{} \"an encoded slash in the path: see the option `encoded_slashes`\"",
                fields("\"\\x22x?token=***\" \"\\xc2\\x9b31m\\x5c\"")
            ),
            format!(
                "127.0.0.1 - - [TIME] \"\\x16\\x03\\x01\" 400 54{} \"this port speaks plain HTTP: use http://\"",
                fields("\"-\" \"-\"")
            ),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn the_servers_behind_a_web_server_log_what_they_refuse() {
    let folder = folder(&[(
        "server.toml",
        &config("scgi", "target_limit_bytes = 10\nfronts = [\"127.0.0.1\"]\n", "json"),
    )]);
    let serving = Serving::start(folder.path(), &[]);
    let address = serving.urls["main"].rsplit('/').next().unwrap().to_owned();
    let ask =
        crate::scgi::ask("/much-too-long", &["REMOTE_ADDR", "192.0.2.7", "SERVER_PROTOCOL", "HTTP/2.0"], "");
    assert!(exchange(&address, &ask).ends_with("the request target is too long\n"));
    assert!(exchange(&address, b"no netstring").ends_with(": no netstring at the start\n"));
    let found: Vec<Value> =
        lines(folder.path(), 2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&found[0]["status"], &found[0]["client"]), (&414.into(), &"192.0.2.7".into()));
    assert_eq!((&found[0]["target"], &found[0]["version"]), (&"/much-too-long".into(), &"HTTP/2.0".into()));
    assert_eq!(
        (&found[1]["status"], &found[1]["reason"]),
        (&400.into(), &"no netstring at the start".into())
    );
    assert_eq!((&found[1]["method"], &found[1]["client"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_full_server_and_a_full_app_log_what_they_refuse() {
    // `cascade` waits for a body that does not come, so its request stays in flight.
    let tables = |max: &str, app: &str| {
        format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{max}[app.main]\nuse = \"mount\"\nmiddleware = [\"log\"]\n\
             [app.main.routes]\n\"/a\" = \"a\"\n\"/b\" = \"b\"\n[app.a]\nuse = \"cascade\"\napps = [\"b\"]\n{app}\
             [app.b]\nuse = \"respond\"\nbody = \"b\"\n\
             [middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"json\"\n"
        )
    };
    let open = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    for (config, fill, reason, others) in [
        (
            tables("max_in_flight = 2\n", "max_in_flight = 2\n"),
            2,
            "too many requests in flight: see the option `max_in_flight`",
            503,
        ),
        (
            tables("max_in_flight = 10\n", ""),
            9,
            "the app has used up its share of the requests in flight",
            200,
        ),
        (tables("", "max_in_flight = 1\n"), 1, "the app has too many requests in flight", 200),
    ] {
        let folder = folder(&[("server.toml", &config)]);
        let serving = Serving::start(folder.path(), &[]);
        let hold = || {
            let mut stream = TcpStream::connect(serving.address()).unwrap();
            stream.write_all(open.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        let mut held: Vec<_> = (0..fill).map(|_| hold()).collect();
        let ask = |path: &str| {
            exchange(
                serving.address(),
                format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
            )
        };
        wait_until("the app is full", || {
            // A refused one, whose place another of our requests had taken, is sent again.
            for stream in &mut held {
                if stream.peek(&mut [0]).is_ok() {
                    *stream = hold();
                }
            }
            // One that has just ended may still count, so one refusal alone shows nothing.
            (0..3).all(|_| ask("/a").starts_with("HTTP/1.1 503 "))
                && held.iter().all(|stream| stream.peek(&mut [0]).is_err())
        });
        let answer = ask("/a");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.ends_with(&format!(": {}\n", reason.split(": see").next().unwrap())), "{answer}");
        assert!(ask("/b").starts_with(&format!("HTTP/1.1 {others} ")), "{config}");
        let log = || std::fs::read_to_string(folder.path().join("access.log")).unwrap_or_default();
        wait_until("it is logged", || log().contains(&format!("\"reason\":\"{reason}\"")));
        drop(held);
        wait_until("the app has room again", || ask("/a").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn redirects_to_tls_are_in_the_access_log() {
    let config = config("http", "redirect_http = \"127.0.0.1:0\"\ntls.self_signed = true\n", "json");
    let folder = folder(&[("server.toml", &config.replace("\"request_id\", ", ""))]);
    let mut command = crate::support::paster();
    command.args(["serve", "--json"]).current_dir(folder.path()).env("XDG_CACHE_HOME", folder.path());
    let mut serving = Serving::launch(command);
    let url = |event: &Value| event["url"].as_str().unwrap().to_owned();
    let plain = serving.wait_for_one("listening", |event| url(event).starts_with("http://"));
    let plain = url(&plain)["http://".len()..].trim_end_matches('/').to_owned();
    serving.wait_for("ready");
    assert!(
        exchange(&plain, b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 308 ")
    );
    let tls = serving.url().trim_start_matches("https://").to_owned();
    let answer = exchange(&tls, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("this port speaks HTTPS: use https://\n"), "{answer}");
    let found = lines(folder.path(), 2).join("\n");
    assert!(
        found.contains("\"status\":308") && found.contains("\"reason\":\"this port speaks HTTPS"),
        "{found}"
    );
}

#[test]
fn a_refusal_names_its_option_in_the_log() {
    let folder = folder(&[("server.toml", &config("http", "", "json"))]);
    let mut command = crate::support::paster();
    command.args(["serve", "--json"]).current_dir(folder.path()).env("PASTER_LOG", "debug");
    let serving = Serving::spawn(command);
    exchange(serving.address(), b"GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("the option is named", || serving.stderr().contains("see the option `encoded_slashes`"));
}

#[test]
fn a_body_that_looks_like_a_refusal_is_sent_whole() {
    let body = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                date: Sun, 29 Nov 2026 03:14:31 GMT\r\n\r\n";
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = {}\n",
        Value::from(body)
    );
    let folder = folder(&[("server.toml", &config)]);
    let serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    for _ in 0..2 {
        assert_eq!(connection.get("/").1, body);
    }
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = exchange(serving.address(), format!("{get}{get}B\x01D / HTTP/1.1\r\n\r\n").as_bytes());
    assert_eq!(answer.matches(body).count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 3, "{answer}");
    let mut curl = std::process::Command::new("curl");
    let output =
        curl.args(["-s", "--max-time", "60", "--http2-prior-knowledge", serving.url()]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), body);
}
