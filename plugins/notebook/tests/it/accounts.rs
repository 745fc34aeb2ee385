//! Accounts: login, sessions, tokens, rights at every address and operation, and kernels that are kept apart.

use std::sync::Arc;

use notebook::access::Level;
use notebook::identity::Role;
use serde_json::{Value, json};

use crate::server::{Page, Server, Socket};
use crate::support::{Host, plain_python, test_python};

pub(crate) const HTML: (&str, &str) = ("accept", "text/html");
pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) async fn start(more: Value) -> Server {
    let mut settings =
        json!({"users": "accounts", "kernel_sandbox": "none", "python": plain_python(), "token": null});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Server::start_with(Arc::new(Host::start()), settings).await
}

/// A browser with its cookies.
pub(crate) struct Browser<'a> {
    server: &'a Server,
    pub(crate) cookies: String,
    xsrf: String,
}

impl<'a> Browser<'a> {
    /// With a new account.
    pub(crate) async fn new(server: &'a Server, name: &str, role: Role) -> Browser<'a> {
        let accounts = server.notebook().accounts.clone().unwrap();
        let code = accounts.invite(role, None).await.unwrap();
        let body = format!("name={name}&password={}", PASSWORD.replace(' ', "+"));
        let response = server.raw("POST", &format!("/signup?code={code}"), Some(body), &[HTML, FORM]).await;
        assert_eq!(response.status(), 303, "{}", response.text().await.unwrap());
        Browser::of(server, &response)
    }

    /// What a changing request must repeat.
    pub(crate) fn xsrf(&self) -> &str {
        &self.xsrf
    }

    pub(crate) async fn log_in(server: &'a Server, name: &str) -> Browser<'a> {
        let body = format!("name={name}&password={}", PASSWORD.replace(' ', "+"));
        let response = server.raw("POST", "/login", Some(body), &[HTML, FORM]).await;
        assert_eq!(response.status(), 303);
        Browser::of(server, &response)
    }

    /// The browser of another, at a server that has the same address from outside.
    pub(crate) fn with_cookies(server: &'a Server, other: &Browser<'_>) -> Browser<'a> {
        Browser { server, cookies: other.cookies.clone(), xsrf: other.xsrf.clone() }
    }

    pub(crate) fn of(server: &'a Server, response: &reqwest::Response) -> Browser<'a> {
        let cookies: Vec<&str> = response
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap().split(';').next().unwrap())
            .collect();
        let xsrf = cookies.iter().find_map(|cookie| cookie.strip_prefix("_xsrf=")).unwrap().to_owned();
        Browser { server, cookies: cookies.join("; "), xsrf }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.server.raw("GET", path, None, &[HTML, ("cookie", &self.cookies)]).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> (u16, String) {
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{mark}_xsrf={}", self.xsrf);
        let headers = [HTML, FORM, ("cookie", self.cookies.as_str()), ("origin", self.server.url.as_str())];
        let response = self.server.raw("POST", &path, Some(form.to_owned()), &headers).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A request as the page's scripts send it.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let headers = [
            ("cookie", self.cookies.as_str()),
            ("origin", self.server.url.as_str()),
            ("x-xsrftoken", self.xsrf.as_str()),
        ];
        self.server.send(method, path, body.map(|body| body.to_string()), &headers).await
    }

    pub(crate) async fn share(&self, path: &str, with: &str, level: &str) {
        let form = format!("kind=user&name={with}&level={level}");
        assert_eq!(self.post(&format!("/share/{path}"), &form).await.0, 303);
    }

    pub(crate) async fn page(&self, path: &str) -> Page {
        let headers = [("cookie", self.cookies.as_str()), ("origin", self.server.url.as_str())];
        Page::open_with(self.server, path, &headers).await
    }

    pub(crate) async fn socket(&self, path: &str) -> Socket {
        let headers = [("cookie", self.cookies.as_str()), ("origin", self.server.url.as_str())];
        self.server.socket_with(path, None, &headers).await
    }

    pub(crate) async fn token(&self, level: &str) -> String {
        let (status, page) = self.post("/account/tokens", &format!("name=t&level={level}&days=1")).await;
        assert_eq!(status, 200);
        let start = page.find("<code>").unwrap() + 6;
        page[start..start + 64].to_owned()
    }
}

#[tokio::test]
async fn an_account_is_made_by_a_link_which_works_once() {
    let server = start(json!({})).await;
    for path in ["/tree", "/account", "/admin", "/share/a", "/shared", "/join?code=x"] {
        let refused = server.raw("GET", path, None, &[HTML]).await;
        let location = refused.headers()["location"].to_str().unwrap().to_owned();
        assert!(refused.status() == 303 && location.starts_with("/login?next="), "{path}: {location}");
    }
    assert_eq!(server.raw("GET", "/signup", None, &[HTML]).await.status(), 403);
    let accounts = server.notebook().accounts.clone().unwrap();
    let code = accounts.invite(Role::Admin, None).await.unwrap();
    let path = format!("/signup?code={code}");
    let form = server.raw("GET", &path, None, &[HTML]).await;
    assert!(form.status() == 200 && form.text().await.unwrap().contains("Create the account"));
    for (name, password, wrong) in [
        ("Ann", PASSWORD, "login name must have 1 to 32"),
        ("../x", PASSWORD, "login name"),
        ("ann", "short", "at least 8"),
    ] {
        let body = format!("name={name}&password={}", password.replace(' ', "+"));
        let refused = server.raw("POST", &path, Some(body), &[HTML, FORM]).await;
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains(wrong), "{name}");
    }
    let body = || Some("name=ann&password=correct+horse".to_owned());
    let made = server.raw("POST", &path, body(), &[HTML, FORM]).await;
    assert_eq!(made.status(), 303);
    let again = server.raw("POST", &path, body(), &[HTML, FORM]).await;
    assert!(again.status() == 403 && again.text().await.unwrap().contains("already used"));
    let ann = Browser::of(&server, &made);
    let (_, me) = ann.call("GET", "/api/me", None).await;
    assert_eq!(me["identity"]["username"], "ann");
    assert!(server.data("ann").is_dir());
    let (status, page) = ann.get("/admin").await;
    assert!(status == 200 && page.contains("create account"), "{page}");
}

