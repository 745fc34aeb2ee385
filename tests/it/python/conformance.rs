//! PEP 3333, over raw sockets. `rules` has what one request can show.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::rules::{Check, chunked, get, post, table};
use super::{MODES, Site, checks};
use crate::support::{Serving, patience, wait_until};

const APP: &str = "application = \"checks:application\"\n";
const MIDDLEWARE: &str = "middleware = [\"access_log\", \"request_id\"]";

/// No response of a check is longer. Other servers do not end all of them.
const LONGEST: u64 = 32 << 20;

/// Sends a request, and returns everything until the connection closes.
fn talk(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let _ = stream.write_all(request); // a server may answer, and close, before it has read everything
    let mut answer = Vec::new();
    let _ = stream.take(LONGEST).read_to_end(&mut answer); // a response that is broken off may end with a reset
    answer
}

/// The head, in lower case except the status line's reason, and the body of the answer to one request.
fn ask(serving: &Serving, request: &str) -> (String, String) {
    ask_at(serving.address(), request)
}

fn ask_at(address: &str, request: &str) -> (String, String) {
    let answer = talk(address, request.as_bytes());
    let text: String = answer.iter().map(|byte| char::from(*byte)).collect();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.to_lowercase().contains("transfer-encoding: chunked") {
        true => (head.to_owned(), join(body)),
        false => (head.to_owned(), body.to_owned()),
    }
}

/// The body that chunks carry, and "broken off" after it if their end is missing.
fn join(chunks: &str) -> String {
    let (mut body, mut rest) = (String::new(), chunks);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if size == 0 {
            return body;
        }
        let chars: Vec<char> = more.chars().collect();
        body.extend(chars.iter().take(size));
        let used: usize = chars.iter().take(size + 2).map(|c| c.len_utf8()).sum();
        rest = more.get(used..).unwrap_or_default();
    }
    body + "broken off"
}

/// The rules that a server breaks, each with what it does. `address` tells before each check where it listens.
pub(super) fn broken_rules(mut address: impl FnMut() -> String) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    for Check { rule, request, status, head, body } in table() {
        let (found_head, found_body) = ask_at(&address(), &request);
        let lower = found_head.to_lowercase();
        let mut faults = Vec::new();
        if !found_head.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(status)) {
            faults.push(format!("the status is not {status}"));
        }
        let lacks = |text: &str, words: &str| match words.strip_prefix('!') {
            Some(words) => text.contains(words),
            None => !text.contains(words),
        };
        faults.extend(head.iter().filter(|words| lacks(&lower, words)).map(|words| format!("head: {words}")));
        for words in body {
            let fails = match words.strip_prefix('=') {
                Some(whole) => found_body != whole,
                None => lacks(&found_body, words),
            };
            if fails {
                faults.push(format!("body: {words}"));
            }
        }
        if !faults.is_empty() {
            let shown: String = found_body.chars().take(1500).collect();
            wrong.push((rule, format!("  {}\n{found_head}\n\n{shown}", faults.join("; "))));
        }
    }
    wrong
}

#[test]
fn every_rule_of_pep_3333() {
    MODES.into_iter().for_each(check_rules);
}

fn check_rules(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}{mode}{MIDDLEWARE}"));
    let wrong: Vec<String> = broken_rules(|| serving.address().to_owned())
        .into_iter()
        .map(|(rule, how)| format!("{rule}\n{how}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} rules are broken with {mode}:\n\n{}\n{}",
        wrong.len(),
        wrong.join("\n\n"),
        serving.stderr()
    );
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn close_is_called_whatever_happens() {
    MODES.into_iter().for_each(check_close);
}

fn check_close(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}{mode}"));
    let closed = || ask(&serving, &get("/was_closed")).1;
    for name in ["closes", "closes_after_error", "long", "file_like"] {
        ask(&serving, &get(&format!("/{name}")));
        wait_until("close() was called", || closed().split(' ').any(|one| one == name));
    }
    // A client that leaves in the middle.
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(get("/endless").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    drop(stream);
    wait_until("close() was called", || closed().contains("endless"));
}

#[test]
fn a_response_that_fails_midway_is_not_ended_as_if_it_were_complete() {
    MODES.into_iter().for_each(check_failures_midway);
}

fn check_failures_midway(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}{mode}"));
    for name in ["too_late", "closes_after_error"] {
        let (head, body) = ask(&serving, &get(&format!("/{name}")));
        assert!(body.ends_with("broken off"), "{name}: {head}\n{body}");
    }
    let (head, _) = ask(&serving, &get("/short"));
    assert!(head.starts_with("HTTP/1.1 500 "), "nothing was sent before it was known: {head}");
    for name in ["short_stream", "file_too_short"] {
        let (head, body) = ask(&serving, &get(&format!("/{name}")));
        let length: usize =
            head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        assert!(body.len() < length, "{name}: {head}\n{}", body.len());
    }
}

