//! Two servers that reach each other over TLS, with certificates of an authority of their own.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, Once};

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span;

use crate::pki::{Authority, Pair};
use crate::postgres::Postgres;
use crate::replicas::set;
use crate::s3::S3Service;
use crate::server::{Page, Server};
use crate::servers::{put, settings, source};
use crate::support::{Host, within};

/// The warnings of this process.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects them.
struct Warnings;

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        WARNINGS.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn collect_warnings() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Warnings).unwrap());
}

/// A database and an object store, and the settings of their servers.
struct Place {
    postgres: Postgres,
    service: S3Service,
    authority: Authority,
}

impl Place {
    fn new() -> Option<Place> {
        let (postgres, service) = (Postgres::start()?, S3Service::start()?);
        Some(Place { postgres, service, authority: Authority::new("servers") })
    }

    fn settings(&self, host: &Host) -> Value {
        let ca_file = self.authority.file(host.folder.path(), "servers.pem");
        settings(&self.postgres, &self.service, &json!({"servers_ca_file": ca_file}))
    }
}

#[tokio::test]
async fn documents_kernels_and_folders_are_relayed_over_tls() {
    let Some(place) = Place::new() else { return };
    let host = Arc::new(Host::start());
    let settings = place.settings(&host);
    let first = Server::start_with_tls(host, settings.clone(), &place.authority.sign("localhost")).await;
    let second =
        Server::start_with_tls(Arc::new(Host::start()), settings, &place.authority.sign("localhost")).await;
    assert!(first.notebook().settings.address.as_ref().unwrap().starts_with("https://localhost:"));
    let made = first.call("PUT", "/api/contents/f", Some(json!({"type": "directory"}))).await;
    assert_eq!(made.0, 201, "{}", made.1);
    put(&first, "f/one.ipynb", "0").await;
    put(&first, "f/two.ipynb", "0").await;
    let mut own = Page::open(&first, "f/one.ipynb", None).await;
    let mut page = Page::open(&second, "f/one.ipynb", None).await;
    assert_eq!(page.instance, own.instance, "it is one document");
    // A large change in both directions.
    for (round, text) in ["x".repeat(300_000), "print(6 * 7)".to_owned()].iter().enumerate() {
        let (editor, reader) = if round == 0 { (&mut own, &mut page) } else { (&mut page, &mut own) };
        editor.ask(set(editor, text)).await.unwrap();
        reader.until(|document| document["cells"][0]["source"] == **text).await;
    }
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "42\n");
    let (_, kernels) = second.call("GET", "/api/kernels", None).await;
    assert_eq!(kernels.as_array().unwrap().len(), 1, "{kernels}");
    let mut two = Page::open(&second, "f/two.ipynb", None).await;
    let moved = second.call("PATCH", "/api/contents/f", Some(json!({"path": "g"}))).await;
    assert_eq!(moved.0, 200, "{}", moved.1);
    for (page, name) in [(&mut page, "one"), (&mut two, "two")] {
        page.ask(set(page, "moved")).await.unwrap();
        for server in [&first, &second] {
            assert_eq!(source(&Page::open(server, &format!("g/{name}.ipynb"), None).await), "moved");
        }
    }
}

/// A server whose certificate is not right gets no request: the user and the log are told, at once.
#[tokio::test]
async fn a_wrong_certificate_is_refused() {
    collect_warnings();
    let Some(place) = Place::new() else { return };
    let other = Authority::new("other");
    let cases: [(Pair, &str); 3] = [
        (other.sign("localhost"), "UnknownIssuer"),
        (place.authority.sign("one.example.org"), "not valid for name \"localhost\""),
        (place.authority.sign_expired("localhost"), "certificate expired"),
    ];
    let host = Arc::new(Host::start());
    let settings = place.settings(&host);
    let second = Server::start_with_tls(host, settings.clone(), &place.authority.sign("localhost")).await;
    for (index, (certificate, why)) in cases.into_iter().enumerate() {
        let first = Server::start_with_tls(Arc::new(Host::start()), settings.clone(), &certificate).await;
        let address = first.notebook().settings.address.clone().unwrap();
        let path = format!("/api/contents/n{index}.ipynb");
        put(&first, &format!("n{index}.ipynb"), "secret").await;
        let _page = Page::open(&first, &format!("n{index}.ipynb"), None).await;
        for (method, body) in [("GET", None), ("PATCH", Some(json!({"path": "moved.ipynb"})))] {
            let started = std::time::Instant::now();
            let (status, refused) = within(second.call(method, &path, body)).await;
            let message = refused["message"].as_str().unwrap();
            assert_eq!(status, 503, "{refused}");
            assert!(
                message.contains(&address) && message.contains("its certificate is not accepted"),
                "{message}"
            );
            println!("{why}: {method} is refused after {:?}", started.elapsed());
        }
        let warnings = WARNINGS.lock().unwrap().clone();
        let line = warnings
            .iter()
            .find(|line| line.starts_with(&format!("cannot reach {address}, which has `n{index}.ipynb`")));
        let line = line.unwrap_or_else(|| panic!("{warnings:?}"));
        assert!(
            line.contains(why) && line.contains("check its `address` and the `servers_ca_file`"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let Some(postgres) = Postgres::start() else { return };
    let host = Host::start();
    let settings = json!({
        "data_dir": host.folder.path().join("data"), "state_dir": host.folder.path().join("state"),
        "database": postgres.database("notebook"), "servers_ca_file": "/no/such/file", "address": "https://localhost/",
    });
    let link = notebook::kernel::link::Link::new(host.socket());
    let error = notebook::state::Notebook::open(serde_json::from_value(settings).unwrap(), link);
    let error = error.err().expect("it does not start").to_string();
    assert!(error.contains("the setting `servers_ca_file`: cannot read `/no/such/file`"), "{error}");
}