#[tokio::test]
async fn everybody_makes_an_account_if_that_is_allowed() {
    let server = start(json!({"sign_up": "open"})).await;
    let login = server.raw("GET", "/login", None, &[HTML]).await.text().await.unwrap();
    assert!(login.contains("href=\"/signup\""), "{login}");
    let body = || Some("name=eve&password=correct+horse".to_owned());
    let made = server.raw("POST", "/signup", body(), &[HTML, FORM]).await;
    assert_eq!(made.status(), 303);
    let eve = Browser::of(&server, &made);
    assert_eq!(eve.get("/admin").await.0, 404, "a new account is one of a user");
    let taken = server.raw("POST", "/signup", body(), &[HTML, FORM]).await;
    assert!(taken.status() == 400 && taken.text().await.unwrap().contains("is taken"));
    // A folder that is there already belongs to nobody who signs up.
    std::fs::create_dir(server.data("mallory")).unwrap();
    let taken =
        server.raw("POST", "/signup", Some("name=mallory&password=correct+horse".into()), &[HTML, FORM]);
    assert_eq!(taken.await.status(), 400);
}

#[tokio::test]
async fn a_refused_login_tells_nothing_and_guessing_is_throttled() {
    let server = start(json!({})).await;
    Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    let ann = Browser::log_in(&server, "ann").await;
    let id = server.notebook().store.account("bob").unwrap().unwrap().id;
    assert_eq!(ann.post("/admin/accounts", &format!("id={id}&role=user&active=0")).await.0, 303);
    assert_eq!(bob.call("GET", "/api/me", None).await.0, 403, "a suspended account's sessions have ended");
    let mut texts = Vec::new();
    for (name, password) in [("ann", "wrong"), ("nobody", "wrong"), ("bob", "correct+horse")] {
        let body = format!("name={name}&password={password}");
        let refused = server.raw("POST", "/login", Some(body), &[HTML, FORM]).await;
        assert_eq!(refused.status(), 403);
        texts.push(refused.text().await.unwrap());
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:?}");
    let mut last = 0;
    for _ in 0..20 {
        let body = "name=ann&password=wrong".to_owned();
        last = server.raw("POST", "/login", Some(body), &[HTML, FORM]).await.status().as_u16();
    }
    assert_eq!(last, 429);
    // The last administrator cannot be suspended.
    let id = server.notebook().store.account("ann").unwrap().unwrap().id;
    let (_, page) = ann.post("/admin/accounts", &format!("id={id}&role=user&active=1")).await;
    assert!(page.contains("last administrator"), "{page}");
}

