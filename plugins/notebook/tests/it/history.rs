//! The history of a notebook: who did what, the way back, named revisions, records of runs, and erasing a secret.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::support::{until, within};

const PATH: &str = "/api/history/ann/n.ipynb";
const SECRET: &str = "hunter2-and-more";

async fn entries(who: &Browser<'_>) -> Vec<Value> {
    let (status, history) = who.call("GET", PATH, None).await;
    assert_eq!(status, 200, "{history}");
    history["entries"].as_array().unwrap().clone()
}

async fn sources(who: &Browser<'_>, point: &str) -> Vec<String> {
    let (status, state) = who.call("GET", &format!("{PATH}?point={point}"), None).await;
    assert_eq!(status, 200, "{state}");
    let cells = state["content"]["cells"].as_array().unwrap();
    cells.iter().map(|cell| cell["source"].as_str().unwrap().to_owned()).collect()
}

fn set(source: &str, revision: &Value) -> Value {
    json!({"type": "set_source", "cell_id": "c0", "source": source, "base_revision": revision})
}

#[tokio::test]
async fn every_edit_is_kept_with_its_author_and_can_be_restored_or_erased() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["first", "print('kept')"]);
    assert_eq!(ann.call("GET", PATH, None).await.0, 404, "it was never opened");
    ann.share("ann/n.ipynb", "bob", "edit").await;
    let (mut own, mut theirs) = (ann.page("ann/n.ipynb").await, bob.page("ann/n.ipynb").await);
    own.ask(json!({"type": "run", "cell_ids": ["c1"]})).await.unwrap();
    own.until_idle().await;
    let first = own.cell(0)["revision"].clone();
    own.ask(set("second", &first)).await.unwrap();
    theirs.until(|document| document["cells"][0]["source"] == "second").await;
    let second = theirs.cell(0)["revision"].clone();
    theirs.ask(set(&format!("password = '{SECRET}'"), &second)).await.unwrap();
    theirs.ask(json!({"type": "delete_cell", "cell_id": "c1"})).await.unwrap();
    let history = entries(&ann).await;
    let shown: Vec<_> = history
        .iter()
        .map(|one| (one["author"].as_str().unwrap(), one["kind"].as_str().unwrap(), one["action"].as_str()))
        .collect();
    assert_eq!(shown[0], ("", "start", None), "{history:?}");
    let edits = &shown[shown.len() - 3..];
    assert_eq!(
        edits,
        [
            ("ann", "edit", Some("set_source")),
            ("bob", "edit", Some("set_source")),
            ("bob", "edit", Some("delete_cell"))
        ]
    );
    let points: Vec<String> = history.iter().map(|one| one["point"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sources(&ann, &points[0]).await, ["first", "print('kept')"]);
    let after_first = points[points.len() - 3].clone();
    assert_eq!(sources(&bob, &after_first).await, ["second", "print('kept')"]);
    for bad in ["x", "s999", "999"] {
        assert!(matches!(ann.call("GET", &format!("{PATH}?point={bad}"), None).await.0, 400 | 404), "{bad}");
    }

    // A named revision, also of a past state.
    let name = json!({"name": {"name": "before bob", "point": after_first}});
    let (status, named) = ann.call("POST", PATH, Some(name)).await;
    assert_eq!(status, 200, "{named}");
    let revision = named["point"].as_str().unwrap().to_owned();
    assert_eq!(sources(&ann, &revision).await, ["second", "print('kept')"]);
    assert!(entries(&ann).await.iter().any(|one| one["name"] == "before bob" && one["author"] == "ann"));

    // Restoring is an edit like any other, which all pages see.
    assert_eq!(ann.call("POST", PATH, Some(json!({"restore": {"point": revision}}))).await.0, 200);
    theirs
        .until(|document| {
            document["cells"][0]["source"] == "second" && document["cells"].as_array().unwrap().len() == 2
        })
        .await;
    let last = entries(&ann).await.last().unwrap().clone();
    assert_eq!((last["author"].as_str(), last["kind"].as_str()), (Some("ann"), Some("edit")));

    // Another program writes the file.
    let file = server.data("ann/n.ipynb");
    until("the edit is in the file", || std::fs::read_to_string(&file).unwrap().contains("second")).await;
    within(async {
        while ann.call("GET", "/api/contents/ann/n.ipynb", None).await.1["content"]["cells"][1]["source"]
            != "print('kept')"
        {}
    })
    .await;
    let outside = std::fs::read_to_string(&file).unwrap().replace("second", "outside");
    std::fs::write(&file, outside).unwrap();
    own.until(|document| document["cells"][0]["source"] == "outside").await;
    let last = entries(&ann).await.last().unwrap().clone();
    assert_eq!(last["kind"], "disk", "{last}");
    assert_eq!(sources(&ann, last["point"].as_str().unwrap()).await[0], "outside");
    assert_eq!(ann.call("POST", PATH, Some(json!({"unname": {"point": revision}}))).await.0, 200);
    assert_eq!(ann.call("POST", PATH, Some(json!({"unname": {"point": revision}}))).await.0, 404);

    // Runs.
    let (_, runs) = bob.call("GET", "/api/runs/ann/n.ipynb", None).await;
    let run = &runs["runs"][0];
    assert_eq!(
        (&run["author"], &run["status"], &run["source"]),
        (&json!("ann"), &json!("ok"), &json!("print('kept')")),
        "{runs}"
    );
    // The number of digits of the fraction varies, so a `Z` behind it must not be compared.
    let moment = |name: &str| run[name].as_str().unwrap().trim_end_matches('Z').to_owned();
    assert!(moment("ended") >= moment("started"), "{run}");

    erase(&server, &ann, &bob).await;
}

