//! Contents in an object store: in memory, in a folder and on an S3 service.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt;
use notebook::objects::{ObjectError, ObjectKey, Objects};
use notebook::settings::Settings;
use notebook::store::{Backend, Cause, ClaimError, Collected, Snapshot, Store};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::s3::S3Service;
use crate::store::{delete_cell, path};

/// The objects of these settings.
fn open(more: Value) -> Result<Objects, ObjectError> {
    let mut settings = json!({"data_dir": "/tmp"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: Settings = serde_json::from_value(settings).unwrap();
    Objects::open(&settings).map(|objects| objects.expect("there is the setting"))
}

/// Calls `check` with an empty object store of each kind.
async fn on_each(check: impl AsyncFn(&Objects)) {
    check(&Objects::in_memory()).await;
    let folder = tempfile::tempdir().unwrap();
    check(&open(json!({"objects": format!("file://{}/new/objects", folder.path().display())})).unwrap())
        .await;
    if let Some(service) = S3Service::start() {
        check(&open(service.settings("some/prefix")).unwrap()).await;
        // Without a prefix, and without a cache.
        let mut settings = service.settings("");
        settings["limits"] = json!({"objects_cache_bytes": 0});
        check(&open(settings).unwrap()).await;
    }
}

fn key(content: &[u8]) -> ObjectKey {
    ObjectKey::new(Sha256::digest(content).into())
}

async fn listed(objects: &Objects) -> Vec<ObjectKey> {
    let future = SystemTime::now() + Duration::from_secs(3600);
    let mut all = objects.list(future).try_concat().await.unwrap();
    all.sort();
    all
}

async fn contract(objects: &Objects) {
    let (one, two) = (key(b"one"), key(b"two"));
    assert!(matches!(objects.get(&one).await, Err(ObjectError::Missing { key, .. }) if key == one.as_str()));
    objects.put(&one, Bytes::from_static(b"one")).await.unwrap();
    objects.put(&two, Bytes::from_static(b"two")).await.unwrap();
    assert_eq!(objects.get(&one).await.unwrap(), "one");
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(listed(objects).await, both);
    let before = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(objects.list(before).try_concat().await.unwrap(), [], "nothing is that old");
    // Deleting twice is no error.
    objects.delete(std::slice::from_ref(&one)).await.unwrap();
    objects.delete(&[one.clone(), two.clone()]).await.unwrap();
    assert!(matches!(objects.get(&one).await, Err(ObjectError::Missing { .. })), "also not from the cache");
    assert_eq!(listed(objects).await, []);
    // Its content is not that of its key.
    let wrong = key(b"something else");
    objects.put(&wrong, Bytes::from_static(b"wrong")).await.unwrap();
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().unwrap());
    assert!(matches!(objects.get_to(&wrong, &mut file).await, Err(ObjectError::Damaged { .. })));
    objects.delete(&[wrong]).await.unwrap();
    assert!(objects.claim("me").await.unwrap() && objects.claim("me").await.unwrap());
    assert!(!objects.claim("another").await.unwrap());
}

#[tokio::test]
async fn objects_are_written_read_listed_and_deleted() {
    on_each(contract).await;
}

/// A file in several parts.
async fn large_files(objects: &Objects) {
    use std::io::Write;
    let content: Vec<u8> = (0..20_000_003_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [0, 1000, content.len()] {
        let content = &content[..bytes];
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let large = key(content);
        let source = tokio::fs::File::from_std(file.try_clone().unwrap());
        objects.put_file(&large, source, bytes as u64).await.unwrap();
        let target = tempfile::NamedTempFile::new().unwrap();
        let mut copy = tokio::fs::File::from_std(target.reopen().unwrap());
        objects.get_to(&large, &mut copy).await.unwrap();
        assert!(std::fs::read(target.path()).unwrap() == content, "{bytes} bytes");
        let other = tokio::fs::File::from_std(file);
        let changed = objects.put_file(&key(b"another content"), other, bytes as u64).await.unwrap_err();
        assert!(changed.to_string().contains("changed while it was read"), "{changed}");
        objects.delete(&[large]).await.unwrap();
    }
    assert_eq!(listed(objects).await, []);
}

#[tokio::test]
async fn large_files_are_written_in_parts() {
    on_each(large_files).await;
}

#[tokio::test]
async fn a_damaged_object_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file://{}", folder.path().display());
    let written = open(json!({"objects": address})).unwrap();
    let one = key(b"one");
    written.put(&one, Bytes::from_static(b"one")).await.unwrap();
    let file = folder.path().join("objects").join(&one.as_str()[..2]).join(one.as_str());
    std::fs::write(&file, "onE").unwrap();
    let error = open(json!({"objects": address})).unwrap().get(&one).await.unwrap_err();
    assert!(matches!(&error, ObjectError::Damaged { key, .. } if key == one.as_str()), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

/// Errors name the cause and the fix, without the secret.
#[tokio::test]
async fn a_service_that_cannot_be_used_is_explained() {
    let Some(mut service) = S3Service::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let error = async |settings: Value| {
        let error = open(settings).unwrap().claim("me").await.unwrap_err().to_string();
        assert!(!error.contains("hidden-secret"), "{error}");
        error
    };
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hidden-secret").unwrap();
    let mut settings = service.settings("p");
    settings["objects_s3"]["secret_access_key_file"] = json!(secret);
    settings["objects_s3"]["access_key_id"] = json!("unknown");
    let refused = error(settings).await;
    assert!(refused.contains("check the access key"), "{refused}");
    let mut settings = service.settings("p");
    settings["objects"] = json!("s3://no-such-bucket/p");
    let missing = error(settings).await;
    assert!(
        missing.contains("create the bucket") && missing.contains("`s3://no-such-bucket/p`"),
        "{missing}"
    );
    service.kill();
    let unreachable = error(service.settings("p")).await;
    assert!(unreachable.contains("`s3://paster/p` at http://127.0.0.1:"), "{unreachable}");
    assert!(unreachable.contains("check that the service is running"), "{unreachable}");
}

#[tokio::test]
async fn a_service_with_an_own_certificate_needs_its_authority() {
    let Some(service) = S3Service::start_with_tls() else { return };
    let mut settings = service.settings("p");
    assert!(open(settings.clone()).unwrap().claim("me").await.unwrap());
    settings["objects_s3"]["ca_file"] = Value::Null;
    let error = open(settings.clone()).unwrap().claim("me").await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
    settings["objects_s3"]["ca_file"] = json!("/no/such/file");
    assert!(open(settings).err().unwrap().to_string().contains("`objects_s3.ca_file`"));
}

/// Then the endpoint has the bucket.
#[tokio::test]
async fn the_bucket_can_be_in_the_host_name() {
    let Some(service) = S3Service::start() else { return };
    let mut settings = service.settings("p");
    settings["objects"] = json!("s3://elsewhere/paster/p");
    settings["objects_s3"]["path_style"] = json!(false);
    let objects = open(settings).unwrap();
    let one = key(b"one");
    objects.put(&one, Bytes::from_static(b"one")).await.unwrap();
    let same = open(service.settings("p")).unwrap();
    assert_eq!(same.get(&one).await.unwrap(), "one");
}

fn revision(name: &str) -> Snapshot {
    Snapshot { id: 0, number: 1, at: 0, author: "ann".into(), cause: Cause::Revision, name: name.into() }
}

/// The JSON of a notebook that is too large for a row.
fn large(word: &str) -> String {
    json!({"cells": [{"source": word.repeat(60_000 / word.len())}]}).to_string()
}

/// A store in a new SQLite database with objects.
fn sqlite(folder: &tempfile::TempDir, objects: &Objects) -> Store {
    let backend = Backend::Sqlite(folder.path().join("db"));
    Store::connect_with(backend, "server", Some(objects.clone())).unwrap()
}

/// Deletes what is not needed, until this was deleted: what was written in this moment is not yet old enough.
async fn collect(store: &Store, expected: Collected) {
    let mut all = Collected::default();
    crate::support::within(async {
        while all.unused < expected.unused || all.unknown < expected.unknown {
            let some = store.collect_objects(Duration::ZERO).await.unwrap();
            (all.unused, all.unknown) = (all.unused + some.unused, all.unknown + some.unknown);
        }
    })
    .await;
    assert_eq!(all, expected);
}

async fn snapshots(objects: &Objects) {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder, objects);
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    store.append(&document, "ann", &delete_cell("c")).await.unwrap();
    let mut ids = Vec::new();
    for word in ["small", "first secret ", "second secret "] {
        let content = if word == "small" { "{}".to_owned() } else { large(word) };
        ids.push(store.add_snapshot(&document, revision(word), content).await.unwrap());
    }
    assert_eq!(listed(objects).await.len(), 2, "small ones stay in the database");
    for (id, content) in [(ids[0], "{}".to_owned()), (ids[1], large("first secret "))] {
        assert!(store.snapshot(&document, id).await.unwrap().unwrap().1 == content);
    }
    // What was erased is gone at once.
    assert_eq!(store.erase(&path("n.ipynb"), "first secret ").await.unwrap(), 1);
    let keys = listed(objects).await;
    assert_eq!(keys.len(), 2);
    for key in keys {
        let content = String::from_utf8(objects.get(&key).await.unwrap().into()).unwrap();
        assert!(!content.contains("first secret"));
    }
    let (_, content) = store.snapshot(&document, ids[1]).await.unwrap().unwrap();
    assert!(content.contains("[erased]") && !content.contains("first secret"));
    // What nothing refers to any more is deleted, but not at once.
    assert!(store.remove_revision(&document, ids[2]).await.unwrap());
    assert_eq!(store.collect_objects(Duration::from_secs(3600)).await.unwrap(), Collected::default());
    // The database knows nothing of this one.
    let lost = Bytes::from_static(b"lost");
    objects.put(&key(&lost), lost).await.unwrap();
    assert_eq!(listed(objects).await.len(), 3);
    collect(&store, Collected { unused: 1, unknown: 1 }).await;
    let left = listed(objects).await;
    assert_eq!(left.len(), 1);
    assert!(store.snapshot(&document, ids[1]).await.is_ok_and(|found| found.is_some()));
    // Its objects are another database's.
    let other = tempfile::tempdir().unwrap();
    let stranger = sqlite(&other, objects);
    assert!(matches!(stranger.claim_objects().await, Err(ClaimError::Foreign(_))));
    assert!(stranger.collect_objects(Duration::ZERO).await.is_err());
    assert_eq!(listed(objects).await, left);
}

#[tokio::test]
async fn large_snapshots_are_objects_until_nothing_refers_to_them() {
    on_each(snapshots).await;
}

/// Long outputs are appended in parts.
async fn outputs(objects: &Objects) {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder, objects);
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    for part in 0..3 {
        store.add_output(&document, "c0", format!("part {part}\n").into()).await.unwrap();
    }
    store.add_output(&document, "c1", "other".into()).await.unwrap();
    let mut text = String::new();
    for key in store.output_parts(&document, "c0").unwrap() {
        let key = ObjectKey::parse(&key).unwrap();
        text += std::str::from_utf8(&objects.get(&key).await.unwrap()).unwrap();
    }
    assert_eq!(text, "part 0\npart 1\npart 2\n");
    store.remove_outputs(&document, Some("c0")).await.unwrap();
    assert_eq!(store.output_parts(&document, "c0").unwrap().len(), 0);
    // A deleted document takes all with it.
    store.removed(&path("n.ipynb")).await.unwrap();
    collect(&store, Collected { unused: 4, unknown: 0 }).await;
    assert_eq!(listed(objects).await, []);
}

#[tokio::test]
async fn long_outputs_are_objects() {
    on_each(outputs).await;
}

/// Objects are deleted while others are written: nothing is lost that was referred to.
#[tokio::test(flavor = "multi_thread")]
async fn collecting_takes_nothing_from_concurrent_writers() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::in_memory();
    let store = sqlite(&folder, &objects);
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let writing = tokio::spawn({
        let (store, document) = (store.clone(), document.clone());
        async move {
            let mut ids = Vec::new();
            for n in 0..100 {
                // A collection without grace may delete an object before it is referred to: then the write fails.
                if let Ok(id) = store.add_snapshot(&document, revision(&n.to_string()), large("same ")).await
                {
                    ids.push(id);
                }
            }
            ids
        }
    });
    while !writing.is_finished() {
        store.collect_objects(Duration::ZERO).await.unwrap();
    }
    let ids = writing.await.unwrap();
    for id in &ids {
        let (_, content) = store.snapshot(&document, *id).await.unwrap().unwrap();
        assert!(content == large("same "));
    }
    assert_eq!(store.snapshots(&document).unwrap().len(), ids.len());
}

