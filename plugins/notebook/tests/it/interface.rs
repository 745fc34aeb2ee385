//! The parts of Jupyter Server's interface that the notebook's own page does not use.

use std::sync::Arc;

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{self, Browser};
use crate::server::{Page, Server, TOKEN};
use crate::support::{Host, plain_python};

#[tokio::test]
async fn folders_are_copied_and_moved_to_the_trash() {
    let server = Server::start().await;
    std::fs::create_dir_all(server.data("a/b")).unwrap();
    server.write_notebook("a/b/n.ipynb", "paster-python", &["1"]);
    let copied = server.call("POST", "/api/contents", Some(json!({"copy_from": "a"}))).await;
    assert_eq!((copied.0, &copied.1["path"]), (201, &json!("a-Copy1")));
    assert!(server.data("a-Copy1/b/n.ipynb").exists());
    // A document that is open there is closed.
    let mut page = Page::open(&server, "a/b/n.ipynb", None).await;
    assert_eq!(server.call("DELETE", "/api/contents/a", None).await.0, 204);
    while page.step().await.is_some() {}
    assert!(!server.data("a").exists());
    let kept = std::fs::read_dir(server.data(".trash")).unwrap().next().unwrap().unwrap();
    assert!(kept.path().join("a/b/n.ipynb").exists());
    assert_eq!(server.call("GET", "/api/contents/.trash", None).await.0, 404);
}

#[tokio::test]
async fn a_folder_with_files_of_others_is_not_copied() {
    let server = accounts::start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    std::fs::write(server.data("ann/private.txt"), "x").unwrap();
    ann.share("ann/n.ipynb", "bob", "view").await;
    // Who may see one file in a folder may list the folder, but not copy all of it.
    let copy = async || bob.call("POST", "/api/contents/bob", Some(json!({"copy_from": "ann"}))).await.0;
    assert_eq!(copy().await, 403);
    ann.share("ann", "bob", "view").await;
    assert_eq!(copy().await, 201);
    assert!(server.data("bob/ann/private.txt").is_file());
}

#[tokio::test]
async fn hidden_names_can_be_neither_read_nor_written() {
    let server = Server::start().await;
    std::fs::write(server.data("x.txt"), "x").unwrap();
    for (method, path, body) in [
        ("PUT", ".h.txt", json!({"content": "x"})),
        ("PUT", "x.txt", json!({"content": "x", "path": ".h"})),
        ("POST", ".h", json!({})),
        ("POST", "", json!({"copy_from": ".h.txt"})),
        ("PATCH", "x.txt", json!({"path": ".h.txt"})),
        ("PATCH", ".h.txt", json!({"path": "x2.txt"})),
        ("DELETE", ".h.txt", Value::Null),
        ("PUT", "y.txt", json!({"copy_from": "x.txt"})),
    ] {
        let body = Some(body).filter(|body| !body.is_null());
        let (status, answer) = server.call(method, &format!("/api/contents/{path}"), body).await;
        assert_eq!(status, 400, "{method} {path}: {answer}");
    }
    assert_eq!(server.call("GET", "/api/contents/.h.txt", None).await.0, 404);
    // A PUT without content makes an empty file. Only notebooks are trusted.
    assert_eq!(server.call("PUT", "/api/contents/new.ipynb", Some(json!({"type": "notebook"}))).await.0, 201);
    assert_eq!(server.call("POST", "/api/contents/new.ipynb/trust", None).await.0, 201);
    assert_eq!(server.call("POST", "/api/contents/x.txt/trust", None).await.0, 400);
    assert_eq!(server.call("POST", "/api/contents/no.ipynb/trust", None).await.0, 404);
}

