//! Notebooks as apps: no address gives away a source.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, HTML, start};
use crate::server::Server;

/// Every source contains it, and no output.
const SECRET: &str = "hidden_word";

/// A notebook whose sources, and the outputs that quote them, contain [`SECRET`].
fn write_secrets(server: &Server, path: &str) {
    let stream = |name: &str, text: &str| json!({"output_type": "stream", "name": name, "text": text});
    let quoting = format!("w.py:1: UserWarning: x\n  {SECRET}()\n");
    let error = json!({
        "output_type": "error", "ename": "ZeroDivisionError", "evalue": SECRET, "traceback": [format!("----> 1 {SECRET}()")],
    });
    let view = json!({"version_major": 2, "version_minor": 0, "model_id": "w1"});
    let widget = json!({
        "output_type": "display_data", "metadata": {},
        "data": {"application/vnd.jupyter.widget-view+json": view, "text/plain": "Output()"},
    });
    let outputs = json!([stream("stderr", &quoting), error]);
    let state = json!({"state": {"w1": {
        "model_name": "OutputModel", "model_module": "@jupyter-widgets/output", "model_module_version": "1.0.0",
        "state": {"_model_name": "OutputModel", "outputs": outputs},
    }}});
    let code = |id: &str, source: String, outputs: Value| {
        json!({
            "cell_type": "code", "id": id, "metadata": {"tags": [SECRET], "jupyter": {"note": SECRET}}, "source": source,
            "outputs": outputs, "execution_count": 1,
        })
    };
    let cells = json!([
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": format!("# Title\n\n<!-- {SECRET} -->\nA *text*")},
        {"cell_type": "raw", "id": "r", "metadata": {}, "source": SECRET},
        code("c0", format!("{SECRET} = 1"), json!([stream("stdout", "shown\n"), stream("stderr", &quoting), error])),
        code("c1", format!("{SECRET}(2)"), json!([widget])),
    ]);
    let metadata = json!({
        "kernelspec": {"name": "paster-python", "display_name": SECRET, "language": "python"},
        "widgets": {"application/vnd.jupyter.widget-state+json": state}, "authors": SECRET,
    });
    let notebook = json!({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5});
    std::fs::write(server.data(path), notebook.to_string()).unwrap();
}