#[tokio::test]
async fn sessions_tokens_and_passwords_can_be_taken_back() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let other = Browser::log_in(&server, "ann").await;
    let ids: Vec<i64> = server.notebook().store.sessions_of(1).unwrap().iter().map(|s| s.id).collect();
    assert_eq!(ids.len(), 2);
    // The newest is the other browser's.
    assert_eq!(ann.post("/account/sessions", &format!("end={}", ids[0])).await.0, 303);
    assert_eq!(
        (other.call("GET", "/api/me", None).await.0, ann.call("GET", "/api/me", None).await.0),
        (403, 200)
    );
    let token = ann.token("edit").await;
    let bearer = format!("Bearer {token}");
    let with_token = [("authorization", bearer.as_str())];
    assert_eq!(server.send("GET", "/api/contents/ann", None, &with_token).await.0, 200);
    // A token does not administrate, and does not log a browser in.
    for path in ["/admin", "/account"] {
        assert_eq!(server.send("GET", path, None, &with_token).await.0, 403, "{path}");
    }
    let page = server.raw("GET", &format!("/tree/ann?token={token}"), None, &[HTML]).await;
    assert!(!page.headers().get_all("set-cookie").iter().any(|c| c.to_str().unwrap().contains("paster")));
    let stored = server.notebook().store.tokens_of(1).unwrap();
    assert_eq!(ann.post("/account/tokens", &format!("remove={}", stored[0].id)).await.0, 303);
    assert_eq!(server.send("GET", "/api/contents/ann", None, &with_token).await.0, 403);
    // A forged form changes nothing.
    let forged = [HTML, FORM, ("cookie", ann.cookies.as_str()), ("origin", "http://evil.example")];
    let path = format!("/account/tokens?_xsrf={}", ann.xsrf);
    let refused = server.raw("POST", &path, Some("name=t&level=manage&days=1".into()), &forged).await;
    assert_eq!(refused.status(), 403);
    assert_eq!(server.notebook().store.tokens_of(1).unwrap(), []);
    let (_, page) = ann.post("/account/password", "current=wrong+one&password=new+password").await;
    assert!(page.contains("current password is wrong"));
    assert_eq!(ann.post("/account/password", "current=correct+horse&password=new+password").await.0, 303);
    assert_eq!(ann.call("GET", "/api/me", None).await.0, 403, "its old session has ended");
    // An administrator's link sets a new one.
    let accounts = server.notebook().accounts.clone().unwrap();
    let code = accounts.invite(Role::User, Some(1)).await.unwrap();
    let path = format!("/signup?code={code}");
    let set = server.raw("POST", &path, Some("password=correct+horse".into()), &[HTML, FORM]).await;
    assert_eq!(set.status(), 303);
    let ann = Browser::log_in(&server, "ann").await;
    assert_eq!(ann.post("/logout", "").await.0, 303);
    assert_eq!(ann.call("GET", "/api/me", None).await.0, 403);
}

