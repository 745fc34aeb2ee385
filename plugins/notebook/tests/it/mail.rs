//! Mail over a real SMTP server with STARTTLS and a login: confirmed addresses, new passwords, mentions.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, FORM, HTML, start};
use crate::support::{test_python, until};

/// The mail server of `tests/smtp_server.py`.
struct MailServer {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl MailServer {
    fn start() -> MailServer {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("password"), "mail secret\n").unwrap();
        let mut child = Command::new(test_python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/smtp_server.py"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("its port: is aiosmtpd installed?");
        MailServer { child, folder, port }
    }

    fn settings(&self, password: &Path) -> Value {
        json!({
            "host": "127.0.0.1", "port": self.port, "user": "notebook", "password_file": password,
            "ca_file": self.folder.path().join("cert.pem"), "from": "Notebook <notebook@example.org>", "address": "https://notebook.example.org/nb",
        })
    }

    /// The mail with this number, decoded.
    async fn mail(&self, number: u32) -> String {
        let path = self.folder.path().join(format!("{number}.eml"));
        until("a mail arrives", || path.exists()).await;
        // Long lines are wrapped by quoted-printable.
        std::fs::read_to_string(path).unwrap().replace("\r\n", "\n").replace("=\n", "").replace("=3D", "=")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path and query of the link in a mail.
fn link(mail: &str) -> &str {
    let start =
        mail.find("https://notebook.example.org/nb").expect(mail) + "https://notebook.example.org/nb".len();
    mail[start..].lines().next().unwrap().trim()
}

#[tokio::test]
async fn addresses_are_confirmed_and_get_new_passwords_and_mentions() {
    let mails = MailServer::start();
    let server = start(json!({"mail": mails.settings(&mails.folder.path().join("password"))})).await;
    let ann = Browser::new(&server, "ann", Role::User).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    assert!(server.raw("GET", "/login", None, &[HTML]).await.text().await.unwrap().contains("/forgot"));
    let (_, refused) = ann.post("/account/email", "email=nonsense").await;
    assert!(refused.contains("not an email address"), "{refused}");
    assert!(ann.post("/account/email", "email=ann%40example.org").await.1.contains("An email was sent"));
    let mail = mails.mail(1).await;
    assert!(
        mail.starts_with("To: ann@example.org") && mail.contains("Subject: Confirm your address"),
        "{mail}"
    );
    let confirm = link(&mail).to_owned();
    assert!(
        ann.post("/account/email", "email=other%40example.org").await.1.contains("a moment ago"),
        "mails are limited"
    );
    assert_eq!(bob.post(&confirm, "").await.0, 404, "the link is that of one account");
    assert!(ann.get(&confirm).await.1.contains("Confirm the address"));
    assert!(!ann.get("/account").await.1.contains("ann@example.org"), "opening the link does not confirm");
    assert_eq!(ann.post(&confirm, "").await.0, 303);
    assert!(ann.get("/account").await.1.contains("ann@example.org"));
    assert_eq!(ann.post(&confirm, "").await.0, 404);

    // A forgotten password. Nobody learns who has an account.
    let ask = async |name: &str| {
        let body = Some(format!("name={name}"));
        server.raw("POST", "/forgot", body, &[HTML, FORM]).await.text().await.unwrap()
    };
    assert_eq!(ask("nobody").await, ask("bob").await);
    assert_eq!(ask("Ann%40Example.org").await, ask("nobody").await);
    let mail = mails.mail(2).await;
    assert!(mail.contains("Subject: A new password"), "{mail}");
    let set = server.raw("POST", link(&mail), Some("password=correct+horse".into()), &[HTML, FORM]).await;
    assert_eq!(set.status(), 303);
    let ann = Browser::log_in(&server, "ann").await;

    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    ann.share("ann/n.ipynb", "bob", "comment").await;
    let comment = json!({"text": "look at this, @ann"});
    assert_eq!(bob.call("POST", "/api/comments/ann/n.ipynb", Some(comment)).await.0, 201);
    let mail = mails.mail(3).await;
    assert!(mail.contains("bob mentioned you in ann/n.ipynb") && mail.contains("look at this"), "{mail}");

    server.write_notebook("ann/bad.ipynb", "paster-python", &["1 / 0"]);
    let plan = json!({"path": "ann/bad.ipynb", "cron": "0 3 * * *"});
    let (status, made) = ann.call("POST", "/api/schedules", Some(plan)).await;
    assert_eq!(status, 201, "{made}");
    let run = format!("/api/schedules/{}/run", made["id"].as_str().unwrap());
    assert_eq!(ann.call("POST", &run, None).await.0, 202);
    let mail = mails.mail(4).await;
    assert!(mail.contains("Subject: A scheduled run did not succeed"), "{mail}");
    assert!(mail.contains("ann/bad.ipynb") && mail.contains("ZeroDivisionError"), "{mail}");
    assert_eq!(link(&mail), "/schedules/ann/bad.ipynb");
}

#[tokio::test]
async fn nothing_is_sent_to_a_mail_server_that_is_not_the_right_one() {
    let mails = MailServer::start();
    let mut settings = mails.settings(&mails.folder.path().join("password"));
    settings["ca_file"] = Value::Null;
    let mail: notebook::settings::Mail = serde_json::from_value(settings.clone()).unwrap();
    let refused = notebook::mail::Mailer::new(&mail).unwrap().send("a@example.org", "s", "t".into()).await;
    assert!(refused.is_err(), "its certificate is unknown");
    let wrong = mails.folder.path().join("wrong");
    std::fs::write(&wrong, "another").unwrap();
    let mail: notebook::settings::Mail = serde_json::from_value(mails.settings(&wrong)).unwrap();
    assert!(
        notebook::mail::Mailer::new(&mail).unwrap().send("a@example.org", "s", "t".into()).await.is_err()
    );
    let mail: notebook::settings::Mail =
        serde_json::from_value(mails.settings(&mails.folder.path().join("none"))).unwrap();
    let error = notebook::mail::Mailer::new(&mail).err().unwrap().to_string();
    assert!(error.contains("mail.password_file"), "{error}");
}

/// The errors that a server records, as its plugin does.
fn record(server: &crate::server::Server, message: &str, error: &str) {
    let fields = [("error", error.to_owned()), ("source", "print('a cell')".to_owned())];
    server.notebook().errors.record("notebook::documents", message, &fields);
}

#[tokio::test]
async fn errors_are_sent_to_administrators_together() {
    let mails = MailServer::start();
    let mut mail = mails.settings(&mails.folder.path().join("password"));
    mail["errors_to"] = json!(["admin@example.org"]);
    mail["errors_interval_secs"] = json!(1);
    mail["errors_per_hour"] = json!(100);
    let server = start(json!({"mail": mail})).await;
    let reports = server.notebook().errors.clone();
    let root = Browser::new(&server, "root", Role::Admin).await;
    let ann = Browser::new(&server, "ann", Role::User).await;
    assert!(root.get("/admin").await.1.contains("No errors in the last 30 days"));
    for _ in 0..3 {
        record(&server, "cannot write a notebook", "postgres://nb:sesame@db/nb: no space left");
    }
    reports.record("panic", "the text of a cell", &[("place", "src/a.rs:1:2".to_owned())]);
    reports.watch();
    let first = mails.mail(1).await;
    assert!(
        first.starts_with("To: admin@example.org") && first.contains("Subject: 4 errors of the"),
        "{first}"
    );
    assert!(first.contains("cannot write a notebook") && first.contains("3 times, from 20"), "{first}");
    assert!(first.contains("no space left") && first.contains("src/a.rs:1:2"), "{first}");
    for secret in ["sesame", "a cell"] {
        assert!(!first.contains(secret), "{secret}: {first}");
    }
    // Those of the meantime are in the next mail.
    record(&server, "cannot write a notebook", "no space left");
    record(&server, "cannot store an operation", "locked");
    let second = mails.mail(2).await;
    assert!(second.contains("cannot store an operation") && !second.contains("a panic"), "{second}");

    let page = root.get("/admin").await.1;
    assert!(
        page.contains(
            "<td>cannot write a notebook<br><code class=\"faint\">error: no space left</code></td><td>4</td>"
        ),
        "{page}"
    );
    assert!(page.contains("Errors are sent to admin@example.org") && !page.contains("sesame"), "{page}");
    let (status, list) = root.call("GET", "/api/errors", None).await;
    let find =
        |message: &str| list["errors"].as_array().unwrap().iter().find(|one| one["message"] == message);
    assert_eq!((status, &find("cannot write a notebook").unwrap()["count"]), (200, &json!(4)), "{list}");
    assert_eq!(ann.call("GET", "/api/errors", None).await.0, 403);
    assert_eq!(ann.post("/admin/errors", "").await.0, 404);
    assert!(root.post("/admin/errors", "").await.1.contains("A test email was sent"));
    assert!(mails.mail(3).await.contains("This is a test"));
    let run = async |line: &str| {
        let words = line.split(' ').map(str::to_owned).collect();
        notebook::commands::run(server.notebook(), words).await.map_err(|error| error.to_string())
    };
    assert!(run("errors list").await.unwrap().contains("cannot store an operation"));
    assert!(run("errors test").await.unwrap().contains("admin@example.org"));
    assert!(mails.mail(4).await.contains("This is a test"));
    assert!(run("errors frob").await.unwrap_err().contains("there is no command"));
    assert!(run("audit").await.unwrap().contains("send test email admin@example.org"));
}

#[tokio::test]
async fn errors_without_addresses_are_listed_only() {
    let server = start(json!({})).await;
    let root = Browser::new(&server, "root", Role::Admin).await;
    record(&server, "cannot write a notebook", "no space left");
    let page = root.get("/admin").await.1;
    assert!(page.contains("cannot write a notebook") && page.contains("mail.errors_to"), "{page}");
    assert!(root.post("/admin/errors", "").await.1.contains("set `mail.errors_to` in the settings"));
    // Another process of the server, and one after a restart, list the same.
    let other = crate::server::Server::start_with(
        server.host.clone(),
        json!({"users": "accounts", "kernel_sandbox": "none", "python": crate::support::plain_python(), "token": null}),
    )
    .await;
    assert_eq!(other.notebook().errors.recent(), server.notebook().errors.recent());
}

#[tokio::test]
async fn a_wrong_address_is_refused() {
    let mails = MailServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut mail = mails.settings(&mails.folder.path().join("password"));
    mail["errors_to"] = json!(["admin"]);
    let settings = json!({"data_dir": folder.path().join("data"), "state_dir": folder.path().join("state"), "mail": mail});
    let settings = serde_json::from_value(settings).unwrap();
    let link = notebook::kernel::link::Link::unavailable("a test");
    let error = notebook::state::Notebook::open(settings, link).err().unwrap().to_string();
    assert!(error.contains("`mail.errors_to`: `admin` is not an email address"), "{error}");
}
