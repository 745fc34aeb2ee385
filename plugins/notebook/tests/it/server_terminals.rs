//! Terminals and events of two servers with one database.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::Browser;
use crate::replicas::{notebook, set};
use crate::server::{Server, Socket};
use crate::servers::{Two, put, start};
use crate::support::{until, within};

async fn names(server: &Server) -> Vec<String> {
    let (status, listed) = server.call("GET", "/api/terminals", None).await;
    assert_eq!(status, 200, "{listed}");
    let names =
        listed.as_array().unwrap().iter().map(|terminal| terminal["name"].as_str().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_terminal_is_used_from_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    let mut made = Vec::new();
    for server in [first, second] {
        let (status, terminal) = server.call("POST", "/api/terminals", None).await;
        assert_eq!(status, 200, "{terminal}");
        made.push(terminal["name"].as_str().unwrap().to_owned());
    }
    assert_ne!(made[0], made[1]);
    let mut sorted = made.clone();
    sorted.sort();
    assert_eq!((names(first).await, names(second).await), (sorted.clone(), sorted));
    let (_, running) = second.call("GET", "/api/running", None).await;
    assert_eq!(running["terminals"].as_array().unwrap().len(), 2, "{running}");
    // What is typed at one server is seen at the other.
    let mut sockets = Vec::new();
    for server in [first, second] {
        let mut socket = server.socket(&format!("/terminals/websocket/{}", made[0]), None).await;
        assert_eq!(socket.next_json().await, json!(["setup", {}]));
        sockets.push(socket);
    }
    sockets[1].send_json(&json!(["stdin", "echo $((6 * 7))$(printf x)\r"])).await;
    for socket in &mut sockets {
        let mut text = String::new();
        while !text.contains("42x") {
            text.push_str(socket.next_json().await[1].as_str().unwrap());
        }
    }
    let path = format!("/api/terminals/{}", made[0]);
    assert_eq!(second.call("GET", &path, None).await.1["name"], made[0]);
    assert_eq!(second.call("DELETE", &path, None).await.0, 204);
    for mut socket in sockets {
        while socket.next().await.is_some() {}
    }
    assert_eq!(second.call("DELETE", &format!("/api/terminals/{}", made[1]), None).await.0, 204);
    within(async { while !names(first).await.is_empty() {} }).await;
    assert_eq!(second.call("GET", &path, None).await.0, 404);
}

async fn until_they_know_each_other(first: &Server, second: &Server) {
    for server in [first, second] {
        until("it knows the other one", || server.notebook().store.other_servers().unwrap().len() == 1).await;
    }
}

/// The next event, without the time.
async fn next(socket: &mut Socket) -> Value {
    let mut event = socket.next_json().await;
    for key in event.as_object().unwrap().keys().cloned().collect::<Vec<_>>() {
        if key.starts_with("__") {
            assert_ne!(key, "__place__", "it is for the servers alone");
            event.as_object_mut().unwrap().remove(&key);
        }
    }
    event
}

#[tokio::test]
async fn events_reach_the_subscribers_of_both_servers() {
    let two = start(&json!({})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    let mut sockets = Vec::new();
    for server in [first, second] {
        // Its link to the kernel host is connected when it answers, and it knows the other server.
        assert_eq!(server.call("GET", "/api/kernels", None).await.0, 200);
        sockets.push(server.socket("/api/events/subscribe", None).await);
    }
    until_they_know_each_other(first, second).await;
    put(first, "n.ipynb", "0").await;
    assert_eq!(first.call("PATCH", "/api/contents/n.ipynb", Some(json!({"path": "m.ipynb"}))).await.0, 200);
    let body = json!({"name": "paster-python"});
    let (_, kernel) = first.call("POST", "/api/kernels", Some(body)).await;
    let id = kernel["id"].as_str().unwrap();
    assert_eq!(second.call("DELETE", &format!("/api/kernels/{id}"), None).await.0, 204);
    assert_eq!(second.call("DELETE", "/api/contents/m.ipynb", None).await.0, 204);
    for (index, socket) in sockets.iter_mut().enumerate() {
        let mut events = Vec::new();
        for _ in 0..5 {
            let event = next(socket).await;
            let of = if event["path"].is_string() { &event["path"] } else { &event["kernel_id"] };
            events.push((event["action"].as_str().unwrap().to_owned(), of.as_str().unwrap().to_owned()));
        }
        // Those of one server arrive in their order.
        let expected = [
            ("save", "n.ipynb"),
            ("rename", "m.ipynb"),
            ("start", id),
            ("shutdown", id),
            ("delete", "m.ipynb"),
        ];
        let expected = expected.map(|(action, of)| (action.to_owned(), of.to_owned()));
        assert_eq!(events[..4], expected[..4], "{index}");
        assert_eq!(events[4], expected[4], "{index}");
    }
}

/// A subscriber sees what they may see, whichever server it happens on.
#[tokio::test]
async fn events_of_another_server_are_shown_to_those_who_may_see_them() {
    let two = start(&json!({"users": "accounts"})).await;
    let Some(Two { first, second, .. }) = &two else { return };
    let ann = Browser::new(first, "ann", Role::User).await;
    let bob = Browser::new(first, "bob", Role::User).await;
    let (ann2, bob2) = (Browser::with_cookies(second, &ann), Browser::with_cookies(second, &bob));
    let mut sockets = Vec::new();
    for browser in [&ann2, &bob2] {
        assert_eq!(browser.call("GET", "/api/kernels", None).await.0, 200);
        sockets.push(browser.socket("/api/events/subscribe").await);
    }
    until_they_know_each_other(first, second).await;
    for (browser, name) in [(&ann, "ann"), (&bob, "bob")] {
        let path = format!("/api/contents/{name}/n.ipynb");
        assert_eq!(browser.call("PUT", &path, Some(notebook("0"))).await.0, 201);
        let mut page = browser.page(&format!("{name}/n.ipynb")).await;
        page.ask(set(&page, "1")).await.unwrap();
        page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        page.until_idle().await;
        let kernel = page.document["kernel"]["id"].as_str().unwrap().to_owned();
        assert_eq!(browser.call("DELETE", &format!("/api/kernels/{kernel}"), None).await.0, 204);
    }
    for (socket, name) in sockets.iter_mut().zip(["ann", "bob"]) {
        let saved = next(socket).await;
        assert_eq!((&saved["action"], &saved["path"]), (&json!("save"), &json!(format!("{name}/n.ipynb"))));
        assert_eq!(next(socket).await["action"], "shutdown");
    }
    // A terminal belongs to its user.
    let (status, terminal) = ann.call("POST", "/api/terminals", None).await;
    assert_eq!(status, 200, "{terminal}");
    let path = format!("/api/terminals/{}", terminal["name"].as_str().unwrap());
    assert_eq!(ann2.call("GET", &path, None).await.0, 200);
    assert_eq!(bob2.call("GET", &path, None).await.0, 404);
    assert_eq!(bob2.call("GET", "/api/terminals", None).await.1, json!([]));
    assert_eq!(bob2.call("DELETE", &path, None).await.0, 404);
    assert_eq!(ann2.call("DELETE", &path, None).await.0, 204);
}
