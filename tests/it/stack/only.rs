//! `only` and `except`: which requests pass through a middleware.

use http::Request;
use insta::assert_snapshot;

use super::hello;
use crate::local::{Local, faults, shown};
use crate::support::{Serving, folder, get, paster};

const MARK: &str = "[middleware.mark]\nuse = \"headers\"\nresponse.set = { x = \"1\" }\n";

#[test]
fn requests_are_chosen_by_path_method_and_host() {
    let check = |choice: &str, request: http::request::Builder, passes: bool| {
        let local = Local::new(&hello("[\"mark\"]", &format!("{MARK}{choice}\n")), &[]);
        let shown = shown(&local.send(request, ""), &["x"]);
        assert_eq!(shown, if passes { "200 1 | hello" } else { "200 - | hello" }, "{choice}");
    };
    let paths = "only = { path = \"/api/*\" }";
    check(paths, Request::get("/api"), true);
    check(paths, Request::get("/api/a?b"), true);
    check(paths, Request::get("/apis"), false);
    let both = "only = { path = [\"/a\", \"*.php\"], method = [\"POST\", \"PUT\"] }";
    check(both, Request::post("/a"), true);
    check(both, Request::put("/x.php"), true);
    check(both, Request::get("/a"), false);
    check(both, Request::post("/b"), false);
    check("only = { host = \"*.example.org\" }", Request::get("/").header("host", "a.example.org"), true);
    check("only = { host = \"*.example.org\" }", Request::get("/").header("host", "example.org"), false);
    check("except = { path = \"/healthz\" }", Request::get("/healthz"), false);
    check("except = { path = \"/healthz\" }", Request::get("/"), true);
    let part = "only = { path = \"/a/*\" }\nexcept = { path = \"/a/open\" }";
    check(part, Request::get("/a/b"), true);
    check(part, Request::get("/a/open"), false);
}

#[test]
fn what_cannot_match_is_an_error() {
    let tables = format!(
        "{MARK}only = {{ path = \"api\", method = \"post\", host = \"example.org:80\" }}\n\
         [middleware.other]\nuse = \"lowercase\"\nexcept = {{}}\n\
         [middleware.third]\nuse = \"lowercase\"\nonly = {{ paht = \"/\" }}\n"
    );
    assert_snapshot!(faults(&hello("[\"mark\", \"other\", \"third\"]", &tables)), @r#"
    unknown key `paht` in `[middleware.third.only]` (did you mean `path`?)
    `except` matches no requests (write `except = { path = "/api/*" }`, or remove it)
    `api` is not a pattern for paths (begin it with `/` or `*`, and omit the query)
    `post` is not a method (write it in upper case: `POST`)
    `example.org:80` is not a host (write `example.org` or `*.example.org`, without a port)
    "#);
}

#[test]
fn a_limit_for_some_requests_leaves_the_default_for_the_others() {
    let tables = "[middleware.uploads]\nuse = \"body_limit\"\nmax_bytes = 3000000\nonly = { path = \"/upload\" }\n\
                  [middleware.videos]\nuse = \"body_limit\"\nmax_bytes = 4000000\nonly = { path = \"/video\" }\n";
    let local = Local::new(&hello("[\"uploads\", \"videos\"]", tables), &[]);
    let check = |path: &str, length: usize, expected: u16| {
        let answer = local.send(Request::post(path), vec![b'x'; length]);
        assert_eq!(answer.status().as_u16(), expected, "{path} {length}");
    };
    check("/upload", 2_000_000, 200);
    check("/upload", 3_500_000, 413);
    check("/video", 3_500_000, 200);
    check("/other", 2_000_000, 413);
}

#[test]
fn routes_show_the_choice_and_the_apps_behind_a_middleware() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
                  [app.main]\nuse = \"respond\"\nmiddleware = [\"log\", \"overlay\", \"compress\"]\n\
                  [middleware.log]\nuse = \"access_log\"\nexcept = { path = [\"/healthz\", \"*.png\"] }\n\
                  [middleware.overlay]\nuse = \"static_overlay\"\napp = \"files\"\nonly = { method = \"GET\", path = \"/www/*\" }\n\
                  [app.files]\nuse = \"respond\"\n";
    let folder = folder(&[("server.toml", config)]);
    let run = |arguments: &[&str]| {
        let output = paster().arg("routes").args(arguments).current_dir(folder.path()).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_snapshot!(run(&[]), @r"
    main (http) on 127.0.0.1:0
    └─ log (except /healthz|*.png) → overlay (only GET /www/*) → compress → main (respond)
       └─ overlay: first  files (respond)
    ");
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).unwrap();
    let layer = &json["servers"][0]["app"]["middleware"][1];
    assert_eq!(
        *layer,
        serde_json::json!({ "name": "overlay", "kind": "static_overlay", "requests": "only GET /www/*" })
    );
}

#[test]
fn a_middleware_that_leads_back_to_its_app_is_an_error() {
    let tables = "[middleware.overlay]\nuse = \"static_overlay\"\napp = \"main\"\n";
    assert_snapshot!(faults(&hello("[\"overlay\"]", tables)), @"app `main` passes requests to itself: `main` → `main` (remove one of these links)");
}

#[test]
fn an_access_log_with_exceptions_still_has_the_refused_requests() {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{}",
        hello(
            "[\"log\"]",
            "[middleware.log]\nuse = \"access_log\"\nfile = \"log\"\nexcept = { path = \"/quiet\" }\n"
        )
    );
    let folder = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(folder.path(), &["server.toml"]);
    assert_eq!(get(&serving, "/quiet"), "hello");
    assert_eq!(get(&serving, "/loud"), "hello");
    get(&serving, "/a/../b");
    serving.stop();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let targets: Vec<_> = log.lines().map(|line| line.split(' ').nth(6).unwrap()).collect();
    assert_eq!(targets, ["/loud", "/a/../b"], "{log}");
}

#[test]
fn a_trace_shows_what_each_part_changed() {
    let config = hello(
        "[\"mark\", \"never\", \"prefix\", \"secret\"]",
        &format!(
            "{MARK}[middleware.never]\nuse = \"lowercase\"\nonly = {{ path = \"/other\" }}\n\
             [middleware.prefix]\nuse = \"rewrite\"\nadd_prefix = \"/v1\"\n\
             [middleware.secret]\nuse = \"headers\"\nrequest.set = {{ cookie = \"a=b\", y = \"2\" }}\nrequest.remove = [\"z\"]\n"
        ),
    );
    let folder = folder(&[("server.toml", &config)]);
    let run = |arguments: &[&str]| {
        let mut command = paster();
        command.args(["request", "GET", "/a", "-H", "z: 3", "--trace"]).args(arguments);
        let output = command.current_dir(folder.path()).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let [_, told] = run(&[]);
    let changes: Vec<_> = told.lines().filter(|line| line.contains(['→', '←'])).map(str::trim).collect();
    assert_eq!(
        changes,
        ["← + x: 1", "→ GET /a → GET /v1/a", "→ + cookie: ***", "→ + y: 2", "→ - z: 3"],
        "{told}"
    );
    assert!(!told.contains("never"), "a part that the request does not pass through: {told}");
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])[0]).unwrap();
    assert_eq!(json["trace"][0]["changes"], serde_json::json!({ "response": ["+ x: 1"] }));
}