/// A backup has the objects, and is restored with or without an object store.
#[tokio::test]
async fn a_backup_carries_objects() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::in_memory();
    let store = sqlite(&folder, &objects);
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let id = store.add_snapshot(&document, revision("mine"), large("word ")).await.unwrap();
    let (database, copies) = (folder.path().join("copy"), folder.path().join("objects"));
    store.backup(database.clone(), || Ok(())).await.unwrap();
    assert_eq!(store.backup_objects(&database, &copies).await.unwrap(), 1);
    let empty = tempfile::tempdir().unwrap();
    let missing = Store::open(&empty.path().join("db")).unwrap().restore(&database, empty.path()).await;
    assert!(missing.unwrap_err().to_string().contains("cannot read"));
    for objects in [Some(Objects::in_memory()), None] {
        let new = tempfile::tempdir().unwrap();
        let backend = Backend::Sqlite(new.path().join("db"));
        let restored = Store::connect_with(backend, "server", objects.clone()).unwrap();
        assert!(restored.restore(&database, &copies).await.unwrap());
        let (_, content) = restored.snapshot(&document, id).await.unwrap().unwrap();
        assert!(content == large("word "));
        if let Some(objects) = objects {
            assert_eq!(listed(&objects).await.len(), 1);
        }
    }
    let file = std::fs::read_dir(&copies).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "damaged").unwrap();
    let new = tempfile::tempdir().unwrap();
    let damaged = sqlite(&new, &Objects::in_memory()).restore(&database, &copies).await.unwrap_err();
    assert!(damaged.to_string().contains("damaged"), "{damaged}");
}

