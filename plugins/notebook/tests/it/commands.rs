//! The command line: accounts, groups, tokens, and a backup that a new server starts from.

use std::sync::Arc;

use notebook::commands;
use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, FORM, HTML, start};
use crate::postgres::Postgres;
use crate::server::Server;
use crate::support::{Host, plain_python};

async fn run(server: &Server, line: &str) -> Result<String, String> {
    let words = line.split(' ').map(str::to_owned).collect();
    commands::run(server.notebook(), words).await.map_err(|error| error.to_string())
}

async fn json_of(server: &Server, line: &str) -> Value {
    serde_json::from_str(&run(server, &format!("{line} --json")).await.unwrap()).unwrap()
}

async fn set_password(server: &Server, address: &Value) {
    let body = Some("password=correct+horse".to_owned());
    let set = server.raw("POST", address.as_str().unwrap(), body, &[HTML, FORM]).await;
    assert_eq!(set.status(), 303);
}

#[tokio::test]
async fn the_command_line_does_what_the_administration_page_does() {
    let server = start(json!({})).await;
    let made = json_of(&server, "users add root --role admin").await;
    set_password(&server, &made["address"]).await;
    let root = Browser::log_in(&server, "root").await;
    assert_eq!(root.get("/admin").await.0, 200);
    let made = json_of(&server, "users add ann").await;
    set_password(&server, &made["address"]).await;
    let ann = Browser::log_in(&server, "ann").await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    for (line, wrong) in [
        ("users add ann", "is an account"),
        ("users add Ann", "login name must have"),
        ("users role root user", "last administrator"),
        ("users delete root --trash", "last administrator"),
        ("users delete ann", "choose what happens"),
        ("users role ann king", "there is no role"),
        ("users frob ann", "there is no command"),
        ("users suspend nobody", "there is no account"),
        ("users list extra", "unexpected"),
        ("notebooks frob", "there is no command"),
        ("frobnicate", "there is no command"),
        ("tokens add ann t --days 9999", "must be a number"),
    ] {
        let error = run(&server, line).await.expect_err(line);
        assert!(error.contains(wrong), "{line}: {error}");
    }
    let users = json_of(&server, "users list").await;
    assert_eq!((&users[0]["name"], &users[0]["role"]), (&json!("ann"), &json!("user")));
    assert!(users[0]["disk_bytes"].as_u64() > Some(100), "{users}");
    assert!(run(&server, "users list").await.unwrap().starts_with("NAME  ROLE"));
    std::fs::write(server.data("ann/large.ipynb"), " ".repeat(10_000)).unwrap();
    let largest = json_of(&server, "notebooks list --count 1").await;
    assert_eq!(largest, json!([{"path": "ann/large.ipynb", "bytes": 10_000}]));
    assert!(
        root.get("/admin").await.1.contains("notebooks/ann/large.ipynb\">ann/large.ipynb</a></td><td>0.0 MB")
    );
    std::fs::remove_file(server.data("ann/large.ipynb")).unwrap();
    assert!(run(&server, "help").await.unwrap().contains("users add NAME"));

    run(&server, "groups add staff ann").await.unwrap();
    assert_eq!(json_of(&server, "groups list").await, json!([{"name": "staff", "members": ["ann"]}]));
    run(&server, "groups remove staff ann").await.unwrap();
    assert_eq!(json_of(&server, "groups list").await, json!([]));

    json_of(&server, "invitations add --role guest").await;
    let open = json_of(&server, "invitations list").await;
    assert_eq!((open.as_array().unwrap().len(), &open[0]["role"]), (1, &json!("guest")), "{open}");
    run(&server, &format!("invitations remove {}", open[0]["number"])).await.unwrap();
    assert_eq!(json_of(&server, "invitations list").await, json!([]));

    let token = run(&server, "tokens add ann script --level view --days 1").await.unwrap();
    let bearer = format!("Bearer {token}");
    let read = async || server.send("GET", "/api/contents/ann", None, &[("authorization", &bearer)]).await.0;
    assert_eq!(read().await, 200);
    let tokens = json_of(&server, "tokens list ann").await;
    run(&server, &format!("tokens remove ann {}", tokens[0]["number"])).await.unwrap();
    assert_eq!(read().await, 403);
    let sessions = json_of(&server, "sessions list ann").await;
    assert_eq!(sessions.as_array().unwrap().len(), 2, "the link logs in too: {sessions}");
    run(&server, "users suspend ann").await.unwrap();
    assert_eq!(ann.call("GET", "/api/me", None).await.0, 403);
    run(&server, "users activate ann").await.unwrap();
    let reset = json_of(&server, "users reset ann").await;
    set_password(&server, &reset["address"]).await;
    let ann = Browser::log_in(&server, "ann").await;
    assert_eq!(json_of(&server, "kernels list").await, json!([]));

    backup(&server, &ann).await;

    // A deleted account's notebooks go to another, with what is shared. Nobody gets anything by the name alone.
    server.write_notebook("ann/old.ipynb", "paster-python", &["1"]);
    assert_eq!(ann.call("POST", "/api/trash", Some(json!({"path": "ann/old.ipynb"}))).await.0, 201);
    Browser::new(&server, "bob", Role::User).await;
    ann.share("ann/n.ipynb", "bob", "view").await;
    let deleted = json_of(&server, "users delete ann --to root").await;
    assert_eq!(deleted["moved_to"], "root/ann");
    assert_eq!(ann.call("GET", "/api/me", None).await.0, 403);
    let again = Browser::new(&server, "ann", Role::User).await;
    assert_eq!(again.call("GET", "/api/trash", None).await.1["entries"], json!([]));
    assert_eq!(root.call("GET", "/api/trash", None).await.1["entries"][0]["path"], "root/ann/old.ipynb");
    let bob = Browser::log_in(&server, "bob").await;
    assert_eq!(bob.call("GET", "/api/contents/root/ann/n.ipynb", None).await.0, 200);
    let (_, page) = root
        .get(&format!("/admin/delete?id={}", server.notebook().store.account("bob").unwrap().unwrap().id))
        .await;
    assert!(page.contains("What happens to its notebooks"), "{page}");
    let id = server.notebook().store.account("bob").unwrap().unwrap().id;
    assert_eq!(root.post("/admin/delete", &format!("id={id}")).await.0, 303);
    assert!(!server.data("bob").exists());
    assert_eq!(root.call("GET", "/api/trash", None).await.1["entries"][0]["path"], "bob");
    let log = run(&server, "audit").await.unwrap();
    assert!(
        log.contains("delete account ann") && log.contains("command line") && !log.contains(&token),
        "{log}"
    );
}

