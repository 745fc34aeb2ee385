//! Certificates as files: errors that `check` reports, renewal while connections continue, and the whole
//! program.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::io::AsyncWriteExt;

use crate::inprocess::{Running, ask, read_response, says, within};
use crate::pki::{Authority, DAY, Pair, connect, try_connect};
use crate::support::{Serving, folder, paster, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HELLO: &str = "[app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

/// Waits until new connections get a certificate of `authority` for `localhost`.
async fn wait_for(authority: &Authority, address: &str) {
    let client = authority.client(&[], None);
    within(async {
        while try_connect(&client, address, "localhost").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll of what tells nobody
        }
    })
    .await;
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn has(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(words)
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn replace(pair: &Pair, by: &Pair) {
    std::fs::rename(&by.certificate, &pair.certificate).unwrap();
    std::fs::rename(&by.key, &pair.key).unwrap();
}

/// A server with one certificate in `folder`, and its authority.
fn hello(folder: &Path) -> (Authority, Pair, Running) {
    let authority = Authority::new("first");
    let pair = authority.pair(folder, "a", &["localhost"]);
    let table = format!("[server.main.tls]\ncertificates = [{}]", pair.item());
    let running = Running::start(&table, says("hello"));
    (authority, pair, running)
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_in_and_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _guard) = Log::start();
    let (first, pair, running) = hello(folder.path());
    let mut open = connect(&first.client(&[], None), running.address(), "localhost").await;
    assert_eq!(ask(&mut open, GET).await.1, "hello");
    let second = Authority::new("second");
    replace(&pair, &second.pair(folder.path(), "b", &["localhost"]));
    wait_for(&second, running.address()).await;
    assert_eq!(ask(&mut open, GET).await.1, "hello");
    assert!(try_connect(&first.client(&[], None), running.address(), "localhost").await.is_err());
    // Half of a renewal, or an invalid one: the old certificate stays until both files match.
    std::fs::write(&pair.certificate, "no certificate").unwrap();
    let third = Authority::new("third");
    let other = third.pair(folder.path(), "c", &["localhost"]);
    std::fs::rename(&other.key, &pair.key).unwrap();
    crate::inprocess::wait_until(|| log.has("cannot load changed certificates")).await;
    connect(&second.client(&[], None), running.address(), "localhost").await;
    std::fs::rename(&other.certificate, &pair.certificate).unwrap();
    wait_for(&third, running.address()).await;
    assert_eq!(ask(&mut open, GET).await.1, "hello");
    running.end().await;
}

#[tokio::test]
async fn a_switched_link_is_a_renewal() {
    let folder = tempfile::tempdir().unwrap();
    let (live, archive) = (folder.path().join("live"), folder.path().join("archive"));
    std::fs::create_dir(&live).unwrap();
    std::fs::create_dir(&archive).unwrap();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let link = |to: &Pair| {
        // As certbot does it: the files in the archive stay, and the links in `live` change.
        for (file, name) in [(&to.certificate, "fullchain.pem"), (&to.key, "privkey.pem")] {
            let _ = std::fs::remove_file(live.join(name));
            std::os::unix::fs::symlink(file, live.join(name)).unwrap();
        }
    };
    link(&first.pair(&archive, "1", &["localhost"]));
    let pair = Pair { certificate: live.join("fullchain.pem"), key: live.join("privkey.pem") };
    let table = format!("[server.main.tls]\ncertificates = [{}]", pair.item());
    let running = Running::start(&table, says("hello"));
    connect(&first.client(&[], None), running.address(), "localhost").await;
    link(&second.pair(&archive, "2", &["localhost"]));
    wait_for(&second, running.address()).await;
    running.end().await;
}

/// The output of `paster check` for a config with that table.
fn check(folder: &Path, table: &str) -> (bool, String) {
    let text = format!("[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{table}\n{HELLO}");
    std::fs::write(folder.join("server.toml"), text).unwrap();
    let out = paster().arg("check").current_dir(folder).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
    (out.status.success(), text)
}

#[test]
fn faults_are_told_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    authority.pair(folder.path(), "a", &["localhost"]);
    authority.pair(folder.path(), "b", &["localhost"]);
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let fault = |table: &str, message: &str, place: &str| {
        let (good, text) = check(folder.path(), table);
        assert!(!good && text.contains(message) && text.contains(place), "{table}\n{text}");
        assert!(!text.contains("PRIVATE"), "{text}");
    };
    let pair = |certificate: &str, key: &str| {
        format!(
            "[server.main.tls]\ncertificates = [\n  {{ certificate_file = \"{certificate}\", key_file = \"{key}\" }},\n]"
        )
    };
    fault("[server.main.tls]", "`tls` has no certificate", "server.toml:4");
    fault(&pair("none.pem", "a.key"), "cannot read the certificate", "server.toml:6:24");
    fault(&pair("a.pem", "none.key"), "cannot read the key", "server.toml:6:44");
    fault(&pair("empty.pem", "a.key"), "contains no certificate", "server.toml:6:24");
    fault(&pair("a.pem", "empty.pem"), "contains no private key", "server.toml:6:44");
    fault(&pair("a.pem", "b.key"), "does not belong to the certificate", "server.toml:6:44");
    let good = pair("a.pem", "a.key");
    fault(
        &format!("{good}\nclient_certificates = \"required\""),
        "no authority to verify client certificates",
        "server.toml:8",
    );
    fault(&format!("{good}\nclient_ca_file = \"a.pem\""), "is not used", "server.toml:8");
    let all = format!("{good}\nclient_certificates = \"optional\"\nclient_ca_file = \"empty.pem\"");
    fault(&all, "contains no certificate", "server.toml:9");
    fault("redirect_http = true", "which this server does not serve", "server.toml:4");
    fault(&format!("redirect_http = \"80\"\n{good}"), "`80` has no port", "server.toml:4");
    fault("proxy_protocol = [\"everybody\"]", "is not an address or a network", "server.toml:4");
    let acme = |more: &str| format!("[server.main.tls.acme]\ncache = \"acme\"\n{more}");
    let agreed = "terms_of_service_agreed = true";
    fault(&acme(&format!("domains = [\"*.a.org\"]\n{agreed}")), "require a DNS record", "server.toml:6");
    fault(&acme(&format!("domains = []\n{agreed}")), "`domains` is empty", "server.toml:6");
    fault(&acme("domains = [\"a.org\"]\nterms_of_service_agreed = false"), "not agreed to", "server.toml:7");
    let plain = format!("domains = [\"a.org\"]\n{agreed}\ndirectory = \"http://a.org/\"");
    fault(&acme(&plain), "is not an https URL", "server.toml:8");
    let (good, text) = check(folder.path(), &acme(&format!("domains = [\"a.org\"]\n{agreed}")));
    assert!(good && !folder.path().join("acme").exists(), "a check makes nothing: {text}");
}

