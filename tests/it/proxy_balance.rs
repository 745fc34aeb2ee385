//! `proxy` with several upstreams: shares, clients that stay, a slow start, and a certificate to show.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::bridge::Scripted;
use crate::pki::Authority;
use crate::support::{Connection, Serving, folder, wait_until};

/// An upstream that says its name while `works`, and closes connections otherwise.
fn named(name: &'static str, works: Arc<AtomicBool>) -> Scripted {
    Scripted::start(move |peer| {
        while peer.head().is_some() && works.load(SeqCst) {
            peer.answer(name);
        }
    })
}

fn always() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

fn serve(options: &str) -> (Serving, tempfile::TempDir) {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"proxy\"\n{options}\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    (Serving::start(folder.path(), &["server.toml"]), folder)
}

/// How often each upstream answers.
fn counts(serving: &Serving, times: usize) -> BTreeMap<String, usize> {
    let mut connection = Connection::open(serving.address());
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        *counts.entry(connection.get("/").1).or_insert(0) += 1;
    }
    counts
}

#[test]
fn upstreams_get_their_shares() {
    let (one, two) = (named("one", always()), named("two", always()));
    let upstreams = format!("upstreams = [{:?}, {:?}]", one.url(), two.url());
    for (options, expected) in [
        ("balance = \"round_robin\"\nweights = [3, 1]", 30..=30),
        // Both are idle whenever a request comes: the weight decides.
        ("balance = \"least_busy\"\nweights = [3, 1]", 40..=40),
        ("balance = \"power_of_two\"", 8..=32),
    ] {
        let (serving, _folder) = serve(&format!("{upstreams}\n{options}"));
        let counts = counts(&serving, 40);
        assert!(expected.contains(&counts["one"]), "{options}: {counts:?}");
    }
}

#[test]
fn an_upstream_that_is_back_gets_its_share_slowly() {
    let works = always();
    let (one, two) = (named("one", always()), named("two", works.clone()));
    let (serving, _folder) = serve(&format!(
        "upstreams = [{:?}, {:?}]\npool = {{ max_idle = 0 }}\n\
         health = {{ path = \"/\", interval_secs = 1, timeout_secs = 60, slow_start_secs = 3600 }}",
        one.url(),
        two.url()
    ));
    assert_eq!(counts(&serving, 20)["two"], 10);
    works.store(false, SeqCst);
    wait_until("the health check fails", || serving.stderr().contains("health check failed"));
    assert_eq!(counts(&serving, 20).get("two"), None);
    works.store(true, SeqCst);
    wait_until("it is healthy again", || serving.stderr().contains("healthy again"));
    let counts = counts(&serving, 44);
    assert!((3..=6).contains(&counts["two"]), "a tenth of the other's share: {counts:?}");
}

#[test]
fn a_client_stays_with_its_upstream() {
    let works = always();
    let (one, two) = (named("one", works.clone()), named("two", always()));
    let (serving, _folder) = serve(&format!(
        "upstreams = [{:?}, {:?}]\nsticky = {{ cookie = \"upstream\", max_age_secs = 60 }}\nhealth = {{ max_fails = 1 }}",
        one.url(),
        two.url()
    ));
    let ask = |cookie: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a=b{cookie}\r\n\r\n");
        let (head, body) = Connection::open(serving.address()).request(&head);
        let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
        (body, set)
    };
    let (first, set) = ask("");
    let set = set.unwrap();
    assert!(set.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"), "{set}");
    assert!(!set.contains("127.0.0.1"), "{set}");
    assert_eq!((&*first, &*ask("").0), ("one", "two"), "others take turns");
    let own = format!("; {}", set.split(';').next().unwrap());
    for _ in 0..5 {
        assert_eq!(ask(&own), (first.clone(), None));
    }
    assert!(ask("; upstream=unknown").1.is_some());
    // If it fails, the client moves to another one and stays there.
    works.store(false, SeqCst);
    wait_until("it fails", || ask(&own).0 == "two");
    let (_, moved) = ask(&own);
    let moved = format!("; {}", moved.unwrap().split(';').next().unwrap());
    works.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(ask(&moved), ("two".to_owned(), None));
    }
}

#[test]
fn an_upstream_may_ask_for_a_certificate() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new("upstreams");
    let own = authority.pair(place.path(), "paster", &["paster.example"]);
    let (chain, key) = authority.sign(&["localhost"], std::time::SystemTime::now() + 90 * crate::pki::DAY);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut head = [0; 4096];
            while let Ok(1..) = stream.read(&mut head) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").unwrap();
            }
        }
    });
    let ca = authority.file(place.path());
    let upstream = format!("upstreams = [\"https://localhost:{port}\"]\n[app.main.tls]\nca_file = {ca:?}");
    let (certificate, key) = (own.certificate.display(), own.key.display());
    let (serving, _folder) =
        serve(&format!("{upstream}\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\""));
    assert_eq!(Connection::open(serving.address()).get("/").1, "secret");
    drop(serving);
    let (serving, _folder) = serve(&upstream);
    assert!(Connection::open(serving.address()).get("/").0.starts_with("HTTP/1.1 502 "));
}

#[test]
fn wrong_options_are_named() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"proxy\"\nupstreams = [\"https://a\", \"https://b\"]\n\
                  weights = [1]\nsticky = { cookie = \"a b\" }\ntls = { certificate_file = \"none.pem\" }\n\
                  [app.other]\nuse = \"proxy\"\nupstreams = [\"https://a\"]\ntls = { certificate_file = \"none.pem\", key_file = \"none.key\" }\n";
    let folder = folder(&[("server.toml", config)]);
    let output = crate::support::paster().arg("check").current_dir(folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "the number of weights differs from the number of upstreams",
        "`a b` is not the name of a cookie",
        "a certificate needs its key",
        "cannot read the certificate",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}
