//! The list of what runs: each user's own, and all for an administrator.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::support::within;

const EMPTY: &str = r#"{"cells":[],"metadata":{},"nbformat":4,"nbformat_minor":5}"#;

/// What somebody sees: the paths of the kernels, and the names of the terminals.
async fn seen(browser: &Browser<'_>) -> (Vec<String>, Vec<String>) {
    let (status, list) = browser.call("GET", "/api/running", None).await;
    assert_eq!(status, 200);
    let names = |list: &Value, key: &str| {
        let mut names: Vec<String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one[key].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    };
    (names(&list["kernels"], "path"), names(&list["terminals"], "name"))
}

#[tokio::test]
async fn everybody_sees_their_own_and_an_administrator_all() {
    let server = start(json!({})).await;
    let admin = Browser::new(&server, "root", Role::Admin).await;
    let (ann, bob) =
        (Browser::new(&server, "ann", Role::User).await, Browser::new(&server, "bob", Role::User).await);
    for (browser, name) in [(&ann, "ann"), (&bob, "bob")] {
        let path = format!("{name}/a.ipynb");
        std::fs::write(server.data(&path), EMPTY).unwrap();
        let (status, _) =
            browser.call("POST", "/api/sessions", Some(json!({"path": path, "type": "notebook"}))).await;
        assert_eq!(status, 201);
        assert_eq!(browser.call("POST", "/api/terminals", Some(json!({}))).await.0, 200);
    }
    // Sharing a notebook does not put its kernel into another list.
    ann.share("ann/a.ipynb", "bob", "run").await;
    let (kernels, terminals) = seen(&bob).await;
    assert_eq!((kernels, terminals), (vec!["bob/a.ipynb".to_owned()], vec!["2".to_owned()]));
    let (kernels, terminals) = seen(&admin).await;
    assert_eq!(kernels, ["ann/a.ipynb", "bob/a.ipynb"]);
    assert_eq!(terminals, ["1", "2"]);
    // A kernel without a notebook belongs to the one who started it.
    assert_eq!(bob.call("POST", "/api/kernels", Some(json!({}))).await.0, 201);
    assert_eq!(seen(&bob).await.0, ["", "bob/a.ipynb"]);
    assert_eq!(seen(&ann).await.0, ["ann/a.ipynb"]);
    // A kernel has no process at once.
    let list = within(async {
        loop {
            let (_, list) = ann.call("GET", "/api/running", None).await;
            if !list["kernels"][0]["usage"].is_null() {
                return list;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let kernel = &list["kernels"][0];
    assert!(kernel["usage"]["memory_bytes"].as_u64().unwrap() > 0, "{kernel}");
    assert!(kernel["usage"]["cpu_secs"].is_number() && kernel["session"].is_string());
    assert!(list["terminals"][0]["own"] == true && list["terminals"][0]["folder"] == "ann", "{list}");
    // Only an administrator ends somebody else's terminal.
    assert_eq!(bob.call("DELETE", "/api/terminals/1", None).await.0, 404);
    assert_eq!(admin.call("DELETE", "/api/terminals/1", None).await.0, 204);
    assert_eq!(seen(&ann).await.1, Vec::<String>::new());
    let session = kernel["session"].as_str().unwrap();
    assert_eq!(admin.call("DELETE", &format!("/api/sessions/{session}"), None).await.0, 204);
    assert_eq!(seen(&ann).await.0, Vec::<String>::new());
}
