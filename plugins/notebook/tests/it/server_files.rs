//! Files of notebooks that are open on another server: exports, copies and scheduled runs have the newest state, and folders are
//! moved and deleted wherever their notebooks are open.

use std::sync::Arc;

use notebook::files::RelativePath;
use serde_json::{Value, json};

use crate::durability::Killable;
use crate::postgres::Postgres;
use crate::replicas::set;
use crate::s3::S3Service;
use crate::server::{Page, Server, TOKEN};
use crate::servers::{Two, put, settings, source, start};
use crate::support::{Host, until, within};

async fn bytes(server: &Server, path: &str) -> Vec<u8> {
    let token = format!("token {TOKEN}");
    let response = within(server.raw("GET", path, None, &[("authorization", token.as_str())])).await;
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    body.to_vec()
}

/// The files of a folder that is exported as an archive.
async fn exported(server: &Server, folder: &str) -> Vec<(String, String)> {
    let packed = bytes(server, &format!("/api/export/{folder}?format=zip")).await;
    let files = notebook::import::unpack(&packed).unwrap();
    files.into_iter().map(|file| (file.path, String::from_utf8(file.content).unwrap())).collect()
}

async fn make_folder(server: &Server, name: &str) {
    let made = server.call("PUT", &format!("/api/contents/{name}"), Some(json!({"type": "directory"}))).await;
    assert_eq!(made.0, 201, "{}", made.1);
}

/// Every way to read a notebook on the server that does not have it open, at once after an edit.
#[tokio::test]
async fn files_have_the_newest_edits_of_another_server() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    make_folder(first, "f").await;
    put(first, "f/n.ipynb", "0").await;
    put(first, "f/closed.ipynb", "closed").await;
    let mut page = Page::open(first, "f/n.ipynb", None).await;
    for round in 0..3 {
        let mut edit = async |what: &str| {
            let text = format!("print('{what} {round}')");
            page.ask(set(&page, &text)).await.unwrap();
            text
        };
        let text = edit("archive").await;
        let files = exported(second, "f").await;
        let of = |name: &str| &files.iter().find(|(path, _)| path == name).expect("it is there").1;
        assert!(of("n.ipynb").contains(&text), "{files:?}");
        assert!(of("closed.ipynb").contains("closed"), "{files:?}");
        let text = edit("copy of the folder").await;
        let (status, made) = second.call("POST", "/api/contents", Some(json!({"copy_from": "f"}))).await;
        assert_eq!(status, 201, "{made}");
        let copy = format!("/api/contents/{}/n.ipynb", made["path"].as_str().unwrap());
        let (_, read) = second.call("GET", &copy, None).await;
        assert_eq!(read["content"]["cells"][0]["source"], text);
        for path in [
            "/nbconvert/script/f/n.ipynb",
            "/nbconvert/notebook/f/n.ipynb?download=1",
            "/api/export/f/n.ipynb?format=py",
            "/files/f/n.ipynb?download=1",
        ] {
            let text = edit(path).await;
            let read = String::from_utf8(bytes(second, path).await).unwrap();
            assert!(read.contains(&text), "{path}: {read}");
        }
    }
}

/// A scheduled run on the server that does not have the notebook open runs the newest edits.
#[tokio::test]
async fn a_schedule_runs_the_newest_edits_of_another_server() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "n.ipynb", "print('old')").await;
    let mut page = Page::open(first, "n.ipynb", None).await;
    let plan = json!({"path": "n.ipynb", "cron": "0 3 1 1 *"});
    let (status, made) = second.call("POST", "/api/schedules", Some(plan)).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    assert_eq!(second.call("POST", &format!("/api/schedules/{id}/run"), None).await.0, 202);
    // It begins within a second.
    page.ask(set(&page, "print('newest')")).await.unwrap();
    let store = &second.notebook().store;
    until("the run ends", || {
        store.scheduled_runs(id).unwrap().iter().all(|run| run.status != "waiting" && run.status != "running")
    })
    .await;
    let run = store.scheduled_runs(id).unwrap().remove(0);
    assert_eq!((run.status.as_str(), run.message.as_str()), ("ok", ""));
    let (_, result) = second.call("GET", &format!("/api/scheduled-runs/{}", run.id), None).await;
    assert_eq!(result["content"]["cells"][0]["outputs"][0]["text"], "newest\n", "{result}");
}

