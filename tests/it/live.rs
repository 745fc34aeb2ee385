//! The live page of development, as a browser sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::support::{Connection, PATIENCE, Serving, folder, save};

const PAGE: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\n\
                    body = \"<h1>hello</h1>\"\nheaders = { content-type = \"text/html\" }\n";

fn page(serving: &Serving, extra: &str) -> (String, String) {
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n");
    Connection::open(serving.address()).request(&head)
}

/// Opens the stream of events and returns its lines.
fn events(serving: &Serving) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(b"GET /.paster/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    BufReader::new(stream)
}

/// Reads up to the next event whose data holds `word`; `None` at the stream's end.
fn next(events: &mut BufReader<TcpStream>, word: &str) -> Option<String> {
    let mut line = String::new();
    while events.read_line(&mut line).unwrap() > 0 {
        if line.starts_with("data: ") && line.contains(word) {
            return Some(line);
        }
        line.clear();
    }
    None
}

#[test]
fn pages_get_a_script_that_hears_of_generations_and_errors() {
    let folder = folder(&[("server.toml", PAGE)]);
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let (head, body) = page(&serving, "Accept: text/html\r\nAccept-Encoding: gzip\r\n");
    let (html, tag) = body.split_once('\n').unwrap();
    assert_eq!(html, "<h1>hello</h1>");
    let generation = tag.split_once("live.js?g=").unwrap().1.split_once('"').unwrap().0.to_owned();
    assert!(head.to_lowercase().contains("cache-control: no-store"), "{head}");
    let script = Connection::open(serving.address()).get("/.paster/live.js");
    assert!(script.0.contains("text/javascript") && script.1.contains("EventSource"), "{}", script.0);

    for extra in ["", "Accept: */*\r\n", "Accept: text/html\r\nSec-Fetch-Dest: empty\r\n"] {
        assert_eq!(page(&serving, extra).1, "<h1>hello</h1>", "no page that a person sees: {extra:?}");
    }
    let relayed = "Accept: text/html\r\nX-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(page(&serving, relayed).1, "<h1>hello</h1>", "a relay that is not trusted");
    let foreign = "GET / HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n";
    assert_eq!(Connection::open(serving.address()).request(foreign).1, "<h1>hello</h1>");

    let mut stream = events(&serving);
    assert!(next(&mut stream, "\"serving\"").unwrap().contains(&generation));
    save(&folder.path().join("server.toml"), &PAGE.replace("respond", "respnd"));
    serving.wait_for("reload_failed");
    let failed = next(&mut stream, "\"failed\"").unwrap();
    assert!(failed.contains("did you mean `respond`?"), "{failed}");
    let mut late = events(&serving);
    assert!(next(&mut late, "\"failed\"").is_some(), "a page that opens later hears it too");

    save(&folder.path().join("server.toml"), &PAGE.replace("hello", "mended"));
    serving.wait_for("reloaded");
    assert!(next(&mut stream, "no such word").is_none(), "the old generation's stream ends");
    let told = next(&mut events(&serving), "\"serving\"").unwrap();
    assert!(!told.contains(&format!("{generation}\"")), "the next is another generation");
    assert!(page(&serving, "Accept: text/html\r\n").1.starts_with("<h1>mended</h1>\n<script"));
}

#[test]
fn production_has_none_of_it() {
    let folder = folder(&[("server.toml", PAGE)]);
    let serving = Serving::start(folder.path(), &[]);
    assert_eq!(page(&serving, "Accept: text/html\r\n").1, "<h1>hello</h1>");
    assert_eq!(Connection::open(serving.address()).get("/.paster/live.js").1, "<h1>hello</h1>");
}
