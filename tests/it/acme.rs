//! Ordered certificates: one of several processes orders them, with either challenge; they are renewed or
//! refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::authority::Authority;
use crate::inprocess::{ask, within};
use crate::pki::{DAY, connect, try_connect};
use crate::support::{Serving, patience, wait_until};

const GET: &str = "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n";

/// Not due for renewal for a long time.
pub(crate) const LONG: Duration = Duration::from_secs(80 * 24 * 3600);

/// Starts the program with two workers in `folder`.
fn serve(folder: &Path, authority: &Authority) -> Serving {
    let ca = authority.pki.file(folder);
    let config = format!(
        r#"
[process]
workers = 2
[server.main]
use = "http"
listen = ["127.0.0.1:0"]
redirect_http = "127.0.0.1:0"
[server.main.tls.acme]
domains = ["site.test", "www.site.test"]
contact = ["mailto:admin@site.test"]
cache = "acme"
terms_of_service_agreed = true
directory = "{}"
directory_ca_file = "{}"
[app.main]
use = "respond"
body = "hello"
"#,
        authority.directory,
        ca.display()
    );
    std::fs::write(folder.join("server.toml"), config).unwrap();
    Serving::launch({
        let mut command = crate::support::paster();
        command.args(["serve", "--json"]).current_dir(folder);
        command
    })
}

/// The addresses for HTTPS and for plain HTTP.
pub(crate) fn addresses(serving: &mut Serving) -> (String, String) {
    let mut next = || serving.wait_for("listening")["url"].as_str().unwrap().to_owned();
    let (secure, plain) = (next(), next());
    (secure.strip_prefix("https://").unwrap().into(), plain.strip_prefix("http://").unwrap().into())
}

/// Waits until every name gets the ordered certificate.
pub(crate) async fn wait_for(authority: &Authority, serving: &Serving, address: &str) {
    let client = authority.pki.client(&["http/1.1"], None);
    let shown = async {
        for name in ["site.test", "www.site.test"] {
            while try_connect(&client, address, name).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await; // poll of what tells nobody
            }
        }
    };
    if tokio::time::timeout(patience(), shown).await.is_err() {
        panic!(
            "no certificate; refused: {:?}\n{}",
            authority.seen(|seen| seen.refused.clone()),
            serving.stderr()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_workers_orders_and_all_have_it() {
    let authority = Authority::start("tls-alpn-01", &[LONG]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(folder.path(), &authority);
    let (address, _) = addresses(&mut serving);
    serving.wait_for("ready");
    authority.target.send_replace(Some(address.clone()));
    wait_for(&authority, &serving, &address).await;
    let client = authority.pki.client(&["http/1.1"], None);
    // Whichever worker accepts a connection has loaded the certificate a moment later.
    let mut in_a_row = 0;
    within(async {
        while in_a_row < 20 {
            in_a_row =
                if try_connect(&client, &address, "site.test").await.is_ok() { in_a_row + 1 } else { 0 };
        }
    })
    .await;
    let mut stream = connect(&client, &address, "site.test").await;
    assert_eq!(ask(&mut stream, GET).await.1, "hello");
    let counts = |seen: &crate::authority::Seen| (seen.accounts, seen.orders, seen.certificates);
    assert_eq!(authority.seen(counts), (1, 1, 1));
    // A nonce that the authority has forgotten does not end the order.
    assert!(authority.seen(|seen| matches!(&seen.refused[..], [why] if why.contains("nonce"))));
    let cache = folder.path().join("acme");
    assert_eq!(std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    for file in std::fs::read_dir(&cache).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(std::fs::read_dir(cache.join("challenges")).unwrap().count(), 0, "answers are taken away");
    // The next generation and the next start find it.
    serving.signal("HUP");
    serving.wait_for("reloaded");
    connect(&client, &address, "site.test").await;
    serving.stop();
    let mut serving = serve(folder.path(), &authority);
    let (address, _) = addresses(&mut serving);
    serving.wait_for("ready");
    connect(&client, &address, "www.site.test").await;
    assert_eq!(authority.seen(counts), (1, 1, 1));
    assert!(!serving.stderr().contains("PRIVATE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_answers_a_challenge_and_a_certificate_is_renewed() {
    // The first certificate is nearly expired when it comes; the second one is not.
    let authority = Authority::start("http-01", &[DAY, LONG]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(folder.path(), &authority);
    let (address, plain) = addresses(&mut serving);
    serving.wait_for("ready");
    authority.target.send_replace(Some(plain));
    wait_for(&authority, &serving, &address).await;
    wait_until("the certificate is renewed", || authority.seen(|seen| seen.certificates) == 2);
    wait_for(&authority, &serving, &address).await;
    assert_eq!(authority.seen(|seen| (seen.accounts, seen.orders)), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_the_other_port_is_tried() {
    let authority = Authority::start("tls-alpn-01 http-01", &[LONG]).await;
    let folder = tempfile::tempdir().unwrap();
    // An order has just failed: only plain HTTP is reachable from outside.
    let digest = Sha256::digest(format!("{}\nsite.test\nwww.site.test", authority.directory));
    let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let failed = folder.path().join(format!("acme/site.test-{digest}.failed"));
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    std::fs::write(&failed, r#"{"count":1,"at":0}"#).unwrap();
    let mut serving = serve(folder.path(), &authority);
    let (address, plain) = addresses(&mut serving);
    serving.wait_for("ready");
    authority.target.send_replace(Some(plain));
    wait_for(&authority, &serving, &address).await;
    assert_eq!(authority.seen(|seen| seen.orders), 1);
    assert!(!failed.exists(), "it is forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_is_told_once_and_not_repeated_at_once() {
    let authority = Authority::start("http-01", &[DAY]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut serving = serve(folder.path(), &authority);
    let (address, _) = addresses(&mut serving);
    serving.wait_for("ready");
    // The names lead to a server that does not know the order.
    let other = crate::inprocess::Running::start("", crate::inprocess::says("what?"));
    authority.target.send_replace(Some(other.address().to_owned()));
    wait_until("the refusal is told", || serving.stderr().contains("wrong answer over HTTP: what?"));
    let told = serving.stderr();
    assert!(told.contains("site.test") && !told.contains("PRIVATE"), "{told}");
    let client = authority.pki.client(&[], None);
    assert!(try_connect(&client, &address, "site.test").await.is_err(), "there is no certificate yet");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    serving.stop();
    assert_eq!(authority.seen(|seen| seen.orders), 1, "the next generation waits, too");
    other.end().await;
}