/// `kill -9` of the server that has notebooks open: an archive, made at once on another one, has every acknowledged edit.
#[tokio::test]
async fn an_archive_has_the_edits_of_a_killed_server() {
    let (Some(postgres), Some(service)) = (Postgres::start(), S3Service::start()) else { return };
    let settings = settings(&postgres, &service, &json!({}));
    let killable = Killable::start_with(&Arc::new(Host::start()), 0, &settings).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    make_folder(&killable.server, "f").await;
    put(&killable.server, "f/n.ipynb", "0").await;
    let mut page = Page::open(&killable.server, "f/n.ipynb", None).await;
    for n in 0..20 {
        page.ask(set(&page, &format!("acknowledged {n}"))).await.unwrap();
    }
    drop(killable);
    let files = exported(&second, "f").await;
    assert!(files[0].1.contains("acknowledged 19"), "{files:?}");
}

/// A server that has a notebook open and cannot be reached is named, and nothing is exported, moved or deleted.
#[tokio::test]
async fn nothing_is_moved_while_a_server_does_not_respond() {
    let (Some(postgres), Some(service)) = (Postgres::start(), S3Service::start()) else { return };
    let settings = settings(&postgres, &service, &json!({}));
    // A web server, but not this notebook.
    let other = Server::start().await;
    let mut wrong = settings.clone();
    wrong["address"] = other.url.as_str().into();
    let first = Server::start_with(Arc::new(Host::start()), wrong).await;
    let second = Server::start_with(Arc::new(Host::start()), settings).await;
    make_folder(&first, "f").await;
    put(&first, "f/one.ipynb", "1").await;
    put(&first, "f/two.ipynb", "2").await;
    let mut one = Page::open(&first, "f/one.ipynb", None).await;
    let mut two = Page::open(&second, "f/two.ipynb", None).await;
    for (method, path, body) in [
        ("PATCH", "/api/contents/f", json!({"path": "g"})),
        ("DELETE", "/api/contents/f", Value::Null),
        ("POST", "/api/trash", json!({"path": "f"})),
        ("GET", "/api/export/f?format=zip", Value::Null),
        ("POST", "/api/contents", json!({"copy_from": "f"})),
    ] {
        let (status, refused) = within(second.call(method, path, Some(body))).await;
        let message = refused["message"].as_str().unwrap_or_default();
        assert_eq!(status, 503, "{method} {path}: {refused}");
        assert!(
            message.contains(&other.url) && message.contains("`f` or a notebook in it open"),
            "{method} {path}: {message}"
        );
    }
    for page in [&mut one, &mut two] {
        page.ask(set(page, "still here")).await.unwrap();
        page.ask(json!({"type": "save"})).await.unwrap();
    }
    for name in ["one", "two"] {
        let server = if name == "one" { &first } else { &second };
        let (status, read) = server.call("GET", &format!("/api/contents/f/{name}.ipynb"), None).await;
        assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!("still here")));
    }
}

