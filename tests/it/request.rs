//! `paster request`, and the server `console`.

use std::process::{Output, Stdio};

use crate::support::{folder, paster, piped, text};

const CONFIG: &str = r#"
[server.main]
use = "http"
app = "front"
[app.front]
use = "respond"
status = 201
body = "made\n"
middleware = ["body_limit", "no_store"]
[middleware.no_store]
use = "headers"
response.set = { cache-control = "no-store" }
[app.missing]
use = "respond"
status = 404
body = "none\n"
"#;

fn run(config: &str, args: &[&str], input: &str) -> Output {
    let folder = folder(&[("server.toml", config), ("body.txt", "from a file")]);
    piped(paster().arg("request").args(args).current_dir(folder.path()), input)
}

#[test]
fn prints_head_and_body() {
    let output = run(CONFIG, &["GET", "/"], "");
    let shown = text(&output.stdout);
    assert!(shown.starts_with("HTTP/1.1 201 Created\r\n"), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("cache-control: no-store\r\n"), "{shown}");
    assert!(shown.ends_with("\r\n\r\nmade\n"), "{shown}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn prints_the_body_alone_json_or_a_trace() {
    assert_eq!(text(&run(CONFIG, &["GET", "/", "--no-include"], "").stdout), "made\n");
    let output = run(CONFIG, &["GET", "/", "server.toml", "--json", "--trace"], "");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((value["status"].as_u64(), value["body"].as_str()), (Some(201), Some("made\n")));
    let parts: Vec<_> =
        value["trace"].as_array().unwrap().iter().map(|step| step["middleware"].as_str()).collect();
    assert_eq!(parts, [Some("body_limit"), Some("no_store"), None], "{value:#}");
    let output = run(CONFIG, &["GET", "/", "--trace", "--no-include"], "");
    assert_eq!(text(&output.stdout), "made\n");
    assert!(text(&output.stderr).contains("no_store  201"), "{}", text(&output.stderr));
}

#[test]
fn the_exit_code_is_that_of_the_exchange_unless_asked() {
    assert_eq!(run(CONFIG, &["GET", "/", "--app", "missing"], "").status.code(), Some(0));
    assert_eq!(run(CONFIG, &["GET", "/", "--app", "missing", "--fail"], "").status.code(), Some(1));
    let output = run(CONFIG, &["GET", "/", "--app", "mising"], "");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("did you mean `missing`?"), "{}", text(&output.stderr));
    let output = run(CONFIG, &["G T", "a b", "-H", "nothing"], "");
    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output.stderr);
    for part in ["`G T` is not a method", "`a b` is not a path", "`nothing` is not a header field"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_plugin_is_asked_without_a_supervisor() {
    let library = crate::support::plugin("hello");
    let config = format!("[app.main]\nuse = \"plugin\"\nlibrary = {library:?}\n");
    let output = run(&config, &["GET", "/", "--trace"], "");
    let shown = text(&output.stdout);
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("app main  200"), "{}", text(&output.stderr));
}

#[test]
fn the_server_console_prints_its_one_response() {
    let config =
        format!("{CONFIG}[server.once]\nuse = \"console\"\napp = \"missing\"\nheaders = [\"X-A: b\"]\n");
    let folder = folder(&[("server.toml", &config)]);
    let output = paster()
        .args(["serve", "--server", "once"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(shown.starts_with("HTTP/1.1 404 Not Found\r\n"), "{shown}{}", text(&output.stderr));
    assert!(shown.ends_with("\r\n\r\nnone\n"), "{shown}");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_gate_stands_before_the_app() {
    let output = run(CONFIG, &["GET", "/../etc/passwd"], "");
    assert!(text(&output.stdout).starts_with("HTTP/1.1 400 Bad Request\r\n"));
    let output = run(CONFIG, &["GET", "/", "-H", "Host: a b"], "");
    assert!(text(&output.stdout).contains("invalid Host"), "{}", text(&output.stdout));
    let shown = run(CONFIG, &["HEAD", "/"], "");
    assert!(text(&shown.stdout).ends_with("\r\n\r\n"), "{}", text(&shown.stdout));
    assert!(text(&shown.stdout).contains("content-length: 5\r\n"), "{}", text(&shown.stdout));
}
