//! A PostgreSQL server that several notebooks share, that is killed, or that cannot be used.

use notebook::store::{Backend, Store};

use crate::postgres::Postgres;
use crate::store::{delete_cell, path};

/// Two servers that start at the same time make the tables once.
#[tokio::test(flavor = "multi_thread")]
async fn several_servers_share_a_database() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let connect = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || Store::connect(Backend::parse(&url, None).unwrap()).unwrap())
    };
    let (a, b, c) = tokio::join!(connect(), connect(), connect());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    let document = a.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let stores = [&a, &b, &c];
    let appends = (0..150).map(|n| {
        let (store, document) = (stores[n % 3], document.clone());
        async move { store.append(&document, "ann", &delete_cell("c")).await.unwrap() }
    });
    let mut numbers = futures_util::future::join_all(appends).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=150).collect::<Vec<i64>>());
    // What one has acknowledged, the others see.
    assert_eq!(b.document_at(&path("n.ipynb")).unwrap(), Some((document, 150)));
    assert_eq!(c.audit("ann", "", "tested", "").await, Ok(()));
}

/// PostgreSQL is killed while changes arrive: each is made, or fails; those that were acknowledged stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_keeps_what_was_acknowledged() {
    let Some(mut server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let store = Store::connect(Backend::parse(&url, None).unwrap()).unwrap();
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let mut acknowledged: Vec<i64> = Vec::new();
    let mut failures = 0;
    for round in 0..5 {
        let (store, document) = (store.clone(), document.clone());
        let appending = tokio::spawn(async move {
            let mut numbers = Vec::new();
            let mut failures = 0;
            // At least one append is under way when the server is killed, and some follow.
            for _ in 0..400 {
                match store.append(&document, "ann", &delete_cell("c")).await {
                    Ok(number) => numbers.push(number),
                    Err(_) => failures += 1,
                }
            }
            (numbers, failures)
        });
        tokio::time::sleep(std::time::Duration::from_millis(20 + 13 * round)).await;
        server.kill();
        server.run();
        let (numbers, failed) = appending.await.unwrap();
        acknowledged.extend(numbers);
        failures += failed;
    }
    assert!(acknowledged.len() + failures == 2000 && failures < 20, "{failures} failures");
    let kept = store.operations_between(&document, 0, i64::MAX).unwrap();
    let kept: Vec<i64> = kept.into_iter().map(|(number, ..)| number).collect();
    assert_eq!(kept, acknowledged, "nothing is lost, and nothing that failed was done");
}

/// A server that still believes to have a document, though another has it, changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_renewed_given_back_and_end_with_their_server() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let connect = |name: &str| Store::connect_as(Backend::parse(&url, None).unwrap(), name).unwrap();
    let (a, b) = (connect("a"), connect("b"));
    let n = path("n.ipynb");
    a.take_lease(&n, "address of a").await.unwrap();
    // Each refusal is a renewal that was seen: together they outlast a lease that is not renewed.
    for _ in 0..6 {
        let held = b.take_lease(&n, "address of b").await.unwrap_err();
        assert!(held.to_string().contains("address of a"), "{held}");
    }
    let document = a.document(&n, [0; 32]).await.unwrap().id;
    assert!(a.append(&document, "ann", &delete_cell("c")).await.is_ok());
    let refused = b.append(&document, "ann", &delete_cell("c")).await.unwrap_err();
    assert!(refused.to_string().contains("taken the notebook over"), "{refused}");
    assert!(b.writing(&document, 1, [1; 32]).await.is_err());
    assert!(b.is_taken(&document).unwrap() && !a.is_taken(&document).unwrap());
    a.end_lease(&n).await.unwrap();
    b.take_lease(&n, "address of b").await.unwrap();
    assert!(a.append(&document, "ann", &delete_cell("c")).await.is_err());
    // The same server has it at once when it starts again.
    drop(b);
    connect("b").take_lease(&n, "address of b").await.unwrap();
    assert_eq!(a.shared_key(), connect("c").shared_key());
    assert!(a.shared_key().unwrap().is_some_and(|key| key.len() == 32));
}

/// Errors tell what is wrong, without the password.
#[test]
fn a_database_that_cannot_be_used_is_named() {
    let error = |url: &str| match Backend::parse(url, None).and_then(Store::connect) {
        Ok(_) => panic!("{url}"),
        Err(error) => error.to_string(),
    };
    assert!(error("postgres//x:secret@y").contains("write `postgres://"));
    assert!(error("postgres:///x").contains("names no host"));
    let settings = serde_json::json!({
        "data_dir": "/tmp", "database": "postgres://h/d", "database_ca_file": "/no/such/file",
    });
    let settings: notebook::settings::Settings = serde_json::from_value(settings).unwrap();
    let ca_file = settings.database_ca_file.as_deref();
    let error_of = Backend::parse(settings.database.as_deref().unwrap(), ca_file).err().unwrap().to_string();
    assert!(error_of.contains("cannot read the certificates `/no/such/file`"), "{error_of}");
    let unreachable = error("postgres://ann:secret@127.0.0.1:1/notes");
    assert!(
        unreachable.contains("cannot connect to PostgreSQL on 127.0.0.1, database `notes`"),
        "{unreachable}"
    );
    assert!(!unreachable.contains("secret"), "{unreachable}");
}