#[tokio::test]
async fn odd_numbers_survive_the_interface() {
    let server = Server::start().await;
    let text = "{\"cells\": [], \"metadata\": {\"n\": [NaN, 36893488147419103232]}, \"nbformat\": 4, \"nbformat_minor\": 5}";
    std::fs::write(server.data("odd.ipynb"), text).unwrap();
    let (_, read) = server.call("GET", "/api/contents/odd.ipynb", None).await;
    let body = json!({"type": "notebook", "content": read["content"]});
    assert_eq!(server.call("PUT", "/api/contents/odd.ipynb", Some(body)).await.0, 200);
    let written = std::fs::read_to_string(server.data("odd.ipynb")).unwrap();
    assert!(written.contains("NaN,\n   36893488147419103232\n"), "{written}");
    // Programs in Python send a bare NaN.
    let body = format!("{{\"type\": \"notebook\", \"content\": {text}}}");
    let token = format!("token {TOKEN}");
    let sent = server.send("PUT", "/api/contents/odd.ipynb", Some(body), &[("authorization", &token)]).await;
    assert_eq!(sent.0, 200);
    let (_, shown) = server.call("GET", "/api/contents/odd.ipynb?type=file", None).await;
    assert!(shown["content"].as_str().unwrap().contains("NaN"), "{shown}");
}

#[tokio::test]
async fn a_terminal_keeps_its_output_for_the_next_client() {
    let server = Server::start().await;
    std::fs::create_dir(server.data("sub")).unwrap();
    let (status, made) = server.call("POST", "/api/terminals", Some(json!({"cwd": "sub"}))).await;
    assert_eq!((status, &made["name"]), (200, &json!("1")));
    assert_eq!(server.call("GET", "/api/terminals", None).await.1.as_array().unwrap().len(), 1);
    // JupyterLab sends the token in the address.
    let address = format!("/terminals/websocket/1?token={}", TOKEN.replace(' ', "%20"));
    let mut socket = server.socket_with(&address, None, &[]).await;
    assert_eq!(socket.next_json().await, json!(["setup", {}]));
    socket.send_json(&json!(["set_size", 33, 111, 0, 0])).await;
    socket
        .send_json(&json!(["stdin", "stty size; basename $PWD; echo $((6 * 7))$(printf '\\303\\251')\r"]))
        .await;
    let mut text = String::new();
    while !text.contains("42é") {
        text.push_str(socket.next_json().await[1].as_str().unwrap());
    }
    assert!(text.contains("33 111") && text.contains("\nsub"), "{text}");
    socket.close().await;
    // Another server process, as after a reload.
    let next = Server::start_with(server.host.clone(), json!({"python": plain_python()})).await;
    let mut socket = next.socket("/terminals/websocket/1", None).await;
    let mut text = String::new();
    while !text.contains("42é") {
        let frame = socket.next_json().await;
        text.push_str(frame[1].as_str().unwrap_or_default());
    }
    socket.send_json(&json!(["stdin", "exit\r"])).await;
    while socket.next_json().await != json!(["disconnect", 1]) {}
    // The host forgets it when its programs have ended.
    let end = tokio::time::Instant::now() + crate::support::patience();
    while !next.call("GET", "/api/terminals", None).await.1.as_array().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < end, "the terminal stays");
    }
    assert_eq!(next.call("GET", "/api/terminals/1", None).await.0, 404);
    assert_eq!(next.call("DELETE", "/api/terminals/1", None).await.0, 404);
    // A program that does not stop, and a client that ends it.
    next.call("POST", "/api/terminals", None).await;
    let mut socket = next.socket("/terminals/websocket/1", None).await;
    socket.send_json(&json!(["stdin", "yes\r"])).await;
    let mut bytes = 0;
    while bytes < 3 << 20 {
        bytes += socket.next_json().await[1].as_str().map_or(0, str::len);
    }
    assert_eq!(next.call("DELETE", "/api/terminals/1", None).await.0, 204);
    while socket.next().await.is_some() {}
}

#[tokio::test]
async fn terminals_can_be_off() {
    let server =
        Server::start_with(Arc::new(Host::start()), json!({"python": plain_python(), "terminals": false}))
            .await;
    assert_eq!(server.call("POST", "/api/terminals", None).await.0, 404);
}

