//! PostgreSQL over TLS: certificates and host names are verified, and nothing is sent without TLS by mistake.

use std::path::Path;
use std::sync::Arc;

use notebook::store::{Backend, Store};
use serde_json::json;

use crate::pki::Authority;
use crate::postgres::Postgres;
use crate::replicas::{notebook, set};
use crate::server::{Page, Server};
use crate::support::{Host, plain_python};

fn error(url: &str, ca_file: Option<&Path>) -> String {
    match Backend::parse(url, ca_file).and_then(Store::connect) {
        Ok(_) => panic!("it connects to {url}"),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.contains("secret"), "{error}");
            error
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified() {
    let (authority, other) = (Authority::new("databases"), Authority::new("other"));
    let Some(mut server) = Postgres::start_with_tls(&authority.sign("localhost")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (authority.file(folder.path(), "right.pem"), other.file(folder.path(), "wrong.pem"));
    server.database("notes");
    let (by_name, by_number) = (server.tcp_url("localhost", "notes"), server.tcp_url("127.0.0.1", "notes"));
    let count = "select count(*) || ' ' || bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
                 where application_name = 'paster notebook'";
    for mode in ["", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"] {
        let store =
            Store::connect(Backend::parse(&format!("{by_name}{mode}"), Some(&right)).unwrap()).unwrap();
        store.audit("ann", "", "tested", mode).await.unwrap();
        let connections = server.query("notes", count);
        assert!(connections.ends_with("true"), "`{mode}`: {connections}");
    }
    for (url, ca_file, why) in [
        (&by_name, Some(&wrong), "invalid peer certificate: UnknownIssuer"),
        // The public authorities.
        (&format!("{by_name}?sslmode=verify-full"), None, "invalid peer certificate: UnknownIssuer"),
        (&by_number, Some(&right), "not valid for name \"127.0.0.1\""),
    ] {
        let error = error(url, ca_file.map(std::path::PathBuf::as_path));
        assert!(error.contains("cannot connect to PostgreSQL on") && error.contains(why), "{error}");
        assert!(error.contains("check the host name in `database` and the authority"), "{error}");
    }
    server.kill();
    server.set_certificate(&authority.sign_expired("localhost"));
    server.run();
    let expired = error(&by_name, Some(&right));
    assert!(expired.contains("invalid peer certificate: certificate expired"), "{expired}");
}

#[test]
fn a_connection_without_tls_must_be_explicit() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = Authority::new("databases").file(folder.path(), "ca.pem");
    for mode in ["prefer", "allow"] {
        let error = error(&format!("postgres://ann:secret@db.example.org/notes?sslmode={mode}"), None);
        assert!(error.contains(&format!("`sslmode={mode}`")), "{error}");
        assert!(error.contains("could connect without TLS: write `sslmode=verify-full`"), "{error}");
    }
    let both = error("postgres://ann:secret@127.0.0.1/notes?sslmode=disable", Some(&ca_file));
    assert!(both.contains("contradicts `database_ca_file`"), "{both}");
    let unknown = error("postgres://ann:secret@127.0.0.1/notes?sslmode=strict", None);
    assert!(unknown.contains("the address of the database is not valid"), "{unknown}");
}

/// A server that has no TLS, or a machine between that says so, gets no password.
#[tokio::test]
async fn a_database_without_tls_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = Authority::new("databases").file(folder.path(), "ca.pem");
    let asking = tokio::task::spawn_blocking(move || {
        error(&format!("postgres://ann:secret@127.0.0.1:{port}/notes"), Some(&ca_file))
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    // The request for TLS of 8 bytes, and "no".
    let mut request = [0; 8];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
    stream.write_all(b"N").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "nothing is sent without TLS");
    let error = asking.await.unwrap();
    assert!(error.contains("does not support TLS"), "{error}");
}

#[tokio::test]
async fn a_notebook_is_edited_with_a_database_over_tls() {
    let authority = Authority::new("databases");
    let Some(postgres) = Postgres::start_with_tls(&authority.sign("localhost")) else { return };
    let host = Arc::new(Host::start());
    let ca_file = authority.file(host.folder.path(), "ca.pem");
    postgres.database("notes");
    let settings = json!({
        "database": format!("{}?sslmode=verify-full", postgres.tcp_url("localhost", "notes")),
        "database_ca_file": ca_file, "python": plain_python(), "default_kernel": "paster-python",
    });
    let server = Server::start_with(host, settings).await;
    assert_eq!(server.call("PUT", "/api/contents/n.ipynb", Some(notebook("0"))).await.0, 201);
    let mut page = Page::open(&server, "n.ipynb", None).await;
    page.ask(set(&page, "print(6 * 7)")).await.unwrap();
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "42\n");
}