#[tokio::test]
async fn no_address_gives_an_apps_reader_a_source() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    std::fs::create_dir(server.data("ann/sub")).unwrap();
    write_secrets(&server, "ann/sub/n.ipynb");
    std::fs::write(server.data("ann/sub/other.txt"), SECRET).unwrap();
    // Traces in the history, comments, checkpoints and runs.
    let mut page = ann.page("ann/sub/n.ipynb").await;
    let source = format!("{SECRET} = 3");
    let insert =
        json!({"type": "insert_cell", "index": 9, "cell_type": "code", "source": source, "cell_id": "c9"});
    page.ask(insert).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    let comments = "/api/comments/ann/sub/n.ipynb";
    let comment = json!({"cell": "c0", "text": format!("about {SECRET} @bob")});
    assert!(ann.call("POST", comments, Some(comment)).await.0 < 300);
    assert_eq!(ann.call("POST", "/api/contents/ann/sub/n.ipynb/checkpoints", None).await.0, 201);
    ann.share("ann/sub/n.ipynb", "bob", "app").await;

    let (status, app) = bob.call("GET", "/api/apps/ann/sub/n.ipynb", None).await;
    assert_eq!((status, &app["title"], &app["level"]), (200, &json!("n"), &json!("app")), "{app}");
    let cells = &app["document"]["cells"];
    assert!(cells[0]["source"].as_str().unwrap().contains("<em>text</em>"), "{cells}");
    assert_eq!(cells[2]["outputs"][0]["text"], "shown\n");
    assert_eq!(cells[2]["outputs"][2]["ename"], "ZeroDivisionError");
    let saved = &app["document"]["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"];
    assert_eq!(saved["state"]["w1"]["state"]["outputs"][0]["ename"], "ZeroDivisionError", "{app}");

    let path = "ann/sub/n.ipynb";
    let requests: Vec<(&str, String, Option<Value>)> = [
        format!("/app/{path}"),
        format!("/notebooks/{path}"),
        format!("/tree/{path}"),
        format!("/edit/{path}"),
        format!("/view/{path}"),
        format!("/files/{path}"),
        format!("/files/{path}?download=1"),
        format!("/history/{path}"),
        format!("/api/apps/{path}"),
        format!("/api/app-sessions/{path}"),
        format!("/api/documents/{path}"),
        format!("/api/contents/{path}"),
        format!("/api/contents/{path}?type=file&format=text"),
        format!("/api/contents/{path}?content=0&hash=1"),
        format!("/api/contents/{path}/checkpoints"),
        format!("/api/history/{path}"),
        format!("/api/runs/{path}"),
        format!("/api/comments/{path}"),
        format!("/api/people/{path}"),
        format!("/api/outputs/{path}?cell=c0"),
        format!("/api/notebooks/{path}"),
        format!("/api/notebooks?view=all&q={SECRET}"),
        "/api/notebooks?view=shared".to_owned(),
        "/api/inbox".to_owned(),
        "/api/sessions".to_owned(),
        "/api/kernels".to_owned(),
        "/api/running".to_owned(),
        "/api/contents/ann".to_owned(),
        "/api/contents/ann/sub".to_owned(),
        "/api/export/ann?format=zip".to_owned(),
        "/shared".to_owned(),
        format!("/share/{path}"),
        format!("/schedules/{path}"),
        format!("/api/resolvePath?path={path}"),
    ]
    .into_iter()
    .chain(["txt", "py", "md", "sws", "zip"].map(|format| format!("/api/export/{path}?format={format}")))
    .chain(
        ["html", "latex", "markdown", "notebook", "pdf", "python", "script", "slides"]
            .map(|format| format!("/nbconvert/{format}/{path}")),
    )
    .map(|address| ("GET", address, None))
    .chain([
        ("POST", "/api/contents/bob".to_owned(), Some(json!({"copy_from": path}))),
        ("POST", "/api/contents/bob".to_owned(), Some(json!({"copy_from": "ann/sub"}))),
        ("POST", format!("/api/import?path={path}"), Some(json!({}))),
        ("POST", "/api/schedules".to_owned(), Some(json!({"path": path, "times": "every 1 days"}))),
        ("POST", "/api/sessions".to_owned(), Some(json!({"path": path, "type": "notebook"}))),
        ("POST", "/api/kernels".to_owned(), Some(json!({"path": path}))),
        ("PATCH", format!("/api/notebooks/{path}"), Some(json!({"starred": true}))),
    ])
    .collect();
    for (method, address, body) in requests {
        let headers =
            [("cookie", bob.cookies.as_str()), ("origin", server.url.as_str()), ("x-xsrftoken", bob.xsrf())];
        for accept in [("accept", "*/*"), HTML] {
            let body = body.as_ref().map(Value::to_string);
            let all: Vec<(&str, &str)> = headers.iter().copied().chain([accept]).collect();
            let response = server.raw(method, &address, body, &all).await;
            let status = response.status();
            let bytes = response.bytes().await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(SECRET), "{method} {address}: {status}: {text}");
            // An archive is packed: it must not contain the notebook.
            if address == "/api/export/ann?format=zip" && status == 200 {
                assert!(!text.contains("n.ipynb") && !text.contains("other.txt"), "{text}");
            }
        }
    }
    let (_, found) = bob.call("GET", &format!("/api/notebooks?view=all&q={SECRET}"), None).await;
    assert_eq!(found["notebooks"], json!([]), "a search in the code finds nothing");
    let (_, own) = bob.call("GET", "/api/contents/bob", None).await;
    assert_eq!(own["content"], json!([]), "nothing was copied");
    let listed = bob.call("GET", "/api/contents/ann/sub", None).await.1;
    assert_eq!(listed["content"].as_array().unwrap().len(), 1, "its name is listed: {listed}");
    // The comment did not reach the inbox of a reader who may not see it.
    assert_eq!(bob.call("GET", "/api/inbox", None).await.1["unread"], 0);
    let refused = bob.socket(&format!("/api/documents/{path}")).await.next_json().await;
    assert_eq!(refused["code"], 403, "{refused}");
    // A change of the notebook is seen in the app at once.
    page.ask(json!({"type": "insert_cell", "index": 0, "cell_type": "markdown", "source": "## New", "cell_id": "m2"}))
        .await
        .unwrap();
    let (_, app) = bob.call("GET", &format!("/api/apps/{path}"), None).await;
    assert_eq!(app["document"]["cells"][0]["source"], "<h2>New</h2>\n");
}