#[test]
fn an_expired_certificate_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    let old = SystemTime::UNIX_EPOCH + DAY * 365 * 50;
    let pair = authority.pair_until(folder.path(), "old", &["localhost"], old);
    let (good, text) = check(folder.path(), &format!("[server.main.tls]\ncertificates = [{}]", pair.item()));
    assert!(good && text.contains("expired on 2019-12-"), "{text}");
    let soon = authority.pair_until(folder.path(), "soon", &["localhost"], SystemTime::now() + DAY);
    let (good, text) = check(folder.path(), &format!("[server.main.tls]\ncertificates = [{}]", soon.item()));
    assert!(good && text.contains("expires on 20"), "{text}");
}

#[test]
fn the_program_serves_https() {
    let authority = Authority::new("test");
    let folder = folder(&[]);
    authority.pair(folder.path(), "a", &["localhost"]);
    let file = authority.file(folder.path());
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\nredirect_http = \"127.0.0.1:0\"\n\
         [server.main.tls]\ncertificates = [{{ certificate_file = \"a.pem\", key_file = \"a.key\" }}]\n{HELLO}"
    );
    std::fs::write(folder.path().join("server.toml"), &config).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    assert!(serving.url().starts_with("https://127.0.0.1:"), "{}", serving.url());
    let url = serving.url().replace("127.0.0.1", "localhost");
    let curl = |more: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "-w", " %{http_version} %{http_code}", "--cacert"]).arg(&file);
        let out = command.args(more).arg(&url).output().unwrap();
        String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap()
    };
    assert_eq!(curl(&[]), "hello 2 200");
    assert_eq!(curl(&["--http1.1"]), "hello 1.1 200");
    let address = url.trim_start_matches("https://");
    let openssl = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost", "-alpn", "h2", "-brief"])
        .arg("-CAfile")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&openssl.stderr).into_owned();
    assert!(text.contains("TLSv1.3") && text.contains("Verification: OK"), "{text}");
    // A reload keeps the sockets.
    std::fs::write(folder.path().join("server.toml"), config.replace("body = \"hello\"", "body = \"bye\""))
        .unwrap();
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_eq!(curl(&[]), "bye 2 200");
    assert_eq!(serving.stop(), Some(0));
    assert!(!serving.stderr().contains("PRIVATE"));
}

