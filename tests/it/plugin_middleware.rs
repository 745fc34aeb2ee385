//! The middleware `plugin`, through the real program: its config, its errors, what the commands show, and reloads.

use insta::assert_snapshot;

use crate::support::{Connection, Serving, folder, paster, plugin, root, save};

const SITE: &str = r#"[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[app.main]
use = "mount"
middleware = ["seen"]
routes = { "/" = "site", "/api" = "api" }
[app.site]
use = "respond"
body = "site"
[app.api]
use = "respond"
body = "api"
middleware = ["seen", "some"]
[middleware.seen]
use = "plugin"
library = "LIBRARY"
[middleware.some]
use = "plugin"
library = "LIBRARY"
only = { path = "/some" }
[middleware.some.settings]
tag = "some"
"#;

fn site() -> String {
    SITE.replace("LIBRARY", plugin("faulty-middleware").to_str().unwrap())
}

fn run(config: &str, args: &[&str]) -> String {
    let folder = folder(&[("server.toml", config)]);
    let output = paster().args(args).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    text.replace(folder.path().canonicalize().unwrap().to_str().unwrap(), "[FOLDER]")
}

fn get(serving: &Serving, path: &str, action: &str) -> (String, String) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-do: {action}\r\n\r\n");
    Connection::open(serving.address()).request(&head)
}

#[test]
fn all_stacks_share_one_instance_and_only_selects_requests() {
    let folder = folder(&[("server.toml", &site())]);
    let mut serving = Serving::start(folder.path(), &[]);
    let (head, body) = get(&serving, "/", "");
    assert!(head.contains("x-middleware: one") && body == "site", "{head}{body}");
    let (head, body) = get(&serving, "/api/other", "");
    assert!(head.contains("x-middleware: one") && !head.contains("some") && body == "api", "{head}{body}");
    // Once for `main`, twice for the last one: it is in both stacks. This one is answered by the outer one.
    assert_eq!(get(&serving, "/", "count").1, "4 requests, 0 left");
    assert_eq!(get(&serving, "/", "fail").0.split(' ').nth(1), Some("500"));
    assert_eq!(get(&serving, "/", "panic").0.split(' ').nth(1), Some("500"));
    assert_eq!(get(&serving, "/", "count").1, "7 requests, 2 left");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_reload_keeps_its_state_and_changes_its_settings() {
    let folder = folder(&[("server.toml", &site())]);
    let mut serving = Serving::start(folder.path(), &[]);
    get(&serving, "/", "");
    let changed = site().replace("[middleware.some]\n", "settings = { tag = \"two\" }\n[middleware.some]\n");
    save(&folder.path().join("server.toml"), &changed);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let (head, body) = get(&serving, "/", "count");
    assert!(head.contains("x-middleware: two"), "{head}");
    assert_eq!(body, "2 requests, 0 left", "the count goes on");

    // One that is not well does not get to serve.
    save(
        &folder.path().join("server.toml"),
        &changed.replace("tag = \"two\"", "tag = \"three\", healthy = false"),
    );
    serving.signal("HUP");
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("middleware `seen` is not healthy: the middleware is not well"), "{failed}");
    assert!(get(&serving, "/", "").0.contains("x-middleware: two"));
}

#[test]
fn check_finds_faults_with_their_place() {
    assert_snapshot!(run(&site(), &["check"]), @"ok: 1 server, 3 apps, 2 middleware tables");
    let wrong = site().replace("tag = \"some\"", "tag = 7\ntga = \"x\"");
    let text = run(&wrong, &["check"]);
    for words in ["`settings.tag` must be a string, not `7`", "server.toml:23:7", "unknown key `tga`"] {
        assert!(text.contains(words), "`{words}` is not in {text}");
    }
    let app = plugin("hello").display().to_string();
    let middleware = plugin("faulty-middleware").display().to_string();
    let main = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\n";
    let as_app = format!("{main}use = \"plugin\"\nlibrary = \"{middleware}\"\n");
    let text = run(&as_app, &["check"]);
    assert!(text.contains("the plugin `faulty-middleware` has middleware, but no application"), "{text}");
    assert!(text.contains("--> server.toml:6:11") && text.contains("[middleware.NAME]"), "{text}");
    let as_middleware = format!(
        "{main}use = \"respond\"\nmiddleware = [\"x\"]\n[middleware.x]\nuse = \"plugin\"\nlibrary = \"{app}\"\n"
    );
    let text = run(&as_middleware, &["check"]);
    assert!(text.contains("the plugin `hello` has an application, but no middleware"), "{text}");
    assert!(text.contains("--> server.toml:9:11") && text.contains("[app.NAME]"), "{text}");
    for (table, expected) in [
        ("", "`[middleware.x]` names no plugin"),
        ("library = \"none.so\"", "the library `[FOLDER]/none.so` does not exist"),
        ("crate = \"none\"", "there is no crate in `[FOLDER]/none`"),
        ("crate = \".\"\nlibrary = \"server.toml\"", "both set"),
        ("profile = 7", "must be a string"),
    ] {
        let config = format!("{main}use = \"respond\"\n[middleware.x]\nuse = \"plugin\"\n{table}\n");
        let text = run(&config, &["check"]);
        assert!(text.contains(expected), "{table}: {text}");
    }
    let source = root().join("plugins/hello-middleware");
    let unbuilt = format!(
        "{main}use = \"respond\"\n[middleware.x]\nuse = \"plugin\"\ncrate = {source:?}\nprofile = \"never-built\"\n"
    );
    let text = run(&unbuilt, &["check"]);
    assert!(
        text.contains("the settings of `[middleware.x]` are not checked: its plugin is not built yet"),
        "{text}"
    );
}

#[test]
fn routes_and_traces_show_it() {
    assert_snapshot!(run(&site(), &["routes"]), @r"
    main (http) on 127.0.0.1:0
    └─ seen → main (mount)
       ├─ /     site (respond)
       └─ /api  seen → some (only /some) → api (respond)
    ");
    let trace = run(&site(), &["request", "GET", "/api/some", "--trace"]);
    for words in ["seen", "some", "x-middleware"] {
        assert!(trace.contains(words), "`{words}` is not in {trace}");
    }
    let listed = run("", &["list", "middleware", "plugin"]);
    assert!(listed.contains("In Rust, any tower layer can be the middleware of a plugin"), "{listed}");
    let inspected = run("", &["plugin", "inspect", plugin("faulty-middleware").to_str().unwrap()]);
    assert!(inspected.contains("call_middleware") && !inspected.contains(" call,"), "{inspected}");
}

/// The crate of a middleware is built and watched like that of an app.
#[test]
fn its_crate_is_built_and_its_counters_are_reported() {
    let crate_folder = root().join("plugins/hello-middleware");
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = \"x\"\n\
         middleware = [\"metrics\", \"seen\", \"hidden\"]\n[middleware.hidden]\nuse = \"plugin\"\n\
         crate = {crate_folder:?}\nprofile = \"dev\"\n[middleware.hidden.settings]\nrobots = \"none\"\n\
         [middleware.seen]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("faulty-middleware")
    );
    let folder = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(folder.path(), &[]);
    assert!(get(&serving, "/", "log").0.contains("x-robots-tag: none"));
    let (_, metrics) = get(&serving, "/metrics", "");
    let counter = metrics.lines().find(|line| line.contains("seen") && line.contains("middleware.seen"));
    assert!(counter.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    assert_eq!(serving.stop(), Some(0));
    assert!(serving.stderr().contains("a middleware logs"), "{}", serving.stderr());
}
