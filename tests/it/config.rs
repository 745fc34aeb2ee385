//! The layered config through the real program, in a cleared environment.

use std::path::Path;
use std::process::Output;

use crate::support::{Serving, folder, paster, root, wait_until};

/// Runs the program in `folder`. Its files `args` and `env` contain one argument or variable per line.
fn run_fixture(folder: &Path) -> Output {
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let mut command = paster();
    command.current_dir(folder).arg("check").args(lines("args"));
    for line in lines("env") {
        let (name, value) = line.split_once('=').unwrap();
        command.env(name, value);
    }
    command.output().unwrap()
}

/// Each folder of `tests/fixtures/config/bad` is a config that `paster check` refuses with the text of its
/// `expected.err`. `BLESS=1 cargo test --test it bad_configs` writes these files: check what it wrote.
#[test]
fn bad_configs() {
    let all = root().join("tests/fixtures/config/bad");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&all).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        count += 1;
        let output = run_fixture(&folder);
        let usage = name.ends_with("without-value");
        if output.status.code() != Some(if usage { 2 } else { 78 }) || !output.stdout.is_empty() {
            wrong.push(format!("--- {name}\n{output:?}"));
            continue;
        }
        let text = String::from_utf8(output.stderr).unwrap().replace(folder.to_str().unwrap(), "[FOLDER]");
        assert!(!text.contains("s3cret"), "{name} shows a secret:\n{text}");
        let expected = folder.join("expected.err");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &text).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != text {
            wrong.push(format!("--- {name}\n{text}"));
        }
    }
    assert!(count >= 25, "only {count} bad configs");
    assert!(wrong.is_empty(), "not as in expected.err:\n{}", wrong.join("\n"));
}