async fn erase(server: &crate::server::Server, ann: &Browser<'_>, bob: &Browser<'_>) {
    let erase = |text: &str| Some(json!({"erase": {"text": text}}));
    assert_eq!(bob.call("POST", PATH, erase(SECRET)).await.0, 403, "who edits does not erase");
    assert_eq!(ann.call("POST", PATH, erase("ab")).await.0, 400);
    // The secret is also in an output, a comment, a publication, a checkpoint and the index.
    let mut page = ann.page("ann/n.ipynb").await;
    let revision = page.cell(0)["revision"].clone();
    page.ask(set(&format!("print('{SECRET}')"), &revision)).await.unwrap();
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    let comment = json!({"text": format!("is {SECRET} yours?"), "cell": "c0"});
    assert_eq!(bob.call("POST", "/api/comments/ann/n.ipynb", Some(comment)).await.0, 201);
    assert_eq!(ann.post("/publish/ann/n.ipynb", "").await.0, 303);
    assert_eq!(ann.call("POST", "/api/contents/ann/n.ipynb/checkpoints", None).await.0, 201);
    within(async {
        while ann.call("GET", "/api/notebooks?q=hunter2", None).await.1["notebooks"] == json!([]) {}
    })
    .await;
    page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    let (status, erased) = ann.call("POST", PATH, erase(SECRET)).await;
    assert_eq!((status, &erased["kernel_runs"]), (200, &json!(false)), "{erased}");
    assert!(
        erased["erased_in_file"].as_u64() >= Some(3) && erased["erased_in_history"].as_u64() >= Some(4),
        "{erased}"
    );
    // The page was told to come back, and its next copy does not have it.
    while page.step().await.is_some() {}
    let again = bob.page("ann/n.ipynb").await;
    assert_eq!(again.cell(0)["source"], "print('[erased]')");
    assert_eq!(ann.call("GET", "/api/notebooks?q=hunter2", None).await.1["notebooks"], json!([]));
    for (folder, what) in [("data", "files"), ("state", "database")] {
        let found = files_with(&server.host.folder.path().join(folder), SECRET.as_bytes());
        assert!(found.is_empty(), "{what}: {found:?}");
    }
    let (_, log) = ann.get("/admin").await;
    assert!(log.contains("erase text ann/n.ipynb") && !log.contains(SECRET));
}

/// The files that contain these bytes.
fn files_with(folder: &std::path::Path, text: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text) {
            found.push(path);
        }
    }
    found
}
