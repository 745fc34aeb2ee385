//! Everything about one request can be found: in the log, the access log and on error pages.

use serde_json::Value;

use crate::control::Site;
use crate::support::{Connection, plugin, wait_until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn site(more: &str) -> Site {
    Site::new(&format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [log]\nformat = \"text\"\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n\
         middleware = [\"access\", \"request_id\", \"spans\", \"error_page\", \"health\"]\n\
         [middleware.access]\nuse = \"access_log\"\nformat = \"json\"\nfile = \"access.log\"\n\
         [middleware.spans]\nuse = \"trace\"\nsample = 0.0\n{more}",
        plugin("faulty")
    ))
}

/// The value of a field of a response's head.
fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_else(|| panic!("no {name} in {head}"))
}

#[test]
fn all_lines_of_a_request_or_a_trace_are_found_by_its_id() {
    let site = site("");
    let serving = site.serve(&[]);
    let ask = |path: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\
             traceparent: 00-{TRACE}-00f067aa0ba902b7-00\r\n\r\n"
        );
        Connection::open(serving.address()).request(&head)
    };
    let (said, _) = ask("/say");
    let (fell, page) = ask("/panic");
    let (id, other) = (field(&fell, "x-request-id").to_owned(), field(&said, "x-request-id").to_owned());
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((page["status"].as_u64(), page["trace_id"].as_str()), (Some(500), Some(TRACE)), "{page}");
    assert_eq!(page["request_id"], id.as_str());
    wait_until("all is written", || {
        let text = site.text(&["logs", "--request", &id]);
        text.contains("the application failed") && text.contains("access.log")
    });
    let text = site.text(&["logs", "--request", &id]);
    assert!(text.contains("a handler fell") && text.contains(&format!("trace_id={TRACE}")), "{text}");
    assert!(text.contains("span_id=") && !text.contains("something"), "{text}");
    let lines = site.text(&["logs", "--trace", TRACE, "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |part: &str| lines.iter().any(|line| line["text"].as_str().unwrap().contains(part));
    assert!(
        has("says") && has("a handler fell") && has(&format!("\"request_id\":\"{other}\"")),
        "{lines:#?}"
    );
    assert!(lines.iter().any(|line| line["from"].as_str().unwrap().ends_with("access.log")), "{lines:#?}");
    let (code, text) = site.failure(&["logs", "--trace", TRACE, "-f"]);
    assert!(code == 2 && text.contains("cannot be used with"), "{text}");
    assert_eq!(site.text(&["logs", "--request", "none"]), "");
}

#[test]
fn the_debug_page_shows_the_stack_and_the_log_of_the_request() {
    let site = site("");
    let serving = site.serve(&["--reload"]);
    let page = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
        Connection::open(serving.address()).request(&head).1
    };
    page("/say");
    let page = page("/panic");
    for part in [
        "<h2>Stack</h2>",
        "middleware health",
        "app main",
        " ms failed: ",
        "<h2>Log of this request</h2>",
        "a handler fell",
        "Request id",
        "Trace id",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("says"), "the log of another request: {page}");
}
