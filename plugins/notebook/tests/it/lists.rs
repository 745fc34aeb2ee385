//! Lists of notebooks, searches in them, and the trash.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::support::until;

fn paths(list: &Value) -> Vec<&str> {
    list["notebooks"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect()
}

async fn listed(who: &Browser<'_>, query: &str) -> Value {
    let (status, list) = who.call("GET", &format!("/api/notebooks{query}"), None).await;
    assert_eq!((status, &list["complete"]), (200, &json!(true)), "{list}");
    list
}

/// Waits until the index has followed the files.
async fn found(who: &Browser<'_>, query: &str, expected: &[&str]) -> Value {
    let mut list = listed(who, query).await;
    while paths(&list) != expected {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        list = listed(who, query).await;
    }
    list
}

#[tokio::test]
async fn notebooks_are_listed_searched_marked_and_trashed() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    std::fs::create_dir(server.data("ann/work")).unwrap();
    server.write_notebook(
        "ann/work/heat.ipynb",
        "paster-python",
        &["def solve_heat(u):\n    return u", "x = 1"],
    );
    server.write_notebook("ann/b.ipynb", "paster-python", &["heat = 'equation'"]);
    server.write_notebook("bob/secret.ipynb", "paster-python", &["solve_heat"]);
    std::fs::write(server.data("ann/broken.ipynb"), "not a notebook").unwrap();
    let mine =
        crate::support::within(found(&ann, "", &["ann/b.ipynb", "ann/broken.ipynb", "ann/work/heat.ipynb"]))
            .await;
    assert_eq!(
        (mine["notebooks"][0]["level"].as_str(), mine["notebooks"][0]["name"].as_str()),
        (Some("manage"), Some("b"))
    );
    // Words in names and code, phrases, and nobody else's.
    assert_eq!(paths(&listed(&bob, "?view=all&q=heat").await), ["bob/secret.ipynb"; 0]);
    assert_eq!(paths(&listed(&bob, "?view=all&q=solve").await), ["bob/secret.ipynb"]);
    assert_eq!(paths(&listed(&ann, "?q=solve_h").await), ["ann/work/heat.ipynb"]);
    assert_eq!(paths(&listed(&ann, "?q=%22def+solve_heat%22").await), ["ann/work/heat.ipynb"]);
    assert_eq!(paths(&listed(&ann, "?q=%22solve_heat+def%22").await).len(), 0);
    let both = listed(&ann, "?q=heat").await;
    assert_eq!(paths(&both), ["ann/work/heat.ipynb", "ann/b.ipynb"], "the name counts most");
    let matches = both["notebooks"][1]["snippet"].as_array().unwrap();
    assert!(matches.iter().any(|piece| piece["match"] == true && piece["text"] == "heat"), "{matches:?}");
    assert_eq!(ann.call("GET", "/api/notebooks?view=nonsense", None).await.0, 400);

    // What is shared, and marks of each person.
    ann.share("ann/work", "bob", "view").await;
    assert_eq!(paths(&listed(&bob, "?view=shared").await), ["ann/work/heat.ipynb"]);
    let marks = json!({"starred": true, "tags": ["pde", " pde ", "old"]});
    let (status, marked) = bob.call("PATCH", "/api/notebooks/ann/work/heat.ipynb", Some(marks)).await;
    assert_eq!(
        (status, &marked["starred"], &marked["tags"]),
        (200, &json!(true), &json!(["old", "pde"])),
        "{marked}"
    );
    assert_eq!(paths(&listed(&bob, "?view=starred").await), ["ann/work/heat.ipynb"]);
    assert_eq!(paths(&listed(&ann, "?view=starred").await).len(), 0, "a star is of one person");
    assert_eq!(listed(&bob, "?view=shared").await["tags"][1], json!({"name": "pde", "count": 1}));
    assert_eq!(paths(&listed(&bob, "?view=shared&tag=other").await).len(), 0);
    let archive = json!({"archived": true});
    assert_eq!(bob.call("PATCH", "/api/notebooks/ann/work/heat.ipynb", Some(archive)).await.0, 200);
    assert_eq!(paths(&listed(&bob, "?view=shared").await).len(), 0);
    assert_eq!(paths(&listed(&bob, "?view=archived").await), ["ann/work/heat.ipynb"]);
    assert_eq!(bob.call("PATCH", "/api/notebooks/ann/b.ipynb", Some(json!({"starred": true}))).await.0, 404);
    let many: Vec<String> = (0..40).map(|tag| tag.to_string()).collect();
    assert_eq!(
        bob.call("PATCH", "/api/notebooks/bob/secret.ipynb", Some(json!({"tags": many}))).await.0,
        400
    );
    assert_eq!(ann.post("/publish/ann/b.ipynb", "").await.0, 303);
    let published = listed(&ann, "?view=published").await;
    assert_eq!(paths(&published), ["ann/b.ipynb"]);
    assert!(published["notebooks"][0]["published"].is_string());

    // The trash keeps what a notebook has: its marks, rights and publication.
    assert_eq!(bob.call("POST", "/api/trash", Some(json!({"path": "ann/work"}))).await.0, 403);
    let mut page = ann.page("ann/work/heat.ipynb").await;
    let (status, entry) = ann.call("POST", "/api/trash", Some(json!({"path": "ann/work"}))).await;
    assert_eq!((status, &entry["deleted_by"]), (201, &json!("ann")), "{entry}");
    while page.step().await.is_some() {}
    assert_eq!(ann.call("GET", "/api/contents/ann/work/heat.ipynb", None).await.0, 404);
    assert!(!server.data("ann/work").exists());
    let id = entry["id"].as_str().unwrap();
    assert_eq!(bob.call("GET", "/api/trash", None).await.1["entries"], json!([]));
    assert_eq!(bob.call("POST", &format!("/api/trash/{id}"), None).await.0, 404);
    std::fs::create_dir(server.data("ann/work")).unwrap();
    let (_, restored) = ann.call("POST", &format!("/api/trash/{id}"), None).await;
    assert_eq!(restored["path"], "ann/work (restored 1)", "its name was taken");
    let at = "ann/work (restored 1)/heat.ipynb";
    crate::support::within(found(&bob, "?view=archived", &[at])).await;
    // For good: by hand, and after some days.
    let (_, entry) = ann.call("POST", "/api/trash", Some(json!({"path": "ann/b.ipynb"}))).await;
    assert!(entry["ends"].is_string());
    let hidden = server.data(".trash");
    assert_eq!(ann.call("GET", "/api/contents/.trash", None).await.0, 404);
    server.notebook().tidy().await;
    assert_eq!(std::fs::read_dir(&hidden).unwrap().count(), 1, "it is not old yet");
    assert_eq!(ann.call("DELETE", "/api/trash", None).await.0, 204);
    until("the file is gone", || std::fs::read_dir(&hidden).unwrap().count() == 0).await;
    assert_eq!(ann.call("GET", "/api/trash", None).await.1["entries"], json!([]));
}

