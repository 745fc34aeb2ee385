//! The certificate authority of a user: certificates for development, and `paster tls trust`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Serving, folder, paster, text};

const CONFIG: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\nhosts = [\"localhost\", \"shop.localhost\"]\n\
    [server.main.tls]\nlocal_authority = true\n[app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

/// The program as a user whose data is in the folder.
fn of_user(place: &Path) -> Command {
    let mut command = paster();
    command.env("XDG_DATA_HOME", place.join("data")).current_dir(place);
    command
}

fn serve(place: &Path) -> (Serving, String) {
    let mut command = of_user(place);
    command.args(["serve", "--json"]);
    let serving = Serving::spawn(command);
    let port = serving.url().rsplit(':').next().unwrap().to_owned();
    (serving, port)
}

fn trust(place: &Path, arguments: &[&str]) -> Output {
    of_user(place).args(["tls", "trust"]).args(arguments).output().unwrap()
}

fn get(authority: &str, host: &str, port: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--noproxy",
        "*",
        "--cacert",
        authority,
        "--resolve",
        &format!("{host}:{port}:127.0.0.1"),
    ]);
    let output = curl.arg(format!("https://{host}:{port}/")).output().unwrap();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn one_authority_signs_for_all_sites_of_a_user() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let path = trust(folder.path(), &["--path"]);
    let authority = text(&path.stdout).trim().to_owned();
    assert_eq!(Path::new(&authority), folder.path().join("data/paster/authority/authority.pem"));
    let key = folder.path().join("data/paster/authority/authority.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let made = std::fs::read(&authority).unwrap();
    let (serving, port) = serve(folder.path());
    for host in ["localhost", "shop.localhost"] {
        assert_eq!(get(&authority, host, &port), "hello", "{host}");
    }
    drop(serving);
    // Another site has a certificate of its own, from the same authority.
    let other = CONFIG.replace("shop.localhost", "blog.localhost");
    std::fs::write(folder.path().join("server.toml"), other).unwrap();
    let (serving, port) = serve(folder.path());
    assert_eq!(get(&authority, "blog.localhost", &port), "hello");
    assert_eq!(std::fs::read(&authority).unwrap(), made, "it is made once");
    assert_eq!(
        std::fs::read_dir(folder.path().join("data/paster/authority/certificates")).unwrap().count(),
        2
    );
    let other = crate::pki::Authority::new("other").file(folder.path());
    assert!(
        get(other.to_str().unwrap(), "localhost", &port).contains("certificate"),
        "not trusted by itself"
    );
    assert!(!serving.stderr().contains("PRIVATE"));
    // What to do is told for each system.
    let told = trust(folder.path(), &[]);
    for part in [&*authority, "update-ca-certificates", "certutil", "NODE_EXTRA_CA_CERTS"] {
        assert!(text(&told.stdout).contains(part), "{part}: {told:?}");
    }
    let known: serde_json::Value = serde_json::from_slice(&trust(folder.path(), &["--json"]).stdout).unwrap();
    assert_eq!(
        (known["certificate"].as_str(), &known["installed"]),
        (Some(&*authority), &serde_json::json!(false))
    );
}

#[test]
fn a_system_comes_to_trust_it() {
    let folder = folder(&[("server.toml", CONFIG)]);
    // A view of this system in which only the lists of authorities can be changed, without the hooks of other packages.
    let own = folder.path().to_str().unwrap();
    let mut view =
        vec!["--ro-bind", "/", "/", "--dev", "/dev", "--bind", own, own, "--setenv", "TMPDIR", own];
    for changed in ["/usr/local/share/ca-certificates", "/etc/ssl/certs", "/etc/ca-certificates/update.d"] {
        view.extend(["--tmpfs", changed]);
    }
    let question = "command -v update-ca-certificates && [ $(id -u) = 0 ]";
    let works = Command::new("bwrap").args(&view).args(["--", "sh", "-c", question]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: no sandbox of root with update-ca-certificates");
    }
    let (serving, port) = serve(folder.path());
    let script = format!(
        "set -e\nP={:?}\nunset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE\n\
         $P tls trust --install\n$P tls trust --json\ncurl -sS --noproxy '*' https://localhost:{port}/\necho\n\
         $P tls trust --uninstall\n$P tls trust --uninstall\ncurl -sS --noproxy '*' https://localhost:{port}/ 2>/dev/null || echo distrusted\n",
        env!("CARGO_BIN_EXE_paster")
    );
    let mut sandbox = Command::new("bwrap");
    sandbox.args(&view).args(["--", "sh", "-c", &script]);
    let output = sandbox.env("XDG_DATA_HOME", folder.path().join("data")).output().unwrap();
    let told = text(&output.stdout);
    for part in [
        "this system now trusts",
        "\"installed\":true",
        "\nhello\n",
        "no longer trusts it",
        "did not trust it",
        "\ndistrusted\n",
    ] {
        assert!(told.contains(part), "{part}: {told}\n{}", text(&output.stderr));
    }
    drop(serving);
}
