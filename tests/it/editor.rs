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

/// Runs `taplo lint` on configs, each with the name of its file; `None` without Taplo.
fn lint(configs: &[(String, String)]) -> Option<Output> {
    let Some(taplo) = std::env::var_os("PASTER_TEST_TAPLO") else {
        println!("skipped: PASTER_TEST_TAPLO does not name the program");
        return None;
    };
    let schema = paster().args(["config", "schema"]).output().unwrap();
    let mut files: Vec<_> = configs.iter().map(|(name, text)| (&**name, &**text)).collect();
    files.push(("server.schema.json", text(&schema.stdout)));
    let place = folder(&files);
    let mut command = Command::new(taplo);
    // By default it would look for schemas on the web.
    let schema = format!("file://{}", place.path().join("server.schema.json").display());
    command.args(["lint", "--colors", "never", "--schema", &schema]);
    command.args(configs.iter().map(|(name, _)| name)).current_dir(place.path());
    Some(command.output().unwrap())
}

#[test]
fn a_language_server_finds_a_typo() {
    let Some(good) = lint(&[("server.toml".to_owned(), CONFIG.to_owned())]) else { return };
    assert!(good.status.success(), "{}", text(&good.stderr));
    let typos = [
        ("max_growth_mib = \"2 GiB\"", "max_grwoth_mib = 2", "max_grwoth_mib"),
        ("drain = \"5m\"", "drain = 5", "drain"),
        ("\"10 MiB\"", "\"10 minutes\"", "10 minutes"),
        ("stuck = \"10m\"", "stcuk = \"10m\"", "stcuk"),
        ("use = \"http\"", "use = \"htpp\"", "htpp"),
    ];
    let files: Vec<_> = typos
        .iter()
        .enumerate()
        .map(|(at, (from, to, _))| (format!("typo{at}.toml"), CONFIG.replace(from, to)))
        .collect();
    let output = lint(&files).unwrap();
    let printed = text(&output.stderr);
    assert!(!output.status.success(), "{printed}");
    for ((name, _), (_, to, word)) in files.iter().zip(typos) {
        let found = printed.split("error: ").any(|error| error.contains(name) && error.contains(word));
        assert!(found, "{name}, {to}: {printed}");
    }
}

/// The examples are valid for editors too.
#[test]
fn a_language_server_accepts_the_examples() {
    let examples = ["static", "mount", "middleware", "tls", "systemd"].map(|example| {
        let file = root().join("examples").join(example).join("server.toml");
        (format!("{example}.toml"), std::fs::read_to_string(file).unwrap())
    });
    let Some(output) = lint(&examples) else { return };
    assert!(output.status.success(), "{}", text(&output.stderr));
}
