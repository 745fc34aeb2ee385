//! The controls of apps and of published notebooks: what readers may send, and what their kernels may do.

use std::sync::Arc;

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::server::{Page, Server};
use crate::support::{Host, plain_python, test_python, until_holds};

const INTERACT: &str =
    "@interact(n=(1, 5), word=['a', 'b'], text='x')\ndef show(n, word, text):\n    print(word * n, text)";

/// Whether controls can run on this machine. If not, the test says so.
fn has_sandbox() -> bool {
    let probe = notebook::kernel::sandbox::probe();
    if let Err(reason) = &probe {
        eprintln!("skipped: {reason}");
    }
    probe.is_ok()
}

/// A program that connects to the server, which listens on the loopback interface.
fn with_port(source: &str, server: &Server) -> String {
    source.replace("PORT", server.url.rsplit(':').next().unwrap())
}

fn set(comm_id: &str, state: Value) -> Value {
    let data = json!({"method": "update", "state": state, "buffer_paths": []});
    json!({"type": "send_comm", "message": {"comm_id": comm_id, "kind": "message", "data": data, "request": "r1"}})
}

/// The id of the first widget with this model.
async fn widget(page: &mut Page, model: &str) -> String {
    comm(page, model).await["comm_id"].as_str().unwrap().to_owned()
}

async fn comm(page: &mut Page, model: &str) -> Value {
    let comms = page.ask(json!({"type": "open_comms"})).await.unwrap()["comms"].clone();
    let found = comms.as_array().unwrap().iter().find(|comm| comm["data"]["state"]["_model_name"] == model);
    found.unwrap_or_else(|| panic!("no {model} in {comms}")).clone()
}

/// The text in the output of the controls.
async fn shown(page: &mut Page) -> String {
    let output = comm(page, "OutputModel").await;
    output["data"]["state"]["outputs"][0]["text"].as_str().unwrap_or_default().to_owned()
}

async fn kernels(server: &Server) -> usize {
    server.notebook().link.list().await.unwrap().len()
}

/// The reason with which a session ends.
async fn end(page: &mut Page) -> String {
    page.next_of("closing").await["message"].as_str().unwrap().to_owned()
}

