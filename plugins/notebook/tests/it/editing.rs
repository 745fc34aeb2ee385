//! What pages do to cells and to the queue while a kernel runs, and the pages of files.

use std::sync::Arc;

use serde_json::json;

use crate::server::{Page, Server, TOKEN};
use crate::support::{Host, plain_python, test_python};

const WAIT: &str =
    "import os, time\nprint('begun')\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('ended')";

#[tokio::test]
async fn a_cell_that_is_deleted_while_it_runs_comes_back_with_its_outputs() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &[WAIT, "print('next')"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("begun")).await;
    page.ask(json!({"type": "delete_cell", "cell_id": "c0"})).await.unwrap();
    std::fs::write(server.data("go"), "").unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("next")).await;
    page.ask(
        json!({"type": "insert_cell", "index": 0, "cell_type": "code", "source": WAIT, "cell_id": "c0"}),
    )
    .await
    .unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("ended")).await;
    assert_eq!(page.text(0), "begun\nended\n");
    assert_eq!(page.cell(0)["execution_count"], 1);
    // A change of type keeps them too.
    for cell_type in ["markdown", "code"] {
        page.ask(json!({"type": "set_cell_type", "cell_id": "c0", "cell_type": cell_type})).await.unwrap();
    }
    let page = Page::open(&server, "a.ipynb", None).await;
    assert_eq!((page.text(0).as_str(), page.cell(0)["cell_type"].as_str()), ("begun\nended\n", Some("code")));
}

#[tokio::test]
async fn a_waiting_cell_is_taken_out_of_the_queue() {
    let server = Server::start().await;
    server.write_notebook("a.ipynb", "paster-python", &[WAIT, "print('second')", "print('third')"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| document["cells"][0]["outputs"].to_string().contains("begun")).await;
    // The running cell stays.
    page.ask(json!({"type": "cancel", "cell_ids": ["c0", "c1"]})).await.unwrap();
    page.until(|document| document["cells"][1]["state"] == "idle").await;
    std::fs::write(server.data("go"), "").unwrap();
    page.until_idle().await;
    assert_eq!((page.text(0).as_str(), page.text(1).as_str()), ("begun\nended\n", ""));
    assert_eq!(page.text(2), "third\n");
}

#[tokio::test]
async fn variables_are_listed_with_either_kernel() {
    for (python, kernel) in [(test_python(), "python3"), (plain_python(), "paster-python")] {
        let server = Server::start_with(Arc::new(Host::start()), json!({"python": python})).await;
        server.write_notebook("a.ipynb", kernel, &["import sys\nx = 41\nnames = ['a', 'b']\ndef f(): pass"]);
        let mut page = Page::open(&server, "a.ipynb", None).await;
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until_idle().await;
        let reply = page.ask(json!({"type": "list_variables"})).await.unwrap();
        assert_eq!(
            reply["variables"],
            json!([
                {"name": "names", "kind": "list", "size": "2", "value": "['a', 'b']"},
                {"name": "x", "kind": "int", "size": "", "value": "41"},
            ]),
            "{kernel}"
        );
        assert_eq!(page.cell(0)["execution_count"], 1);
    }
}

#[tokio::test]
async fn files_and_terminals_have_pages() {
    let server = Server::start().await;
    std::fs::create_dir(server.data("folder")).unwrap();
    std::fs::write(server.data("folder/a.txt"), "text").unwrap();
    let token = format!("token {TOKEN}");
    let login = [("authorization", token.as_str())];
    let get = async |path: &str| server.raw("GET", path, None, &login).await;
    for (path, status) in [("/edit/folder/a.txt", 200), ("/terminals/1", 200), ("/edit/folder/none", 404)] {
        assert_eq!(get(path).await.status().as_u16(), status, "{path}");
    }
    let folder = get("/edit/folder").await;
    assert_eq!(
        (folder.status().as_u16(), &folder.headers()["location"]),
        (303, &"/tree/folder".parse().unwrap())
    );
    // Without login, a browser goes to the form.
    let stranger = server.raw("GET", "/edit/folder/a.txt", None, &[("accept", "text/html")]).await;
    assert!(stranger.headers()["location"].to_str().unwrap().starts_with("/login?next="));
}
