//! The programming interface: shapes, files, sessions, both WebSocket forms, and who has access.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use notebook::kernel::message::Message as Jupyter;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::server::{Server, Socket, TOKEN};
use crate::support::{Host, test_python, within};

#[tokio::test]
async fn contents_as_jupyter_has_them() {
    let server = Server::start().await;
    let (status, made) = server.call("POST", "/api/contents", Some(json!({"type": "notebook"}))).await;
    assert_eq!((status, &made["path"], &made["type"]), (201, &json!("Untitled.ipynb"), &json!("notebook")));
    for (body, path) in [
        (json!({"type": "notebook"}), "Untitled1.ipynb"),
        (json!({"type": "directory"}), "Untitled Folder"),
        (json!({"type": "directory"}), "Untitled Folder 1"),
        (json!({"type": "file", "ext": ".py"}), "untitled.py"),
        (json!({"copy_from": "Untitled.ipynb"}), "Untitled-Copy1.ipynb"),
        (json!({"copy_from": "Untitled-Copy1.ipynb"}), "Untitled-Copy2.ipynb"),
    ] {
        assert_eq!(server.call("POST", "/api/contents/", Some(body)).await.1["path"], path);
    }
    let (_, list) = server.call("GET", "/api/contents", None).await;
    assert_eq!(list["content"].as_array().unwrap().len(), 7);
    let (_, read) = server.call("GET", "/api/contents/Untitled.ipynb?hash=1", None).await;
    assert_eq!((&read["format"], &read["content"]["nbformat"]), (&json!("json"), &json!(4)));
    assert_eq!(read["hash"].as_str().unwrap().len(), 64);
    assert_eq!(
        server.call("GET", "/api/contents/Untitled.ipynb?content=0", None).await.1["content"],
        Value::Null
    );

    let put = json!({"type": "file", "format": "text", "content": "é\n"});
    assert_eq!(server.call("PUT", "/api/contents/a%20b.txt", Some(put.clone())).await.0, 201);
    assert_eq!(server.call("PUT", "/api/contents/a%20b.txt", Some(put)).await.0, 200);
    let (_, read) = server.call("GET", "/api/contents/a%20b.txt", None).await;
    assert_eq!(
        (&read["content"], &read["format"], &read["mimetype"]),
        (&json!("é\n"), &json!("text"), &json!("text/plain"))
    );
    // An upload in parts.
    for (chunk, content) in [(1, "YWI="), (2, "Y2Q="), (-1, "ZWY=")] {
        let part = json!({"type": "file", "format": "base64", "content": content, "chunk": chunk});
        assert!(server.call("PUT", "/api/contents/up.bin", Some(part)).await.0 < 300);
    }
    assert_eq!(std::fs::read(server.data("up.bin")).unwrap(), b"abcdef");

    assert_eq!(server.call("PATCH", "/api/contents/up.bin", Some(json!({"path": "a b.txt"}))).await.0, 409);
    let (status, moved) =
        server.call("PATCH", "/api/contents/up.bin", Some(json!({"path": "Untitled Folder/x.bin"}))).await;
    assert_eq!((status, &moved["path"]), (200, &json!("Untitled Folder/x.bin")));
    assert_eq!(server.call("DELETE", "/api/contents/Untitled%20Folder/x.bin", None).await.0, 204);
    assert_eq!(server.call("DELETE", "/api/contents/Untitled%20Folder", None).await.0, 204);

    // Checkpoints.
    let (status, made) = server.call("POST", "/api/contents/a%20b.txt/checkpoints", None).await;
    assert_eq!((status, &made["id"]), (201, &json!("checkpoint")));
    server.call("PUT", "/api/contents/a%20b.txt", Some(json!({"content": "other"}))).await;
    assert_eq!(server.call("POST", "/api/contents/a%20b.txt/checkpoints/checkpoint", None).await.0, 204);
    assert_eq!(server.call("GET", "/api/contents/a%20b.txt", None).await.1["content"], "é\n");
    let file = server
        .raw("GET", "/files/a%20b.txt?download=1", None, &[("authorization", &format!("Bearer {TOKEN}"))])
        .await;
    assert!(file.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert!(file.headers()["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    assert_eq!(file.text().await.unwrap(), "é\n");
}

#[tokio::test]
async fn faults_are_told_and_change_nothing() {
    let server = Server::start().await;
    std::fs::write(server.data("a.txt"), "old").unwrap();
    std::fs::write(server.data("bad.ipynb"), "{}").unwrap();
    std::fs::write(server.data(".hidden"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", server.data("link")).unwrap();
    for (method, path, body, status) in [
        ("GET", "/api/contents/none", None, 404),
        ("GET", "/api/contents/.hidden", None, 404),
        ("GET", "/api/contents/link", None, 404),
        ("GET", "/api/contents/..%2fstate%2ftoken", None, 404),
        ("GET", "/api/contents/a.txt?type=directory", None, 400),
        ("GET", "/api/contents/a.txt?type=rubbish", None, 400),
        ("GET", "/api/contents/a.txt?content=yes", None, 400),
        ("GET", "/api/contents/bad.ipynb", None, 400),
        (
            "PUT",
            "/api/contents/a.txt",
            Some(r#"{"type": "file", "format": "base64", "content": "!!!!"}"#),
            400,
        ),
        ("PUT", "/api/contents/a.txt", Some(r#"{"type": "directory"}"#), 400),
        ("PUT", "/api/contents/a.txt", Some(r#"{"type": 7, "content": "x"}"#), 400),
        ("PUT", "/api/contents/a.txt", Some(r#"{"content": {"a": 1}}"#), 400),
        ("PUT", "/api/contents/a.txt", Some("[1, 2]"), 400),
        ("PUT", "/api/contents/a.txt", Some("{"), 400),
        ("PUT", "/api/contents/a.txt", Some(r#"{"content": "x", "chunk": 3}"#), 400),
        (
            "PUT",
            "/api/contents/a.txt",
            Some(r#"{"content": "x", "if_last_modified": "2001-01-01T00:00:00Z"}"#),
            409,
        ),
        ("PUT", "/api/contents/a.txt", Some(r#"{"content": "x", "if_hash": "00"}"#), 409),
        ("PUT", "/api/contents/b.ipynb", Some(r#"{"type": "notebook", "content": {"cells": 3}}"#), 400),
        ("PUT", "/api/contents/none/b.txt", Some(r#"{"content": "x"}"#), 404),
        ("POST", "/api/contents/a.txt", Some("{}"), 400),
        ("PATCH", "/api/contents/a.txt", Some("{}"), 400),
        ("PATCH", "/api/contents/none", Some(r#"{"path": "b"}"#), 404),
        ("DELETE", "/api/contents/none", None, 404),
        ("POST", "/api/kernels", Some(r#"{"name": "none"}"#), 501),
        ("POST", "/api/kernels/none/restart", None, 404),
        ("POST", "/api/kernels/none/interrupt", None, 404),
        ("GET", "/api/kernels/none/channels", None, 404),
        ("POST", "/api/sessions", Some("{}"), 400),
        ("GET", "/api/sessions/none", None, 404),
        ("GET", "/api/me?permissions=rubbish", None, 400),
        ("GET", "/api/nothing", None, 404),
        ("PUT", "/api/status", None, 405),
    ] {
        let (got, answer) = server
            .send(method, path, body.map(str::to_owned), &[("authorization", &format!("token {TOKEN}"))])
            .await;
        assert_eq!(got, status, "{method} {path} {body:?}: {answer}");
        assert!(
            answer["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{method} {path}: {answer}"
        );
    }
    assert_eq!(std::fs::read(server.data("a.txt")).unwrap(), b"old");
}

#[tokio::test]
async fn kernels_and_sessions() {
    let server = Server::start().await;
    let (_, specs) = server.call("GET", "/api/kernelspecs", None).await;
    assert_eq!(specs["default"], "paster-python");
    assert_eq!(specs["kernelspecs"]["paster-python"]["spec"]["display_name"], "Python 3 (built in)");
    let (status, kernel) = server.call("POST", "/api/kernels", None).await;
    assert_eq!((status, &kernel["name"]), (201, &json!("paster-python")));
    let id = kernel["id"].as_str().unwrap();
    let (status, restarted) = server.call("POST", &format!("/api/kernels/{id}/restart"), None).await;
    assert_eq!((status, &restarted["execution_state"]), (200, &json!("idle")));
    let body = json!({"path": "a.ipynb", "type": "notebook", "name": "", "kernel": {"id": id}});
    let (status, session) = server.call("POST", "/api/sessions", Some(body.clone())).await;
    assert_eq!((status, &session["kernel"]["id"]), (201, &json!(id)));
    assert_eq!(server.call("POST", "/api/sessions", Some(body)).await.1["id"], session["id"]);
    let path = format!("/api/sessions/{}", session["id"].as_str().unwrap());
    let (_, changed) = server
        .call("PATCH", &path, Some(json!({"path": "b.ipynb", "kernel": {"name": "paster-python"}})))
        .await;
    assert_eq!(changed["path"], "b.ipynb");
    assert_ne!(changed["kernel"]["id"], json!(id));
    assert_eq!(
        server.call("GET", &format!("/api/kernels/{id}"), None).await.0,
        404,
        "the kernel that is left ends"
    );
    assert_eq!(server.call("DELETE", &path, None).await.0, 204);
    assert_eq!(server.call("GET", "/api/kernels", None).await.1, json!([]));
    assert_eq!(server.call("GET", "/api/status", None).await.1["kernels"], 0);
}

fn execute(id: &str, session: &str, code: &str) -> Value {
    json!({
        "channel": "shell", "parent_header": {}, "metadata": {}, "buffers": [],
        "header": {"msg_id": id, "msg_type": "execute_request", "session": session, "username": "", "date": "", "version": "5.4"},
        "content": {"code": code, "silent": false, "store_history": false, "user_expressions": {}, "allow_stdin": false, "stop_on_error": true},
    })
}

/// The next message in either form, as channel, type, parent id and content.
async fn next(socket: &mut Socket) -> (String, String, String, Value) {
    let message = match socket.next().await.expect("a message") {
        Message::Text(text) => Jupyter::parse_default_text(text.as_bytes()).unwrap(),
        Message::Binary(bytes) => Jupyter::parse_v1(&bytes).unwrap(),
        other => panic!("{other:?}"),
    };
    (message.channel.name().to_owned(), message.header().msg_type, message.parent().msg_id, message.content())
}

async fn run(socket: &mut Socket, is_v1: bool, id: &str, code: &str) -> String {
    let request = execute(id, "s", code);
    if is_v1 {
        socket
            .send_bytes(Jupyter::parse_default_text(request.to_string().as_bytes()).unwrap().encode_v1())
            .await;
    } else {
        socket.send_json(&request).await;
    }
    let (mut replied, mut idle, mut text) = (false, false, String::new());
    while !(replied && idle) {
        let (_, kind, parent, content) = next(socket).await;
        if parent != id {
            continue;
        }
        replied |= kind == "execute_reply";
        idle |= kind == "status" && content["execution_state"] == "idle";
        if kind == "stream" {
            text.push_str(content["text"].as_str().unwrap());
        }
        if kind == "execute_result" {
            text.push_str(content["data"]["text/plain"].as_str().unwrap());
        }
    }
    text
}

#[tokio::test]
async fn both_websocket_forms_compute() {
    let server = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for kernel in ["python3", "paster-python"] {
        let (_, made) = server.call("POST", "/api/kernels", Some(json!({"name": kernel}))).await;
        let path = format!("/api/kernels/{}/channels", made["id"].as_str().unwrap());
        for subprotocol in [None, Some("v1.kernel.websocket.jupyter.org")] {
            let is_v1 = subprotocol.is_some();
            let mut socket = server.socket(&format!("{path}?session_id=a"), subprotocol).await;
            let mut other = server.socket(&format!("{path}?session_id=b"), subprotocol).await;
            // Broken frames do no harm.
            let mut huge = (1u64 << 40).to_le_bytes().to_vec();
            huge.resize(64, 0);
            socket.send_bytes(huge.into()).await;
            socket.send_bytes(Bytes::from_static(b"\0\0")).await;
            socket.send_json(&json!({"channel": "nowhere", "header": {}})).await;
            socket.send_json(&json!([1])).await;
            assert_eq!(run(&mut socket, is_v1, &format!("m{is_v1}"), "print('é'); 6*7").await, "é\n42");
            // The other client sees the output, not the reply.
            loop {
                let (channel, kind, _, content) = next(&mut other).await;
                assert_eq!(channel, "iopub");
                if kind == "status" && content["execution_state"] == "idle" {
                    break;
                }
            }
            let mut times: Vec<_> = Vec::new();
            for n in 0..200 {
                let start = Instant::now();
                assert_eq!(run(&mut socket, is_v1, &format!("t{is_v1}{n}"), "1+1").await, "2");
                times.push(start.elapsed());
            }
            times.sort();
            println!(
                "1+1 over the websocket, {kernel}, v1 {is_v1}: median {:?}, fastest {:?}",
                times[100], times[0]
            );
        }
    }
}

#[tokio::test]
async fn a_kernel_client_that_returns_gets_what_it_missed() {
    let server = Server::start().await;
    let (_, kernel) = server.call("POST", "/api/kernels", None).await;
    let path = format!("/api/kernels/{}/channels?session_id=me", kernel["id"].as_str().unwrap());
    let mut socket = server.socket(&path, None).await;
    socket
        .send_json(&execute(
            "long",
            "me",
            "import time\nfor n in range(1000): print('line', n, flush=True); time.sleep(0.002)",
        ))
        .await;
    // A message may come twice, because the server cannot know what the client read last. Its id shows that.
    let mut parts: BTreeMap<usize, String> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut first = 0;
    let mut ended = false;
    while !ended {
        let Some(Message::Text(text)) = socket.next().await else { panic!("expected text") };
        let message: Value = serde_json::from_str(&text).unwrap();
        if !seen.insert(message["msg_id"].as_str().unwrap().to_owned()) {
            continue;
        }
        match message["msg_type"].as_str().unwrap() {
            "stream" => {
                drop(parts.insert(seen.len(), message["content"]["text"].as_str().unwrap().to_owned()))
            }
            "status" => ended = message["content"]["execution_state"] == "idle",
            _ => {}
        }
        if first == 0 && parts.values().any(|part| part.contains("line 300\n")) {
            first = parts.len();
            drop(socket);
            // The position is kept when the server sees the end of the connection.
            within(async {
                while server.notebook().link.kept("cursor/").await.unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            socket = server.socket(&path, None).await;
        }
    }
    let text: String = parts.into_values().collect();
    let whole: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    assert!(text == whole, "{} of {} bytes", text.len(), whole.len());
}

#[tokio::test]
async fn every_rule_of_the_door() {
    let server = Server::start().await;
    let own = server.url.clone();
    let host = own.trim_start_matches("http://").to_owned();
    let get = async |path: &str, headers: &[(&str, &str)]| server.send("GET", path, None, headers).await.0;
    // Without a token or cookie: only the version, the login form and static files.
    assert_eq!(get("/api", &[]).await, 200);
    assert_eq!(get("/login", &[]).await, 200);
    for path in
        ["/api/contents", "/api/kernels", "/files/a", "/api/documents/a.ipynb", "/api/kernels/x/channels"]
    {
        assert_eq!(get(path, &[]).await, 403, "{path}");
    }
    let page = server.raw("GET", "/tree/x?a=b", None, &[]).await;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["location"]),
        (303, &"/login?next=/tree/x%3Fa%3Db".parse().unwrap())
    );
    // Hosts.
    let token = format!("token {TOKEN}");
    for (name, status) in [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        assert_eq!(get("/api/status", &[("host", name), ("authorization", &token)]).await, status, "{name}");
    }
    // Tokens.
    for (value, status) in [
        (token.as_str(), 200),
        (&format!("Bearer {TOKEN}"), 200),
        (&format!("bearer {TOKEN}"), 200),
        ("token x", 403),
    ] {
        assert_eq!(get("/api/status", &[("authorization", value)]).await, status, "{value}");
    }
    assert_eq!(get(&format!("/api/status?token={}", TOKEN.replace(' ', "%20")), &[]).await, 200);
    let entered = server.raw("GET", &format!("/tree?x=1&token={}", TOKEN.replace(' ', "+")), None, &[]).await;
    assert_eq!(
        (entered.status().as_u16(), &entered.headers()["location"]),
        (303, &"/tree?x=1".parse().unwrap())
    );
    let cookies: Vec<String> = entered
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect();
    assert!(cookies[0].contains("HttpOnly; SameSite=Lax"), "{cookies:?}");
    assert!(!cookies[1].contains("HttpOnly"), "{cookies:?}");
    let cookie =
        cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ");
    let xsrf = cookies[1].split(';').next().unwrap().split_once('=').unwrap().1;
    // The cookie allows reading. Writing also needs the value of `_xsrf` and, from a browser, the right
    // Origin.
    assert_eq!(get("/api/status", &[("cookie", &cookie)]).await, 200);
    for (origin, sent, status) in [
        (Some(own.as_str()), Some(xsrf), 201),
        (Some(own.as_str()), None, 403),
        (Some(own.as_str()), Some("x.y"), 403),
        (Some("http://evil.example"), Some(xsrf), 403),
        (Some("null"), Some(xsrf), 403),
        (Some("http://127.0.0.1:1"), Some(xsrf), 403),
        (None, Some(xsrf), 201),
        (None, Some("x.y"), 403),
        (None, None, 403),
    ] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        headers.extend(sent.map(|sent| ("x-xsrftoken", sent)));
        assert_eq!(
            server.send("POST", "/api/contents", Some("{}".into()), &headers).await.0,
            status,
            "{origin:?} {sent:?}"
        );
    }
    // As in Jupyter Server, the value may be in another header or in the query. Headers that name another
    // origin are trusted.
    let write = async |query: &str, headers: &[(&str, &str)]| {
        let mut headers = headers.to_vec();
        headers.push(("cookie", cookie.as_str()));
        server.send("POST", &format!("/api/contents{query}"), Some("{}".into()), &headers).await.0
    };
    let sent = ("x-xsrftoken", xsrf);
    assert_eq!(write("", &[("x-csrftoken", xsrf)]).await, 201);
    assert_eq!(write(&format!("?_xsrf={xsrf}"), &[]).await, 201);
    assert_eq!(write(&format!("?_xsrf={xsrf}"), &[("origin", "http://evil.example")]).await, 403);
    assert_eq!(write("?_xsrf=x.y", &[]).await, 403);
    for (name, value, status) in [
        ("sec-fetch-site", "same-origin", 201),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "none", 403),
        ("referer", "http://evil.example/x", 403),
        ("referer", &format!("{own}/tree"), 201),
    ] {
        assert_eq!(write("", &[sent, (name, value)]).await, status, "{name}: {value}");
    }
    // A request with the token needs neither.
    assert_eq!(
        server.send("POST", "/api/contents", Some("{}".into()), &[("authorization", &token)]).await.0,
        201
    );
    // Upgrades with the cookie need the Origin.
    let upgrade = [
        ("cookie", cookie.as_str()),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (origin, status) in [(Some(own.as_str()), 404), (Some("http://evil.example"), 403), (None, 403)] {
        let mut headers = upgrade.to_vec();
        headers.extend(origin.map(|origin| ("origin", origin)));
        assert_eq!(get("/api/kernels/x/channels", &headers).await, status, "{origin:?}");
    }
    // Every response has the headers.
    let answer = server.raw("GET", "/api", None, &[("host", &host)]).await;
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    // The form, and its rate limit.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let right = server
        .raw(
            "POST",
            "/login?next=//evil.example",
            Some(format!("password={}", TOKEN.replace(' ', "+"))),
            &form,
        )
        .await;
    assert_eq!((right.status().as_u16(), &right.headers()["location"]), (303, &"/".parse().unwrap()));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(server.raw("POST", "/login", Some("password=x".into()), &form).await.status().as_u16());
    }
    assert!(statuses.starts_with(&[403, 403]) && statuses.ends_with(&[429]), "{statuses:?}");
}
