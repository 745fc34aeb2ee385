//! `mount`, `redirect`, `respond`, and the errors that assembling reports.

use crate::local::{Local, faults, shown};

const SITE: &str = r#"
[app.main]
use = "mount"
[app.main.routes]
"/" = "root"
"/files" = "files"
"/files/deep" = "deep"
"admin.example.org/" = "admin"
"example.org:8080/" = "port"
"/moved" = "moved"
"/query" = "query"
"Bücher.example/" = "files"
[app.root]
use = "respond"
body = "root"
[app.files]
use = "respond"
body = "files"
[app.deep]
use = "respond"
body = "deep"
[app.admin]
use = "respond"
body = "admin"
[app.port]
use = "respond"
body = "port"
[app.moved]
use = "redirect"
to = "https://example.org/new"
keep_path = true
status = 308
[app.query]
use = "redirect"
to = "https://bücher.example/new"
keep_query = true
"#;

#[test]
fn the_longest_prefix_of_the_most_exact_host_wins() {
    let local = Local::new(SITE, &[]);
    let check = |host: &str, target: &str, expected: &str| {
        let request = http::Request::get(target).header("host", host);
        assert_eq!(shown(&local.send(request, ""), &["location"]), expected, "{host} {target}");
    };
    check("localhost", "/", "200 - | root");
    check("localhost", "/filesystem", "200 - | root");
    check("localhost", "/files", "200 - | files");
    check("localhost", "/files/", "200 - | files");
    check("localhost", "/files/deeper", "200 - | files");
    check("localhost", "/files/deep?x", "200 - | deep");
    check("localhost", "/Files", "200 - | root");
    check("admin.example.org", "/files", "200 - | admin");
    check("example.org", "/files", "200 - | files");
    check("example.org:8080", "/files", "200 - | port");
    check(
        "localhost",
        "/moved/a?b=c",
        "308 https://example.org/new/a?b=c | See https://example.org/new/a?b=c\n",
    );
    let to = "https://xn--bcher-kva.example/new?b=c";
    check("localhost", "/query/a?b=c", &format!("307 {to} | See {to}\n"));
    check("xn--bcher-kva.example", "/", "200 - | files");
    check("localhost", "/moved", "308 https://example.org/new/ | See https://example.org/new/\n");
}

#[test]
fn prefixes_are_compared_decoded() {
    let config = r#"
[app.main]
use = "mount"
[app.main.routes]
"/a@b" = "at"
"/my files" = "space"
"/%C3%A4/100%25" = "escaped"
[app.at]
use = "redirect"
to = "https://at.example"
keep_path = true
[app.space]
use = "respond"
body = "space"
[app.escaped]
use = "respond"
body = "escaped"
"#;
    let local = Local::new(config, &[]);
    let check = |target: &str, expected: &str| {
        assert_eq!(shown(&local.get(target), &["location"]), expected, "{target}");
    };
    for target in ["/a@b/x%40?q=1", "/a%40b/x%40?q=1", "/%61%40b/x%40?q=1"] {
        check(target, "307 https://at.example/x%40?q=1 | See https://at.example/x%40?q=1\n");
    }
    check("/a%40b", "307 https://at.example/ | See https://at.example/\n");
    check("/my%20files/x", "200 - | space");
    check("/%c3%a4/100%25/x", "200 - | escaped");
    for elsewhere in ["/a%40bc", "/a%2540b", "/my%20file", "/%c3%a4/100"] {
        assert_eq!(local.get(elsewhere).status(), 404, "{elsewhere}");
    }
}

#[test]
fn two_spellings_of_one_prefix_are_an_error() {
    let config = "[app.main]\nuse = \"mount\"\nroutes = { \"/a@b\" = \"x\", \"/a%40b/\" = \"x\" }\n[app.x]\nuse = \"respond\"\n";
    assert!(faults(config).contains("another route has the same host and prefix"), "{}", faults(config));
}

#[test]
fn nothing_mounted_names_the_mounts_in_development_alone() {
    let config = "[app.main]\nuse = \"mount\"\nroutes = { \"/a\" = \"a\" }\n[app.a]\nuse = \"respond\"\n";
    assert_eq!(shown(&Local::new(config, &[]).get("/b"), &[]), "404 | Nothing is mounted at /b\n");
    let answer = shown(&Local::development(config, &[]).get("/b"), &[]);
    assert_eq!(answer, "404 | Nothing is mounted at /b\n\nMounted:\n  /a/\n");
}

#[test]
fn every_fault_of_every_table_is_found_at_once() {
    let config = r#"
[app.main]
use = "mount"
middleware = ["tiemout", "slow"]
routes = { "/" = "mian", "nowhere" = "a", "/loop" = "loop" }
[app.loop]
use = "mount"
routes = { "/" = "main" }
[app.unreached]
use = "respnod"
[app.wrong]
use = "respond"
status = 99
[app.bad]
use = "redirect"
to = "//evil.example/"
[middleware.slow]
use = "timeuot"
"#;
    insta::assert_snapshot!(faults(config), @r"
    unknown app `mian` (did you mean `main`?)
    app `main` passes requests to itself: `main` → `loop` → `main` (remove one of these links)
    cannot mount an app at `nowhere`: it has no `/` (write a prefix (`/files`) or a host with a prefix (`example.org/files`))
    unknown middleware `tiemout` (did you mean `timeout`?)
    unknown middleware `timeuot` (did you mean `timeout`?)
    unknown kind of app `respnod` (did you mean `respond`?)
    `status` must be at least 200, not `99` ()
    cannot redirect to `//evil.example/` (write a URL with its scheme (`https://example.org/new`) or a path that begins with `/`)
    ");
}