#[tokio::test]
async fn a_notebook_is_shared_as_an_app_with_people_groups_and_links() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let (bob, eve) =
        (Browser::new(&server, "bob", Role::User).await, Browser::new(&server, "eve", Role::Guest).await);
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    let app = "/api/apps/ann/n.ipynb";
    assert_eq!(bob.call("GET", app, None).await.0, 404);
    assert_eq!(ann.post("/admin/groups", "group=staff&name=bob&member=1").await.0, 303);
    assert_eq!(ann.post("/share/ann/n.ipynb", "kind=group&name=staff&level=app").await.0, 303);
    assert_eq!(bob.call("GET", app, None).await.0, 200);
    let (_, page) = ann.post("/share/ann/n.ipynb", "link=app&days=1").await;
    let start = page.find("/join?code=").expect("the link is shown");
    let link = page[start..start + "/join?code=".len() + 64].to_owned();
    assert!(eve.get(&link).await.1.contains("open as an app"));
    assert_eq!(eve.post(&link, "").await.0, 303);
    assert_eq!(eve.call("GET", app, None).await.0, 200);
    let opened = server.raw("GET", "/notebooks/ann/n.ipynb", None, &[HTML, ("cookie", &eve.cookies)]).await;
    assert_eq!(
        (opened.status().as_u16(), &opened.headers()["location"]),
        (303, &"/app/ann/n.ipynb".parse().unwrap())
    );
    assert!(eve.get("/shared").await.1.contains("open as an app"));
    // A higher level replaces it, and only notebooks are apps.
    ann.share("ann/n.ipynb", "eve", "view").await;
    assert_eq!(eve.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 200);
    std::fs::create_dir(server.data("ann/folder")).unwrap();
    std::fs::write(server.data("ann/table.csv"), "1").unwrap();
    for path in ["ann/folder", "ann/table.csv"] {
        let (status, page) = ann.post(&format!("/share/{path}"), "kind=everyone&level=app").await;
        assert!(status == 400 && page.contains("Only a notebook can be shared as an app"), "{path}: {page}");
        assert!(!ann.get(&format!("/share/{path}")).await.1.contains("value=\"app\""));
    }
    assert_eq!(ann.call("GET", "/api/apps/ann/table.csv", None).await.0, 400);
    assert_eq!(ann.call("GET", "/api/apps/ann/none.ipynb", None).await.0, 404);
    // The owner sees the app of their own notebook, and allows its controls.
    let (_, shown) = ann.call("GET", app, None).await;
    assert!(shown["controls"]["problem"].as_str().unwrap().contains("the owner has not allowed"), "{shown}");
    assert_eq!(ann.post("/share/ann/n.ipynb", "app_controls=true").await.0, 303);
    let (_, shown) = ann.call("GET", app, None).await;
    let usable = notebook::kernel::sandbox::probe().is_ok();
    assert_eq!(shown["controls"]["usable"], usable, "{shown}");
    let log: Vec<(String, String)> = server
        .notebook()
        .store
        .audit_log(50)
        .unwrap()
        .into_iter()
        .map(|entry| (entry.action, entry.target))
        .collect();
    for (action, target) in [
        ("share", "ann/n.ipynb group staff app"),
        ("make link", "ann/n.ipynb app"),
        ("allow app controls", "ann/n.ipynb"),
    ] {
        assert!(log.contains(&(action.to_owned(), target.to_owned())), "{action} {target}: {log:?}");
    }
    // A token of this level opens apps only.
    let token = format!("Bearer {}", ann.token("app").await);
    let with = [("authorization", token.as_str())];
    assert_eq!(server.send("GET", app, None, &with).await.0, 200);
    assert_eq!(server.send("GET", "/api/contents/ann/n.ipynb", None, &with).await.0, 403);
}
