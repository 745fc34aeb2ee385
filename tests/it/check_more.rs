//! What `paster check` finds beside faults of the config: ports, secrets, certificates, upstreams; and what it mends.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::pki::Authority;
use crate::support::{Serving, folder, paster, text};

fn run(place: &Path, args: &[&str]) -> Output {
    paster().arg("check").args(args).current_dir(place).output().unwrap()
}

fn json(place: &Path, args: &[&str]) -> Value {
    let output = run(place, &[args, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn mode(file: &Path) -> u32 {
    file.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_port_in_use_is_named_with_its_process() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config =
        format!("[server.main]\nuse = \"http\"\nlisten = \"{address}\"\n[app.main]\nuse = \"respond\"\n");
    let place = folder(&[("server.toml", &config)]);
    let found = json(place.path(), &[]);
    assert_eq!(found["taken"][0]["address"], address, "{found:#}");
    assert_eq!(found["taken"][0]["pid"], std::process::id(), "{found:#}");
    let note = format!("note: `[server.main]`: process {} (", std::process::id());
    let output = run(place.path(), &[]);
    assert!(text(&output.stdout).contains(&note) && output.status.success(), "{output:?}");
    drop(taken);
    assert_eq!(json(place.path(), &[])["taken"], Value::Array(Vec::new()));
    // The server of this config may listen there.
    let serving = Serving::start(place.path(), &["server.toml"]);
    assert_eq!(json(place.path(), &[])["taken"], Value::Array(Vec::new()), "{}", serving.stderr());
}

#[test]
fn secrets_old_names_and_the_layout_are_mended() {
    let config = "[server.main]\nuse='http'\n[app.main]\nuse = \"respond\"\nmiddleware = [\"staff\"]\n[middleware.staff]\nuse = \"auth_basic\"\nhtpasswd = \"staff.htpasswd\"\nrealm = \"${file:realm}\"\n\
                  [process]\nmax_growth_mb = 100\n";
    let place = folder(&[("server.toml", config), ("staff.htpasswd", ""), ("realm", "here")]);
    for name in ["staff.htpasswd", "realm"] {
        std::fs::set_permissions(place.path().join(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    let notes = text(&run(place.path(), &[]).stdout).to_owned();
    assert!(notes.contains("staff.htpasswd` (mode 644)") && notes.contains("realm` (mode 644)"), "{notes}");
    let is_old = notes.contains("is deprecated");
    let found = json(place.path(), &["--fix"]);
    let fixed: Vec<_> = found["fixed"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(fixed.len(), if is_old { 4 } else { 3 }, "{fixed:?}");
    assert_eq!(
        (mode(&place.path().join("staff.htpasswd")), mode(&place.path().join("realm"))),
        (0o640, 0o640)
    );
    let after = std::fs::read_to_string(place.path().join("server.toml")).unwrap();
    assert!(is_old && after.contains("max_growth_mib = 100") && after.contains("use = 'http'"), "{after}");
    assert_eq!(json(place.path(), &["--fix"])["fixed"], Value::Array(Vec::new()));
    assert_eq!(json(place.path(), &[])["notes"], Value::Array(Vec::new()));
}

#[test]
fn hosts_without_a_certificate_are_named() {
    let place = folder(&[]);
    let authority = Authority::new("Test");
    let pair = authority.pair(place.path(), "shop", &["shop.example.org"]);
    let config = format!(
        "[server.main]\nuse = \"http\"\nhosts = [\"shop.example.org\", \"www.example.org\", \"*.example.org\"]\n\
         [server.main.tls]\ncertificates = [{}]\n[app.main]\nuse = \"respond\"\n",
        pair.item()
    );
    std::fs::write(place.path().join("server.toml"), config).unwrap();
    let notes = json(place.path(), &[])["notes"].to_string();
    assert!(notes.contains("there is no certificate for the host `www.example.org`"), "{notes}");
    assert!(!notes.contains("`shop.example.org`") && !notes.contains("`*.example.org`"), "{notes}");
}

#[test]
fn upstreams_and_stores_are_reached_if_asked() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = |address| {
        format!(
            "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"proxy\"\nupstreams = [\"http://{}\", \"http://{address}\"]\n",
            there.local_addr().unwrap()
        )
    };
    let place = folder(&[("server.toml", &config(gone))]);
    assert_eq!(run(place.path(), &[]).status.code(), Some(0));
    let output = run(place.path(), &["--online"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains(&format!("`http://{gone}` of `[app.main]` cannot be reached")), "{said}");
    assert!(said.contains("server.toml:5:") && said.matches("error:").count() == 1, "{said}");
    std::fs::write(place.path().join("server.toml"), config(there.local_addr().unwrap())).unwrap();
    assert_eq!(run(place.path(), &["--online"]).status.code(), Some(0));
}
