//! Kernels of a real Jupyter Kernel Gateway.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Page, Server};
use crate::support::{Host, is_alive, patience, test_python, until};

/// A running gateway. Dropping the value ends it and its kernels.
struct Gateway {
    process: Child,
    url: String,
}

impl Gateway {
    async fn start(folder: &std::path::Path) -> Gateway {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Gateway::start_at(folder, port).await
    }

    async fn start_at(folder: &std::path::Path, port: u16) -> Gateway {
        let process = Command::new(test_python())
            .args([
                "-m",
                "kernel_gateway",
                "--KernelGatewayApp.ip=127.0.0.1",
                "--KernelGatewayApp.port_retries=0",
            ])
            .arg(format!("--KernelGatewayApp.port={port}"))
            .args([
                "--KernelGatewayApp.auth_token=the token",
                "--JupyterWebsocketPersonality.list_kernels=True",
            ])
            .args(["--KernelGatewayApp.base_url=/base"])
            .env("JUPYTER_RUNTIME_DIR", folder.join("runtime"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Gateway { process, url: format!("http://127.0.0.1:{port}/base") };
        let deadline = tokio::time::Instant::now() + patience();
        while gateway.get("api").await.is_none() {
            assert!(tokio::time::Instant::now() < deadline, "the gateway does not answer");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        gateway
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let request = reqwest::Client::new().get(format!("{}/{path}", self.url));
        request.header("authorization", "token the token").send().await.ok()?.json().await.ok()
    }

    async fn kernels(&self) -> usize {
        self.get("api/kernels").await.unwrap().as_array().unwrap().len()
    }

    fn settings(&self) -> Value {
        json!({"kernel_gateway": {"url": self.url, "token": "the token"}})
    }

    /// Asks it to end, which ends its kernels.
    fn end(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.process.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(page: &mut Page, cell: usize) -> String {
    page.ask(json!({"type": "run", "cell_ids": [format!("c{cell}")]})).await.unwrap();
    page.until_idle().await;
    page.text(cell)
}

#[tokio::test]
async fn a_notebook_runs_on_a_gateway() {
    let host = Arc::new(Host::start());
    let gateway = Gateway::start(host.folder.path()).await;
    let server = Server::start_with(host, gateway.settings()).await;
    let (_, specs) = server.call("GET", "/api/kernelspecs", None).await;
    let own = gateway.get("api/kernelspecs").await.unwrap();
    let names = |specs: &Value| {
        specs["kernelspecs"].as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!((&specs["default"], names(&specs)), (&json!("python3"), names(&own)));
    let cells = [
        "import os; x = 1; print(os.getpid(), os.environ['KERNEL_WORKING_DIR'])",
        "print('x' in globals(), input('who? '))",
        "import time\nprint('go', flush=True)\ntime.sleep(600)",
        "os.kill(os.getpid(), 9)",
        "print('x' in globals())",
        "from IPython.display import display\ndisplay({'application/x': 'y'}, raw=True)\nprint('z' * 300000)",
    ];
    server.write_notebook("a.ipynb", "python3", &cells);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    let first = run(&mut page, 0).await;
    let (pid, folder) = first.trim().split_once(' ').unwrap();
    assert_eq!(folder, server.data("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(gateway.kernels().await, 1);
    // A question.
    page.ask(json!({"type": "run", "cell_ids": ["c1"]})).await.unwrap();
    page.until(|document| document["input"]["prompt"] == "who? ").await;
    page.ask(json!({"type": "answer_input", "value": "Ada"})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(1), "who? Ada\nTrue Ada\n");
    // An interrupt.
    page.ask(json!({"type": "run", "cell_ids": ["c2"]})).await.unwrap();
    page.until(|document| document["cells"][2]["outputs"].to_string().contains("go")).await;
    page.ask(json!({"type": "interrupt"})).await.unwrap();
    page.until_idle().await;
    assert!(page.cell(2)["outputs"].to_string().contains("KeyboardInterrupt"));
    // Large output, and its order.
    assert_eq!(run(&mut page, 5).await.trim(), "z".repeat(300_000));
    assert_eq!(page.cell(5)["outputs"][0]["data"]["application/x"], "y");
    // A restart is another process of the gateway; the previous one has ended.
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    assert_eq!(run(&mut page, 4).await, "False\n");
    until("the first process to end", || !is_alive(pid.parse().unwrap())).await;
    assert_eq!(gateway.kernels().await, 1);
    page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    assert_eq!(gateway.kernels().await, 0);
}

#[tokio::test]
async fn a_kernel_that_a_gateway_starts_again_runs_the_next_cell() {
    let host = Arc::new(Host::start());
    let gateway = Gateway::start(host.folder.path()).await;
    let server = Server::start_with(host, gateway.settings()).await;
    server.write_notebook(
        "a.ipynb",
        "python3",
        &["x = 1", "import os; os.kill(os.getpid(), 9)", "print('x' in globals())"],
    );
    let mut page = Page::open(&server, "a.ipynb", None).await;
    run(&mut page, 0).await;
    run(&mut page, 1).await;
    assert_eq!(run(&mut page, 2).await, "False\n");
}

#[tokio::test]
async fn a_gateway_that_refuses_or_is_away_is_named() {
    let host = Arc::new(Host::start());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/base");
    let server =
        Server::start_with(host.clone(), json!({"kernel_gateway": {"url": url, "token": "wrong"}})).await;
    let (status, error) = server.call("POST", "/api/kernels", None).await;
    let message = error["message"].as_str().unwrap();
    assert!(
        status >= 400 && message.contains(&url) && message.contains("cannot be reached"),
        "{status} {error}"
    );
    let _gateway = Gateway::start_at(host.folder.path(), port).await;
    let server = Server::start_with(host, json!({"kernel_gateway": {"url": url, "token": "wrong"}})).await;
    let (_, error) = server.call("POST", "/api/kernels", None).await;
    assert!(error["message"].as_str().unwrap().contains("check `kernel_gateway.token`"), "{error}");
}
