//! Documents that live on the server: runs are recorded with and without a page, and nothing is lost when
//! connections break or the server is replaced.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Page, Server, TOKEN};
use crate::support::{Host, test_python, until};

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("line {n}\n")).collect()
}

/// Prints numbered lines, each on its own, over some time.
const PRINT_1000: &str =
    "import time\nfor n in range(1000):\n    print('line', n, flush=True)\n    time.sleep(0.002)";

fn file(server: &Server, path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(server.data(path)).unwrap()).unwrap()
}

fn file_text(server: &Server, path: &str, cell: usize) -> String {
    let file = file(server, path);
    let outputs = file["cells"][cell]["outputs"].as_array().unwrap().clone();
    let lines = outputs
        .iter()
        .filter(|output| output["name"] == "stdout")
        .flat_map(|output| output["text"].as_array().unwrap().clone());
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn cells_run_and_the_file_is_written() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let path = format!("{kernel}.ipynb");
        let sources = [
            "x = 20\nprint('hi')\nx + 1",
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
            "1/0",
            "print('never')",
        ];
        server.write_notebook(&path, kernel, &sources);
        let mut page = Page::open(&server, &path, None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until_idle().await;
        assert_eq!(page.text(0), "hi\n");
        assert_eq!(page.cell(0)["outputs"][1]["data"]["text/plain"], "21", "{kernel}");
        assert_eq!(page.cell(0)["execution_count"], 1);
        let plot = page.cell(1)["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .find(|output| output["output_type"] == "display_data");
        let has_plot =
            plot.is_some_and(|plot| plot["data"]["image/png"].as_str().unwrap().starts_with("iVBOR"));
        assert!(has_plot, "{kernel}: {}", page.cell(1));
        assert_eq!(page.cell(2)["outputs"][0]["ename"], "ZeroDivisionError");
        assert_eq!(page.cell(3)["outputs"], json!([]), "an error stops the rest");
        page.ask(json!({"type": "save"})).await.unwrap();
        let file = file(&server, &path);
        assert_eq!(file["cells"][0]["outputs"][0]["text"], json!(["hi\n"]));
        assert_eq!(file["metadata"]["kept"], json!([1, {"x": null}]));
        assert_eq!(file["metadata"]["language_info"]["name"], "python");
    }
}

#[tokio::test]
async fn a_character_that_cannot_be_decoded_costs_no_output() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &[r"print('before\udcffafter')"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "before?after\n");
}

#[tokio::test]
async fn an_interrupt_drops_the_queue_of_a_cell_that_catches_it() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let path = format!("{kernel}.ipynb");
        let catches = "import time\ntry:\n print('go', flush=True)\n time.sleep(600)\nexcept KeyboardInterrupt: print('caught')";
        server.write_notebook(&path, kernel, &["print('first')", catches, "print('must not run')", "1"]);
        let mut page = Page::open(&server, &path, None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until(|document| document["cells"][1]["outputs"].to_string().contains("go")).await;
        page.ask(json!({"type": "interrupt"})).await.unwrap();
        page.until_idle().await;
        assert_eq!((page.text(0), page.text(1)), ("first\n".to_owned(), "go\ncaught\n".to_owned()));
        assert_eq!(
            (&page.cell(2)["outputs"], &page.cell(3)["outputs"]),
            (&json!([]), &json!([])),
            "{kernel}"
        );
        // And the kernel still works.
        page.ask(json!({"type": "run", "cell_ids": ["c2"]})).await.unwrap();
        page.until_idle().await;
        assert_eq!(page.text(2), "must not run\n");
    }
}

#[tokio::test]
async fn completion_inspection_and_input() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let path = format!("{kernel}.ipynb");
        server.write_notebook(&path, kernel, &["import math\nname = input('who? ')\nprint('hello', name)"]);
        let mut page = Page::open(&server, &path, None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until(|document| !document["input"].is_null()).await;
        assert_eq!(page.document["input"], json!({"cell_id": "c0", "prompt": "who? ", "password": false}));
        page.ask(json!({"type": "answer_input", "value": "Ada"})).await.unwrap();
        page.until_idle().await;
        // As on a terminal: the question and the answer stay.
        assert_eq!(page.text(0), "who? Ada\nhello Ada\n");
        let code = "'😀'; math.fact";
        let cursor = code.encode_utf16().count();
        let reply = page.ask(json!({"type": "complete", "code": code, "cursor": cursor})).await.unwrap();
        let texts: Vec<&str> = reply["matches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["text"].as_str().unwrap())
            .collect();
        assert!(texts.iter().any(|text| text.ends_with("factorial")), "{kernel}: {reply}");
        assert_eq!(reply["end"], cursor);
        let reply = page
            .ask(json!({"type": "inspect", "code": "math.factorial", "cursor": 9, "detail": 0}))
            .await
            .unwrap();
        assert!(reply["data"]["text/plain"].as_str().unwrap().contains("n!"), "{kernel}: {reply}");
    }
}

