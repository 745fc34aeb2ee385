//! `[resource.NAME]`: what every store must do, and what commands tell about resources.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use insta::assert_snapshot;
use paster::store::{Counted, Rate, Store, StoreError};

use super::servers::Database;
use super::store;
use crate::local::faults;
use crate::pki::Authority;
use crate::support::{folder, paster, patience, text};

fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(600)
}

/// What every store must do.
async fn check_contract(store: Arc<dyn Store>) {
    assert_eq!(store.load("a").await, Ok(None));
    let first = store.save("a", b"1".to_vec(), soon(), None).await.unwrap().expect("it is new");
    assert_eq!(store.save("a", b"2".to_vec(), soon(), None).await, Ok(None), "it exists");
    let found = store.load("a").await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.version), (&b"1"[..], first));
    assert!(found.expires > SystemTime::now() + Duration::from_secs(500));
    let second = store.save("a", b"\0\xff".to_vec(), soon(), Some(first)).await.unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(store.save("a", b"3".to_vec(), soon(), Some(first)).await, Ok(None), "it has changed");
    assert_eq!(store.load("a").await.unwrap().unwrap().value, b"\0\xff");
    assert_eq!(store.remove("a").await, Ok(()));
    assert_eq!(store.remove("a").await, Ok(()));
    assert_eq!(store.save("a", b"4".to_vec(), soon(), Some(second)).await, Ok(None), "it is gone");
    assert_eq!(store.load("a").await, Ok(None));
    // What has expired is not there, and is deleted.
    let short = SystemTime::now() + Duration::from_millis(20);
    store.save("b", b"1".to_vec(), short, None).await.unwrap().unwrap();
    store.save("c", b"1".to_vec(), soon(), None).await.unwrap().unwrap();
    let end = SystemTime::now() + patience();
    while store.load("b").await.unwrap().is_some() {
        assert!(SystemTime::now() < end, "it does not expire");
        tokio::task::yield_now().await;
    }
    store.sweep().await.unwrap();
    assert!(store.save("b", b"2".to_vec(), soon(), None).await.unwrap().is_some());
    assert_eq!(store.load("c").await.unwrap().unwrap().value, b"1");
    // Of concurrent writers of one version, one succeeds.
    let version = store.save("n", b"0".to_vec(), soon(), None).await.unwrap().unwrap();
    let writers: Vec<_> =
        (0..8_u8).map(|number| tokio::spawn(store.save("n", vec![number], soon(), Some(version)))).collect();
    let mut won = Vec::new();
    for (number, writer) in writers.into_iter().enumerate() {
        if writer.await.unwrap().unwrap().is_some() {
            won.push(number as u8);
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.load("n").await.unwrap().unwrap().value, won);
    assert!(!store.probe().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_in_files_and_in_memory() {
    let place = folder(&[]);
    for (kind, options) in [
        ("memory", "max_values = 100"),
        ("files", "folder = \"values\"\nmax_values = 100"),
        ("sqlite", "file = \"values.db\"\ntimeout_secs = 30"),
    ] {
        check_contract(store(place.path(), kind, options)).await;
    }
    // Another process finds what this one has written.
    for (kind, options) in [("files", "folder = \"values\""), ("sqlite", "file = \"values.db\"")] {
        let found = store(place.path(), kind, options).load("c").await.unwrap().unwrap();
        assert_eq!((found.value, found.version), (b"1".to_vec(), 1), "{kind}");
    }
    for (kind, options) in [("memory", ""), ("files", "folder = \"few\"\n")] {
        let store = store(place.path(), kind, &format!("{options}max_values = 2"));
        for key in ["a", "b"] {
            store.save(key, Vec::new(), soon(), None).await.unwrap().unwrap();
        }
        assert_eq!(store.save("c", Vec::new(), soon(), None).await, Err(StoreError::Full), "{kind}");
        store.remove("a").await.unwrap();
        store.sweep().await.unwrap();
        assert!(store.save("c", Vec::new(), soon(), None).await.unwrap().is_some());
    }
    let broken = store(place.path(), "sqlite", "file = \"server.toml\"");
    assert!(matches!(broken.load("a").await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_redis() {
    let Some(redis) = Database::redis() else { return };
    let place = folder(&[]);
    let options = format!("{}prefix = \"one:\"\ntimeout_secs = 30\n", redis.table);
    let store_one = store(place.path(), redis.kind, &options);
    check_contract(store_one.clone()).await;
    let store_two = store(place.path(), redis.kind, &options.replace("one:", "two:"));
    assert_eq!(store_two.load("c").await, Ok(None), "each prefix has its own keys");
    assert!(store_one.probe().await.unwrap().starts_with("Redis "));
    // The limit is the same for all who count.
    let again = store(place.path(), redis.kind, &options);
    let rate = Rate { step: Duration::from_secs(600), burst: 2 };
    assert_eq!(store_one.count("k", rate).await, Ok(Counted::Passes(1)));
    assert_eq!(again.count("k", rate).await, Ok(Counted::Passes(0)));
    let Ok(Counted::Early(wait)) = store_one.count("k", rate).await else { panic!("it is too early") };
    assert!(wait > Duration::from_secs(300) && wait <= Duration::from_secs(600), "{wait:?}");
    assert_eq!(again.count("other", rate).await, Ok(Counted::Passes(1)));
    assert_eq!(store_two.count("k", rate).await, Ok(Counted::Passes(1)));
    let quick = Rate { step: Duration::from_millis(1), burst: 1 };
    assert_eq!(again.count("q", quick).await, Ok(Counted::Passes(0)));
    let end = SystemTime::now() + patience();
    while again.count("q", quick).await != Ok(Counted::Passes(0)) {
        assert!(SystemTime::now() < end, "the client may never send again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_postgres() {
    let Some(postgres) = Database::postgres() else { return };
    let place = folder(&[]);
    let options = format!("{}pool = 2\ntimeout_secs = 30\n", postgres.table);
    // Several workers create the table at the same time.
    let stores: Vec<_> = (0..4).map(|_| store(place.path(), postgres.kind, &options)).collect();
    let found = stores.iter().map(|store| tokio::spawn(store.load("none")));
    for found in found.collect::<Vec<_>>() {
        assert_eq!(found.await.unwrap(), Ok(None));
    }
    check_contract(stores[0].clone()).await;
    assert!(stores[0].probe().await.unwrap().starts_with("PostgreSQL "));
    assert_eq!(stores[1].load("c").await.unwrap().unwrap().value, b"1");
}

/// The certificate and the host name are verified, and nothing is sent without TLS by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_postgres_over_tls() {
    let (place, authority) = (folder(&[]), Authority::new("databases"));
    let pair = authority.pair(place.path(), "server", &["localhost"]);
    let Some(postgres) = Database::postgres_with_tls(&pair) else { return };
    let right = authority.file(place.path());
    let wrong = place.path().join("wrong.pem");
    std::fs::write(&wrong, Authority::new("other").pem).unwrap();
    let table = |mode: &str, ca_file: &Path| {
        let url = postgres.table.replace("/postgres\"", &format!("/postgres{mode}\""));
        format!("{url}timeout_secs = 30\nca_file = {ca_file:?}\n")
    };
    for mode in ["", "?sslmode=verify-full"] {
        let store = store(place.path(), postgres.kind, &table(mode, &right));
        assert!(store.probe().await.unwrap().starts_with("PostgreSQL "));
        store.save("a", b"1".to_vec(), soon(), None).await.unwrap();
        store.remove("a").await.unwrap();
    }
    for (options, why) in [
        (table("", &wrong), "invalid peer certificate: UnknownIssuer"),
        (table("", &right).replace("localhost", "127.0.0.1"), "not valid for name \"127.0.0.1\""),
    ] {
        let error = store(place.path(), postgres.kind, &options).probe().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn faults_in_tables_of_resources() {
    let app = "[app.main]\nuse = \"respond\"\nbody = \"\"\n";
    let with = |tables: &str| faults(&format!("{app}{tables}"));
    assert_snapshot!(with("[resource.db]\nuse = \"redis\"\nurl = \"http://h\"\n"), @"the address of the Redis server is not valid (write `redis://HOST:PORT/DATABASE`, `rediss://…` or `redis+unix:///PATH`)");
    assert_snapshot!(with("[resource.db]\nuse = \"postgres\"\nurl = \"postgres://ann:secret@[/x\"\n"), @"the address of the database is not valid (write `postgres://USER:PASSWORD@HOST:PORT/DATABASE`)");
    assert_snapshot!(with("[resource.db]\nuse = \"postgres\"\nurl = \"postgres://h\"\nca_file = \"/none.pem\"\n"), @"cannot read the certificates `/none.pem` (set a PEM file that contains `-----BEGIN CERTIFICATE-----`)");
    let postgres =
        |options: &str| with(&format!("[resource.db]\nuse = \"postgres\"\nurl = \"postgres://h/d?{options}"));
    assert_snapshot!(postgres("sslmode=prefer\"\n"), @"`sslmode=prefer` could connect without TLS (write `sslmode=verify-full`, or `sslmode=disable` in a network that you trust)");
    let place = folder(&[]);
    let file = Authority::new("databases").file(place.path());
    assert_snapshot!(postgres(&format!("sslmode=disable\"\nca_file = {file:?}\n")), @"`sslmode=disable` contradicts `ca_file` (write `sslmode=verify-full`, or `sslmode=disable` in a network that you trust)");
    assert_snapshot!(with("[resource.db]\nuse = \"mysql\"\n"), @"unknown kind of resource `mysql` (known: `files`, `memory`, `postgres`, `redis`, `sqlite`)");
}

#[test]
fn check_tells_whether_resources_can_be_reached() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = \"\"\n";
    let check = |tables: &str| {
        let place = folder(&[("server.toml", &format!("{config}{tables}"))]);
        let output = paster().arg("check").current_dir(place.path()).output().unwrap();
        assert!(!place.path().join("new.db").exists(), "a check writes nothing");
        format!("{}{}", text(&output.stdout), text(&output.stderr))
            .replace(place.path().to_str().unwrap(), "DIR")
    };
    let said = check("[resource.a]\nuse = \"sqlite\"\nfile = \"new.db\"\n[resource.b]\nuse = \"memory\"\n");
    assert!(said.starts_with("ok: 1 server, 1 app, 2 resources\n"), "{said}");
    assert!(
        said.contains("`[resource.a]`: SQLite 3.") && said.contains("; the file will be created"),
        "{said}"
    );
    let said = check("[resource.cache]\nuse = \"redis\"\nurl = \"redis+unix:///nowhere/redis.sock\"\n");
    assert!(said.contains("error: the resource `cache` cannot be reached"), "{said}");
    assert!(said.contains("server.toml:7") && said.contains("Redis: "), "{said}");
    let said = check("[resource.db]\nuse = \"postgres\"\nurl = \"postgres://ann:secret@127.0.0.1:1/x\"\n");
    assert!(said.contains("the resource `db` cannot be reached") && !said.contains("secret"), "{said}");
    let Some(postgres) = Database::postgres() else { return };
    let said = check(&format!("[resource.db]\nuse = \"postgres\"\n{}", postgres.table));
    assert!(said.contains("note: `[resource.db]`: PostgreSQL "), "{said}");
}

#[test]
fn kinds_of_resources_are_listed() {
    let output = paster().args(["list", "resources"]).output().unwrap();
    let listed = text(&output.stdout);
    for kind in ["files", "memory", "postgres", "redis", "sqlite"] {
        assert!(listed.lines().any(|line| line.starts_with(kind)), "{listed}");
    }
    let output = paster().args(["list", "resources", "redis"]).output().unwrap();
    assert!(text(&output.stdout).contains("Options of a `[resource.NAME]` table with `use = \"redis\"`"));
}
