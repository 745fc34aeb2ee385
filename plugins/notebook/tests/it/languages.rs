//! Cells that begin with a line such as `%html`, `%sh` or `%r`.

use std::sync::Arc;

use serde_json::json;

use crate::server::{Page, Server};
use crate::support::{Host, own_environment, plain_python, test_python};

/// A server whose machine has a kernel for R, which is a Python in disguise.
async fn with_r() -> Server {
    let host = Host::start();
    let (python, kernels) = own_environment(host.folder.path());
    let spec = json!({
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "R", "language": "R",
    });
    std::fs::create_dir(kernels.join("ir")).unwrap();
    std::fs::write(kernels.join("ir/kernel.json"), spec.to_string()).unwrap();
    Server::start_with(Arc::new(host), json!({"python": python})).await
}

async fn run_all(page: &mut Page) {
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until_idle().await;
}

#[tokio::test]
async fn a_document_shows_texts_with_any_kernel() {
    let ipykernel = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for (server, kernel) in [(ipykernel, "python3"), (Server::start().await, "paster-python")] {
        let cells = [
            "%html\n<b>bold</b>",
            "%hide\n%md\n*text*",
            "%latex\n$x^2$",
            "%javascript\nelement.append('js')",
            "%sh\necho from $((1 + 1)) shells",
            "%python\nprint('python')",
            "%time\nsum(range(9))",
            "%%html\n<i>of the kernel</i>",
            "1 + 1",
        ];
        server.write_notebook("a.ipynb", kernel, &cells);
        let mut page = Page::open(&server, "a.ipynb", None).await;
        run_all(&mut page).await;
        let shown = |at: usize| page.cell(at)["outputs"].to_string();
        let data = |at: usize| page.cell(at)["outputs"][0]["data"].clone();
        assert_eq!(data(0), json!({"text/html": "<b>bold</b>"}), "{kernel}");
        assert_eq!(page.cell(0)["execution_count"], json!(null));
        assert_eq!(data(1), json!({"text/markdown": "*text*"}));
        assert_eq!(data(2), json!({"text/latex": "$x^2$"}));
        assert!(shown(3).contains("application/javascript"));
        assert!(shown(4).contains("from 2 shells"), "{kernel}: {}", shown(4));
        assert!(shown(5).contains("python\\n"), "{}", shown(5));
        assert!(shown(6).contains("Wall time") && shown(6).contains("36"), "{}", shown(6));
        assert!(shown(7).contains("of the kernel"), "{}", shown(7));
        assert_eq!(data(8), json!({"text/plain": "2"}));
        page.ask(json!({"type": "save"})).await.unwrap();
        let file = std::fs::read_to_string(server.data("a.ipynb")).unwrap();
        assert!(file.contains("source_hidden"), "{file}");
    }
}

#[tokio::test]
async fn cells_of_several_languages_run_one_after_the_other() {
    let server = with_r().await;
    let wait = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n";
    let cells = [
        "x = 1\nopen('order', 'a').write('a')",
        &format!("%r\n{wait}x = 'of R'\nopen('order', 'a').write('b')\nprint(x)")[..],
        "open('order', 'a').write('c')\nprint(x)",
        "%r\nprint(x, open('order').read())",
        "%nope\n",
    ];
    server.write_notebook("a.ipynb", "python3", &cells);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until(|document| document["cells"][1]["state"] == "running").await;
    assert_eq!(page.cell(2)["state"], "queued");
    std::fs::write(server.data("go"), "").unwrap();
    page.until_idle().await;
    let texts: Vec<String> = (0..4).map(|at| page.text(at)).collect();
    assert_eq!(texts, ["", "of R\n", "1\n", "of R abc\n"]);
    // What is not a language goes to the kernel.
    assert!(page.cell(4)["outputs"].to_string().contains("%nope"), "{}", page.cell(4));
    // Its kernel ends with the document's.
    let (_, sessions) = server.call("GET", "/api/sessions", None).await;
    assert_eq!(sessions.as_array().unwrap().len(), 2, "{sessions}");
    page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    let (_, kernels) = server.call("GET", "/api/kernels", None).await;
    assert_eq!(kernels, json!([]));
}

#[tokio::test]
async fn an_error_or_an_interrupt_in_another_language_drops_what_waits() {
    let server = with_r().await;
    let busy = "%r\nprint('go', flush=True)\nimport time\ntime.sleep(600)";
    let asks = "%r\nprint(input('who? '))";
    server.write_notebook("a.ipynb", "python3", &["%r\n1 / 0", "print('after')", busy, asks, "%gap\n1"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0", "c1"]})).await.unwrap();
    page.until_idle().await;
    assert!(page.cell(0)["outputs"].to_string().contains("ZeroDivisionError"), "{}", page.cell(0));
    assert_eq!(page.text(1), "");
    page.ask(json!({"type": "run", "cell_ids": ["c2", "c1"]})).await.unwrap();
    page.until(|document| document["cells"][2]["outputs"].to_string().contains("go")).await;
    page.ask(json!({"type": "interrupt"})).await.unwrap();
    page.until_idle().await;
    assert!(page.cell(2)["outputs"].to_string().contains("KeyboardInterrupt"), "{}", page.cell(2));
    assert_eq!(page.text(1), "");
    page.ask(json!({"type": "run", "cell_ids": ["c3", "c1"]})).await.unwrap();
    page.until(|document| !document["input"].is_null()).await;
    page.ask(json!({"type": "answer_input", "value": "Ada"})).await.unwrap();
    page.until_idle().await;
    assert_eq!((page.text(3), page.text(1)), ("who? Ada\nAda\n".to_owned(), "after\n".to_owned()));
    page.ask(json!({"type": "run", "cell_ids": ["c4", "c1"]})).await.unwrap();
    page.until_idle().await;
    let outputs = page.cell(4)["outputs"].to_string();
    assert!(outputs.contains("there is no kernel for `gap` on this machine"), "{outputs}");
    assert_eq!(page.text(1), "", "it did not run");
}

#[tokio::test]
async fn automatic_cells_run_first_in_a_new_kernel() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": plain_python()})).await;
    let cells = ["print(start)", "%auto\nstart = 5", "print(start + 1)"];
    server.write_notebook("a.ipynb", "paster-python", &cells);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    for cell in ["c0", "c2"] {
        page.ask(json!({"type": "run", "cell_ids": [cell]})).await.unwrap();
        page.until_idle().await;
    }
    assert_eq!((page.text(0), page.text(2)), ("5\n".to_owned(), "6\n".to_owned()));
    // The second run did not run it again.
    assert_eq!(page.cell(1)["execution_count"], 1);
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    page.ask(json!({"type": "run", "cell_ids": ["c2"]})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(2), "6\n");
}