#[tokio::test]
async fn a_page_that_is_cut_off_misses_nothing() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &[PRINT_1000]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    for part in 1..4 {
        page.until(|document| {
            document["cells"][0]["outputs"].to_string().contains(&format!("line {}", part * 200))
        })
        .await;
        page = page.reopen(&server, "a.ipynb").await;
        assert!(page.resumed);
    }
    page.until_idle().await;
    assert_eq!(page.text(0), lines(1000));
}

#[tokio::test]
async fn outputs_are_recorded_with_no_page_open() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &[PRINT_1000]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    drop(page);
    until("all lines to be in the file", || file_text(&server, "a.ipynb", 0) == lines(1000)).await;
}

#[tokio::test]
async fn a_new_generation_goes_on_and_loses_nothing() {
    let host = Arc::new(Host::start());
    let settings = json!({"python": "python3", "default_kernel": "paster-python"});
    let mut server = Server::start_with(host.clone(), settings.clone()).await;
    server.write_notebook("a.ipynb", "paster-python", &[PRINT_1000, "print('second')"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    for part in 1..4 {
        page.until(|document| {
            document["cells"][0]["outputs"].to_string().contains(&format!("line {}", part * 200))
        })
        .await;
        let new = Server::start_with(host.clone(), settings.clone()).await;
        server.notebook().documents.retire().await;
        // The page is told to reconnect, and finds the new one.
        while let Some(frame) = page.step().await {
            if frame["type"] == "closing" {
                assert_eq!(frame["again"], true);
            }
        }
        server = new;
        page = page.reopen(&server, "a.ipynb").await;
        assert!(!page.resumed, "another instance tells the whole document");
    }
    page.until_idle().await;
    assert_eq!(page.text(0), lines(1000));
    assert_eq!(page.text(1), "second\n");
}

#[tokio::test]
async fn a_crashed_generation_loses_nothing() {
    let host = Arc::new(Host::start());
    let settings = json!({"python": "python3", "default_kernel": "paster-python"});
    let server = Server::start_with(host.clone(), settings.clone()).await;
    server.write_notebook("a.ipynb", "paster-python", &["print('old')", PRINT_1000]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| document["cells"][1]["outputs"].to_string().contains("line 300")).await;
    drop(page);
    // Its tasks vanish silently with its runtime.
    server.abandon().await;
    let new = Server::start_with(host, settings).await;
    until("all lines to be in the file", || file_text(&new, "a.ipynb", 1) == lines(1000)).await;
    assert_eq!(file_text(&new, "a.ipynb", 0), "old\n");
}

#[tokio::test]
async fn interrupt_restart_and_death() {
    let server = Server::start().await;
    server.write_notebook(
        "a.ipynb",
        "paster-python",
        &["print('go')\nwhile True: pass", "print('never')", "import os; os.kill(os.getpid(), 9)", "x = 1"],
    );
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0", "c1"]})).await.unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("go")).await;
    assert_eq!((&page.cell(0)["state"], &page.cell(1)["state"]), (&json!("running"), &json!("queued")));
    page.ask(json!({"type": "interrupt"})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.cell(0)["outputs"][1]["ename"], "KeyboardInterrupt");
    assert_eq!(page.text(1), "");

    page.ask(json!({"type": "run", "cell_ids": ["c2"]})).await.unwrap();
    page.until(|document| document["kernel"]["state"] == "dead").await;
    page.until_idle().await;
    assert!(page.document["kernel"]["message"].as_str().unwrap().contains("was killed (signal 9)"));
    assert_eq!(page.cell(2)["outputs"][0]["ename"], "KernelDied");
    let refused = page.ask(json!({"type": "run", "cell_ids": ["c3"]})).await.unwrap_err();
    assert!(refused.contains("Restart it"), "{refused}");
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    page.ask(json!({"type": "run", "cell_ids": ["c3"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.cell(3)["execution_count"], 1);
}

#[tokio::test]
async fn two_pages_see_each_other_and_late_edits_are_told() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &["a"]);
    let mut one = Page::open(&server, "a.ipynb", None).await;
    let mut two = Page::open(&server, "a.ipynb", None).await;
    let base = one.cell(0)["revision"].as_u64().unwrap();
    let edit = |source: &str| json!({"type": "set_source", "cell_id": "c0", "source": source, "base_revision": base});
    assert_eq!(one.ask(edit("b")).await.unwrap(), json!({"type": "edited", "revision": base + 1}));
    assert_eq!(
        two.ask(edit("c")).await.unwrap(),
        json!({"type": "stale", "source": "b", "revision": base + 1})
    );
    assert_eq!(two.cell(0)["source"], "b");
    let inserted = two.ask(json!({"type": "insert_cell", "index": 1, "cell_type": "markdown", "source": "*x*", "cell_id": "new"})).await.unwrap();
    assert_eq!(inserted, json!({"type": "inserted", "cell_id": "new"}));
    one.until(|document| document["cells"].as_array().unwrap().len() == 2).await;
    // A deleted cell comes back completely.
    let outputs = json!([{"output_type": "stream", "name": "stdout", "text": "kept\n"}]);
    let back = json!({
        "type": "insert_cell", "index": 2, "cell_type": "code", "source": "c", "cell_id": "back",
        "metadata": {"tags": ["x"]}, "attachments": null, "outputs": outputs, "execution_count": 7,
    });
    two.ask(back).await.unwrap();
    one.until(|document| document["cells"].as_array().unwrap().len() == 3).await;
    let cell = one.cell(2);
    assert_eq!(
        (&cell["outputs"], &cell["execution_count"], &cell["metadata"]["tags"][0]),
        (&outputs, &json!(7), &json!("x"))
    );
    let picture = json!({"a.png": {"image/png": "iVBO"}});
    two.ask(json!({"type": "set_cell_attachments", "cell_id": "new", "attachments": picture})).await.unwrap();
    assert!(one.ask(json!({"type": "explode"})).await.unwrap_err().contains("unknown variant `explode`"));
    until("the change to be saved by itself", || {
        let cell = &file(&server, "a.ipynb")["cells"][1];
        cell["source"] == json!(["*x*"]) && cell["attachments"] == picture
    })
    .await;
}

#[tokio::test]
async fn a_file_changed_by_others_is_reloaded_or_a_conflict() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &["a"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    let edit = |base: &Value| json!({"type": "set_source", "cell_id": "c0", "source": "mine", "base_revision": base});
    let before = page.cell(0)["revision"].clone();
    server.write_notebook("a.ipynb", "paster-python", &["changed outside"]);
    page.until(|document| document["cells"][0]["source"] == "changed outside").await;
    let late = page.ask(edit(&before)).await.unwrap();
    assert_eq!((&late["type"], &late["source"]), (&json!("stale"), &json!("changed outside")));
    // Now with changes on both sides.
    page.ask(edit(&late["revision"])).await.unwrap();
    server.write_notebook("a.ipynb", "paster-python", &["theirs"]);
    page.until(|document| document["conflict"] == true).await;
    assert_eq!(file(&server, "a.ipynb")["cells"][0]["source"], "theirs", "nothing is overwritten");
    page.ask(json!({"type": "resolve_conflict", "keep": "mine"})).await.unwrap();
    assert_eq!(file(&server, "a.ipynb")["cells"][0]["source"], json!(["mine"]));
    assert_eq!(file(&server, "a-conflict.ipynb")["cells"][0]["source"], "theirs");
}

#[tokio::test]
async fn a_deleted_notebook_with_unsaved_changes_stays_deleted() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &["a"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    let base = page.cell(0)["revision"].clone();
    page.ask(json!({"type": "set_source", "cell_id": "c0", "source": "b", "base_revision": base}))
        .await
        .unwrap();
    assert_eq!(server.call("DELETE", "/api/contents/a.ipynb", None).await.0, 204);
    // The last thing that a document does is to tell its pages.
    while page.step().await.is_some_and(|frame| frame["type"] != "closing") {}
    for name in ["a.ipynb", "a-conflict.ipynb"] {
        assert!(!server.data(name).exists(), "{name} is there");
    }
}

#[tokio::test]
async fn huge_output_is_kept_whole() {
    let server = Server::start_with(
        Arc::new(Host::start()),
        json!({"python": "python3", "limits": {"cell_output_bytes": 1_000_000}}),
    )
    .await;
    server.write_notebook("a.ipynb", "paster-python", &["for n in range(300_000): print('line', n)"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until_idle().await;
    let note = page.cell(0)["outputs"].to_string();
    let path = note.split("the rest is in ").nth(1).expect("a note on the rest").split(']').next().unwrap();
    let whole = page.text(0) + &std::fs::read_to_string(path).unwrap();
    assert!(page.text(0).len() <= 1_000_000);
    assert_eq!(whole, lines(300_000));
}

#[tokio::test]
async fn a_document_that_cannot_be_opened_tells_why() {
    let server = Server::start().await;
    std::fs::write(server.data("bad.ipynb"), "{").unwrap();
    std::fs::create_dir(server.data("folder.ipynb")).unwrap();
    for (path, code, words) in [
        ("bad.ipynb", 400, "`bad.ipynb` is not a notebook"),
        ("none.ipynb", 404, "none.ipynb"),
        ("folder.ipynb", 400, "is a folder"),
        ("..%2fa.ipynb", 404, ""),
    ] {
        let address = format!("/api/documents/{path}");
        let mut socket = server.socket(&address, None).await;
        let frame = socket.next_json().await;
        assert_eq!((&frame["type"], &frame["code"]), (&json!("error"), &json!(code)), "{path}: {frame}");
        assert!(frame["message"].as_str().unwrap().contains(words), "{frame}");
        // The same message as for a plain request.
        let (status, plain) = server.call("GET", &address, None).await;
        assert_eq!((status, &plain["message"]), (code, &frame["message"]), "{path}");
        assert_eq!(socket.close_code().await, 4000 + code, "{path}");
    }
}

#[tokio::test]
async fn a_close_is_answered() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    server.write_notebook("a.ipynb", "python3", &["1"]);
    server.socket("/api/documents/a.ipynb", None).await.close().await;
    let (_, kernel) = server.call("POST", "/api/kernels", Some(json!({"name": "python3"}))).await;
    let path = format!("/api/kernels/{}/channels", kernel["id"].as_str().unwrap());
    server.socket(&path, None).await.close().await;
}

#[tokio::test]
async fn a_wrong_handshake_is_refused() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "python3", &["1"]);
    for (version, key, status) in [
        ("12", "dGhlIHNhbXBsZSBub25jZQ==", 426),
        ("13", "short", 400),
        ("13", "dGhlIHNhbXBsZSBub25jZQ==", 101),
    ] {
        let fields = [
            ("authorization", &*format!("token {TOKEN}")),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", version),
            ("sec-websocket-key", key),
        ];
        let response = server.raw("GET", "/api/documents/a.ipynb", None, &fields).await;
        assert_eq!(response.status().as_u16(), status, "{version} {key}");
        if status == 426 {
            assert_eq!(response.headers()["sec-websocket-version"], "13");
        }
    }
}

#[tokio::test]
async fn a_resumed_page_is_told_how_much_it_missed() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &["a"]);
    let one = Page::open(&server, "a.ipynb", None).await;
    let mut two = Page::open(&server, "a.ipynb", None).await;
    two.ask(json!({"type": "set_metadata", "metadata": {"x": 1}})).await.unwrap();
    let (instance, before, last) = (one.instance.clone(), one.event, two.event);
    drop(one);
    let mut socket =
        server.socket(&format!("/api/documents/a.ipynb?instance={instance}&after={before}"), None).await;
    let first = socket.next_json().await;
    assert!(first["last"].as_u64().unwrap() >= last && last > before, "{first}");
    assert_eq!(
        (&first["type"], &first["instance"], &first["event"]),
        (&json!("resumed"), &json!(instance), &json!(before))
    );
    for event in before + 1..=first["last"].as_u64().unwrap() {
        assert_eq!(socket.next_json().await["event"], event);
    }
}