/// A backup while a notebook is edited: a server that starts from it has every edit that was acknowledged before.
async fn backup(server: &Server, ann: &Browser<'_>) {
    let mut page = ann.page("ann/n.ipynb").await;
    let revision = page.cell(0)["revision"].clone();
    let edit =
        json!({"type": "set_source", "cell_id": "c0", "source": "acknowledged", "base_revision": revision});
    page.ask(edit).await.unwrap();
    let host = Arc::new(Host::start());
    let target = host.folder.path().join("backup");
    let line = format!("backup {}", target.display());
    assert!(json_of(server, &line).await["files"].as_u64() >= Some(1));
    assert!(run(server, &line).await.is_err(), "it is there already");
    assert!(run(server, "backup relative").await.unwrap_err().contains("absolute"));
    std::fs::rename(target.join("files"), host.folder.path().join("data")).unwrap();
    std::fs::create_dir(host.folder.path().join("state")).unwrap();
    std::fs::rename(target.join("notebook.db"), host.folder.path().join("state/notebook.db")).unwrap();
    let settings =
        json!({"users": "accounts", "kernel_sandbox": "none", "python": plain_python(), "token": null});
    let copy = Server::start_with(host, settings).await;
    let ann = Browser::log_in(&copy, "ann").await;
    let restored = ann.page("ann/n.ipynb").await;
    assert_eq!(restored.cell(0)["source"], "acknowledged");
}