#[tokio::test]
async fn what_happens_is_told() {
    let server = Server::start().await;
    // Its link to the kernel host is connected when it answers.
    assert_eq!(server.call("GET", "/api/kernels", None).await.0, 200);
    let mut socket = server.socket("/api/events/subscribe", None).await;
    // Another process of the same notebook.
    let other = Server::start_with(server.host.clone(), json!({"python": plain_python()})).await;
    other.call("PUT", "/api/contents/a.txt", Some(json!({"content": "x"}))).await;
    other.call("PATCH", "/api/contents/a.txt", Some(json!({"path": "b.txt"}))).await;
    let event = json!({
        "schema_id": "https://events.jupyter.org/jupyter_server/contents_service/v1", "version": "1",
        "data": {"action": "get", "path": "b.txt"}, "timestamp": "2026-01-01T00:00:00Z",
    });
    assert_eq!(other.call("POST", "/api/events", Some(event.clone())).await.0, 204);
    for (action, path, source) in
        [("save", "a.txt", Value::Null), ("rename", "b.txt", json!("a.txt")), ("get", "b.txt", Value::Null)]
    {
        let event = socket.next_json().await;
        assert_eq!(
            (&event["action"], &event["path"], &event["source_path"]),
            (&json!(action), &json!(path), &source),
            "{event}"
        );
        assert!(event["__timestamp__"].is_string() && event["__schema_version__"] == "1");
    }
    for (key, value) in [
        ("version", json!(2)),
        ("schema_id", json!("x")),
        ("data", json!({"action": "get"})),
        ("data", json!([])),
    ] {
        let mut bad = event.clone();
        bad[key] = value;
        assert_eq!(other.call("POST", "/api/events", Some(bad)).await.0, 400, "{key}");
    }
}

#[tokio::test]
async fn notebooks_are_converted() {
    let server = Server::start().await;
    server.write_notebook("a b.ipynb", "paster-python", &["print(2 * 6)"]);
    let token = format!("token {TOKEN}");
    let get = async |path: &str| server.raw("GET", path, None, &[("authorization", &token)]).await;
    let page = get("/nbconvert/html/a%20b.ipynb").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("sandbox allow-scripts") && !policy.contains("allow-same-origin"), "{policy}");
    assert!(page.text().await.unwrap().contains("print(2 * 6)"));
    let script = get("/nbconvert/python/a%20b.ipynb?download=True").await;
    assert_eq!(script.headers()["content-disposition"], "attachment; filename*=utf-8''a%20b.py");
    assert_eq!(get("/nbconvert/html/no.ipynb").await.status(), 404);
    assert_eq!(get("/nbconvert/rtf/a%20b.ipynb").await.status(), 404);
    let (_, entry) = server.call("GET", "/api/contents/a%20b.ipynb", None).await;
    let (authorization, body) = (("authorization", token.as_str()), Some(entry.to_string()));
    let sent = server.raw("POST", "/nbconvert/markdown", body, &[authorization]).await;
    assert!(sent.text().await.unwrap().starts_with("```python\nprint(2 * 6)\n```"));
    assert_eq!(
        server.call("GET", "/api/nbconvert", None).await.1["pdf"]["output_mimetype"],
        "application/pdf"
    );
    let pdf = get("/nbconvert/pdf/a%20b.ipynb").await;
    assert_eq!(pdf.status(), 200);
    assert!(pdf.bytes().await.unwrap().starts_with(b"%PDF-"));
}

#[tokio::test]
async fn small_parts() {
    let server = Server::start().await;
    // Config sections.
    assert_eq!(server.call("GET", "/api/config/x", None).await, (200, json!({})));
    assert_eq!(server.call("PUT", "/api/config/x", Some(json!({"a": {"b": 1}, "c": 2}))).await.0, 204);
    let merged = server.call("PATCH", "/api/config/x", Some(json!({"a": {"d": 3}, "c": null}))).await;
    assert_eq!(merged, (200, json!({"a": {"b": 1, "d": 3}})));
    assert_eq!(server.call("GET", "/api/config/..%2fx", None).await.0, 404);
    // Paths that programs print.
    std::fs::write(server.data("m.py"), "").unwrap();
    let (_, kernel) = server.call("POST", "/api/kernels", None).await;
    let id = kernel["id"].as_str().unwrap();
    let (_, found) = server.call("GET", &format!("/api/resolvePath?path=m.py&kernel={id}"), None).await;
    assert_eq!(found["resolved"][0], json!({"scope": "server", "path": "m.py"}));
    let (_, outside) = server.call("GET", "/api/resolvePath?path=../state/token", None).await;
    assert_eq!(outside["resolved"], json!([]));
    // Descriptions.
    let token = format!("token {TOKEN}");
    let get = async |path: &str| {
        server.raw("GET", path, None, &[("authorization", &token)]).await.text().await.unwrap()
    };
    assert!(get("/api/spec.yaml").await.contains("openapi: 3.0.3"));
    assert!(get("/metrics").await.contains("kernel_currently_running_total{type=\"paster-python\"} 1\n"));
    assert!(get("/view/m.py").await.contains("src=\"/files/m.py\""));
    let report = json!({"csp-report": {"blocked-uri": "x"}});
    assert_eq!(server.call("POST", "/api/security/csp-report", Some(report)).await.0, 204);
    let asked =
        server.call("GET", "/api/me?permissions=%7B%22contents%22:%5B%22read%22,%22fly%22%5D%7D", None).await;
    assert_eq!(asked.1["permissions"], json!({"contents": ["read"]}));
}