/// What somebody may do with a document. Requests leave it as it is.
async fn allowed(who: &Browser<'_>, path: &str) -> Vec<(String, u16)> {
    let api = format!("/api/contents/{path}");
    let folder = path.rsplit_once('/').unwrap().0;
    let requests = [
        ("view", "GET", api.clone(), None),
        ("view", "GET", format!("/files/{path}"), None),
        ("view", "GET", format!("{api}/checkpoints"), None),
        // It leads to the app.
        ("app", "GET", format!("/notebooks/{path}"), None),
        ("app", "GET", format!("/app/{path}"), None),
        ("app", "GET", format!("/api/apps/{path}"), None),
        ("app", "GET", format!("/api/app-sessions/{path}"), None),
        ("view", "GET", format!("/edit/{path}"), None),
        ("view", "GET", format!("/view/{path}"), None),
        ("view", "GET", format!("/nbconvert/html/{path}"), None),
        ("view", "GET", format!("/nbconvert/script/{path}"), None),
        ("view", "GET", format!("/api/export/{path}?format=ipynb"), None),
        ("edit", "GET", format!("/api/history/{path}"), None),
        ("edit", "GET", format!("/api/runs/{path}"), None),
        ("view", "GET", format!("/api/documents/{path}"), None),
        (
            "run",
            "POST",
            "/api/sessions".to_owned(),
            Some(json!({"path": path, "type": "notebook", "kernel": {"name": "no-such-kernel"}})),
        ),
        ("run", "POST", "/api/kernels".to_owned(), Some(json!({"path": path, "name": "no-such-kernel"}))),
        ("app", "GET", format!("/api/notebooks/{path}"), None),
        ("view", "GET", format!("/api/comments/{path}"), None),
        ("comment", "POST", format!("/api/comments/{path}"), Some(json!({"text": ""}))),
        ("comment", "GET", format!("/api/people/{path}"), None),
        ("edit", "POST", format!("/api/history/{path}"), Some(json!({"restore": {"point": "x"}}))),
        ("manage", "POST", format!("/api/history/{path}"), Some(json!({"erase": {"text": "x"}}))),
        ("edit", "PUT", api.clone(), Some(json!({"type": "notebook"}))),
        ("edit", "POST", format!("{api}/checkpoints"), None),
        ("edit", "POST", format!("{api}/checkpoints/no"), None),
        ("manage", "PATCH", api.clone(), Some(json!({"path": path}))),
        ("manage", "DELETE", format!("{api}/checkpoints/none"), None),
        ("manage", "GET", format!("/share/{path}"), None),
        ("folder edit", "POST", format!("/api/contents/{folder}"), Some(json!({"type": "nothing"}))),
        ("admin", "GET", "/admin".to_owned(), None),
    ];
    let mut statuses = Vec::new();
    for (level, method, path, body) in requests {
        statuses.push((format!("{level}: {method} {path}"), who.call(method, &path, body).await.0));
    }
    statuses
}