#[tokio::test]
async fn what_jupyters_interface_deletes_is_in_the_same_trash() {
    let server = crate::server::Server::start().await;
    std::fs::create_dir_all(server.data("folder")).unwrap();
    server.write_notebook("folder/n.ipynb", "paster-python", &["needle"]);
    std::fs::write(server.data("empty.txt"), "").unwrap();
    // An edit, whose history must come back too.
    let mut page = crate::server::Page::open(&server, "folder/n.ipynb", None).await;
    let edit = json!({"type": "set_source", "cell_id": "c0", "source": "needle 2", "base_revision": page.cell(0)["revision"]});
    page.ask(edit).await.unwrap();
    drop(page);
    for path in ["folder/n.ipynb", "empty.txt"] {
        assert_eq!(server.call("DELETE", &format!("/api/contents/{path}"), None).await.0, 204);
        assert_eq!(server.call("GET", &format!("/api/contents/{path}"), None).await.0, 404);
    }
    assert_eq!(server.call("DELETE", "/api/contents/empty.txt", None).await.0, 404);
    let (_, trash) = server.call("GET", "/api/trash", None).await;
    let entries = trash["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{trash}");
    let id = entries.iter().find(|entry| entry["path"] == "folder/n.ipynb").unwrap()["id"].as_str().unwrap();
    let (status, restored) = server.call("POST", &format!("/api/trash/{id}"), None).await;
    assert_eq!((status, &restored["path"]), (200, &json!("folder/n.ipynb")));
    let (_, back) = server.call("GET", "/api/contents/folder/n.ipynb", None).await;
    assert_eq!(back["content"]["cells"][0]["source"], "needle 2", "{back}");
    let (_, history) = server.call("GET", "/api/history/folder/n.ipynb", None).await;
    let edits = history["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "edit");
    assert_eq!(edits.count(), 1, "{history}");
}

#[tokio::test]
async fn the_single_user_has_lists_and_a_trash_which_is_emptied_by_age() {
    let settings = json!({"python": crate::support::plain_python(), "limits": {"trash_days": 1}});
    let server =
        crate::server::Server::start_with(std::sync::Arc::new(crate::support::Host::start()), settings).await;
    server.write_notebook("n.ipynb", "paster-python", &["needle"]);
    let (_, list) = server.call("GET", "/api/notebooks?q=needle", None).await;
    assert_eq!(paths(&list), ["n.ipynb"], "{list}");
    let (status, _) = server.call("PATCH", "/api/notebooks/n.ipynb", Some(json!({"starred": true}))).await;
    assert_eq!(status, 200);
    let (_, entry) = server.call("POST", "/api/trash", Some(json!({"path": "n.ipynb"}))).await;
    server.notebook().tidy().await;
    assert_eq!(server.call("GET", "/api/trash", None).await.1["entries"].as_array().unwrap().len(), 1);
    // As if it had been there for two days.
    let database = rusqlite::Connection::open(server.host.folder.path().join("state/notebook.db")).unwrap();
    database.busy_timeout(crate::support::patience()).unwrap();
    database
        .execute("update trash set at = at - 2 * 24 * 3600 * 1000 where id = ?1", [entry["id"].as_str()])
        .unwrap();
    server.notebook().tidy().await;
    assert_eq!(server.call("GET", "/api/trash", None).await.1["entries"], json!([]));
    assert_eq!(std::fs::read_dir(server.data(".trash")).unwrap().count(), 0);
}