/// The reason why a session is refused.
async fn refusal(who: &Browser<'_>, path: &str) -> (Value, String) {
    let frame = who.socket(path).await.next_json().await;
    assert_eq!(frame["type"], "error", "{frame}");
    (frame["code"].clone(), frame["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_apps_reader_moves_controls_in_a_kernel_of_their_own_and_runs_no_code() {
    if !has_sandbox() {
        return;
    }
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    let files = "def attempt(work):\n    try:\n        return work()\n    except OSError as error:\n        return type(error).__name__\n\
                 import os, socket\n\
                 print(attempt(lambda: open('data.txt').read()), attempt(lambda: open('new.txt', 'w')), os.listdir(os.path.expanduser('~')))\n\
                 print(attempt(lambda: open('../bob/own.txt')), attempt(lambda: socket.create_connection(('127.0.0.1', PORT), 1) and 'connected'))";
    server.write_notebook("ann/n.ipynb", "paster-python", &[INTERACT, &with_port(files, &server)]);
    std::fs::write(server.data("ann/data.txt"), "data").unwrap();
    std::fs::write(server.data("bob/own.txt"), "x").unwrap();
    ann.share("ann/n.ipynb", "bob", "app").await;
    let address = "/api/app-sessions/ann/n.ipynb";
    let (code, message) = refusal(&bob, address).await;
    assert_eq!((&code, message.contains("has not allowed")), (&json!(403), true), "{message}");
    assert_eq!(ann.post("/share/ann/n.ipynb", "app_controls=true").await.0, 303);
    let mut page = Page::over(bob.socket(address).await).await;
    assert_eq!((page.level.as_str(), &page.document["kernel"]["id"]), ("app", &Value::Null));
    let expected = "data OSError []\nFileNotFoundError ConnectionRefusedError\n";
    assert_eq!(page.text(1), expected, "{}", page.cell(1));
    assert!(!server.data("ann/new.txt").exists());
    assert_eq!(page.cell(0)["source"], "");

    let slider = widget(&mut page, "IntSliderModel").await;
    assert_eq!(shown(&mut page).await, "aaa x\n");
    page.ask(set(&slider, json!({"value": 5}))).await.unwrap();
    assert_eq!(shown(&mut page).await, "aaaaa x\n");
    let choice = widget(&mut page, "DropdownModel").await;
    page.ask(set(&choice, json!({"index": 1}))).await.unwrap();
    assert_eq!(shown(&mut page).await, "bbbbb x\n");
    // The file and the owner's page do not change, and the owner's notebook has no kernel.
    let file = std::fs::read_to_string(server.data("ann/n.ipynb")).unwrap();
    assert!(!file.contains("bbbbb"), "{file}");
    assert_eq!(ann.page("ann/n.ipynb").await.document["kernel"]["id"], Value::Null);

    let text = widget(&mut page, "TextModel").await;
    let output = widget(&mut page, "OutputModel").await;
    for (id, state) in [
        (&slider, json!({"value": 6})),
        (&slider, json!({"value": "5"})),
        (&slider, json!({"max": 100})),
        (&choice, json!({"index": 2})),
        (&text, json!({"value": ["x"]})),
        (&text, json!({"description": "x"})),
        (&output, json!({"outputs": []})),
        (&"no-such-comm".to_owned(), json!({"value": 1})),
    ] {
        let refused = page.ask(set(id, state.clone())).await;
        assert!(refused.is_err(), "{id} {state}: {refused:?}");
    }
    for op in [
        json!({"type": "run_all"}),
        json!({"type": "run", "cell_ids": ["c0"]}),
        json!({"type": "insert_cell", "index": 0, "cell_type": "code", "source": "1", "cell_id": null}),
        json!({"type": "set_source", "cell_id": "c0", "source": "1", "base_revision": 0}),
        json!({"type": "complete", "code": "sh", "cursor": 2}),
        json!({"type": "inspect", "code": "show", "cursor": 4, "detail": 1}),
        json!({"type": "list_variables"}),
        json!({"type": "debug", "command": "evaluate", "arguments": {"expression": "1"}}),
        json!({"type": "restart", "run_all": true}),
        json!({"type": "interrupt"}),
        json!({"type": "answer_input", "value": "1"}),
        json!({"type": "save"}),
        json!({"type": "send_comm", "message": {"comm_id": "x", "kind": "open", "target_name": "jupyter.widget", "data": {}}}),
        json!({"type": "send_comm", "message": {"comm_id": slider, "kind": "close", "data": {}}}),
    ] {
        let refused = page.ask(op.clone()).await;
        assert!(refused.is_err(), "{op}: {refused:?}");
    }
    // The kernel cannot be reached in another way.
    let id = server.notebook().link.list().await.unwrap()[0].id.clone();
    assert_eq!(bob.call("GET", "/api/kernels", None).await.1, json!([]));
    for (method, path) in
        [("GET", ""), ("POST", "/interrupt"), ("POST", "/restart"), ("DELETE", ""), ("GET", "/channels")]
    {
        assert_eq!(
            bob.call(method, &format!("/api/kernels/{id}{path}"), None).await.0,
            404,
            "{method} {path}"
        );
    }
    assert_eq!(shown(&mut page).await, "bbbbb x\n");
    // The owner takes the permission back.
    assert_eq!(ann.post("/share/ann/n.ipynb", "app_controls=false").await.0, 303);
    assert!(end(&mut page).await.contains("has not allowed"));
    until_holds("the kernel has ended", async || kernels(&server).await == 0).await;
}

#[tokio::test]
async fn ipywidgets_work_in_an_app() {
    if !has_sandbox() {
        return;
    }
    let server = start(json!({"python": test_python()})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    if !server.notebook().kernel_specs.specs().await.specs.contains_key("python3") {
        eprintln!("skipped: ipykernel is not installed");
        return;
    }
    let source = "import ipywidgets as w\nfrom IPython.display import display\nprint('begin')\n\
                  s = w.IntSlider(value=2, min=0, max=9)\nb = w.Button()\no = w.Output()\n\
                  def moved(change):\n    with o:\n        o.clear_output(); print('moved to', change['new'])\n\
                  s.observe(moved, 'value')\n\
                  def clicked(_):\n    with o:\n        print('clicked'); raise ValueError('quoted')\n\
                  b.on_click(clicked)\ndisplay(s, b, o)";
    server.write_notebook("ann/n.ipynb", "python3", &[source]);
    assert_eq!(ann.post("/share/ann/n.ipynb", "app_controls=true").await.0, 303);
    let mut page = Page::over(ann.socket("/api/app-sessions/ann/n.ipynb").await).await;
    if page.cell(0)["outputs"].to_string().contains("ModuleNotFoundError") {
        eprintln!("skipped: ipywidgets is not installed");
        return;
    }
    let slider = widget(&mut page, "IntSliderModel").await;
    page.ask(set(&slider, json!({"value": 7}))).await.unwrap();
    until_text(&mut page, "moved to 7").await;
    let button = widget(&mut page, "ButtonModel").await;
    let click = json!({"method": "custom", "content": {"event": "click"}});
    let click = json!({"comm_id": button, "kind": "message", "data": click, "request": "r2"});
    page.ask(json!({"type": "send_comm", "message": click})).await.unwrap();
    until_text(&mut page, "clicked").await;
    until_text(&mut page, "ValueError").await;
    let output = comm(&mut page, "OutputModel").await;
    assert!(output.to_string().contains("ValueError") && !output.to_string().contains("quoted"), "{output}");
    let evil = page.ask(set(&slider, json!({"value": 10}))).await;
    assert!(evil.is_err(), "{evil:?}");
}

/// The kernel's messages of one change may arrive after its reply.
async fn until_text(page: &mut Page, text: &str) {
    let deadline = tokio::time::Instant::now() + crate::support::patience();
    while !comm(page, "OutputModel").await.to_string().contains(text) {
        assert!(tokio::time::Instant::now() < deadline, "`{text}` is shown");
    }
}

/// Publishes a notebook of the account. Returns the name of its page.
async fn publish(ann: &Browser<'_>, path: &str) -> String {
    assert_eq!(ann.post(&format!("/publish/{path}"), "").await.0, 303);
    let (_, page) = ann.get(&format!("/share/{path}")).await;
    let start = page.find("/pub/").expect("its address is shown");
    page[start + 5..start + 21].to_owned()
}

async fn public(server: &Server, slug: &str) -> Page {
    Page::over(socket(server, slug).await).await
}

async fn socket(server: &Server, slug: &str) -> crate::server::Socket {
    let path = format!("/api/published-sessions/{slug}");
    server.socket_with(&path, None, &[("origin", server.url.as_str())]).await
}

#[tokio::test]
async fn a_published_notebook_has_controls_for_everyone_if_the_publisher_allows_it() {
    if !has_sandbox() {
        return;
    }
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    std::fs::write(server.data("ann/private.txt"), "private").unwrap();
    let probe = "import os, socket\ndef attempt(work):\n    try:\n        return work()\n    except OSError as error:\n        return type(error).__name__\n\
                 print(os.listdir('.'), attempt(lambda: open('FOLDER/private.txt').read()), attempt(lambda: socket.create_connection(('127.0.0.1', PORT), 1) and 'connected'))\n\
                 print('error in', os.getcwd())";
    let probe = with_port(probe, &server).replace("FOLDER", &server.data("ann").display().to_string());
    server.write_notebook("ann/n.ipynb", "paster-python", &[INTERACT, &probe]);
    // The page keeps the state of the controls when it was published.
    let mut page = ann.page("ann/n.ipynb").await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    let slider = widget(&mut page, "IntSliderModel").await;
    page.ask(set(&slider, json!({"value": 2}))).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    let slug = publish(&ann, "ann/n.ipynb").await;
    page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    let read = async || server.send("GET", &format!("/api/published/{slug}"), None, &[]).await.1;
    let shown_page = read().await;
    let saved =
        &shown_page["content"]["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"];
    assert_eq!(saved[&slider]["state"]["value"], 2, "{saved}");
    assert_eq!(shown_page["controls"]["usable"], false);
    assert!(shown_page["controls"]["problem"].as_str().unwrap().contains("publisher has not allowed"));
    let refused = socket(&server, &slug).await.next_json().await;
    assert_eq!(refused["code"], 403, "{refused}");

    let settings = "settings=true&licence=MIT&interactive=true";
    assert_eq!(ann.post("/publish/ann/n.ipynb", settings).await.0, 303);
    assert_eq!(read().await["controls"], json!({"usable": true, "problem": null}));
    let mut reader = public(&server, &slug).await;
    assert_eq!(reader.document["path"], "n", "the folder is not told");
    let slider = widget(&mut reader, "IntSliderModel").await;
    reader.ask(set(&slider, json!({"value": 4}))).await.unwrap();
    assert_eq!(shown(&mut reader).await, "aaaa x\n");
    assert_eq!(reader.text(1), "[] FileNotFoundError ConnectionRefusedError\nerror in /tmp/app\n");
    assert!(reader.ask(json!({"type": "run_all"})).await.is_err());
    // Another reader has another kernel.
    let mut other = public(&server, &slug).await;
    assert_eq!(shown(&mut other).await, "aaa x\n");
    assert_eq!(kernels(&server).await, 2);
    // An address without an account has two kernels.
    let refused = socket(&server, &slug).await.next_json().await;
    assert_eq!(refused["code"], 429, "{refused}");
    drop(other);
    until_holds("a kernel ends with its reader", async || kernels(&server).await == 1).await;
    // The page of another site does not connect.
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for origin in [&[("origin", "http://evil.example")][..], &[]] {
        let headers: Vec<(&str, &str)> = upgrade.iter().chain(origin).copied().collect();
        let refused = server.raw("GET", &format!("/api/published-sessions/{slug}"), None, &headers).await;
        assert_eq!(refused.status(), 403);
    }
    let missing = socket(&server, "0000000000000000").await.next_json().await;
    assert_eq!(missing["code"], 404, "{missing}");
    // Withdrawn, it ends.
    assert_eq!(ann.post("/publish/ann/n.ipynb", "unpublish=true").await.0, 303);
    assert!(end(&mut reader).await.contains("withdrawn"));
    let log = server.notebook().store.audit_log(20).unwrap();
    assert!(
        log.iter()
            .any(|entry| entry.action == "change publication" && entry.target == "ann/n.ipynb with controls")
    );
}

#[tokio::test]
async fn the_kernels_of_readers_are_few_and_short_lived() {
    if !has_sandbox() {
        return;
    }
    let limits =
        json!({"app_kernels": 1, "app_idle_secs": 2, "app_memory_bytes": 600 << 20, "app_cpu_secs": 3});
    let server = start(json!({"limits": limits})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    let memory = "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('no memory')";
    server.write_notebook("ann/n.ipynb", "paster-python", &[INTERACT, memory]);
    server.write_notebook("ann/loop.ipynb", "paster-python", &["while True:\n    pass"]);
    server.write_notebook("ann/ask.ipynb", "paster-python", &["input('name?')"]);
    for name in ["n", "loop", "ask"] {
        ann.share(&format!("ann/{name}.ipynb"), "bob", "app").await;
        assert_eq!(ann.post(&format!("/share/ann/{name}.ipynb"), "app_controls=true").await.0, 303);
    }
    let open = async |who: &Browser<'_>, name: &str| {
        who.socket(&format!("/api/app-sessions/ann/{name}.ipynb")).await
    };
    let mut page = Page::over(open(&bob, "n").await).await;
    assert_eq!(page.text(1), "no memory\n", "{}", page.cell(1));
    let (code, message) = refusal(&ann, "/api/app-sessions/ann/n.ipynb").await;
    assert!(code == 429 && message.contains("Too many readers"), "{code} {message}");
    assert!(end(&mut page).await.contains("were not used"));
    let none = async || kernels(&server).await == 0;
    until_holds("an unused kernel ends", none).await;
    for (name, reason) in [("loop", "too much memory or time"), ("ask", "input")] {
        let closing = open(&bob, name).await.next_json().await;
        let message = closing["message"].as_str().unwrap();
        assert!(closing["type"] == "closing" && message.contains(reason), "{name}: {closing}");
        until_holds("its kernel ends", none).await;
    }
    // One reader starts few per minute.
    let mut refused = None;
    for _ in 0..6 {
        let first = open(&bob, "n").await.next_json().await;
        if first["type"] == "error" && first["message"].as_str().unwrap().contains("too often") {
            refused = Some(first);
            break;
        }
        until_holds("its kernel ends", none).await;
    }
    assert_eq!(refused.expect("the starts are limited")["code"], 429);
}

#[tokio::test]
async fn a_first_run_that_takes_too_long_is_stopped() {
    if !has_sandbox() {
        return;
    }
    let settings =
        json!({"python": plain_python(), "default_kernel": "paster-python", "limits": {"app_run_secs": 2}});
    let server = Server::start_with(Arc::new(Host::start()), settings).await;
    server.write_notebook("n.ipynb", "paster-python", &["import time\ntime.sleep(600)"]);
    let mut socket = server.socket("/api/app-sessions/n.ipynb", None).await;
    let closing = socket.next_json().await;
    assert!(closing["message"].as_str().unwrap().contains("too long"), "{closing}");
    until_holds("its kernel ends", async || kernels(&server).await == 0).await;
}

#[tokio::test]
async fn a_kernel_of_a_reader_ends_even_if_the_server_is_killed() {
    if !has_sandbox() {
        return;
    }
    let host = Arc::new(Host::start());
    let settings = json!({"python": plain_python(), "default_kernel": "paster-python"});
    let server = Server::start_with(host.clone(), settings.clone()).await;
    server.write_notebook("n.ipynb", "paster-python", &["import time\nprint('begun')\ntime.sleep(600)"]);
    // It runs, and its session has not opened yet.
    let _socket = server.socket("/api/app-sessions/n.ipynb", None).await;
    until_holds("the kernel runs", async || {
        let kernels = server.notebook().link.list().await.unwrap();
        kernels.iter().any(|kernel| kernel.state == notebook::protocol::KernelState::Busy)
    })
    .await;
    server.abandon().await;
    let next = Server::start_with(host, settings).await;
    until_holds("the busy kernel has ended", async || kernels(&next).await == 0).await;
}

#[tokio::test]
async fn the_single_user_previews_an_app() {
    let server = Server::start().await;
    server.write_notebook("n.ipynb", "paster-python", &[INTERACT]);
    let (status, app) = server.call("GET", "/api/apps/n.ipynb", None).await;
    let usable = notebook::kernel::sandbox::probe().is_ok();
    assert_eq!((status, &app["controls"]["usable"]), (200, &json!(usable)), "{app}");
    assert_eq!(app["document"]["cells"][0]["source"], "");
}