/// A folder moves back and forth, at both servers' request, while its notebooks are edited and run on both.
#[tokio::test]
async fn a_folder_is_moved_with_the_notebooks_that_are_open_on_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    make_folder(first, "f0").await;
    put(first, "f0/one.ipynb", "x = 41; print(open('own.txt', 'w').write('by a kernel'))").await;
    put(first, "f0/two.ipynb", "x = 42; print(open('own.txt', 'w').write('by a kernel'))").await;
    put(first, "f0/closed.ipynb", "closed").await;
    let mut one = Page::open(first, "f0/one.ipynb", None).await;
    let mut two = Page::open(second, "f0/two.ipynb", None).await;
    for page in [&mut one, &mut two] {
        page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        page.until_idle().await;
    }
    let instances = (one.instance.clone(), two.instance.clone());
    for round in 0..6 {
        let (from, to) = (format!("f{round}"), format!("f{}", round + 1));
        let server = if round % 2 == 0 { first } else { second };
        let path = format!("/api/contents/{from}");
        let moving = server.call("PATCH", &path, Some(json!({"path": to})));
        let edit = async |page: &mut Page, name: &str| {
            for n in 0..10 {
                page.ask(set(page, &format!("print('{name}', x, open('own.txt').read())  # {round}, {n}")))
                    .await
                    .unwrap();
            }
        };
        let ((status, body), (), ()) =
            within(async { tokio::join!(moving, edit(&mut one, "one"), edit(&mut two, "two")) }).await;
        assert_eq!(status, 200, "{body}");
        for server in [first, second] {
            for (name, text) in [("one", source(&one)), ("two", source(&two)), ("closed", "closed")] {
                let (status, read) =
                    server.call("GET", &format!("/api/contents/{to}/{name}.ipynb"), None).await;
                assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!(text)), "{name}");
                let old = server.call("GET", &format!("/api/contents/{from}/{name}.ipynb"), None).await;
                assert_eq!(old.0, 404, "{}", old.1);
            }
        }
    }
    // The same documents with the same kernels, and no copies of conflicts.
    for (page, server, name, shown) in
        [(&mut one, second, "one", "one 41 by a kernel\n"), (&mut two, first, "two", "two 42 by a kernel\n")]
    {
        page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        page.until(|document| document["cells"][0]["outputs"].to_string().contains(name)).await;
        page.until_idle().await;
        // The kernel is still in the folder of its notebook.
        assert_eq!(page.text(0), shown);
        let other = Page::open(server, &format!("f6/{name}.ipynb"), None).await;
        assert_eq!(other.instance, page.instance);
        assert_ne!(other.document["conflict"], true);
    }
    assert_eq!((one.instance, two.instance), instances);
    for server in [first, second] {
        let (_, listed) = server.call("GET", "/api/contents/f6", None).await;
        let names: Vec<&str> = listed["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].as_str().unwrap())
            .collect();
        let expected = ["closed.ipynb", "one.ipynb", "two.ipynb"];
        assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
        let conflicts = names.iter().filter(|name| name.ends_with(".ipynb") && !expected.contains(name));
        assert_eq!(conflicts.count(), 0, "{names:?}");
        let (_, sessions) = server.call("GET", "/api/sessions", None).await;
        let mut paths: Vec<&str> =
            sessions.as_array().unwrap().iter().map(|session| session["path"].as_str().unwrap()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["f6/one.ipynb", "f6/two.ipynb"]);
    }
}

/// Two servers that move folders of each other's notebooks at the same time do not wait for each other.
#[tokio::test]
async fn two_servers_move_folders_at_the_same_time() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    for folder in ["a", "b"] {
        make_folder(first, folder).await;
        put(first, &format!("{folder}/one.ipynb"), "1").await;
        put(first, &format!("{folder}/two.ipynb"), "2").await;
    }
    let mut pages = Vec::new();
    for folder in ["a", "b"] {
        pages.push(Page::open(first, &format!("{folder}/one.ipynb"), None).await);
        pages.push(Page::open(second, &format!("{folder}/two.ipynb"), None).await);
    }
    let started = std::time::Instant::now();
    for round in 0..4 {
        let name = |folder: &str, round: u32| {
            if round == 0 { folder.to_owned() } else { format!("{folder}{round}") }
        };
        let rename = async |server: &Server, folder: &str| {
            let path = format!("/api/contents/{}", name(folder, round));
            server.call("PATCH", &path, Some(json!({"path": name(folder, round + 1)}))).await
        };
        let (one, two) = within(async { tokio::join!(rename(first, "a"), rename(second, "b")) }).await;
        assert_eq!((one.0, two.0), (200, 200), "{} {}", one.1, two.1);
    }
    println!("8 folders moved in {:?}", started.elapsed());
    for (index, page) in pages.iter_mut().enumerate() {
        page.ask(set(page, &format!("page {index}"))).await.unwrap();
        let path = format!("{}4/{}.ipynb", ["a", "b"][index / 2], ["one", "two"][index % 2]);
        let (_, read) = first.call("GET", &format!("/api/contents/{path}"), None).await;
        assert_eq!(read["content"]["cells"][0]["source"], format!("page {index}"), "{path}");
    }
}

