//! What a run does to its document apart from its outputs: payloads, questions, displays, and output beyond
//! the limit.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::server::{Page, Server};
use crate::support::{Host, patience, plain_python, test_python};

async fn run(page: &mut Page, cell_id: &str) {
    page.ask(json!({"type": "run", "cell_ids": [cell_id]})).await.unwrap();
    page.until_idle().await;
}

fn sources(page: &Page) -> Vec<&str> {
    page.document["cells"].as_array().unwrap().iter().map(|cell| cell["source"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_kernel_sets_the_next_input() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    std::fs::write(server.data("part.py"), "print('loaded')\n").unwrap();
    let below = "get_ipython().set_next_input('x = 1')";
    server.write_notebook("a.ipynb", "python3", &["%load part.py", below, "last"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    let before = page.cell(0)["revision"].as_u64().unwrap();
    run(&mut page, "c0").await;
    page.until(|document| document["cells"][0]["revision"] != before).await;
    assert!(page.cell(0)["source"].as_str().unwrap().ends_with("print('loaded')\n"), "{}", page.cell(0));
    run(&mut page, "c0").await;
    assert_eq!(page.text(0), "loaded\n");
    run(&mut page, "c1").await;
    page.until(|document| document["cells"].as_array().unwrap().len() == 4).await;
    assert_eq!(sources(&page)[1..], [below, "x = 1", "last"]);
    assert_eq!(page.cell(2)["cell_type"], "code");
    // The pager's text is an output.
    let base = page.cell(3)["revision"].clone();
    page.ask(json!({"type": "set_source", "cell_id": "c2", "source": "print?", "base_revision": base}))
        .await
        .unwrap();
    run(&mut page, "c2").await;
    page.until(|document| document["cells"][3]["outputs"].to_string().contains("Prints the values")).await;
}

#[tokio::test]
async fn the_next_input_is_an_edit_of_who_ran_the_cell() {
    let server = Server::start().await;
    std::fs::write(server.data("part.py"), "1").unwrap();
    server.write_notebook("a.ipynb", "paster-python", &["%load part.py", ""]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "set_source", "cell_id": "c1", "source": "2", "base_revision": page.cell(1)["revision"]}))
        .await
        .unwrap();
    run(&mut page, "c0").await;
    page.until(|document| document["cells"][0]["source"].as_str().unwrap().starts_with("# %load")).await;
    let (_, history) = server.call("GET", "/api/history/a.ipynb", None).await;
    let edits: Vec<&Value> =
        history["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "edit").collect();
    assert_eq!(edits.len(), 2, "{history}");
    assert_eq!(edits[0]["author"], edits[1]["author"], "{history}");
    // It survives a crash before the file is written.
    let host = server.host.clone();
    server.abandon().await;
    let next = Server::start_with(host, json!({"python": plain_python()})).await;
    let page = Page::open(&next, "a.ipynb", None).await;
    assert_eq!(sources(&page), ["# %load part.py\n1", "2"]);
}

#[tokio::test]
async fn the_next_input_is_set_with_no_page_open() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    let waits = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nget_ipython().set_next_input('y = 2')";
    server.write_notebook("a.ipynb", "python3", &[waits]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    drop(page);
    std::fs::write(server.data("go"), "").unwrap();
    let has_cell = || {
        let file: Value = serde_json::from_slice(&std::fs::read(server.data("a.ipynb")).unwrap()).unwrap();
        file["cells"][1]["source"] == json!(["y = 2"])
    };
    crate::support::until("the new cell to be in the file", has_cell).await;
}

#[tokio::test]
async fn a_question_stays_in_the_output_and_a_password_does_not() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let path = format!("{kernel}.ipynb");
        let asks = "import getpass\nprint('before')\nname = input('who? ')\nword = getpass.getpass('word: ')\nprint(len(word))";
        server.write_notebook(&path, kernel, &[asks, "input('never answered: ')"]);
        let mut page = Page::open(&server, &path, None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        for (prompt, answer) in [("who? ", "Ada"), ("word: ", "secret")] {
            page.until(|document| document["input"]["prompt"] == prompt).await;
            page.ask(json!({"type": "answer_input", "value": answer})).await.unwrap();
        }
        page.until(|document| document["input"]["cell_id"] == "c1").await;
        assert_eq!(page.text(0), "before\nwho? Ada\nword: \n6\n", "{kernel}");
        page.ask(json!({"type": "interrupt"})).await.unwrap();
        page.until_idle().await;
        let kinds: Vec<&Value> =
            page.cell(1)["outputs"].as_array().unwrap().iter().map(|output| &output["output_type"]).collect();
        assert_eq!(
            (page.text(1).as_str(), kinds),
            ("never answered: \n", vec![&json!("stream"), &json!("error")]),
            "{kernel}"
        );
        page.ask(json!({"type": "save"})).await.unwrap();
        let file = std::fs::read_to_string(server.data(&path)).unwrap();
        assert!(file.contains("who? Ada") && !file.contains("secret"), "{file}");
    }
}

#[tokio::test]
async fn an_open_question_outlives_the_generation() {
    let host = Arc::new(Host::start());
    let settings = json!({"python": plain_python(), "default_kernel": "paster-python"});
    let server = Server::start_with(host.clone(), settings.clone()).await;
    server.write_notebook("a.ipynb", "paster-python", &["print('hello', input('who? '))"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| !document["input"].is_null()).await;
    page.ask(json!({"type": "save"})).await.unwrap();
    let new = Server::start_with(host, settings).await;
    server.notebook().documents.retire().await;
    let mut page = page.reopen(&new, "a.ipynb").await;
    page.until(|document| !document["input"].is_null()).await;
    page.ask(json!({"type": "answer_input", "value": "Ada"})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "who? Ada\nhello Ada\n");
}

#[tokio::test]
async fn a_thread_of_a_deleted_cell_updates_a_display_elsewhere() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let path = format!("{kernel}.ipynb");
        let shows = "try: update_display\nexcept NameError: from IPython.display import update_display\nhandle = display('old', display_id='d')";
        let starts = format!(
            "import os, threading, time\ndef later():\n while not os.path.exists('go-{kernel}'): time.sleep(0.01)\n update_display('new', display_id='d')\n\
             threading.Thread(target=later).start()"
        );
        server.write_notebook(&path, kernel, &[shows, &starts]);
        let mut page = Page::open(&server, &path, None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until_idle().await;
        page.until(|document| document["cells"][0]["outputs"].to_string().contains("old")).await;
        page.ask(json!({"type": "delete_cell", "cell_id": "c1"})).await.unwrap();
        std::fs::write(server.data(&format!("go-{kernel}")), "").unwrap();
        page.until(|document| document["cells"][0]["outputs"].to_string().contains("new")).await;
    }
}

#[tokio::test]
async fn a_slow_disk_does_not_hold_up_the_document() {
    let settings = json!({"python": plain_python(), "default_kernel": "paster-python", "limits": {"cell_output_bytes": 1000}});
    let server = Server::start_with(Arc::new(Host::start()), settings).await;
    server.write_notebook(
        "a.ipynb",
        "paster-python",
        &["print('x' * 100)\ninput('go? ')\nprint('y' * 2000)\nprint('z')", "1"],
    );
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until(|document| !document["input"].is_null()).await;
    // A pipe that nobody reads, so opening it blocks.
    let rest = {
        use sha2::{Digest, Sha256};
        let name: String =
            Sha256::digest(b"a.ipynb").iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        server.host.folder.path().join("state/outputs").join(name).join("c0.txt")
    };
    std::fs::create_dir_all(rest.parent().unwrap()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&rest).status().unwrap().success());
    page.ask(json!({"type": "answer_input", "value": ""})).await.unwrap();
    page.until_idle().await;
    page.ask(json!({"type": "run", "cell_ids": ["c1"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.cell(1)["outputs"][0]["data"]["text/plain"], "1");
    assert!(page.cell(0)["outputs"].to_string().contains("the rest is in"), "{}", page.cell(0));
    // Read by its end, in order.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let (mut file, end) = (std::fs::File::open(&rest).unwrap(), Instant::now() + patience());
        while !text.contains('z') && Instant::now() < end && file.read_to_string(&mut text).is_ok() {}
        text
    });
    let text = tokio::task::spawn_blocking(move || reader.join().unwrap()).await.unwrap();
    assert_eq!(text.replace('\n', "").trim_start_matches('y'), "z");
}

#[tokio::test]
async fn output_that_cannot_be_kept_is_said_to_be_lost() {
    let settings = json!({"python": plain_python(), "default_kernel": "paster-python", "limits": {"cell_output_bytes": 1000}});
    let server = Server::start_with(Arc::new(Host::start()), settings).await;
    std::fs::write(server.host.folder.path().join("state/outputs"), "a file where the folder should be")
        .unwrap();
    server.write_notebook("a.ipynb", "paster-python", &["print('y' * 2000, flush=True)\nprint('z' * 2000)"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| {
        document["cells"][0]["outputs"].to_string().contains("part of the output was lost: cannot write to")
    })
    .await;
    page.until_idle().await;
    assert_eq!(page.cell(0)["outputs"].to_string().matches("was lost").count(), 1);
}
