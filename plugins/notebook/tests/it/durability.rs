//! A killed server loses nothing that it acknowledged.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use notebook::http::{RequestLocation, router};
use notebook::kernel::link::Link;
use notebook::state::Notebook;
use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::server::{Page, Server, TOKEN, with_own_address};
use crate::support::{Host, plain_python, until};

pub(crate) const PLAN: &str = "NOTEBOOK_TEST_SERVER";

/// Not a test: the body of a child process, which [`Killable::start`] runs.
#[test]
#[ignore = "the server of other tests"]
fn server_process() {
    let plan = std::env::var(PLAN).expect("only `Killable::start` runs this");
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::bind(plan["listen"].as_str().unwrap_or("127.0.0.1:0")).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = with_own_address(plan["settings"].clone(), &url);
        let link = Link::new(plan["socket"].as_str().unwrap().into());
        let notebook = Notebook::open(serde_json::from_value(settings).unwrap(), link).unwrap();
        let file = Path::new(plan["url"].as_str().unwrap());
        std::fs::write(file.with_extension("new"), url).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
        let prefix = plan["prefix"].as_str().unwrap_or_default().to_owned();
        let app = axum::Router::new().fallback_service(router(notebook));
        let app = app.layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            mounted(prefix.clone(), request)
        }));
        axum::serve(listener, app).await.unwrap();
    });
}

/// Moves the prefix out of the path, as paster's `mount` does.
async fn mounted(prefix: String, mut request: axum::extract::Request) -> axum::extract::Request {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Some(rest) = target.strip_prefix(&prefix) else { return request };
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    *request.uri_mut() = rest.parse().unwrap();
    request.extensions_mut().insert(RequestLocation { prefix, ..RequestLocation::default() });
    request
}

/// Where a server runs.
pub(crate) struct Location {
    /// The command that runs its program elsewhere; empty: here.
    pub(crate) wrapper: Vec<String>,
    pub(crate) listen: String,
}

/// A server in its own process.
pub(crate) struct Killable {
    child: Child,
    pub(crate) server: Server,
}

impl Killable {
    async fn start(host: &Arc<Host>, round: u32) -> Killable {
        Killable::start_with(host, round, &json!({})).await
    }

    pub(crate) async fn start_with(host: &Arc<Host>, round: u32, more: &Value) -> Killable {
        let here = Location { wrapper: Vec::new(), listen: "127.0.0.1:0".to_owned() };
        Killable::start_at(host, round, more, &here).await
    }