const OPERATIONS: &[(&str, &str)] = &[
    ("view", r#"{"type": "ping"}"#),
    ("view", r#"{"type": "set_cursor", "cursor": {"cell_id": "c0", "anchor": 0, "head": 1}}"#),
    ("edit", r#"{"type": "set_source", "cell_id": "c0", "source": "1", "base_revision": 0}"#),
    ("edit", r#"{"type": "insert_cell", "index": 0, "cell_type": "code", "source": "", "cell_id": "c0"}"#),
    ("edit", r#"{"type": "delete_cell", "cell_id": "none"}"#),
    ("edit", r#"{"type": "move_cell", "cell_id": "c0", "index": 0}"#),
    ("edit", r#"{"type": "set_cell_type", "cell_id": "c0", "cell_type": "code"}"#),
    ("edit", r#"{"type": "set_cell_metadata", "cell_id": "c0", "metadata": {}}"#),
    ("edit", r#"{"type": "set_cell_attachments", "cell_id": "c0", "attachments": null}"#),
    ("edit", r#"{"type": "save"}"#),
    ("edit", r#"{"type": "resolve_conflict", "keep": "mine"}"#),
    ("run", r#"{"type": "clear_outputs", "cell_ids": []}"#),
    ("run", r#"{"type": "interrupt"}"#),
    ("run", r#"{"type": "shutdown_kernel"}"#),
    ("run", r#"{"type": "start_kernel", "name": "no-such-kernel"}"#),
    ("run", r#"{"type": "answer_input", "value": ""}"#),
    ("run", r#"{"type": "complete", "code": "", "cursor": 0}"#),
    ("run", r#"{"type": "inspect", "code": "", "cursor": 0, "detail": 0}"#),
];

#[tokio::test]
async fn rights_hold_at_every_address_and_for_every_operation() {
    let server = start(json!({})).await;
    let admin = Browser::new(&server, "admin", Role::Admin).await;
    let owner = Browser::new(&server, "owner", Role::User).await;
    server.write_notebook("owner/n.ipynb", "paster-python", &["1"]);
    let mut people = vec![("admin", admin, Some(Level::Manage)), ("owner", owner, Some(Level::Manage))];
    for (name, role, level) in [
        ("stranger", Role::User, None),
        ("guest", Role::Guest, None),
        ("reader", Role::Guest, Some(Level::App)),
        ("viewer", Role::Guest, Some(Level::View)),
        ("commenter", Role::User, Some(Level::Comment)),
        ("runner", Role::User, Some(Level::Run)),
        ("editor", Role::User, Some(Level::Edit)),
        ("manager", Role::User, Some(Level::Manage)),
    ] {
        let browser = Browser::new(&server, name, role).await;
        if let Some(level) = level {
            people[1].1.share("owner/n.ipynb", name, level.name()).await;
        }
        people.push((name, browser, level));
    }
    for (name, browser, level) in &people {
        for (request, status) in allowed(browser, "owner/n.ipynb").await {
            let needed = request.split(':').next().unwrap();
            let has = match needed {
                "admin" => *name == "admin",
                "folder edit" => matches!(*name, "admin" | "owner"),
                needed => level.is_some_and(|level| level >= Level::parse(needed).unwrap()),
            };
            // A request that gets through fails for another reason, which is not one of these two, except for a
            // checkpoint that does not exist.
            let missing = request.contains("/checkpoints/no") && status == 404 && has;
            let denied = matches!(status, 403 | 404) && !missing;
            assert_eq!(!denied, has, "{name}: {request}: {status}");
            if level.is_none() && needed != "admin" && needed != "folder edit" {
                assert_eq!(status, 404, "{name} must not learn that it exists: {request}");
            }
        }
        let Some(level) = level else {
            let (_, listed) = browser.call("GET", "/api/contents/", None).await;
            assert!(!listed.to_string().contains("owner"), "{name}: {listed}");
            continue;
        };
        let (_, listed) = browser.call("GET", "/api/contents/owner", None).await;
        assert_eq!(listed["content"].as_array().unwrap().len(), 1, "{name}: {listed}");
        if *level == Level::App {
            let refused = browser.socket("/api/documents/owner/n.ipynb").await.next_json().await;
            assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!(403)), "{name}");
            continue;
        }
        let mut page = browser.page("owner/n.ipynb").await;
        assert_eq!(page.level, level.name(), "{name}");
        for (needed, operation) in OPERATIONS {
            let answer = page.ask(serde_json::from_str(operation).unwrap()).await;
            let refused = answer.as_ref().is_err_and(|message| message.contains("you may not do this"));
            assert_eq!(!refused, *level >= Level::parse(needed).unwrap(), "{name}: {operation}: {answer:?}");
        }
    }
    let file = server.data("owner/n.ipynb");
    assert!(file.is_file(), "the requests left it in its place");
}

#[tokio::test]
async fn a_right_that_is_taken_back_ends_an_open_page() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    ann.share("ann/n.ipynb", "bob", "edit").await;
    let mut page = bob.page("ann/n.ipynb").await;
    let insert =
        json!({"type": "insert_cell", "index": 0, "cell_type": "code", "source": "by bob", "cell_id": null});
    page.ask(insert.clone()).await.unwrap();
    let mut watching = ann.page("ann/n.ipynb").await;
    page.ask(insert.clone()).await.unwrap();
    let mut frame = Value::Null;
    while frame["type"] != "changed" {
        frame = watching.step().await.unwrap();
    }
    assert_eq!((frame["author"].as_str(), &frame["request"]), (Some("bob"), &Value::Null), "{frame}");
    let session = json!({"path": "ann/n.ipynb", "type": "notebook", "kernel": {"name": "paster-python"}});
    let (_, session) = ann.call("POST", "/api/sessions", Some(session)).await;
    let kernel = format!("/api/kernels/{}", session["kernel"]["id"].as_str().unwrap());
    assert_eq!(bob.call("GET", &kernel, None).await.0, 200);
    let headers = [("cookie", bob.cookies.as_str()), ("origin", server.url.as_str())];
    let mut channel = server.socket_with(&format!("{kernel}/channels"), None, &headers).await;
    ann.share("ann/n.ipynb", "bob", "").await;
    let refused = page.ask(insert).await.unwrap_err();
    assert!(refused.contains("no longer have access"), "{refused}");
    assert_eq!(bob.call("POST", &format!("{kernel}/interrupt"), None).await.0, 404);
    assert_eq!(bob.call("GET", "/api/kernels", None).await.1, json!([]));
    while channel.next().await.is_some() {}
    while page.step().await.is_some() {}
    assert_eq!(bob.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 404);
    // Groups, folders, renames and tokens.
    assert_eq!(ann.post("/admin/groups", "group=staff&name=bob&member=1").await.0, 303);
    assert_eq!(ann.call("PUT", "/api/contents/ann/sub", Some(json!({"type": "directory"}))).await.0, 201);
    assert_eq!(ann.post("/share/ann/sub", "kind=group&name=staff&level=view").await.0, 303);
    let (_, page) = ann.post("/share/ann/sub", "kind=user&name=nobody&level=view").await;
    assert!(page.contains("no such person"), "{page}");
    let moved = json!({"path": "ann/sub/m.ipynb"});
    assert_eq!(ann.call("PATCH", "/api/contents/ann/n.ipynb", Some(moved)).await.0, 200);
    assert_eq!(bob.call("GET", "/api/contents/ann/sub/m.ipynb", None).await.0, 200);
    let moved = json!({"path": "ann/other"});
    assert_eq!(ann.call("PATCH", "/api/contents/ann/sub", Some(moved)).await.0, 200);
    assert_eq!(
        bob.call("GET", "/api/contents/ann/other/m.ipynb", None).await.0,
        200,
        "rights survive a rename"
    );
    assert!(bob.get("/shared").await.1.contains("ann/other"));
    let token = ann.token("view").await;
    let bearer = format!("token {token}");
    let body = || Some(json!({"type": "directory"}).to_string());
    let put = server.send("PUT", "/api/contents/ann/new", body(), &[("authorization", &bearer)]).await;
    assert_eq!(put.0, 403, "a token for viewing changes nothing: {put:?}");
}

#[tokio::test]
async fn a_link_is_accepted_on_a_page() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    let (_, page) = ann.post("/share/ann/n.ipynb", "link=run&days=1").await;
    let start = page.find("/join?code=").expect("the link is shown");
    let link = page[start..start + "/join?code=".len() + 64].to_owned();
    let (status, page) = bob.get(&link).await;
    assert!(
        status == 200 && page.contains("ann/n.ipynb") && page.contains("view, comment and run"),
        "{page}"
    );
    assert_eq!(bob.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 404, "looking is not accepting");
    assert_eq!(bob.post(&link, "").await.0, 303);
    assert_eq!(bob.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 200);
    assert_eq!(bob.post("/shared", "leave=ann/n.ipynb").await.0, 303);
    assert_eq!(bob.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 404);
    let id = server.notebook().store.links_to(&notebook::files::RelativePath::parse("ann/n.ipynb").unwrap());
    let id = id.unwrap()[0].0;
    assert_eq!(ann.post("/share/ann/n.ipynb", &format!("remove_link={id}")).await.0, 303);
    assert_eq!(bob.get(&link).await.0, 404);
}

#[tokio::test]
async fn a_published_notebook_is_frozen_and_read_without_an_account() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/my text.ipynb", "paster-python", &["first"]);
    ann.share("ann/my%20text.ipynb", "bob", "edit").await;
    assert_eq!(bob.post("/publish/ann/my%20text.ipynb", "").await.0, 403, "an editor does not publish");
    assert_eq!(ann.post("/publish/ann/my%20text.ipynb", "").await.0, 303);
    let (_, page) = ann.get("/share/ann/my%20text.ipynb").await;
    let start = page.find("/pub/").expect("its address is shown");
    let slug = page[start + 5..start + 21].to_owned();
    let read = async || server.send("GET", &format!("/api/published/{slug}"), None, &[]).await;
    let (status, shown) = read().await;
    assert_eq!(
        (status, &shown["title"], &shown["author"]),
        (200, &json!("my text"), &json!("ann")),
        "{shown}"
    );
    assert_eq!(server.raw("GET", &format!("/pub/{slug}"), None, &[HTML]).await.status(), 200);
    // A change is not public before it is published again. The address stays, also when the notebook is renamed.
    server.write_notebook("ann/my text.ipynb", "paster-python", &["second"]);
    assert_eq!(read().await.1["content"]["cells"][0]["source"], "first");
    let moved = json!({"path": "ann/other.ipynb"});
    assert_eq!(ann.call("PATCH", "/api/contents/ann/my%20text.ipynb", Some(moved)).await.0, 200);
    assert_eq!(ann.post("/publish/ann/other.ipynb", "").await.0, 303);
    assert_eq!(read().await.1["content"]["cells"][0]["source"], "second");
    let file = server.raw("GET", &format!("/api/published/{slug}?download=1"), None, &[]).await;
    assert!(file.headers()["content-disposition"].to_str().unwrap().ends_with("other.ipynb"));
    assert_eq!(ann.post("/publish/ann/other.ipynb", "unpublish=true").await.0, 303);
    assert_eq!(read().await.0, 404);
    assert_eq!(server.raw("GET", &format!("/pub/{slug}"), None, &[HTML]).await.status(), 404);
    assert_eq!(
        server.send("GET", "/api/contents/ann/other.ipynb", None, &[]).await.0,
        403,
        "the rest stays closed"
    );
}

#[tokio::test]
async fn kernels_of_different_people_are_kept_apart() {
    if let Err(reason) = notebook::kernel::sandbox::probe() {
        eprintln!("skipped: {reason}");
        return;
    }
    let server = start(json!({"kernel_sandbox": "bubblewrap", "python": test_python()})).await;
    Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    std::fs::write(server.data("ann/secret.txt"), "ann's").unwrap();
    std::fs::write(server.data("bob/own.txt"), "bob's").unwrap();
    let database = server.host.folder.path().join("state/notebook.db");
    assert!(database.exists());
    let source = format!(
        "import os, socket\n\
         def read(path):\n    try:\n        return open(path).read()\n    except OSError as error:\n        return type(error).__name__\n\
         print(read('own.txt'), read('../ann/secret.txt'), read({:?}), read('/etc/shadow'))\n\
         open('made.txt', 'w').write('x')\n\
         print(len([name for name in os.listdir('/proc') if name.isdigit()]) < 6)\n\
         try:\n    socket.create_connection(('127.0.0.1', {}), 1); print('connected')\nexcept OSError:\n    print('no network')",
        database.display().to_string(),
        server.url.rsplit(':').next().unwrap(),
    );
    for kernel in ["python3", "paster-python"] {
        let path = format!("bob/{kernel}.ipynb");
        server.write_notebook(&path, kernel, &[&source, "import time\nprint('begun')\ntime.sleep(600)"]);
        let mut page = bob.page(&path).await;
        page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        page.until_idle().await;
        let expected = "bob's FileNotFoundError FileNotFoundError FileNotFoundError\nTrue\nno network\n";
        assert_eq!(page.text(0), expected, "{kernel}: {}", page.cell(0));
        assert!(server.data("bob/made.txt").exists());
        // An interrupt reaches the kernel, and not only bubblewrap.
        page.ask(json!({"type": "run", "cell_ids": ["c1"]})).await.unwrap();
        page.until(|document| !document["cells"][1]["outputs"][0].is_null()).await;
        page.ask(json!({"type": "interrupt"})).await.unwrap();
        page.until_idle().await;
        assert_eq!(page.cell(1)["outputs"][1]["ename"], "KeyboardInterrupt", "{kernel}: {}", page.cell(1));
        page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    }
}

#[tokio::test]
async fn kernels_may_get_the_network_and_more_files() {
    if let Err(reason) = notebook::kernel::sandbox::probe() {
        eprintln!("skipped: {reason}");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("table.csv"), "1,2").unwrap();
    let settings =
        json!({"kernel_sandbox": "bubblewrap", "kernel_network": true, "kernel_read_only": [data.path()]});
    let server = start(settings).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let source = format!(
        "import socket\nprint(open({:?}).read())\nsocket.create_connection(('127.0.0.1', {}), 5)\n\
         try:\n    open({:?}, 'w')\nexcept OSError:\n    print('read only')",
        data.path().join("table.csv").display().to_string(),
        server.url.rsplit(':').next().unwrap(),
        data.path().join("new").display().to_string(),
    );
    server.write_notebook("ann/n.ipynb", "paster-python", &[&source]);
    server.write_notebook("top.ipynb", "paster-python", &["1"]);
    let mut page = ann.page("ann/n.ipynb").await;
    page.ask(json!({"type": "run_all"})).await.unwrap();
    page.until_idle().await;
    assert_eq!(page.text(0), "1,2\nread only\n", "{}", page.cell(0));
    page.ask(json!({"type": "shutdown_kernel"})).await.unwrap();
    let mut top = ann.page("top.ipynb").await;
    let refused = top.ask(json!({"type": "run_all"})).await.unwrap_err();
    assert!(refused.contains("move the notebook into a folder"), "{refused}");
}
