//! `paster config schema` in a real language server of TOML: Taplo, as editors run it.

use std::process::{Command, Output};

use crate::support::{folder, paster, root, text};

const CONFIG: &str = r#"#:schema ./server.schema.json
[process]
drain = "5m"
max_growth_mib = "2 GiB"
[server.main]
use = "http"
listen = ":8080"
idle_timeout_secs = "${env:IDLE:-60}"
tls.handshake_timeout_secs = "5s"
tls.self_signed = true
[app.main]
use = "wsgi"
application = "shop:app"
stuck = "10m"
middleware = "limit"
[middleware.limit]
use = "body_limit"
max_bytes = "10 MiB"
only = { path = "/upload" }
"#;

/// Runs `taplo lint` on a config; `None` without Taplo.
fn lint(config: &str) -> Option<Output> {
    let Some(taplo) = std::env::var_os("PASTER_TEST_TAPLO") else {
        println!("skipped: PASTER_TEST_TAPLO does not name the program");
        return None;
    };
    let schema = paster().args(["config", "schema"]).output().unwrap();
    let place = folder(&[("server.toml", config), ("server.schema.json", text(&schema.stdout))]);
    let mut command = Command::new(taplo);
    // By default it would look for schemas on the web.
    let schema = format!("file://{}", place.path().join("server.schema.json").display());
    command.args(["lint", "--colors", "never", "--schema", &schema, "server.toml"]);
    Some(command.current_dir(place.path()).output().unwrap())
}

#[test]
fn a_language_server_finds_a_typo() {
    let Some(good) = lint(CONFIG) else { return };
    assert!(good.status.success(), "{}", text(&good.stderr));
    for (from, to, word) in [
        ("max_growth_mib = \"2 GiB\"", "max_grwoth_mib = 2", "max_grwoth_mib"),
        ("drain = \"5m\"", "drain = 5", "drain"),
        ("\"10 MiB\"", "\"10 minutes\"", "10 minutes"),
        ("stuck = \"10m\"", "stcuk = \"10m\"", "stcuk"),
        ("use = \"http\"", "use = \"htpp\"", "htpp"),
    ] {
        let output = lint(&CONFIG.replace(from, to)).unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{to}: {said}");
    }
}

/// The examples are valid for editors too.
#[test]
fn a_language_server_accepts_the_examples() {
    for example in ["static", "mount", "middleware", "tls", "systemd"] {
        let config =
            std::fs::read_to_string(root().join("examples").join(example).join("server.toml")).unwrap();
        let Some(output) = lint(&config) else { return };
        assert!(output.status.success(), "{example}: {}", text(&output.stderr));
    }
}