/// Runs `paster ARGS` in a folder with `files`; `env` is a list of `NAME=value`. Returns standard output.
fn output(files: &[(&str, &str)], env: &[&str], args: &[&str]) -> String {
    let folder = folder(files);
    let mut command = paster();
    command.current_dir(folder.path()).args(args);
    for variable in env {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown = text + &String::from_utf8(output.stderr).unwrap();
    shown.replace(folder.path().canonicalize().unwrap().to_str().unwrap(), "[FOLDER]")
}

/// Every source sets `threads`. `hosts` shows that a list replaces, `limits` that tables merge.
const LAYERS: &[(&str, &str)] = &[
    (
        "server.toml",
        r#"include = ["common.toml", "local.toml?", "more/team.toml"]
[vars]
name = "main"
[server.main]
threads = 3
hosts = ["c", "d"]
limits.two = 2
[profile.production.server.main]
threads = 4
"#,
    ),
    (
        "common.toml",
        r#"[server.main]
use = "http"
threads = 1
hosts = ["a", "b"]
limits = { one = 1, two = 1 }
"#,
    ),
    ("more/team.toml", "server.main.threads = 2\n"),
];

const VARIABLE: &str = "PASTER_SERVER__MAIN__THREADS=5";

#[test]
fn sources_in_order_of_strength() {
    let threads = |env: &[&str], args: &[&str]| {
        let text = output(LAYERS, env, &[&["config", "show", "--json"], args].concat());
        let value: serde_json::Value = serde_json::from_str(&text).expect(&text);
        value["server"]["main"]["threads"].as_u64().unwrap()
    };
    assert_eq!(threads(&[], &[]), 3);
    assert_eq!(threads(&[], &["--profile", "production"]), 4);
    assert_eq!(threads(&["PASTER_PROFILE=production"], &[]), 4);
    assert_eq!(threads(&[VARIABLE], &["--profile", "production"]), 5);
    assert_eq!(threads(&[VARIABLE], &["-D", "server.main.threads=6", "-Dserver.'main'.\"threads\"=7"]), 7);
}

#[test]
fn show_with_defaults_prints_a_config() {
    let config = r#"[server.main]
use = "http"
listen = ["127.0.0.1:0"]
app = "main"
max_in_flight = 7
[process]
drain = "5m"
[app.base]
use = "static"
publish_dir = "."
[app.main]
use = "app:base"
middleware = ["log", "slow"]
[middleware.log]
use = "access_log"
[middleware.slow]
use = "timeout"
"#;
    let folder = folder(&[("server.toml", config)]);
    let run = |arguments: &[&str]| {
        let output = paster().current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run(&["config", "show", "--defaults"]);
    let tree: toml::Table = toml::from_str(&shown).unwrap();
    let server = &tree["server"]["main"];
    let explained: serde_json::Value =
        serde_json::from_str(&run(&["config", "explain", "server.main.idle_timeout_secs", "--json"]))
            .unwrap();
    assert_eq!(server["idle_timeout_secs"].as_integer(), explained[0]["default"].as_i64());
    assert_eq!(server["max_in_flight"].as_integer(), Some(7), "{shown}");
    // A value under another name counts.
    let process = tree["process"].as_table().unwrap();
    assert!(process["drain"].as_str() == Some("5m") && !process.contains_key("drain_secs"), "{shown}");
    // A table that inherits has the values of the other one, and its own defaults.
    let app = tree["app"]["main"].as_table().unwrap();
    assert!(app.contains_key("publish_dir") && app.contains_key("index"), "{shown}");
    // What it prints is a config that means the same.
    std::fs::write(folder.path().join("all.toml"), &shown).unwrap();
    run(&["check", "all.toml"]);
    assert_eq!(run(&["config", "show", "--defaults", "all.toml"]), shown);
}

#[test]
fn explain_names_every_source() {
    let args = ["config", "explain", "server.main", "--profile", "production", "-D", "server.main.threads=6"];
    insta::assert_snapshot!(output(LAYERS, &[VARIABLE], &args), @r#"
server.main.use = "http"
  common.toml:2:7  "http"
server.main.threads = 6
  -D server.main.threads                             6
  environment variable PASTER_SERVER__MAIN__THREADS  5
  server.toml:9:11                                   4  profile `production`
  server.toml:5:11                                   3
  more/team.toml:1:23                                2
  common.toml:3:11                                   1
server.main.hosts = ["c", "d"]
  server.toml:6:9  ["c", "d"]
  common.toml:4:9  ["a", "b"]
  default          []
server.main.limits.one = 1
  common.toml:5:18  1
server.main.limits.two = 2
  server.toml:7:14  2
  common.toml:5:27  1
"#);
    insta::assert_snapshot!(output(LAYERS, &[], &["config", "explain", "server.main.idle_timeout_secs"]), @r#"
server.main.idle_timeout_secs = 60
  default  60
"#);
    insta::assert_snapshot!(output(LAYERS, &[], &["config", "explain", "server.main.thread"]), @r#"
error: `server.main.thread` is not set
  = help: did you mean `server.main.threads`?
"#);
    let json = output(LAYERS, &[], &["config", "explain", "server.main.threads", "--json"]);
    insta::assert_snapshot!(json, @r#"
[
  {
    "key": "server.main.threads",
    "value": 3,
    "sources": [
      {
        "source": "server.toml:5:11",
        "file": "[FOLDER]/server.toml",
        "line": 5,
        "column": 11,
        "written": 3,
        "via": null
      },
      {
        "source": "more/team.toml:1:23",
        "file": "[FOLDER]/more/team.toml",
        "line": 1,
        "column": 23,
        "written": 2,
        "via": null
      },
      {
        "source": "common.toml:3:11",
        "file": "[FOLDER]/common.toml",
        "line": 3,
        "column": 11,
        "written": 1,
        "via": null
      }
    ],
    "default": null
  }
]
"#);
}

#[test]
fn show_prints_the_merged_tables() {
    insta::assert_snapshot!(output(LAYERS, &[], &["config", "show"]), @r#"
[server.main]
use = "http"
threads = 3
hosts = [
    "c",
    "d",
]

[server.main.limits]
one = 1
two = 2

[vars]
name = "main"
"#);
}

#[test]
fn an_absent_optional_include_is_read_once_it_is_there() {
    let mut files = LAYERS.to_vec();
    files.push(("local.toml", "server.main.hosts = [\"local\"]\nserver.main.limits.three = 3\n"));
    let text = output(&files, &[], &["config", "explain", "server.main.limits.three"]);
    insta::assert_snapshot!(text, @r#"
server.main.limits.three = 3
  local.toml:2:28  3
"#);
}

#[test]
fn the_environment_and_arguments_are_read_as_toml_or_text() {
    let set = |value: &str| {
        let files = [("server.toml", "")];
        let by_argument = format!("app.x-y.v={value}");
        let json = ["config", "show", "--json"];
        let one = output(&files, &[], &[&json[..], &["-D", "app.x-y.use=k", "-D", &by_argument]].concat());
        // A variable cannot contain `-`, but it finds the name that the config has.
        let files = [("server.toml", "[app.x-y]\nuse = \"k\"\n")];
        let two = output(&files, &[&format!("PASTER_APP__X_Y__V={value}")], &json);
        let value = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).expect(text);
            value["app"]["x-y"]["v"].clone()
        };
        assert_eq!(value(&one), value(&two));
        value(&two)
    };
    use serde_json::json;
    assert_eq!(set("4"), json!(4));
    assert_eq!(set("true"), json!(true));
    assert_eq!(set("\"4\""), json!("4"));
    assert_eq!(set("four"), json!("four"));
    assert_eq!(set("[1, \"a\"]"), json!([1, "a"]));
    assert_eq!(set("{ a = 1 }"), json!({ "a": 1 }));
    assert_eq!(set("[::1]:80"), json!("[::1]:80"));
    assert_eq!(set("a=b"), json!("a=b"));
    assert_eq!(set(""), json!(""));
    assert_eq!(set("1979-05-27"), json!("1979-05-27"));
}

#[test]
fn references() {
    let files = [
        (
            "server.toml",
            r#"include = ["${here}/sub/${env:NAME_OF_FILE:-inner}.toml"]
[vars]
data = "${here}/data"
port = 8080
ports = [1, 2]
greeting = "hello ${name}"
name = "${env:USER_NAME:-${env:NOBODY:-nobody}}"
escaped = "$${here} $5 $"
[app.main]
use = "k"
directory = "${data}/x"
port = "${port}"
ports = "${ports}"
url = "http://localhost:${port}/"
text = "${greeting}: ${escaped}"
list = ["${name}", { deep = "${inner}" }]
unset = "${nothing:-else}"
empty = "${env:EMPTY:-full}"
file = "${file:note.txt:-}"
"#,
        ),
        ("sub/inner.toml", "[vars]\ninner = \"${here}\"\n"),
    ];
    let text = output(&files, &["EMPTY=", "USER_NAME=Ann"], &["config", "show"]);
    insta::assert_snapshot!(text, @r#"
[vars]
inner = "[FOLDER]/sub"
data = "[FOLDER]/data"
port = 8080
ports = [
    1,
    2,
]
greeting = "hello Ann"
name = "Ann"
escaped = "$${here} $5 $"

[app.main]
use = "k"
directory = "[FOLDER]/data/x"
port = 8080
ports = [
    1,
    2,
]
url = "http://localhost:8080/"
text = "hello Ann: $${here} $5 $"
list = [
    "Ann",
    { deep = "[FOLDER]/sub" },
]
unset = "else"
empty = "full"
file = ""
"#);
}

#[test]
fn inheritance_overrides_keys_and_keeps_places() {
    let files = [(
        "server.toml",
        r#"[app.main]
use = "respond"
status = 200
headers = { a = "1", b = "1" }
[app.staff]
use = "app:main"
headers.b = "2"
[app.boss]
use = "app:staff"
status = 201
"#,
    )];
    insta::assert_snapshot!(output(&files, &[], &["config", "explain", "app.boss"]), @r#"
app.boss.use = "respond"
  server.toml:2:7  "respond"    inherited from `[app.main]`
  server.toml:6:7  "app:main"   inherited from `[app.staff]`
  server.toml:9:7  "app:staff"
app.boss.status = 201
  server.toml:10:10  201
  server.toml:3:10   200  inherited from `[app.main]`
  default            200
app.boss.headers.a = "1"
  server.toml:4:17  "1"  inherited from `[app.main]`
app.boss.headers.b = "2"
  server.toml:7:13  "2"  inherited from `[app.staff]`
  server.toml:4:26  "1"  inherited from `[app.main]`
"#);
}

#[test]
fn secrets_are_masked_everywhere() {
    let files = [
        (
            "server.toml",
            r#"[vars]
pw = "${file:pw.txt}"
[app.main]
use = "respond"
database = "postgres://me:${pw}@db/x"
body = "${pw}"
api_key = "s3cret"
tokens = ["s3cret", 7]
url = "redis://me:s3cret@db"
dsns = ["a", "redis://me:s3cret@db"]
key_file = "x.pem"
[app.main.secret]
inner = { deep = "s3cret" }
"#,
        ),
        ("pw.txt", "s3cret\r\n"),
    ];
    let shown = output(
        &files,
        &["PASTER_APP__MAIN__TOKEN=s3cret"],
        &["config", "show", "-D", "app.main.b_secret=s3cret"],
    );
    assert!(!shown.contains("s3cret"), "{shown}");
    insta::assert_snapshot!(shown, @r#"
[vars]
pw = "********"

[app.main]
use = "respond"
database = "********"
body = "********"
api_key = "********"
tokens = [
    "********",
    "********",
]
url = "********"
dsns = [
    "a",
    "********",
]
key_file = "x.pem"
token = "********"
b_secret = "********"

[app.main.secret.inner]
deep = "********"
"#);
    for format in [&["config", "explain", "app"][..], &["config", "explain", "app", "--json"]] {
        let shown = output(
            &files,
            &["PASTER_APP__MAIN__TOKEN=s3cret"],
            &[format, &["-D", "app.main.b_secret=s3cret"]].concat(),
        );
        assert!(!shown.contains("s3cret"), "{shown}");
        // Nor what another source set in its place.
        let over =
            ["-D", "app.main.url=redis://db", "-D", "app.main.dsns=[\"a\"]", "-D", "app.main.listing=[]"];
        let shown = output(&files, &["PASTER_APP__MAIN__TOKEN=s3cret"], &[format, &over].concat());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("redis://db"), "{shown}");
    }
}

#[test]
fn check_says_what_is_good() {
    let files = [(
        "server.toml",
        r#"[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[app.main]
use = "respond"
body = "${env:BODY:-x}"
status = "${env:STATUS:-201}"
middleware = ["slow"]
[middleware.slow]
use = "timeout"
"#,
    )];
    insta::assert_snapshot!(output(&files, &[], &["check"]), @r#"
ok: 1 server, 1 app, 1 middleware table
"#);
    insta::assert_snapshot!(output(&files, &["STATUS=no"], &["check", "--json"]), @r#"
{
  "ok": false,
  "errors": [
    {
      "source": "server.toml:7:10",
      "file": "[FOLDER]/server.toml",
      "line": 7,
      "column": 10,
      "message": "`status` must be a whole number, not the string `\"no\"`",
      "helps": [],
      "causes": []
    }
  ]
}
"#);
}

/// Wherever a list of strings is expected, one string is enough, in every source.
#[test]
fn one_string_is_a_list() {
    let files = [
        (
            "server.toml",
            "include = \"more.toml\"\n[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:81\"\n",
        ),
        ("more.toml", "[app.main]\nuse = \"respond\"\nbody = \"x\"\nmiddleware = \"lowercase\"\n"),
    ];
    let check = |env: &[&str], args: &[&str], expected: &str| {
        let shown = output(&files, env, &[&["check"], args].concat());
        assert!(shown.starts_with(expected), "{shown}");
    };
    check(&[], &[], "ok: 1 server, 1 app");
    check(&[], &["-D", "server.main.listen=127.0.0.1:8080"], "ok: 1 server, 1 app");
    check(&["PASTER_SERVER__MAIN__LISTEN=127.0.0.1:8080"], &[], "ok: 1 server, 1 app");
    check(
        &[],
        &["-D", "server.main.listen=nowhere"],
        "error: `nowhere` has no port\n --> -D server.main.listen",
    );
    check(&[], &["-D", "app.main.middleware=lowercas"], "error: unknown middleware `lowercas`");
    let routes = output(&files, &[], &["routes"]);
    assert!(routes.contains("main (http) on 127.0.0.1:81\n└─ lowercase → main"), "{routes}");
}

/// The schema for editors accepts a good config and refuses a bad one.
#[test]
fn schema_fits_configs() {
    let text = output(&[], &[], &["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| validator.is_valid(&toml::from_str::<serde_json::Value>(text).unwrap());
    let server = "[server.main]\nuse = \"http\"\n";
    assert!(valid(&format!(
        "{server}app = \"main\"\nthreads = 4\n[app.main]\nuse = \"respond\"\nmiddleware = [\"lint\"]\n"
    )));
    assert!(valid(&format!("{server}threads = \"${{n}}\"\n[vars]\nn = 3\n")));
    assert!(valid("[app.a]\nuse = \"app:b\"\nbody = \"x\"\n[profile.p]\napp.a.body = \"y\"\n"));
    assert!(valid(&format!(
        "include = \"a.toml\"\n{server}listen = \"127.0.0.1:0\"\nhosts = \"localhost\"\n"
    )));
    assert!(valid("[app.main]\nuse = \"proxy\"\nupstreams = \"127.0.0.1:1\"\nmiddleware = \"lint\"\n"));
    assert!(!valid(&format!("{server}listen = 8080\n")));
    assert!(!valid(&format!("{server}threads = \"many\"\n")));
    assert!(!valid(&format!("{server}thread = 4\n")));
    assert!(!valid("[server.main]\nuse = \"htp\"\n"));
    assert!(!valid("[app.main]\nbody = \"x\"\n"));
    assert!(!valid("[serve.main]\nuse = \"http\"\n"));
}

/// A plugin's settings are checked against the schema that its library exports. A plugin that is not built is
/// reported.
#[test]
fn check_knows_plugins() {
    let config = r#"[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[app.main]
use = "plugin"
library = "LIBRARY"
[app.main.settings]
greeting = 7
greting = "hi"
[app.other]
use = "plugin"
crate = "CRATE"
settings = { anything = 1 }
"#;
    let library = crate::support::plugin("hello");
    let source = root().join("plugins/hello");
    let place = |config: &str| {
        config.replace("LIBRARY", library.to_str().unwrap()).replace("CRATE", source.to_str().unwrap())
    };
    let config = place(config);
    // A separate cache, in which nothing is known to be built.
    insta::assert_snapshot!(output(&[("server.toml", &config)], &["XDG_CACHE_HOME=/nonexistent"], &["check"]), @r#"
error: `settings.greeting` must be a string, not `7`
 --> server.toml:8:12
  |
8 | greeting = 7
  |            ^
  = help: write it in quotes: `"7"`

error: unknown key `greting` in `[app.main.settings]`
 --> server.toml:9:1
  |
9 | greting = "hi"
  | ^^^^^^^
  = help: `greeting` is set already: remove this one
"#);
    let good = config.replace("greeting = 7\ngreting = ", "greeting = ");
    insta::assert_snapshot!(output(&[("server.toml", &good)], &["XDG_CACHE_HOME=/nonexistent"], &["check"]), @r#"
ok: 1 server, 2 apps
note: the settings of `[app.other]` are not checked: its plugin is not built yet
"#);
}

/// Options that have been renamed, under their old names.
const RENAMED: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\n\
                       [process]\nmax_growth_mb = 24\n[process.limits]\ncore_mb = 1\naddress_space_mb = 65536\n";

#[test]
fn an_old_name_of_an_option_works_and_is_reported() {
    let check = output(&[("server.toml", RENAMED)], &[], &["check"]);
    insta::assert_snapshot!(check, @r"
    ok: 1 server, 1 app
    note: [FOLDER]/server.toml:7:1: the key `max_growth_mb` in `[process]` is deprecated: write `max_growth_mib`
    note: [FOLDER]/server.toml:9:1: the key `limits.core_mb` in `[process]` is deprecated: write `limits.core_mib`
    note: [FOLDER]/server.toml:10:1: the key `limits.address_space_mb` in `[process]` is deprecated: write `limits.address_space_mib`
    ");
    let schema = output(&[], &[], &["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let property = |name: &str| schema["properties"]["process"]["properties"][name].clone();
    assert_eq!(property("max_growth_mb")["deprecated"], true);
    assert_eq!(property("max_growth_mb")["type"], property("max_growth_mib")["type"]);
    assert!(
        property("max_growth_mib").get("deprecated").is_none() && !schema.to_string().contains("x-renamed")
    );
    let both = RENAMED.replace("[process]\n", "[process]\nmax_growth_mib = 23\n");
    insta::assert_snapshot!(output(&[("server.toml", &both)], &[], &["check"]), @r"
    error: `max_growth_mb` and `max_growth_mib` are two names of the same option
     --> server.toml:8:1
      |
    8 | max_growth_mb = 24
      | ^^^^^^^^^^^^^
      = help: remove `max_growth_mb`, which is its old name
    ");
}

#[test]
fn a_server_warns_of_an_old_name() {
    let folder = folder(&[("server.toml", RENAMED)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let warning = "the key `max_growth_mb` in `[process]` is deprecated: write `max_growth_mib`";
    wait_until("the log has the warning", || serving.stderr().contains(warning));
    assert_eq!(serving.stop(), Some(0));
}