#[test]
fn a_certificate_of_our_own_is_made_once() {
    let folder = folder(&[]);
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[server.main.tls]\nself_signed = true\n{HELLO}"
    );
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let cache = folder.path().join("cache");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut command = paster();
        command.args(["serve", "--json"]).current_dir(folder.path()).env("XDG_CACHE_HOME", &cache);
        let serving = Serving::spawn(command);
        let made = cache.join("paster/certificates");
        let mut file = None;
        wait_until("the certificate is there", || {
            let found = std::fs::read_dir(&made).into_iter().flatten().flatten();
            file = found.map(|one| one.path()).find(|path| path.extension().is_some_and(|is| is == "pem"));
            file.is_some()
        });
        let file = file.unwrap();
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let url = serving.url().replace("127.0.0.1", "localhost");
        let out =
            Command::new("curl").args(["-sS", "--noproxy", "*", "--cacert"]).arg(&file).arg(url).output();
        assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), "hello");
        seen.push(std::fs::read(&file).unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn systemd_passes_sockets() {
    let folder = folder(&[]);
    let config = format!("[server.main]\nuse = \"http\"\nlisten = [\"systemd:web\"]\n{HELLO}");
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // The shell becomes the program, so its process id is the one that systemd would name.
    let script =
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec \"$0\" serve --json";
    let mut command = paster();
    let program = command.get_program().to_owned();
    let settings: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("sh");
    command.env_clear().args(["-c", script]).arg(program).current_dir(folder.path());
    for (name, value) in settings {
        command.env(name, value.unwrap_or_default());
    }
    let mut serving = Serving::launch_with(command, std::os::fd::OwnedFd::from(listener).into());
    serving.wait_for("ready");
    assert_eq!(serving.address(), address);
    assert_eq!(crate::support::get(&serving, "/"), "hello");
    serving.stop();
    let mut alone = paster();
    let out = alone.args(["serve", "--json"]).current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(!out.status.success() && text.contains("systemd passed no socket"), "{text}");
}

#[tokio::test]
async fn requests_on_the_way_are_answered_by_the_old_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (first, pair, running) = hello(folder.path());
    let mut open = connect(&first.client(&[], None), running.address(), "localhost").await;
    open.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let second = Authority::new("second");
    replace(&pair, &second.pair(folder.path(), "b", &["localhost"]));
    wait_for(&second, running.address()).await;
    open.write_all(b"Host: localhost\r\n\r\n").await.unwrap();
    assert_eq!(read_response(&mut open).await.1, "hello");
    running.end().await;
}
