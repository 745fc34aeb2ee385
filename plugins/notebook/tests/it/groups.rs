//! Groups of people whom the server has authenticated: they become groups of the notebook, and give roles.

use axum::Extension;
use notebook::http::{RequestLocation, router};
use notebook::identity::Role;
use serde_json::json;

use crate::accounts::{Browser, start};
use crate::server::Server;

/// Asks as a person whom a server in front has authenticated.
async fn ask(server: &Server, user: &str, groups: &[&str], path: &str) -> (u16, String) {
    let place = RequestLocation {
        user: Some(user.to_owned()),
        groups: groups.iter().map(|name| (*name).to_owned()).collect(),
        ..RequestLocation::default()
    };
    let app = router(server.notebook().clone()).layer(Extension(place));
    let request =
        http::Request::get(path).header("host", "localhost").body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn groups_of_a_login_become_groups_and_roles() {
    let rules = json!({"admin": ["ops"], "guest": ["visitors"], "enter": ["staff"]});
    let server = start(json!({"trust_server_user": true, "server_groups": rules})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    assert_eq!(ann.post("/admin/groups", "group=physics&name=ann&member=1").await.0, 303);
    let shared = ann.post("/share/ann/n.ipynb", "kind=group&name=physics&level=view").await;
    assert_eq!(shared.0, 303, "{}", shared.1);
    let store = &server.notebook().store;
    let members = |group: &str| {
        let groups = store.groups().unwrap();
        groups.into_iter().find(|(name, _)| name == group).map(|(_, members)| members).unwrap_or_default()
    };

    let (status, why) = ask(&server, "eve", &["others"], "/api/me").await;
    assert!(status == 403 && why.contains("your groups do not allow"), "{status} {why}");
    assert!(store.account("eve").unwrap().is_none() && !server.data("eve").exists());

    assert_eq!(ask(&server, "dora", &["staff"], "/api/contents/ann/n.ipynb").await.0, 404);
    assert_eq!(ask(&server, "dora", &["staff", "physics"], "/api/contents/ann/n.ipynb").await.0, 200);
    assert_eq!(members("physics"), ["ann", "dora"]);
    // The next login has other groups: the right has ended.
    assert_eq!(ask(&server, "dora", &["staff"], "/api/contents/ann/n.ipynb").await.0, 404);
    assert_eq!((members("physics"), members("staff")), (vec!["ann".to_owned()], vec!["dora".to_owned()]));
    // What an administrator gave stays.
    assert_eq!(ann.post("/admin/groups", "group=physics&name=dora&member=1").await.0, 303);
    ask(&server, "dora", &["staff", "physics"], "/api/me").await;
    assert_eq!(ask(&server, "dora", &["staff"], "/api/contents/ann/n.ipynb").await.0, 200);

    assert_eq!(ask(&server, "dora", &["staff"], "/admin").await.0, 404);
    assert_eq!(ask(&server, "dora", &["ops"], "/admin").await.0, 200);
    assert_eq!(ask(&server, "dora", &["staff"], "/admin").await.0, 404);
    // A guest has no folder, and gets one when he is no longer a guest.
    assert_eq!(ask(&server, "gil", &["visitors"], "/api/me").await.0, 200);
    assert_eq!(store.account("gil").unwrap().unwrap().role, Role::Guest);
    assert!(!server.data("gil").exists());
    assert_eq!(ask(&server, "gil", &["staff"], "/api/contents/gil").await.0, 200);
    let log: Vec<String> = store
        .audit_log(50)
        .unwrap()
        .into_iter()
        .map(|entry| format!("{} {}", entry.action, entry.target))
        .collect();
    let line = "set role dora admin, by the groups of the login".to_owned();
    assert_eq!(log.iter().filter(|entry| **entry == line).count(), 1, "{log:?}");
}
