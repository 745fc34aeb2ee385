//! The live page in development, as a browser sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::support::{Connection, Serving, folder, patience, save};

const PAGE: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\n\
                    body = \"<h1>hello</h1>\"\nheaders = { content-type = \"text/html\" }\n";

fn page(serving: &Serving, extra: &str) -> (String, String) {
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n");
    Connection::open(serving.address()).request(&head)
}

/// Opens the stream of events and returns its lines.
pub(crate) fn events(serving: &Serving) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream
        .write_all(b"GET /.paster/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    BufReader::new(stream)
}

/// Reads up to the next event whose data contains `word`; `None` at the end of the stream.
pub(crate) fn next(events: &mut BufReader<TcpStream>, word: &str) -> Option<String> {
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
fn an_edit_of_a_static_file_refreshes_open_pages() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"static\"\n\
                  publish_dir = \"public\"\n";
    let folder = folder(&[("server.toml", config), ("public/index.html", "one"), ("public/css/a.css", "a")]);
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let mut stream = events(&serving);
    let mut last = next(&mut stream, "\"serving\"").unwrap();
    let mut check = |what: &str| {
        let told = next(&mut stream, "\"serving\"").unwrap();
        assert_ne!(told, last, "{what}");
        last = told;
    };
    save(&folder.path().join("public/index.html"), "two");
    check("a file has changed");
    save(&folder.path().join("public/css/a.css"), "b");
    check("a file in a folder has changed");
    std::fs::rename(folder.path().join("public"), folder.path().join("old")).unwrap();
    check("the folder is gone");
    std::fs::create_dir(folder.path().join("new")).unwrap();
    std::fs::write(folder.path().join("new/index.html"), "three").unwrap();
    std::fs::rename(folder.path().join("new"), folder.path().join("public")).unwrap();
    check("the folder was built again");
    save(&folder.path().join("public/index.html"), "four");
    check("a file of the new folder has changed");
    let (_, html) = page(&serving, "Accept: text/html\r\n");
    let version = html.split_once("live.js?g=").unwrap().1.split_once('"').unwrap().0;
    assert!(html.starts_with("four\n<script"), "{html}");
    assert!(next(&mut events(&serving), "\"serving\"").unwrap().contains(&format!("{version}\"")));
    // It needed no new generation.
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
}

#[test]
fn production_has_none_of_it() {
    let folder = folder(&[("server.toml", PAGE)]);
    let serving = Serving::start(folder.path(), &[]);
    assert_eq!(page(&serving, "Accept: text/html\r\n").1, "<h1>hello</h1>");
    assert_eq!(Connection::open(serving.address()).get("/.paster/live.js").1, "<h1>hello</h1>");
}
