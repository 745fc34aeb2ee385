//! Durations and sizes with units in a config.

use std::process::Output;

use crate::support::{Serving, folder, get, paster, text};

const CONFIG: &str = r#"
[process]
drain = "5m"
max_growth = "2 GiB"
[server.main]
use = "http"
listen = "127.0.0.1:0"
idle_timeout_secs = "1m 30s"
body_pace_secs = "20s"
[server.main.tls]
self_signed = true
handshake_timeout = "5s"
[app.main]
use = "proxy"
upstreams = "http://127.0.0.1:9"
timeouts = { connect = "2s", head_secs = "1m" }
isolation = { start = "1m" }
middleware = ["limit", "queue"]
[middleware.limit]
use = "body_limit"
max_bytes = "1.5 KiB"
[middleware.queue]
use = "concurrency_limit"
max_in_flight = 4
queue = 2
queue_secs = "3s"
"#;

fn run(config: &str, args: &[&str]) -> Output {
    let folder = folder(&[("server.toml", config)]);
    paster().args(args).current_dir(folder.path()).output().unwrap()
}

#[test]
fn every_option_with_a_unit_takes_a_string() {
    let output = run(CONFIG, &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("deprecated"), "{}", text(&output.stdout));
}

#[test]
fn the_value_counts() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\nbody = \"ok\"\nmiddleware = [\"limit\"]\n\
                  [middleware.limit]\nuse = \"body_limit\"\nmax_bytes = \"4 B\"\n";
    let place = folder(&[("server.toml", config)]);
    let status = |body: &str| {
        let output = paster()
            .args(["request", "POST", "/", "--data", body])
            .current_dir(place.path())
            .output()
            .unwrap();
        text(&output.stdout).lines().next().unwrap_or_default().to_owned()
    };
    assert!(status("1234").contains("200"), "{}", status("1234"));
    assert!(status("12345").contains("413"), "{}", status("12345"));
}

#[test]
fn wrong_units_are_explained() {
    let check = |line: &str, parts: &[&str]| {
        let config =
            format!("[process]\n{line}\n[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\n");
        let output = run(&config, &["check"]);
        assert_eq!(output.status.code(), Some(78), "{line}: {output:?}");
        for part in parts {
            assert!(text(&output.stderr).contains(part), "{part}: {}", text(&output.stderr));
        }
    };
    check(
        "drain_secs = \"5x\"",
        &["must be a whole number or a duration, not the string `\"5x\"`", "`\"30s\"`"],
    );
    check("drain_secs = \"10 MiB\"", &["a duration"]);
    check("drain_secs = \"1500ms\"", &["`1500ms` is not a whole number of seconds"]);
    check("max_growth_mib = \"5m\"", &["a whole number or a size", "`\"64 KiB\"`"]);
    check("drain_secs = \"5\"", &["write it without quotes: `5`"]);
    // A number has no unit of its own.
    check(
        "drain = 5",
        &["unknown key `drain`", "write `drain_secs`, or a value with a unit: `drain = \"30s\"`"],
    );
    check(
        "drain = \"5m\"\ndrain_secs = 10",
        &["`drain` and `drain_secs` are two names of the same option", "remove one"],
    );
}

#[test]
fn a_stronger_source_wins_under_either_name() {
    let config = "[process]\ndrain = \"5m\"\n[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\n\
                  [profile.quick.process]\ndrain_secs = 5\n";
    for args in [&["check"][..], &["check", "-D", "process.drain_secs=7"], &["check", "--profile", "quick"]] {
        let output = run(config, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    }
    let explain = |args: &[&str]| {
        let output = run(config, &[&["config", "explain"], args].concat());
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(
        explain(&["process.drain_secs"]),
        "process.drain = \"5m\"\n  server.toml:2:9  \"5m\"\n  default          300\n"
    );
    assert!(
        explain(&["process.drain_secs", "-D", "process.drain_secs=7"]).contains("process.drain_secs = 7\n")
    );
}

/// `:0` is every address of this machine.
#[test]
fn a_port_is_an_address() {
    let place = folder(&[(
        "server.toml",
        "[server.main]\nuse = \"http\"\nlisten = \":0\"\n[app.main]\nuse = \"respond\"\nbody = \"here\"\n",
    )]);
    let mut serving = Serving::start(place.path(), &[]);
    let port = serving.address().rsplit_once(':').unwrap().1.to_owned();
    serving.urls.insert("main".to_owned(), format!("http://127.0.0.1:{port}"));
    assert_eq!(get(&serving, "/"), "here");
}
