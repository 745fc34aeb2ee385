//! PEP 3333, over raw sockets: each check with the paragraph that it comes from.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{MODES, Site, checks};
use crate::support::{Serving, patience, wait_until};

const APP: &str = "application = \"checks:application\"\n";
const MIDDLEWARE: &str = "middleware = [\"access_log\", \"request_id\"]";

/// Sends a request, and returns everything until the connection closes.
fn talk(serving: &Serving, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a response that is broken off may end with a reset
    answer
}

/// The head, in lower case except the status line's reason, and the body of the answer to one request.
fn ask(serving: &Serving, request: &str) -> (String, String) {
    let answer = talk(serving, request.as_bytes());
    let text: String = answer.iter().map(|byte| char::from(*byte)).collect();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.contains("transfer-encoding: chunked") {
        true => (head.to_owned(), join(body)),
        false => (head.to_owned(), body.to_owned()),
    }
}

/// The body that chunks carry, and "broken off" after it if their end is missing.
fn join(chunks: &str) -> String {
    let (mut body, mut rest) = (String::new(), chunks);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        let chars: Vec<char> = more.chars().collect();
        body.extend(chars.iter().take(size));
        let used: usize = chars.iter().take(size + 2).map(|c| c.len_utf8()).sum();
        rest = &more[used..];
    }
    body + "broken off"
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.org:81\r\nConnection: close\r\n\r\n")
}

fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn chunked(target: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{parts}0\r\n\r\n"
    )
}

/// What an answer must be. Words are looked for in the head without regard to case.
struct Check {
    /// The paragraph, and what it says.
    rule: &'static str,
    request: String,
    status: &'static str,
    /// Lines that the head must have, and must not have after `!`.
    head: &'static [&'static str],
    /// What the body must contain, and must not contain after `!`; `=` for the whole body.
    body: &'static [&'static str],
}

fn check(
    rule: &'static str,
    request: String,
    status: &'static str,
    head: &'static [&'static str],
    body: &'static [&'static str],
) -> Check {
    Check { rule, request, status, head, body }
}

