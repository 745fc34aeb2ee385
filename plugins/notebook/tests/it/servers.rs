//! Two servers with one database and one object store: a user may open any notebook on either.

use std::sync::Arc;
use std::time::Instant;

use notebook::files::RelativePath;
use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::Browser;
use crate::durability::Killable;
use crate::kernels::{reply, request};
use crate::postgres::Postgres;
use crate::replicas::{notebook, set, shared};
use crate::s3::S3Service;
use crate::server::{OWN, Page, Server};
use crate::support::{Host, within};

/// Two servers that reach each other.
pub(crate) struct Two {
    pub(crate) first: Server,
    pub(crate) second: Server,
    _service: S3Service,
    _postgres: Postgres,
}

pub(crate) async fn start(more: &Value) -> Option<Two> {
    let (postgres, service) = (Postgres::start()?, S3Service::start()?);
    let settings = settings(&postgres, &service, more);
    let first = Server::start_with(Arc::new(Host::start()), settings.clone()).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    Some(Two { first, second, _service: service, _postgres: postgres })
}

pub(crate) fn settings(postgres: &Postgres, service: &S3Service, more: &Value) -> Value {
    postgres.database("notebook");
    let mut settings = shared(postgres, service);
    let own = json!({"address": OWN, "kernel_sandbox": "none"});
    for more in [&own, more] {
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    settings
}

pub(crate) async fn put(server: &Server, path: &str, source: &str) {
    let (status, body) = server.call("PUT", &format!("/api/contents/{path}"), Some(notebook(source))).await;
    assert!(status < 300, "{status} {body}");
}

pub(crate) fn source(page: &Page) -> &str {
    page.cell(0)["source"].as_str().unwrap()
}

/// Edits and runs of pages on both servers.
#[tokio::test]
async fn a_document_is_edited_live_on_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "n.ipynb", "0").await;
    let mut one = Page::open(first, "n.ipynb", None).await;
    let mut two = Page::open(second, "n.ipynb", None).await;
    assert_eq!(one.instance, two.instance, "it is one document");
    for round in 0..20 {
        let (editor, reader) = if round % 2 == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        let text = format!("print({round} * 10)  # {}", "x".repeat(round * 5000));
        editor.ask(set(editor, &text)).await.unwrap();
        reader.until(|document| document["cells"][0]["source"] == *text).await;
    }
    assert_eq!(one.document["cells"], two.document["cells"]);
    two.ask(set(&two, "print(6 * 7)")).await.unwrap();
    two.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    for page in [&mut one, &mut two] {
        page.until(|document| document["cells"][0]["outputs"].to_string().contains("42")).await;
    }
}

/// The programming interface of each server shows the open document, and changes it.
#[tokio::test]
async fn the_other_server_reads_and_writes_an_open_document() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "a b.ipynb", "0").await;
    let mut page = Page::open(first, "a%20b.ipynb", None).await;
    page.ask(set(&page, "not in the file")).await.unwrap();
    let (status, read) = second.call("GET", "/api/contents/a%20b.ipynb", None).await;
    assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!("not in the file")));
    // A large body in one piece.
    let long = format!("# {}", "y".repeat(3_000_000));
    put(second, "a%20b.ipynb", &long).await;
    page.until(|document| document["cells"][0]["source"] == *long).await;
    let token = format!("token {}", crate::server::TOKEN);
    let headers = [("authorization", token.as_str())];
    let file = second.raw("GET", "/files/a%20b.ipynb?download=1", None, &headers).await;
    assert!(file.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert!(!file.headers().contains_key("x-paster-relayed"));
    assert!(file.text().await.unwrap().contains(&long));
    // A copy, a checkpoint, a renaming and the trash.
    let copy = json!({"copy_from": "a b.ipynb"});
    page.ask(set(&page, "copied")).await.unwrap();
    let (status, made) = second.call("POST", "/api/contents", Some(copy)).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/api/contents/{}", made["path"].as_str().unwrap().replace(' ', "%20"));
    let (_, copied) = second.call("GET", &path, None).await;
    assert_eq!(copied["content"]["cells"][0]["source"], "copied", "{path}: {copied}");
    assert_eq!(second.call("POST", "/api/contents/a%20b.ipynb/checkpoints", None).await.0, 201);
    let moved = second.call("PATCH", "/api/contents/a%20b.ipynb", Some(json!({"path": "m.ipynb"}))).await;
    assert_eq!(moved.0, 200, "{}", moved.1);
    page.ask(set(&page, "after the renaming")).await.unwrap();
    let (_, read) = second.call("GET", "/api/contents/m.ipynb", None).await;
    assert_eq!(read["content"]["cells"][0]["source"], "after the renaming");
    let (status, trashed) = second.call("POST", "/api/trash", Some(json!({"path": "m.ipynb"}))).await;
    assert_eq!(status, 201, "{trashed}");
    page.until_closed().await;
}