#[test]
fn parts_arrive_before_the_next_one_is_made() {
    MODES.into_iter().for_each(check_parts);
}

fn check_parts(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}{mode}"));
    let fifo = site.folder().join("gate");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(get(&format!("/pauses?{}", fifo.display())).as_bytes()).unwrap();
    let gate = std::fs::File::options().write(true).open(&fifo).unwrap();
    let mut seen = String::new();
    while !seen.contains("first\n") {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "{seen}");
        seen += &String::from_utf8_lossy(&chunk[..count]);
    }
    assert!(!seen.contains("second"));
    drop(gate);
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("second\n"), "{seen}");
}

#[test]
fn what_the_application_tells_wsgi_errors_is_in_the_log_with_the_requests_id() {
    MODES.into_iter().for_each(check_errors);
}

fn check_errors(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}{mode}{MIDDLEWARE}"));
    let (head, _) = ask(&serving, &get("/errors"));
    let id = head.split("x-request-id: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    for words in ["printed to wsgi.errors", "two parts", "without a line end"] {
        wait_until("it is logged", || {
            serving.stderr().lines().any(|line| line.contains(words) && line.contains(&id))
        });
    }
    ask(&serving, &get("/fails"));
    wait_until("the traceback is logged", || {
        let log = serving.stderr();
        log.contains("ValueError: told by the application")
            && log.contains("checks.py")
            && log.contains("in fails")
    });
    ask(&serving, &get("/fails_in_close"));
    wait_until("it is logged", || serving.stderr().contains("ValueError: in close"));
}

#[test]
fn bodies_flow_both_ways_with_back_pressure() {
    MODES.into_iter().for_each(check_bodies);
}

fn check_bodies(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let app = &format!("{APP}{mode}middleware = [\"large\"]");
    let serving =
        site.serve_with(app, "[middleware.large]\nuse = \"body_limit\"\nmax_bytes = 50_000_000", &[]);
    // A client that reads nothing: what is made meanwhile is bounded.
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(get("/endless").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    let made = || ask(&serving, &get("/how_much")).1.parse::<usize>().unwrap();
    let mut last = 0;
    wait_until("it waits for the client", || {
        let now = made();
        std::thread::sleep(std::time::Duration::from_millis(100)); // nothing tells that nothing happens
        std::mem::replace(&mut last, now) == now && now == made()
    });
    assert!(last * 65536 < 20 << 20, "{last} parts were made");
    drop(stream);
    // A large upload, by length and in chunks, of which the application sees every byte.
    let body = "0123456789abcdef".repeat(600_000);
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let expected = format!("{} {digest} b''", body.len());
    assert_eq!(ask(&serving, &post("/read", &body)).1, expected);
    let parts: Vec<&str> = vec![&body[..5_000_000], &body[5_000_000..5_000_001], &body[5_000_001..]];
    assert_eq!(ask(&serving, &chunked("/read", &parts)).1, expected);
    // A client that leaves during its upload.
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc").unwrap();
    drop(stream);
    assert_eq!(ask(&serving, &get("/hello")).1, "hello\n");
}

#[test]
fn a_client_that_expects_100_is_told_once_its_body_is_read() {
    MODES.into_iter().for_each(check_expect);
}

fn check_expect(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}{mode}"));
    let head = "Host: a\r\nConnection: close\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(format!("POST /read_all HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n3 b'' b''"), "{answer}");
    // The application answers without reading.
    let answer = talk(serving.address(), format!("POST /unread HTTP/1.1\r\n{head}").as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}
