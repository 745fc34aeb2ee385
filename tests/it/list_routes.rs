//! The output of `paster list` and `paster routes`.

use insta::assert_snapshot;

use crate::support::{folder, paster};

/// Standard output of the program in a folder with this `server.toml`; its errors if it fails.
fn run(config: &str, args: &[&str]) -> String {
    let folder = folder(&[("server.toml", config)]);
    let output = paster().args(args).current_dir(folder.path()).output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(text).unwrap()
}

const SITE: &str = r#"
[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[server.staff]
use = "http"
listen = ["unix:staff.sock"]
app = "admin"
[app.main]
use = "mount"
middleware = ["access_log", "pages"]
[app.main.routes]
"/" = "files"
"/api" = "tried"
"admin.example.org/" = "admin"
[app.files]
use = "static"
publish_dir = "absent"
[app.tried]
use = "cascade"
apps = ["files", "admin"]
[app.admin]
use = "respond"
middleware = ["compress"]
[app.alone]
use = "respond"
[middleware.pages]
use = "error_page"
"#;

#[test]
fn routes_are_a_tree() {
    assert_snapshot!(run(SITE, &["routes"]), @r"
    main (http) on 127.0.0.1:0
    └─ access_log → pages → main (mount)
       ├─ /                   files (static)
       ├─ /api                tried (cascade)
       │  ├─ first   files (static)
       │  └─ on 404  compress → admin (respond)
       └─ admin.example.org/  compress → admin (respond)
    staff (http) on unix:staff.sock
    └─ compress → admin (respond)
    not reached by any server: alone
    ");
    let json: serde_json::Value = serde_json::from_str(&run(SITE, &["routes", "--json"])).unwrap();
    assert_eq!(json["servers"][0]["app"]["routes"][1]["routes"][1]["at"], "on 404");
    assert_eq!(json["unreached"], serde_json::json!(["alone"]));
}

#[test]
fn routes_that_lead_nowhere_are_errors() {
    let looped = SITE.replace("apps = [\"files\", \"admin\"]", "apps = [\"files\", \"main\", \"amdin\"]");
    assert_snapshot!(run(&looped, &["routes"]), @r#"
    error: app `main` passes requests to itself
      --> server.toml:21:18
       |
    21 | apps = ["files", "main", "amdin"]
       |                  ^^^^^^
       = help: remove one of these links

    error: unknown app `amdin`
      --> server.toml:21:26
       |
    21 | apps = ["files", "main", "amdin"]
       |                          ^^^^^^^
       = help: did you mean `admin`?
    "#);
}

#[test]
fn lists_are_for_people_and_programs() {
    let text = run("", &["list"]);
    // The width of the names is that of the longest.
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in ["servers:", "middleware:", "apps:", "timeout Answers 504 if the application is too slow"] {
        assert!(text.lines().any(|found| words(found) == line), "{line} in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&run("", &["list", "--json"])).unwrap();
    assert_eq!(json["servers"][0]["name"].as_str().map(str::is_empty), Some(false));
    assert_snapshot!(run("", &["list", "middleware", "timeout"]), @r#"
    timeout: Answers 504 if the application is too slow

    Options of a `[middleware.NAME]` table with `use = "timeout"`:

      after_secs: whole number, default 30
          Maximum time to wait for the response head, in whole seconds.
    "#);
    assert_eq!(run("", &["serve", "--list-middleware"]), run("", &["list", "middleware"]));
    assert_eq!(run("", &["serve", "--list-apps", "--json"]), run("", &["list", "apps", "--json"]));
    assert_eq!(run("", &["serve", "--list-servers"]), run("", &["list", "servers"]));
    assert!(run("", &["list", "middleware", "tiemout"]).contains("did you mean `timeout`?"));
}

#[test]
fn options_of_every_kind_are_told() {
    let text = run("", &["list", "server", "http"]);
    for part in [
        "http: Serves HTTP/1.1",
        "Options of a `[server.NAME]` table with `use = \"http\"`:",
        "  max_in_flight: whole number, default 1024\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    // Singular and plural, for people and programs.
    assert_eq!(run("", &["list", "servers", "http"]), text);
    let json: serde_json::Value =
        serde_json::from_str(&run("", &["list", "app", "mount", "--json"])).unwrap();
    let routes =
        json["options"].as_array().unwrap().iter().find(|option| option["name"] == "routes").unwrap();
    assert!(routes["type"].is_string() && routes["text"].is_string(), "{routes}");
    for (section, plural) in [("server", "servers"), ("middleware", "middleware"), ("app", "apps")] {
        let kinds: serde_json::Value = serde_json::from_str(&run("", &["list", plural, "--json"])).unwrap();
        for kind in kinds.as_array().unwrap() {
            let name = kind["name"].as_str().unwrap();
            assert!(run("", &["list", section, name]).starts_with(&format!("{name}: ")), "{section} {name}");
        }
    }
}