#[rustfmt::skip]
fn table() -> Vec<Check> {
    let with = |target: &str, field: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n");
    let head_of = |head: &str| get(&format!("/head_of?{head}"));
    vec![
        // environ Variables
        check("environ: REQUEST_METHOD, never empty", get("/env"), "200", &[], &["REQUEST_METHOD='GET'"]),
        check("environ: other methods", "PROPFIND /env HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200", &[], &["REQUEST_METHOD='PROPFIND'"]),
        check("environ: SCRIPT_NAME is empty at the root", get("/env"), "200", &[], &["SCRIPT_NAME=''"]),
        check("environ: PATH_INFO", get("/env/a/b"), "200", &[], &["PATH_INFO='/env/a/b'"]),
        check("environ: PATH_INFO is decoded", get("/env/a%20b%3F"), "200", &[], &["PATH_INFO='/env/a b?'"]),
        check("Unicode Issues: PATH_INFO is latin-1 of the bytes", get("/env/%C3%A9"), "200", &[], &["PATH_INFO='/env/\\xc3\\xa9'"]),
        check("Unicode Issues: the gate refuses bytes that are not UTF-8", get("/env/%E9"), "400", &[], &[]),
        check("environ: QUERY_STRING, not decoded", get("/env?a=%20b&c=d?e"), "200", &[], &["QUERY_STRING='a=%20b&c=d?e'"]),
        check("environ: QUERY_STRING may be empty", get("/env"), "200", &[], &["QUERY_STRING=''"]),
        check("environ: SERVER_NAME", get("/env"), "200", &[], &["SERVER_NAME='example.org'"]),
        check("environ: SERVER_PORT is a string", get("/env"), "200", &[], &["SERVER_PORT='81'"]),
        check("environ: SERVER_PROTOCOL", get("/env"), "200", &[], &["SERVER_PROTOCOL='HTTP/1.1'"]),
        check("environ: SERVER_PROTOCOL of HTTP/1.0", "GET /env HTTP/1.0\r\nHost: a\r\n\r\n".into(), "200", &[], &["SERVER_PROTOCOL='HTTP/1.0'"]),
        check("environ: HTTP_ variables", with("/env", "X-Some-Thing: value"), "200", &[], &["HTTP_X_SOME_THING='value'"]),
        check("environ: HTTP_HOST", get("/env"), "200", &[], &["HTTP_HOST='example.org:81'"]),
        check("environ: repeated fields are joined", with("/env", "X-A: 1\r\nX-A: 2"), "200", &[], &["HTTP_X_A='1, 2'"]),
        check("environ: cookies are joined by a semicolon", with("/env", "Cookie: a=1\r\nCookie: b=2"), "200", &[], &["HTTP_COOKIE='a=1; b=2'"]),
        check("environ: no HTTP_PROXY", with("/env", "Proxy: evil"), "200", &[], &["!HTTP_PROXY"]),
        check("environ: CONTENT_TYPE without HTTP_", with("/env", "Content-Type: a/b"), "200", &[], &["CONTENT_TYPE='a/b'", "!HTTP_CONTENT_TYPE"]),
        check("environ: CONTENT_LENGTH without HTTP_", post("/env", "abc"), "200", &[], &["CONTENT_LENGTH='3'", "!HTTP_CONTENT_LENGTH"]),
        check("environ: no CONTENT_LENGTH for chunks", chunked("/env", &["abc"]), "200", &[], &["!CONTENT_LENGTH", "!HTTP_TRANSFER_ENCODING"]),
        check("environ: latin-1 field values", with("/env", "X-A: caf\u{e9}"), "200", &[], &["HTTP_X_A='caf\\xc3\\xa9'"]),
        check("environ: REMOTE_ADDR", get("/env"), "200", &[], &["REMOTE_ADDR='127.0.0.1'"]),
        check("environ: a builtin dictionary", get("/env"), "200", &[], &["type=dict"]),
        check("environ: without the process's variables", get("/env"), "200", &[], &["!PATH='/", "!XDG_STATE_HOME"]),
        check("environ: wsgi.version", get("/env"), "200", &[], &["wsgi.version=(1, 0)"]),
        check("environ: wsgi.url_scheme", get("/env"), "200", &[], &["wsgi.url_scheme='http'"]),
        check("environ: wsgi.multithread", get("/env"), "200", &[], &["wsgi.multithread=True"]),
        check("environ: wsgi.multiprocess", get("/env"), "200", &[], &["wsgi.multiprocess=False"]),
        check("environ: wsgi.run_once", get("/env"), "200", &[], &["wsgi.run_once=False"]),
        check("environ: wsgi.input_terminated", get("/env"), "200", &[], &["wsgi.input_terminated=True"]),
        // Input and Error Streams
        check("Input: read(size), and the end", post("/read", "hello"), "200", &[], &["5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 b''"]),
        check("Input: read()", post("/read_all", "hello"), "200", &[], &["=5 b'' b''"]),
        check("Input: read in parts", post("/read_parts", "abcdefgh"), "200", &[], &["=[b'abc', b'def', b'gh']"]),
        check("Input: readline with and without a size", post("/readline", "one\ntwo\nthree"), "200", &[], &["=[b'one\\n', b'tw', b'o\\n', b'three', b'']"]),
        check("Input: readlines", post("/readlines", "a\n\nb"), "200", &[], &["=[b'a\\n', b'\\n', b'b']"]),
        check("Input: readlines with a hint", post("/readlines_hint", "a\nb\nc\nd\n"), "200", &[], &["=[[b'a\\n', b'b\\n'], [b'c\\n'], [b'd\\n']]"]),
        check("Input: iteration", post("/iterate", "a\nb"), "200", &[], &["=[b'a\\n', b'b']"]),
        check("Input: empty without a body", get("/iterate"), "200", &[], &["=[]"]),
        check("Input: chunks are joined", chunked("/read_parts", &["ab", "cdefg", "h"]), "200", &[], &["=[b'abc', b'def', b'gh']"]),
        check("Input: lines across chunks", chunked("/iterate", &["a", "b\nc", "\n", "d"]), "200", &[], &["=[b'ab\\n', b'c\\n', b'd']"]),
        check("Input: the end of chunks", chunked("/read_all", &["hello"]), "200", &[], &["=5 b'' b''"]),
        check("Input: it need not be read", post("/unread", "abc"), "200", &[], &["=not read\n"]),
        // The start_response() Callable
        check("start_response: status and reason", head_of("201%20Made%20Here"), "201 Made Here", &[], &["=sent\n"]),
        check("start_response: an empty reason", head_of("200%20"), "200", &[], &["=sent\n"]),
        check("start_response: headers in their order", head_of("200%20OK|X-A|1|X-B|2"), "200 OK", &["x-a: 1", "x-b: 2"], &[]),
        check("start_response: repeated headers stay apart", head_of("200%20OK|Set-Cookie|a=1|Set-Cookie|b=2"), "200 OK", &["set-cookie: a=1", "set-cookie: b=2"], &[]),
        check("start_response: latin-1 values", get("/latin1/x"), "200", &["x-name: caf\u{e9}"], &[]),
        check("start_response: a line end in a value", head_of("200%20OK|X-A|a%0D%0AX-Evil:%20b"), "500", &["!x-evil"], &[]),
        check("start_response: a line end in the status", head_of("200%20OK%0D%0AX-Evil:%20b"), "500", &["!x-evil"], &[]),
        check("start_response: a NUL in a value", head_of("200%20OK|X-A|a%00b"), "500", &["!x-a"], &[]),
        check("start_response: a colon in a name", head_of("200%20OK|X-A:|a"), "500", &["!x-a"], &[]),
        check("start_response: an empty name", head_of("200%20OK||a"), "500", &[], &[]),
        check("start_response: no Status header", head_of("200%20OK|Status|200"), "500", &["!status"], &[]),
        check("start_response: a status that is none", head_of("OK"), "500", &[], &[]),
        check("start_response: a status of two digits", head_of("20%20OK"), "500", &[], &[]),
        check("start_response: a status above 599", head_of("999%20OK"), "500", &[], &[]),
        check("start_response: the status is a string", get("/head_types?status"), "500", &[], &[]),
        check("start_response: the headers are a list", get("/head_types?tuple"), "500", &[], &[]),
        check("start_response: of tuples", get("/head_types?lists"), "500", &[], &[]),
        check("start_response: names are strings", get("/head_types?name"), "500", &[], &[]),
        check("start_response: values are strings", get("/head_types?value"), "500", &[], &[]),
        check("start_response: not twice", get("/twice"), "500", &[], &["!never"]),
        check("start_response: it must be called before a part", get("/not_started"), "500", &[], &["!never"]),
        check("start_response: it must be called", get("/never_started"), "500", &[], &[]),
        check("start_response: in the first step of a generator", get("/generator"), "200", &["content-type: text/plain"], &["one ", "two ", "three\n"]),
        check("start_response: exc_info replaces the head", get("/replaced"), "500 Oops", &["x-second: 2", "!x-first"], &["=replaced\n"]),
        check("start_response: exc_info after the head is raised", get("/too_late"), "200", &[], &["=sent broken off"]),
        check("Other HTTP Features: Connection", head_of("200%20OK|Connection|keep-alive"), "500", &[], &[]),
        check("Other HTTP Features: Transfer-Encoding", head_of("200%20OK|Transfer-Encoding|chunked"), "500", &[], &[]),
        check("Other HTTP Features: Upgrade", head_of("200%20OK|Upgrade|x"), "500", &[], &[]),
        // Handling the Content-Length Header
        check("Content-Length: of a list of one part", get("/raw/hello"), "200 OK", &["content-length: 6"], &["=hello\n"]),
        check("Content-Length: of an iterable whose length is 1", get("/raw/once"), "200 OK", &["content-length: 8"], &["=one part"]),
        check("Content-Length: of a list", get("/raw/several"), "200 OK", &["content-length: 3"], &["=abc"]),
        check("Content-Length: of an empty list", get("/raw/nothing"), "200 OK", &["content-length: 0"], &["="]),
        check("Content-Length: that of the application", get("/sized"), "200 OK", &["content-length: 5"], &["=12345"]),
        check("Content-Length: nothing beyond it is sent", get("/long"), "200 OK", &["content-length: 5"], &["=12345"]),
        check("Content-Length: a number", get("/wrong_length"), "500", &[], &[]),
        check("Content-Length: twice", head_of("200%20OK|Content-Length|5|Content-Length|5"), "500", &[], &[]),
        // Buffering and Streaming; The write() Callable
        check("write: before the parts", get("/write"), "200 OK", &[], &["first ", "second ", "third\n"]),
        check("Streaming: empty parts are allowed", get("/generator"), "200 OK", &["transfer-encoding: chunked"], &["=one two three\n"]),
        check("Streaming: parts are bytes", get("/written_text"), "500", &[], &[]),
        check("Streaming: bytes are no iterable of parts", get("/returned_bytes"), "500", &[], &[]),
        check("Streaming: something must be returned", get("/returned_none"), "500", &[], &[]),
        check("Streaming: a large part", get("/raw/large?1000000"), "200 OK", &["content-length: 1000000"], &["yyyy"]),
        // Error Handling
        check("Error Handling: 500 without the cause", get("/fails"), "500", &[], &["!told by the application", "!Traceback"]),
        check("Error Handling: in the first part", get("/fails_in_first_part"), "500", &[], &["!in the first part"]),
        check("Error Handling: SystemExit is an error like others", get("/exits"), "500", &[], &[]),
        check("Error Handling: in close, after the response", get("/fails_in_close"), "200 OK", &[], &["sent\n"]),
        // HTTP
        check("HEAD: no body, and the length", "HEAD /raw/hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &["content-length: 6"], &["="]),
        check("HEAD: a generator", "HEAD /generator HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &[], &["="]),
        check("HEAD: an endless one", "HEAD /endless HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &[], &["="]),
        check("HEAD: a file", "HEAD /raw/file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &["content-length: 1000000"], &["="]),
        check("204: no body", get("/no_content"), "204", &["!content-length", "!transfer-encoding"], &["="]),
        check("204: with a body that must not be sent", get("/body_with_204"), "204", &["!content-length"], &["="]),
        check("304: no body", get("/not_modified"), "304", &["etag: \"a\""], &["="]),
        // Optional Platform-Specific File Handling
        check("file_wrapper: the whole file", get("/raw/file"), "200 OK", &["content-length: 1000000"], &["0123456789"]),
        check("file_wrapper: from the current position", get("/raw/file_from"), "200 OK", &["content-length: 5"], &["=56789"]),
        check("file_wrapper: as much as Content-Length says", get("/raw/file_part"), "200 OK", &["content-length: 15"], &["=012345678901234"]),
        check("file_wrapper: an object without a descriptor", get("/file_like"), "200 OK", &[], &["xxx"]),
    ]
}

#[test]
fn every_rule_of_pep_3333() {
    MODES.into_iter().for_each(check_rules);
}

fn check_rules(mode: &str) {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}{mode}{MIDDLEWARE}"));
    let mut wrong = Vec::new();
    for Check { rule, request, status, head, body } in table() {
        let (found_head, found_body) = ask(&serving, &request);
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
            wrong.push(format!("{rule}\n  {}\n{found_head}\n\n{shown}", faults.join("; ")));
        }
    }
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
    let answer = talk(&serving, format!("POST /unread HTTP/1.1\r\n{head}").as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}