/// A hung service is not waited for without end, and nothing is acknowledged that it does not have.
#[tokio::test]
async fn a_service_that_hangs_or_is_killed_is_an_error_until_it_is_back() {
    let Some(mut service) = S3Service::start() else { return };
    let objects = open(service.settings("p")).unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (objects, writing) = (objects.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let done = writing.clone();
        let writer = tokio::spawn(async move {
            for n in 0.. {
                let content = Bytes::from(format!("{round}/{n} {}", "x".repeat(30_000)));
                let key = key(&content);
                match objects.put(&key, content).await {
                    Ok(()) => done.lock().unwrap().push(key),
                    Err(error) => return error,
                }
            }
            unreachable!()
        });
        crate::support::until("some objects", || writing.lock().unwrap().len() > 5).await;
        service.kill();
        let error = crate::support::within(writer).await.unwrap();
        assert!(matches!(error, ObjectError::Unavailable { .. }), "{error}");
        service.run();
        acknowledged.append(&mut writing.lock().unwrap());
    }
    let fresh = open(service.settings("p")).unwrap();
    for key in acknowledged {
        fresh.get(&key).await.unwrap();
    }
    service.signal(rustix::process::Signal::STOP);
    let content = Bytes::from_static(b"late");
    let hung = crate::support::within(objects.put(&key(&content), content)).await;
    service.signal(rustix::process::Signal::CONT);
    assert!(hung.unwrap_err().to_string().contains("no response within"));
}