#[tokio::test]
async fn environments_beside_the_notebooks_have_kernels() {
    let server = Server::start().await;
    let environment = |path: &str, ipykernel: bool| {
        let library = server.data(path).join("lib/python3.12/site-packages");
        std::fs::create_dir_all(if ipykernel { library.join("ipykernel") } else { library }).unwrap();
        std::fs::create_dir_all(server.data(path).join("bin")).unwrap();
        std::fs::write(server.data(path).join("pyvenv.cfg"), "version = 3.12.1\n").unwrap();
        let python = server.data(path).join("bin/python");
        // Stands for `python -m pip install`: tells what it was asked for.
        let installs = format!(
            "#!/bin/sh\necho \"$@\" > '{0}/asked'\nmkdir '{0}/lib/python3.12/site-packages/ipykernel'\n",
            server.data(path).display()
        );
        std::fs::write(&python, installs).unwrap();
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    environment("project/.venv", true);
    environment("other/.venv", false);
    server.notebook().kernel_specs.forget().await;
    let (_, specs) = server.call("GET", "/api/kernelspecs", None).await;
    let spec = &specs["kernelspecs"]["env-project-.venv"]["spec"];
    assert_eq!(spec["display_name"], "Python 3.12 (project/.venv)");
    assert!(spec["argv"][0].as_str().unwrap().ends_with("project/.venv/bin/python"), "{spec}");
    let (_, found) = server.call("GET", "/api/environments", None).await;
    assert_eq!(
        (found["can_install"].as_bool(), found["environments"].as_array().unwrap().len()),
        (Some(true), 2)
    );
    let install = async |name: &str| {
        server.call("POST", "/api/environments/install", Some(json!({"name": name}))).await.0
    };
    assert_eq!(install("env-no").await, 404);
    assert_eq!(install("env-other-.venv").await, 200);
    let asked = std::fs::read_to_string(server.data("other/.venv/asked")).unwrap();
    assert!(asked.starts_with("-m pip install") && asked.trim_end().ends_with("ipykernel"), "{asked}");
    let (_, specs) = server.call("GET", "/api/kernelspecs", None).await;
    assert!(specs["kernelspecs"]["env-other-.venv"].is_object(), "{specs}");
}

#[tokio::test]
async fn jupyterlab_is_served_from_its_package() {
    let host = Arc::new(Host::start());
    // A package as pip installs it, beside a Python. The real one is opened in a browser by the tests of the pages.
    let share = host.folder.path().join("py/share/jupyter");
    let write = |path: &str, text: &str| {
        let path = share.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "lab/static/index.html",
        "<script src=\"{{page_config.fullStaticUrl}}/main.0123456789abcdef.js?v=1\">",
    );
    write("lab/static/main.0123456789abcdef.js", "run()");
    write("lab/static/package.json", "{\"jupyterlab\": {\"version\": \"4.9.9\"}}");
    write("lab/schemas/@jupyterlab/a-extension/themes.json", "{\"title\": \"T\"}");
    write("lab/schemas/@jupyterlab/a-extension/package.json.orig", "{\"version\": \"1.2.3\"}");
    write("lab/themes/@jupyterlab/light/index.css", "a{}");
    write(
        "labextensions/@me/ext/package.json",
        "{\"jupyterlab\": {\"_build\": {\"load\": \"static/r.js\", \"extension\": \"./extension\"}, \"disabledExtensions\": [\"@x/y\"]}}",
    );
    write("labextensions/@me/ext/static/r.js", "ext()");
    write("labextensions/@me/ext/schemas/@me/ext/plugin.json", "{}");
    let python = host.folder.path().join("py/bin/python");
    std::fs::create_dir_all(python.parent().unwrap()).unwrap();
    let probe = json!({"executable": python, "prefix": host.folder.path().join("py"), "version": "3.12.0", "ipykernel": false, "user_data": null});
    std::fs::write(&python, format!("#!/bin/sh\necho '{probe}'\n")).unwrap();
    std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::start_with(host, json!({"python": python, "front_end": "lab"})).await;
    let token = format!("token {TOKEN}");
    let raw = async |path: &str| server.raw("GET", path, None, &[("authorization", &token)]).await;
    assert_eq!(raw("/").await.headers()["location"], "/lab");
    let page = raw("/lab/tree/x/y.ipynb").await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self' 'unsafe-eval';"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(page.contains("src=\"/static/lab/main.0123456789abcdef.js?v=1\""), "{page}");
    let config = page.split_once("application/json\">").unwrap().1.split_once("</script>").unwrap().0;
    let config: Value = serde_json::from_str(config).unwrap();
    assert_eq!(
        (&config["baseUrl"], &config["treePath"], &config["appVersion"]),
        (&json!("/"), &json!("x/y.ipynb"), &json!("4.9.9"))
    );
    assert_eq!(
        config["federated_extensions"],
        json!([{"name": "@me/ext", "load": "static/r.js", "extension": "./extension"}])
    );
    assert!(config["disabledExtensions"].as_array().unwrap().contains(&json!("@x/y")));
    for (path, text) in [
        ("/static/lab/main.0123456789abcdef.js", "run()"),
        ("/lab/extensions/@me/ext/static/r.js", "ext()"),
        ("/lab/api/themes/@jupyterlab/light/index.css", "a{}"),
    ] {
        assert_eq!(raw(path).await.text().await.unwrap(), text, "{path}");
    }
    for path in
        ["/static/lab/..%2f..%2f..%2fbin/python", "/lab/extensions/%2fetc/passwd", "/static/lab/none.js"]
    {
        assert_eq!(raw(path).await.status(), 404, "{path}");
    }
    // Settings.
    let (_, list) = server.call("GET", "/lab/api/settings", None).await;
    let ids: Vec<&str> =
        list["settings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["@me/ext:plugin", "@jupyterlab/a-extension:themes"]);
    let id = "/lab/api/settings/@jupyterlab/a-extension:themes";
    let (_, before) = server.call("GET", id, None).await;
    assert_eq!(
        (&before["raw"], &before["version"], &before["schema"]["title"]),
        (&json!("{}"), &json!("1.2.3"), &json!("T"))
    );
    assert_eq!(server.call("PUT", id, Some(json!({"raw": "{\"theme\": \"x\"}"}))).await.0, 204);
    assert_eq!(server.call("GET", id, None).await.1["settings"], json!({"theme": "x"}));
    assert_eq!(server.call("PUT", "/lab/api/settings/@a/b:c", Some(json!({"raw": "{}"}))).await.0, 404);
    // Workspaces.
    let workspace = json!({"data": {"x": 1}, "metadata": {"id": "a/b"}});
    assert_eq!(server.call("PUT", "/lab/api/workspaces/a/b", Some(workspace.clone())).await.0, 204);
    assert_eq!(server.call("PUT", "/lab/api/workspaces/other", Some(workspace)).await.0, 400);
    assert_eq!(server.call("GET", "/lab/api/workspaces/a/b", None).await.1["data"], json!({"x": 1}));
    assert_eq!(server.call("GET", "/lab/api/workspaces", None).await.1["workspaces"]["ids"], json!(["a/b"]));
    assert_eq!(server.call("DELETE", "/lab/api/workspaces/a/b", None).await.0, 204);
    assert_eq!(server.call("DELETE", "/lab/api/workspaces/a/b", None).await.0, 404);
    assert_eq!(
        server.call("GET", "/lab/api/translations/", None).await.1["data"]["en"]["displayName"],
        "English"
    );
    // It is for one user.
    let settings = json!({"data_dir": server.data("x"), "state_dir": server.host.folder.path().join("s2"), "users": "accounts", "front_end": "lab"});
    let opened = notebook::state::Notebook::open(
        serde_json::from_value(settings).unwrap(),
        notebook::kernel::link::Link::unavailable("a test"),
    );
    assert!(opened.is_err_and(|error| error.to_string().contains("single user")));
}