    pub(crate) async fn start_at(host: &Arc<Host>, round: u32, more: &Value, at: &Location) -> Killable {
        let url = host.folder.path().join(format!("url-{round}"));
        let mut settings = json!({
            "data_dir": host.folder.path().join("data"), "state_dir": host.folder.path().join("state"), "token": TOKEN,
            "python": plain_python(),
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = json!({"settings": settings, "socket": host.socket(), "url": url, "listen": at.listen});
        let own = std::env::current_exe().unwrap().to_string_lossy().into_owned();
        let words: Vec<&str> = at.wrapper.iter().map(String::as_str).chain([own.as_str()]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .args(["--ignored", "--exact", "durability::server_process", "--nocapture"])
            .env(PLAN, plan.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the server to listen", || url.exists()).await;
        let address = std::fs::read_to_string(&url).unwrap();
        Killable { child, server: Server::elsewhere(host.clone(), address) }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pseudorandom numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    edit_and_kill(None).await;
}

#[tokio::test]
async fn a_kill_of_server_and_database_loses_nothing_that_was_acknowledged() {
    if let Some(postgres) = Postgres::start() {
        edit_and_kill(Some(postgres)).await;
    }
}

/// Two machines with one database and one folder: each has its own kernel host and `state_dir`.
#[tokio::test]
async fn another_server_takes_over_what_a_killed_one_had_open() {
    let Some(postgres) = Postgres::start() else { return };
    let (one, two) = (Arc::new(Host::start()), Arc::new(Host::start()));
    let database = postgres.database("notebook");
    std::fs::create_dir_all(one.folder.path().join("data")).unwrap();
    Server::elsewhere(one.clone(), String::new()).write_notebook("n.ipynb", "paster-python", &["a"]);
    let more = json!({"database": database, "address": "http://one.invalid/"});
    let first = Killable::start_with(&one, 0, &more).await;
    let more = json!({"database": database, "data_dir": one.folder.path().join("data")});
    let second = Killable::start_with(&two, 0, &more).await;
    let mut page = Page::open(&first.server, "n.ipynb", None).await;
    let refused = second.server.call("GET", "/api/documents/n.ipynb", None).await;
    let message = refused.1["message"].as_str().unwrap();
    assert_eq!(refused.0, 503);
    assert!(
        message.contains("http://one.invalid/")
            && message.contains("has `n.ipynb` open, but it cannot be reached"),
        "{message}"
    );
    for text in ["b", "acknowledged"] {
        let revision = page.cell(0)["revision"].clone();
        let op = json!({"type": "set_source", "cell_id": "c0", "source": text, "base_revision": revision});
        page.ask(op).await.unwrap();
    }
    drop(first);
    let killed = std::time::Instant::now();
    let page = Page::open(&second.server, "n.ipynb", None).await;
    println!("taken over after {:?}", killed.elapsed());
    assert_eq!(page.cell(0)["source"], "acknowledged");
}

/// `PASTER_TEST_KILLS` sets how often.
async fn edit_and_kill(mut postgres: Option<Postgres>) {
    let kills: u32 = std::env::var("PASTER_TEST_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let more = json!({"database": postgres.as_ref().map(|server| server.database("notebook"))});
    let host = Arc::new(Host::start());
    std::fs::create_dir_all(host.folder.path().join("data")).unwrap();
    std::fs::write(
        host.folder.path().join("data/n.ipynb"),
        r#"{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"#,
    )
    .unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Cells with their acknowledged texts. `None`: acknowledged as deleted.
    let mut expected: Vec<(String, Option<String>)> = Vec::new();
    for round in 0..=kills {
        let mut killable = Killable::start_with(&host, round, &more).await;
        let mut page = Page::open(&killable.server, "n.ipynb", None).await;
        let found = |id: &str| {
            let cells = page.document["cells"].as_array().unwrap();
            cells.iter().find(|cell| cell["id"] == id).map(|cell| cell["source"].as_str().unwrap().to_owned())
        };
        for (id, text) in &expected {
            assert_eq!(found(id), *text, "round {round}, cell {id}");
        }
        if round == kills {
            break;
        }
        let wanted = 3 + random.below(40);
        let mut base = None;
        for n in 0..wanted {
            // A cell of this round has a revision that we know.
            let edit = base.clone().filter(|_| random.below(3) > 0);
            if let Some((id, revision)) = edit {
                if random.below(8) == 0 {
                    page.ask(json!({"type": "delete_cell", "cell_id": id})).await.unwrap();
                    expected.iter_mut().find(|(known, _)| *known == id).unwrap().1 = None;
                    base = None;
                } else {
                    let source = format!("round {round}, edit {n}");
                    let op = json!({"type": "set_source", "cell_id": id, "source": source, "base_revision": revision});
                    let reply = page.ask(op).await.unwrap();
                    expected.iter_mut().find(|(known, _)| *known == id).unwrap().1 = Some(source);
                    base = Some((id, reply["revision"].clone()));
                }
            } else {
                let source = format!("round {round}, cell {n}");
                let op = json!({"type": "insert_cell", "index": random.below(5), "cell_type": "code", "source": source, "cell_id": null});
                let id = page.ask(op).await.unwrap()["cell_id"].as_str().unwrap().to_owned();
                let cells = page.document["cells"].as_array().unwrap();
                let revision = cells.iter().find(|cell| cell["id"] == *id).unwrap()["revision"].clone();
                expected.push((id.clone(), Some(source)));
                base = Some((id, revision));
            }
            if random.below(10) == 0 {
                page.post(json!({"type": "save"})).await;
            }
        }
        if let Some(postgres) = &mut postgres {
            // Sometimes the database is gone before the server, which could have something to write.
            if random.below(2) == 0 {
                killable.child.kill().unwrap();
            }
            postgres.kill();
        }
        killable.child.kill().unwrap();
        if let Some(postgres) = &mut postgres {
            postgres.run();
        }
    }
    let alive = expected.iter().filter(|(_, text)| text.is_some()).count();
    assert!(alive > kills as usize, "the test edited: {alive}");
}

#[tokio::test]
async fn edits_and_a_change_by_another_program_are_both_kept() {
    let host = Arc::new(Host::start());
    let file = host.folder.path().join("data/n.ipynb");
    let other_program = Server::elsewhere(host.clone(), String::new());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut round = 0;
    loop {
        other_program.write_notebook("n.ipynb", "paster-python", &["a", "b"]);
        let first = Killable::start(&host, round).await;
        let mut page = Page::open(&first.server, "n.ipynb", None).await;
        let revisions: Vec<Value> = (0..2).map(|at| page.cell(at)["revision"].clone()).collect();
        for (at, text) in [(0, "mine"), (1, "b, edited")] {
            let op = json!({"type": "set_source", "cell_id": format!("c{at}"), "source": text, "base_revision": revisions[at]});
            page.ask(op).await.unwrap();
        }
        drop(first);
        round += 1;
        // On a busy machine, the file may have been written before the kill.
        if !std::fs::read_to_string(&file).unwrap().contains("mine") {
            break;
        }
        std::fs::remove_file(&file).unwrap();
    }
    other_program.write_notebook("n.ipynb", "paster-python", &["theirs", "b"]);
    let second = Killable::start(&host, round).await;
    let page = Page::open(&second.server, "n.ipynb", None).await;
    let cells = page.document["cells"].as_array().unwrap();
    let sources: Vec<&str> = cells.iter().map(|cell| cell["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["theirs", "mine", "b, edited"]);
}
