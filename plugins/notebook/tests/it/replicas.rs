//! Several servers with one PostgreSQL database and one object store, and no common folder.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::durability::Killable;
use crate::postgres::Postgres;
use crate::s3::S3Service;
use crate::server::{Page, Server};
use crate::support::{Host, plain_python, until, within};

/// The settings that two servers share.
pub(crate) fn shared(postgres: &Postgres, service: &S3Service) -> Value {
    let mut settings = service.settings("notebook");
    let more = json!({
        "database": postgres.url("notebook"), "python": plain_python(), "default_kernel": "paster-python",
        "limits": {"cell_output_bytes": 1000},
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

async fn two_servers() -> Option<(Postgres, S3Service, Server, Server)> {
    let (postgres, service) = (Postgres::start()?, S3Service::start()?);
    postgres.database("notebook");
    let settings = shared(&postgres, &service);
    let first = Server::start_with(Arc::new(Host::start()), settings.clone()).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    Some((postgres, service, first, second))
}

async fn text(server: &Server, path: &str) -> Option<String> {
    let token = format!("token {}", crate::server::TOKEN);
    let response = server.raw("GET", &format!("/files/{path}"), None, &[("authorization", &token)]).await;
    match response.status().as_u16() {
        200 => Some(response.text().await.unwrap()),
        404 => None,
        other => panic!("{other}: {}", response.text().await.unwrap()),
    }
}

async fn put(server: &Server, path: &str, content: &str) -> (u16, Value) {
    let body = json!({"type": "file", "format": "text", "content": content});
    server.call("PUT", &format!("/api/contents/{path}"), Some(body)).await
}

pub(crate) fn set(page: &Page, text: &str) -> Value {
    json!({"type": "set_source", "cell_id": "c0", "source": text, "base_revision": page.cell(0)["revision"]})
}

pub(crate) fn notebook(source: &str) -> Value {
    let cell = json!({"cell_type": "code", "id": "c0", "metadata": {}, "source": source, "outputs": [], "execution_count": null});
    let metadata =
        json!({"kernelspec": {"name": "paster-python", "display_name": "Python", "language": "python"}});
    let content = json!({"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5});
    json!({"type": "notebook", "content": content})
}

/// Uploads, changes, renames and deletions on one server are seen by the next request to the other.
#[tokio::test]
async fn files_are_the_same_on_both_servers() {
    let Some((_postgres, _service, first, second)) = two_servers().await else { return };
    assert_eq!(first.call("PUT", "/api/contents/data", Some(json!({"type": "directory"}))).await.0, 201);
    assert_eq!(put(&first, "data/table.csv", "1,2").await.0, 201);
    assert_eq!(text(&second, "data/table.csv").await.as_deref(), Some("1,2"));
    assert_eq!(std::fs::read_to_string(second.data("data/table.csv")).unwrap(), "1,2", "kernels see it");
    assert_eq!(put(&second, "data/table.csv", "3,4").await.0, 200);
    assert_eq!(text(&first, "data/table.csv").await.as_deref(), Some("3,4"));
    // In parts, and large.
    let part = "x".repeat(6_000_000);
    for chunk in [1, 2, -1] {
        let body = json!({"type": "file", "format": "text", "content": part, "chunk": chunk});
        assert!(first.call("PUT", "/api/contents/data/large.txt", Some(body)).await.0 < 300);
    }
    assert_eq!(text(&second, "data/large.txt").await.map(|text| text.len()), Some(18_000_000));
    let moved = json!({"path": "moved"});
    assert_eq!(second.call("PATCH", "/api/contents/data", Some(moved)).await.0, 200);
    assert_eq!(text(&first, "moved/table.csv").await.as_deref(), Some("3,4"));
    assert_eq!(text(&first, "data/table.csv").await, None);
    assert!(!first.data("data").exists());
    assert_eq!(first.call("DELETE", "/api/contents/moved/large.txt", None).await.0, 204);
    assert_eq!(text(&second, "moved/large.txt").await, None);
    // The trash is one, too.
    let (status, entry) = first.call("POST", "/api/trash", Some(json!({"path": "moved"}))).await;
    assert_eq!(status, 201, "{entry}");
    assert_eq!(text(&second, "moved/table.csv").await, None);
    let id = entry["id"].as_str().unwrap();
    assert_eq!(second.call("POST", &format!("/api/trash/{id}"), None).await.0, 200);
    assert_eq!(text(&first, "moved/table.csv").await.as_deref(), Some("3,4"));
    let (_, listed) = first.call("GET", "/api/contents/moved", None).await;
    assert_eq!(listed["content"].as_array().unwrap().len(), 1, "{listed}");
}

/// What a kernel or another program writes reaches the other server; of two such files, both are kept.
#[tokio::test]
async fn files_of_programs_are_published_and_never_overwritten() {
    let Some((_postgres, _service, first, second)) = two_servers().await else { return };
    let write = |server: &Server, name: &str, text: &str| std::fs::write(server.data(name), text).unwrap();
    write(&first, "plot.txt", "by a kernel");
    write(&first, ".hidden", "not for others");
    arrives(&first, &second, "plot.txt", "by a kernel").await;
    assert!(!second.data(".hidden").exists());
    write(&first, "plot.txt", "once more");
    arrives(&first, &second, "plot.txt", "once more").await;
    // Programs on both servers write it. The first that is published wins; the other becomes a copy.
    write(&second, "plot.txt", "theirs");
    assert_eq!(put(&first, "plot.txt", "mine").await.0, 200);
    assert_eq!(text(&second, "plot.txt").await.as_deref(), Some("mine"));
    assert_eq!(text(&second, "plot-conflict.txt").await.as_deref(), Some("theirs"));
    arrives(&second, &first, "plot-conflict.txt", "theirs").await;
    // A file that was changed here is not taken away because it was deleted there.
    write(&second, "plot.txt", "still needed");
    assert_eq!(first.call("DELETE", "/api/contents/plot.txt", None).await.0, 204);
    assert_eq!(text(&second, "plot.txt").await.as_deref(), Some("still needed"));
    arrives(&second, &first, "plot.txt", "still needed").await;
}

/// Publishes what programs have written to the folder of `from`, until `to` has it.
async fn arrives(from: &Server, to: &Server, path: &str, expected: &str) {
    within(async {
        while text(to, path).await.as_deref() != Some(expected) {
            let files = from.notebook().files.clone();
            tokio::task::spawn_blocking(move || files.publish_changes().unwrap()).await.unwrap();
        }
    })
    .await;
}

/// A notebook that is edited and run on one server is opened on the other, whose folder has nothing.
#[tokio::test]
async fn a_notebook_is_opened_on_the_other_server() {
    let Some((_postgres, service, first, second)) = two_servers().await else { return };
    assert_eq!(first.call("PUT", "/api/contents/n.ipynb", Some(notebook("print(6 * 7)"))).await.0, 201);
    let mut page = Page::open(&first, "n.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    page.ask(json!({"type": "save"})).await.unwrap();
    page.ask(set(&page, "acknowledged")).await.unwrap();
    drop(page);
    // The last edit is in the database alone.
    first.notebook().documents.retire().await;
    let mut page = Page::open(&second, "n.ipynb", None).await;
    assert_eq!((page.cell(0)["source"].as_str(), page.text(0).as_str()), (Some("acknowledged"), "42\n"));
    page.ask(set(&page, "by the second")).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    let file = std::fs::read_to_string(second.data("n.ipynb")).unwrap();
    assert!(file.contains("by the second") && file.contains("42"));
    assert!(text(&first, "n.ipynb").await.unwrap().contains("by the second"));
    assert!(!service.objects().is_empty());
}

/// While the object store is away, nothing is acknowledged that needs it, the page is told, and later everything is there.
#[tokio::test]
async fn a_killed_object_store_stops_saving_until_it_is_back() {
    let Some((_postgres, mut service, first, second)) = two_servers().await else { return };
    assert_eq!(first.call("PUT", "/api/contents/n.ipynb", Some(notebook("0"))).await.0, 201);
    let mut page = Page::open(&first, "n.ipynb", None).await;
    for round in 0..3 {
        page.ask(set(&page, &format!("before {round}"))).await.unwrap();
        service.kill();
        // An edit is durable in the database.
        page.ask(set(&page, &format!("acknowledged {round}"))).await.unwrap();
        page.until(|document| document["save_failed"].is_string()).await;
        let message = page.document["save_failed"].as_str().unwrap();
        assert!(message.contains("object store `s3://paster/notebook`"), "{message}");
        let refused = page.ask(json!({"type": "save"})).await.unwrap_err();
        assert!(refused.contains("object store"), "{refused}");
        let (status, body) = put(&first, "data.csv", "1").await;
        assert!(status >= 500, "{status} {body}");
        assert!(!first.data("data.csv").exists(), "what was not acknowledged is nowhere");
        service.run();
        // It recovers by itself.
        page.until(|document| document["save_failed"].is_null()).await;
    }
    drop(page);
    first.notebook().documents.retire().await;
    let page = Page::open(&second, "n.ipynb", None).await;
    assert_eq!(page.cell(0)["source"], "acknowledged 2");
}

/// A server whose folder is lost gets everything again, and does not open what it cannot read.
#[tokio::test]
async fn nothing_is_opened_as_empty_while_the_object_store_is_away() {
    let Some((_postgres, mut service, first, second)) = two_servers().await else { return };
    assert_eq!(first.call("PUT", "/api/contents/n.ipynb", Some(notebook("kept"))).await.0, 201);
    service.kill();
    let (status, body) = second.call("GET", "/api/contents/n.ipynb", None).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["message"].as_str().unwrap().contains("object store"), "{body}");
    service.run();
    // It recovers by itself.
    within(async { while second.call("GET", "/api/contents/n.ipynb", None).await.0 != 200 {} }).await;
    assert_eq!(Page::open(&second, "n.ipynb", None).await.cell(0)["source"], "kept");
    // A new process in an empty folder.
    second.notebook().documents.retire().await;
    let (host, settings) = (second.host.clone(), second.notebook().settings.clone());
    second.abandon().await;
    std::fs::remove_file(host.folder.path().join("data/n.ipynb")).unwrap();
    let more = json!({
        "database": settings.database, "objects": settings.objects, "python": plain_python(),
        "objects_s3": service.settings("notebook")["objects_s3"],
    });
    let again = Server::start_with(host, more).await;
    assert_eq!(Page::open(&again, "n.ipynb", None).await.cell(0)["source"], "kept");
}

/// `kill -9` of a server during a large output: each line is in the notebook or in the rest of the output, on the other server too.
#[tokio::test]
async fn a_killed_server_loses_nothing_of_a_large_output() {
    let (Some(postgres), Some(service)) = (Postgres::start(), S3Service::start()) else { return };
    postgres.database("notebook");
    let host = Arc::new(Host::start());
    let more = shared(&postgres, &service);
    let first = Killable::start_with(&host, 0, &more).await;
    let source = "import time\nfor n in range(3000):\n    print('line', n, 'x' * 100)\n    if n % 10 == 0: time.sleep(0.005)";
    assert_eq!(first.server.call("PUT", "/api/contents/n.ipynb", Some(notebook(source))).await.0, 201);
    let mut page = Page::open(&first.server, "n.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("the rest is in")).await;
    // Some of it is durable, beside the notebook itself.
    until("a part of the output", || service.objects().len() > 1).await;
    drop(first);
    let second = Killable::start_with(&host, 1, &more).await;
    let mut page = Page::open(&second.server, "n.ipynb", None).await;
    page.until_idle().await;
    page.ask(json!({"type": "save"})).await.unwrap();
    let other = Server::start_with(Arc::new(Host::start()), more).await;
    let token = format!("token {}", crate::server::TOKEN);
    let rest = other.raw("GET", "/api/outputs/n.ipynb?cell=c0", None, &[("authorization", &token)]).await;
    assert_eq!(rest.status().as_u16(), 200);
    let all = format!("{}{}", page.text(0), within(rest.text()).await.unwrap());
    for n in 0..3000 {
        assert!(all.contains(&format!("line {n} xxx")), "line {n} is missing in {} bytes", all.len());
    }
    let note = page.cell(0)["outputs"].to_string();
    assert!(note.contains("the rest is in api/outputs/n.ipynb?cell=c0"), "{note}");
}