/// A kernel stays where it is, and both servers reach it.
#[tokio::test]
async fn a_kernel_is_used_from_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "n.ipynb", "x = 41").await;
    let mut page = Page::open(first, "n.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    let (_, kernels) = second.call("GET", "/api/kernels", None).await;
    let id = kernels[0]["id"].as_str().expect("the second server lists it").to_owned();
    assert_eq!(second.notebook().link.list().await.unwrap().len(), 0, "the second server runs none");
    let body = json!({"path": "n.ipynb", "type": "notebook", "kernel": {"name": "paster-python"}});
    let (status, session) = second.call("POST", "/api/sessions", Some(body)).await;
    assert_eq!((status, session["kernel"]["id"].as_str()), (201, Some(id.as_str())), "{session}");
    let session = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(second.call("GET", &session, None).await.1["path"], "n.ipynb");
    assert_eq!(second.call("POST", &format!("/api/kernels/{id}/interrupt"), None).await.0, 204);
    assert_eq!(second.call("GET", "/api/kernels/none", None).await.0, 404);
    for subprotocol in [None, Some("v1.kernel.websocket.jupyter.org")] {
        let path = format!("/api/kernels/{id}/channels?session_id=s");
        let mut socket = second.socket(&path, subprotocol).await;
        if subprotocol.is_none() {
            socket.send_json(&request("shell", "kernel_info_request", "x", json!({}))).await;
            assert_eq!(reply(&mut socket, "kernel_info_reply", "x").await["status"], "ok");
        }
        socket.close().await;
    }
    // The document is closed, but its kernel still knows `x`.
    drop(page);
    first.notebook().documents.close(&RelativePath::parse("n.ipynb").unwrap(), "").await;
    let mut page = Page::open(second, "n.ipynb", None).await;
    assert_eq!(page.document["kernel"]["id"], id.as_str());
    page.ask(set(&page, "print(x + 1)")).await.unwrap();
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "42\n");
    assert_eq!(second.call("DELETE", &session, None).await.0, 204);
    assert_eq!(first.notebook().link.list().await.unwrap().len(), 0);
}

