//! Errors of a notebook that paster serves, sent by email over a real SMTP server with STARTTLS and a login.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::pki::{Authority, DAY};
use crate::support::{Connection, Serving, folder, paster, plugin, root, runs, text, wait_until};

const TOKEN: &str = "token of-the-tests";

/// The mail server of the notebook's tests.
struct MailServer {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl MailServer {
    /// `None` if the Python of the tests is missing.
    fn start() -> Option<MailServer> {
        let python = std::env::var_os("PASTER_TEST_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
        let Some(python) = python else {
            eprintln!("skipped: PASTER_TEST_PYTHON does not name an interpreter");
            return None;
        };
        let (folder, authority) = (folder(&[]), Authority::new("mail"));
        let (certificate, key) = authority.sign(&["127.0.0.1"], SystemTime::now() + 30 * DAY);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &authority.pem);
        write("cert.pem", &certificate);
        write("key.pem", &key);
        write("password", "mail secret");
        let mut child = Command::new(python)
            .arg(root().join("plugins/notebook/tests/smtp_server.py"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("its port: is aiosmtpd installed?");
        Some(MailServer { child, folder, port })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The mail with this number.
    fn mail(&self, number: u32) -> String {
        let path = self.file(&format!("{number}.eml"));
        wait_until("a mail arrives", || path.exists());
        let mail = std::fs::read_to_string(path).unwrap();
        mail.replace("\r\n", "\n").replace("=\n", "").replace("=3D", "=")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(mails: &MailServer, password: &Path) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n\
         middleware = [\"request_id\"]\n[middleware.request_id]\nuse = \"request_id\"\n\
         [app.main.settings]\ndata_dir = \"data\"\nstate_dir = \"state\"\ntoken = \"of-the-tests\"\n\
         python = \"python3\"\ndefault_kernel = \"paster-python\"\n\
         [app.main.settings.mail]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"notebook\"\npassword_file = {password:?}\n\
         ca_file = {:?}\nfrom = \"notebook@example.org\"\naddress = \"https://notebook.example.org/\"\n\
         errors_to = [\"admin@example.org\"]\nerrors_interval_secs = 1\n",
        plugin("notebook"),
        mails.port,
        mails.file("ca.pem"),
    )
}

fn command(folder: &Path, words: &[&str]) -> Value {
    let output = paster().args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks for a file whose name is too long for the file system. Returns the status line and the id of the request.
fn fail(serving: &Serving) -> (String, String) {
    let body = json!({"type": "file", "format": "text", "content": "the content"}).to_string();
    let head = format!(
        "PUT /api/contents/{}.txt HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        "x".repeat(300),
        body.len()
    );
    let (head, _) = Connection::open(serving.address()).request(&head);
    let id = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("x-request-id: ").map(str::to_owned));
    (head.lines().next().unwrap().to_owned(), id.unwrap())
}

fn kernel_host(folder: &Path) -> Option<u64> {
    let ps = command(folder, &["ps", "--json"]);
    let sides = ps["side_processes"].as_array()?.clone();
    sides.iter().find(|side| side["name"] == "kernels")?["pid"].as_u64()
}

#[test]
fn failed_requests_and_the_end_of_the_kernel_host_are_sent() {
    let Some(mails) = MailServer::start() else { return };
    let folder = folder(&[("server.toml", &config(&mails, &mails.file("password")))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let (status, id) = fail(&serving);
    assert!(status.contains("500"), "{status}");
    let mail = mails.mail(1);
    assert!(mail.contains("To: admin@example.org") && mail.contains("a request failed"), "{mail}");
    assert!(mail.contains("/api/contents/{*path}") && mail.contains(&format!("request {id}")), "{mail}");
    assert!(!mail.contains("the content") && !mail.contains("of-the-tests"), "{mail}");
    let host = kernel_host(folder.path()).unwrap();
    assert!(Command::new("kill").args(["-KILL", &host.to_string()]).status().unwrap().success());
    let mail = mails.mail(2);
    assert!(mail.contains("the kernel host ended and was started again"), "{mail}");
    let errors = command(folder.path(), &["run", "main", "--", "errors", "list", "--json"]);
    assert_eq!(
        errors[0]["message"].as_str().map(|text| text.contains("kernel host")),
        Some(true),
        "{errors}"
    );
    assert_eq!((&errors[1]["count"], &errors[1]["request_id"]), (&json!(1), &json!(id)), "{errors}");
    assert_eq!(serving.stop(), Some(0));
    // A start that fails is reported too, before the process ends.
    std::fs::write(folder.path().join("state/notebook.db"), "this is not a database").unwrap();
    for name in ["notebook.db-wal", "notebook.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join("state").join(name));
    }
    // Perhaps not the first time, because of the interval.
    wait_until("a failed start is sent", || {
        let mut serve = paster();
        let failed = serve.arg("serve").current_dir(folder.path()).output().unwrap();
        assert!(!failed.status.success());
        mails.file("3.eml").exists()
    });
    let mail = mails.mail(3);
    assert!(mail.contains("the notebook cannot start") && mail.contains("notebook.db"), "{mail}");
}

#[test]
fn a_mail_server_that_refuses_causes_no_further_mails() {
    let Some(mails) = MailServer::start() else { return };
    let wrong = mails.file("wrong");
    std::fs::write(&wrong, "another").unwrap();
    let folder = folder(&[("server.toml", &config(&mails, &wrong))]);
    let mut serving = Serving::start(folder.path(), &[]);
    fail(&serving);
    let attempts = |serving: &Serving| serving.stderr().matches("cannot send an email about errors").count();
    // It is tried again with the next error, and after the interval.
    wait_until("two attempts", || attempts(&serving) >= 2);
    let errors = command(folder.path(), &["run", "main", "--", "errors", "list", "--json"]);
    assert_eq!(errors.as_array().unwrap().len(), 1, "{errors}");
    let tested =
        paster().args(["run", "main", "--", "errors", "test"]).current_dir(folder.path()).output().unwrap();
    assert!(!tested.status.success() && text(&tested.stderr).contains("the test email was not sent"));
    // With the right password, the next worker sends what was not sent.
    std::fs::write(&wrong, "mail secret").unwrap();
    let reloaded = paster().args(["reload", "--wait"]).current_dir(folder.path()).output().unwrap();
    assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
    assert!(mails.mail(1).contains("a request failed"));
    let pid = serving.pid();
    assert_eq!(serving.stop(), Some(0));
    assert!(!runs(pid));
}