/// A server that is not told that another one has moved its notebook finds it out.
#[tokio::test]
async fn a_notebook_is_followed_that_another_server_has_moved() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    make_folder(first, "f").await;
    put(first, "f/n.ipynb", "0").await;
    let mut page = Page::open(first, "f/n.ipynb", None).await;
    page.ask(set(&page, "before")).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    assert_eq!(second.call("GET", "/api/contents/f", None).await.0, 200);
    // Not by a request, with which it would ask the first server.
    let (from, to) = (RelativePath::parse("f").unwrap(), RelativePath::parse("g").unwrap());
    second.notebook().documents.rename(&from, &to).await.unwrap();
    within(async { while page.next_of("changed").await["change"]["type"] != "moved" {} }).await;
    page.ask(set(&page, "after")).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    assert_ne!(page.document["conflict"], true);
    let (status, read) = second.call("GET", "/api/contents/g/n.ipynb", None).await;
    assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!("after")));
    assert!(!first.data("f/n.ipynb").exists());
}

/// A folder goes to the trash with the notebooks that are open on both servers, and their kernels end.
#[tokio::test]
async fn a_folder_is_deleted_with_the_notebooks_that_are_open_on_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    make_folder(first, "f").await;
    put(first, "f/one.ipynb", "1").await;
    put(first, "f/two.ipynb", "2").await;
    let mut pages = Vec::new();
    for (server, name) in [(first, "one"), (second, "two")] {
        let mut page = Page::open(server, &format!("f/{name}.ipynb"), None).await;
        page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        page.until_idle().await;
        page.ask(set(&page, &format!("newest {name}"))).await.unwrap();
        pages.push(page);
    }
    let (status, entry) = second.call("POST", "/api/trash", Some(json!({"path": "f"}))).await;
    assert_eq!(status, 201, "{entry}");
    for page in pages {
        page.until_closed().await;
    }
    for server in [first, second] {
        assert_eq!(server.notebook().link.list().await.unwrap().len(), 0);
        assert_eq!(server.call("GET", "/api/contents/f", None).await.0, 404);
    }
    let id = entry["id"].as_str().unwrap();
    assert_eq!(first.call("POST", &format!("/api/trash/{id}"), None).await.0, 200);
    for server in [first, second] {
        for name in ["one", "two"] {
            let (_, read) = server.call("GET", &format!("/api/contents/f/{name}.ipynb"), None).await;
            assert_eq!(read["content"]["cells"][0]["source"], format!("newest {name}"));
        }
    }
}

/// A notebook that was open on another server can be written when it is closed.
#[tokio::test]
async fn a_closed_notebook_is_written_on_any_server() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    put(first, "n.ipynb", "0").await;
    drop(Page::open(first, "n.ipynb", None).await);
    first.notebook().documents.close(&RelativePath::parse("n.ipynb").unwrap(), "").await;
    put(second, "n.ipynb", "by the second").await;
    let page = Page::open(first, "n.ipynb", None).await;
    assert_eq!(source(&page), "by the second");
}

/// Clients cannot ask a server what only servers ask.
#[tokio::test]
async fn clients_cannot_stop_notebooks() {
    let server = Server::start().await;
    let request = "/api/servers?request=%7B%22action%22%3A%22close%22%2C%22path%22%3A%22n%22%2C%22reason%22%3A%22%22%7D";
    assert_eq!(server.call("POST", request, None).await.0, 404);
}