/// A login is valid on both servers, and the server that has the document checks the rights.
#[tokio::test]
async fn logins_and_rights_are_the_same_on_both_servers() {
    let two = start(&json!({"users": "accounts"})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    let ann = Browser::new(first, "ann", Role::User).await;
    let bob = Browser::new(first, "bob", Role::User).await;
    let (ann2, bob2) = (Browser::with_cookies(second, &ann), Browser::with_cookies(second, &bob));
    assert_eq!(ann2.call("GET", "/api/me", None).await.1["identity"]["username"], "ann");
    let made = ann.call("PUT", "/api/contents/ann/n.ipynb", Some(notebook("secret"))).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let mut page = ann.page("ann/n.ipynb").await;
    for path in ["/api/contents/ann/n.ipynb", "/api/documents/ann/n.ipynb", "/files/ann/n.ipynb"] {
        assert_eq!(bob2.call("GET", path, None).await.0, 404, "{path}");
    }
    ann2.share("ann/n.ipynb", "bob", "view").await;
    let mut reader = bob2.page("ann/n.ipynb").await;
    assert_eq!((reader.level.as_str(), source(&reader)), ("view", "secret"));
    let refused = reader.ask(set(&reader, "changed")).await.unwrap_err();
    assert!(refused.contains("may not do this"), "{refused}");
    let body = || Some(notebook("changed"));
    assert_eq!(bob2.call("PUT", "/api/contents/ann/n.ipynb", body()).await.0, 403);
    page.ask(set(&page, "by ann")).await.unwrap();
    reader.until(|document| document["cells"][0]["source"] == "by ann").await;
    // Each sees where the other one types.
    let cursor = json!({"cell_id": "c0", "anchor": 1, "head": 2});
    page.ask(json!({"type": "set_cursor", "cursor": cursor})).await.unwrap();
    while reader.next_of("present").await["cursor"] != cursor {}
    // The access token of an account, with its level.
    let token = format!("token {}", ann.token("view").await);
    let headers = [("authorization", token.as_str())];
    let put = Some(notebook("changed").to_string());
    assert_eq!(second.send("GET", "/api/contents/ann/n.ipynb", None, &headers).await.0, 200);
    assert_eq!(second.send("PUT", "/api/contents/ann/n.ipynb", put, &headers).await.0, 403);
    // A lost right ends the connection through the other server.
    ann.share("ann/n.ipynb", "bob", "").await;
    assert_eq!(reader.until_closed().await, Some(4403));
    // So does a logout elsewhere for the next requests.
    assert_eq!(ann.post("/logout", "").await.0, 303);
    assert_eq!(ann2.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 403);
}

/// Nobody but the servers can say whose request they relay.
#[tokio::test]
async fn a_forged_header_is_refused() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "n.ipynb", "0").await;
    let _page = Page::open(first, "n.ipynb", None).await;
    let payload = "eyJwcmluY2lwYWwiOnt9fQ";
    let token = format!("token {}", crate::server::TOKEN);
    for header in ["", "x", &format!("{payload}.{payload}")] {
        for server in [first, second] {
            for headers in [
                vec![("x-paster-relayed", header)],
                vec![("x-paster-relayed", header), ("authorization", token.as_str())],
            ] {
                let (status, body) = server.send("GET", "/api/contents/n.ipynb", None, &headers).await;
                assert_eq!(status, 403, "{body}");
                assert!(body["message"].as_str().unwrap().contains("was not signed"), "{body}");
            }
        }
    }
    let alone = Server::start().await;
    let headers = [("x-paster-relayed", "x.y"), ("authorization", token.as_str())];
    assert_eq!(alone.send("GET", "/api/contents", None, &headers).await.0, 403);
}

/// `kill -9` of the server that has a document: pages that reached it through the other server come back, with every acknowledged
/// edit.
#[tokio::test]
async fn the_other_server_takes_over_from_a_killed_one() {
    let (Some(postgres), Some(service)) = (Postgres::start(), S3Service::start()) else { return };
    let settings = settings(&postgres, &service, &json!({}));
    let killable = Killable::start_with(&Arc::new(Host::start()), 0, &settings).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    put(&killable.server, "n.ipynb", "0").await;
    let own = Page::open(&killable.server, "n.ipynb", None).await;
    let mut page = Page::open(&second, "n.ipynb", None).await;
    assert_eq!(page.instance, own.instance);
    for n in 0..50 {
        page.ask(set(&page, &format!("acknowledged {n}"))).await.unwrap();
    }
    drop(killable);
    let killed = Instant::now();
    assert_eq!(page.until_closed().await, Some(1012), "it reconnects");
    let mut page = Page::open(&second, "n.ipynb", None).await;
    println!("taken over after {:?}", killed.elapsed());
    assert_eq!(source(&page), "acknowledged 49");
    assert_ne!(page.instance, own.instance);
    page.ask(set(&page, "by the second")).await.unwrap();
    // A request that waits for the lease to expire is answered, too.
    let (status, read) = within(second.call("GET", "/api/contents/n.ipynb", None)).await;
    assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!("by the second")));
}

/// A server whose `address` leads elsewhere is reported, and nobody waits forever.
#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let (Some(postgres), Some(service)) = (Postgres::start(), S3Service::start()) else { return };
    let settings = settings(&postgres, &service, &json!({}));
    let mut wrong = settings.clone();
    // A web server, but not this notebook.
    let other = Server::start().await;
    wrong["address"] = other.url.as_str().into();
    let first = Server::start_with(Arc::new(Host::start()), wrong).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    put(&first, "n.ipynb", "0").await;
    let _page = Page::open(&first, "n.ipynb", None).await;
    let (status, body) = within(second.call("GET", "/api/contents/n.ipynb", None)).await;
    let message = body["message"].as_str().unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(
        message.contains("has `n.ipynb` open, but it cannot be reached") && message.contains(&other.url),
        "{body}"
    );
    let body = json!({"path": "moved.ipynb"});
    assert_eq!(second.call("PATCH", "/api/contents/n.ipynb", Some(body)).await.0, 503);
    // Everything else works.
    put(&second, "m.ipynb", "0").await;
    Page::open(&second, "m.ipynb", None).await;
}