/// From SQLite to PostgreSQL and back, with a backup in between: accounts, shares, edits and files are there.
#[tokio::test]
async fn a_backup_is_restored_into_another_database() {
    let Some(postgres) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let line = |command: &str, name: &str| format!("{command} {}", folder.path().join(name).display());
    let first = start(json!({})).await;
    let ann = Browser::new(&first, "ann", Role::User).await;
    Browser::new(&first, "bob", Role::User).await;
    first.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    edit(&ann, "first").await;
    ann.share("ann/n.ipynb", "bob", "view").await;
    run(&first, &line("backup", "one")).await.unwrap();
    let in_use = run(&first, &format!("{} --database", line("restore", "one"))).await.unwrap_err();
    assert!(in_use.contains("open"), "{in_use}");

    let second = start(json!({"database": postgres.database("second")})).await;
    let missing = run(&second, &line("restore", "nothing")).await.unwrap_err();
    assert!(missing.contains("does not exist"), "{missing}");
    let restored = json_of(&second, &line("restore", "one")).await;
    assert_eq!(restored["files"], 1);
    let again = run(&second, &line("restore", "one")).await.unwrap_err();
    assert!(again.contains("is not empty"), "{again}");
    let again = run(&second, &format!("{} --database", line("restore", "one"))).await.unwrap_err();
    assert!(again.contains("has accounts or edits"), "{again}");
    let bob = Browser::log_in(&second, "bob").await;
    assert_eq!(bob.page("ann/n.ipynb").await.cell(0)["source"], "first");
    let ann = Browser::log_in(&second, "ann").await;
    edit(&ann, "second").await;
    // New rows do not get the numbers of restored ones.
    Browser::new(&second, "cid", Role::User).await;
    run(&second, &line("backup", "two")).await.unwrap();

    let third = start(json!({})).await;
    run(&third, &line("restore", "two")).await.unwrap();
    let bob = Browser::log_in(&third, "bob").await;
    assert_eq!(bob.page("ann/n.ipynb").await.cell(0)["source"], "second");
    let users = json_of(&third, "users list").await;
    assert_eq!(users.as_array().unwrap().len(), 3, "{users}");
}

async fn edit(browser: &Browser<'_>, text: &str) {
    let mut page = browser.page("ann/n.ipynb").await;
    let revision = page.cell(0)["revision"].clone();
    let edit = json!({"type": "set_source", "cell_id": "c0", "source": text, "base_revision": revision});
    page.ask(edit).await.unwrap();
}

/// A user who is logged in on one server is known on another with the same database and folder.
#[tokio::test]
async fn two_servers_share_accounts_and_logins() {
    let Some(postgres) = Postgres::start() else { return };
    let url = postgres.database("notebook");
    let first = start(json!({"database": url})).await;
    let state = first.host.folder.path().join("second");
    let second = start(json!({"database": url, "data_dir": first.data(""), "state_dir": state})).await;
    // The first account is an administrator.
    Browser::new(&first, "root", Role::Admin).await;
    let ann = Browser::new(&first, "ann", Role::User).await;
    first.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    let there = Browser::with_cookies(&second, &ann);
    assert_eq!(there.call("GET", "/api/me", None).await.0, 200);
    assert_eq!(there.call("GET", "/api/contents/ann/n.ipynb", None).await.0, 200);
    // Also what changes something, which needs the value against cross-site requests.
    assert_eq!(there.call("POST", "/api/trash", Some(json!({"path": "ann/n.ipynb"}))).await.0, 201);
    run(&second, "users suspend ann").await.unwrap();
    assert_eq!(ann.call("GET", "/api/me", None).await.0, 403);
}

#[tokio::test]
async fn a_notebook_with_one_user_has_no_accounts_to_manage() {
    let server = Server::start().await;
    let error = run(&server, "users list").await.unwrap_err();
    assert!(error.contains("users = \"accounts\""), "{error}");
}
