//! Kernels in the programming interface: what changes their state, how they restart, when they were last
//! used.

use std::sync::Arc;
use std::time::Instant;

use notebook::kernel::message::Message as Jupyter;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::server::{Page, Server, Socket};
use crate::support::{Host, test_python, until_holds};

/// A client's request.
pub(crate) fn request(channel: &str, kind: &str, id: &str, content: Value) -> Value {
    json!({
        "channel": channel, "parent_header": {}, "metadata": {}, "buffers": [], "content": content,
        "header": {"msg_id": id, "msg_type": kind, "session": "s", "username": "", "date": "", "version": "5.4"},
    })
}

/// Reads until a message of this kind about request `id`; returns its content.
pub(crate) async fn reply(socket: &mut Socket, kind: &str, id: &str) -> Value {
    loop {
        let Some(Message::Text(text)) = socket.next().await else { panic!("expected text") };
        let message = Jupyter::parse_default_text(text.as_bytes()).unwrap();
        if message.header().msg_type == kind && message.parent().msg_id == id {
            return message.content();
        }
    }
}

/// A server with ipykernel.
async fn python() -> Server {
    Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await
}

#[tokio::test]
async fn a_control_request_leaves_a_busy_kernel_busy() {
    let server = python().await;
    let (_, made) = server.call("POST", "/api/kernels", Some(json!({"name": "python3"}))).await;
    let path = format!("/api/kernels/{}", made["id"].as_str().unwrap());
    let state = async || server.call("GET", &path, None).await.1["execution_state"].clone();
    let mut socket = server.socket(&format!("{path}/channels"), None).await;
    let code = "import os, time\nprint('runs', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)";
    let run = json!({"code": code, "silent": false, "store_history": false, "user_expressions": {}, "allow_stdin": false});
    socket.send_json(&request("shell", "execute_request", "run", run)).await;
    reply(&mut socket, "stream", "run").await;
    assert_eq!(state().await, "busy");
    for id in ["first", "second"] {
        socket.send_json(&request("control", "kernel_info_request", id, json!({}))).await;
        while reply(&mut socket, "status", id).await["execution_state"] != "idle" {}
        assert_eq!(state().await, "busy", "after the control request {id}");
    }
    std::fs::write(server.data("go"), "").unwrap();
    while reply(&mut socket, "status", "run").await["execution_state"] != "idle" {}
    assert_eq!(state().await, "idle");
}

#[tokio::test]
async fn a_busy_kernel_is_interrupted_before_it_is_restarted() {
    let server = python().await;
    // The first ends with the interrupt; the second catches it and needs SIGTERM; the third needs SIGKILL.
    let clean = "import time\ntry:\n print('go', flush=True)\n time.sleep(600)\n\
                 finally: open('interrupted', 'w').close()";
    let stubborn = "import os, signal, time\n\
                    def end(*_):\n open('terminated', 'w').close()\n os._exit(0)\nsignal.signal(signal.SIGTERM, end)\n\
                    while True:\n try:\n  print('go', flush=True)\n  time.sleep(600)\n except KeyboardInterrupt: open('caught', 'w').close()";
    let deaf = "import signal, time\nfor s in (signal.SIGTERM, signal.SIGINT): signal.signal(s, signal.SIG_IGN)\nprint('go', flush=True)\ntime.sleep(600)";
    server.write_notebook("a.ipynb", "python3", &[clean, stubborn, deaf, "print('new', 'x' in globals())"]);
    let mut page = Page::open(&server, "a.ipynb", None).await;
    page.ask(json!({"type": "start_kernel", "name": null})).await.unwrap();
    let start = Instant::now();
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    println!("restart of an idle kernel: {:?}", start.elapsed());
    for (cell, files) in [("c0", &["interrupted"][..]), ("c1", &["caught", "terminated"]), ("c2", &[])] {
        page.ask(json!({"type": "run", "cell_ids": [cell]})).await.unwrap();
        let at = cell[1..].parse::<usize>().unwrap();
        page.until(|document| document["cells"][at]["outputs"].to_string().contains("go")).await;
        let start = Instant::now();
        page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
        println!("restart of a busy kernel, {cell}: {:?}", start.elapsed());
        page.until_idle().await;
        for file in files {
            assert!(server.data(file).exists(), "{cell}: {file}");
        }
        page.ask(json!({"type": "run", "cell_ids": ["c3"]})).await.unwrap();
        page.until(|document| document["cells"][3]["outputs"].to_string().contains("new False")).await;
    }
}

#[tokio::test]
async fn the_last_activity_stays_when_kernels_end() {
    let server = Server::start().await;
    let last = async || {
        server.call("GET", "/api/status", None).await.1["last_activity"].as_str().unwrap().to_owned()
    };
    let begin = last().await;
    let (_, kernel) = server.call("POST", "/api/kernels", None).await;
    let path = format!("/api/kernels/{}", kernel["id"].as_str().unwrap());
    let mut socket = server.socket(&format!("{path}/channels"), None).await;
    socket.send_json(&request("shell", "kernel_info_request", "x", json!({}))).await;
    reply(&mut socket, "kernel_info_reply", "x").await;
    let used = last().await;
    assert!(used > begin, "{used} {begin}");
    assert_eq!(server.call("DELETE", &path, None).await.0, 204);
    let ended = last().await;
    assert!(ended >= used, "{ended} {used}");
    // Also across a new generation.
    let new = Server::start_with(server.host.clone(), json!({"python": "python3"})).await;
    let (_, status) = new.call("GET", "/api/status", None).await;
    assert!(status["last_activity"].as_str().unwrap() >= ended.as_str(), "{status}");
}

#[tokio::test]
async fn a_kernel_that_nobody_uses_is_shut_down() {
    let more = json!({"python": test_python(), "limits": {"kernel_idle_secs": 5}});
    let server = Server::start_with(Arc::new(Host::start()), more).await;
    let (_, used) = server.call("POST", "/api/kernels", Some(json!({"name": "python3"}))).await;
    let socket =
        server.socket(&format!("/api/kernels/{}/channels", used["id"].as_str().unwrap()), None).await;
    let session = json!({"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}});
    let (_, unused) = server.call("POST", "/api/sessions", Some(session)).await;
    let kernels = async || {
        let (_, kernels) = server.call("GET", "/api/kernels", None).await;
        kernels.as_array().unwrap().iter().map(|kernel| kernel["id"].clone()).collect::<Vec<_>>()
    };
    until_holds("the unused kernel to end", async || kernels().await == [used["id"].clone()]).await;
    let (status, _) =
        server.call("GET", &format!("/api/sessions/{}", unused["id"].as_str().unwrap()), None).await;
    assert_eq!(status, 404);
    socket.close().await;
    until_holds("the other one to end", async || kernels().await.is_empty()).await;
}
