//! Kernels that are started in advance: who gets them, and when they are not used.

use std::sync::Arc;

use notebook::identity::Role;
use notebook::kernel::wire::KernelModel;
use notebook::protocol::KernelState;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::server::{Page, Server};
use crate::support::{Host, is_alive, own_environment, test_python, until, until_holds};

/// Prints what a kernel knows about itself.
const FACTS: &str = "import os\nprint(os.getpid(), os.path.basename(os.environ['JPY_SESSION_NAME']), os.path.basename(os.getcwd()))";

fn settings(more: Value) -> Value {
    let mut settings = json!({"python": test_python(), "kernel_prewarm": {"python3": 1}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

async fn waiting(server: &Server) -> Vec<KernelModel> {
    server.notebook().link.prewarmed().await.unwrap()
}

/// Waits until one kernel waits that is ready and is not one of `others`. Returns its process.
async fn ready(server: &Server, others: &[u32]) -> u32 {
    let found = async || {
        let waiting = waiting(server).await;
        let [kernel] = &waiting[..] else { return None };
        kernel.pid.filter(|pid| kernel.state == KernelState::Idle && !others.contains(pid))
    };
    until_holds("a kernel waits", async || found().await.is_some()).await;
    found().await.unwrap()
}

/// Runs the first cell of a page. Returns the words that it prints.
async fn run(page: &mut Page) -> Vec<String> {
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    page.text(0).split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_first_cell_runs_in_a_kernel_that_was_started_before() {
    let server = Server::start_with(Arc::new(Host::start()), settings(json!({}))).await;
    let pid = ready(&server, &[]).await;
    assert_eq!(server.call("GET", "/api/kernels", None).await.1, json!([]), "it is not listed");
    server.write_notebook("n.ipynb", "python3", &[FACTS]);
    let mut page = Page::open(&server, "n.ipynb", None).await;
    let first = run(&mut page).await;
    assert_eq!(first[..2], [pid.to_string(), "n.ipynb".to_owned()]);
    assert_eq!(page.document["cells"][0]["execution_count"], 1);
    let (_, kernels) = server.call("GET", "/api/kernels", None).await;
    assert_eq!(kernels.as_array().unwrap().len(), 1, "{kernels}");
    // The next one replaces it.
    let second = ready(&server, &[pid]).await;
    // A restart knows the notebook too.
    page.ask(json!({"type": "restart", "run_all": false})).await.unwrap();
    let restarted = run(&mut page).await;
    assert!(restarted[0] != first[0] && restarted[1..] == first[1..], "{restarted:?}");
    // A program gets it as well, but not with an id of its own.
    let id = uuid::Uuid::new_v4().to_string();
    let (_, own) = server.call("POST", "/api/kernels", Some(json!({"name": "python3", "id": id}))).await;
    assert!(own["id"].is_string(), "{own}");
    let token = format!("token {}", crate::server::TOKEN);
    let metrics = server.raw("GET", "/metrics", None, &[("authorization", &token)]).await;
    assert!(metrics.text().await.unwrap().contains("paster_notebook_prewarmed_kernels"));
    let third = ready(&server, &[pid]).await;
    // The pool follows the user into another folder.
    std::fs::create_dir(server.data("sub")).unwrap();
    server.write_notebook("sub/m.ipynb", "python3", &[FACTS]);
    let mut page = Page::open(&server, "sub/m.ipynb", None).await;
    let fourth = ready(&server, &[pid, second, third]).await;
    let facts = run(&mut page).await;
    assert_eq!(facts[..3], [fourth.to_string(), "m.ipynb".to_owned(), "sub".to_owned()]);
    until("that of the other folder ends", || !is_alive(third)).await;
}

#[tokio::test]
async fn a_changed_environment_gets_a_new_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let (python, _) = own_environment(folder.path());
    let server = Server::start_with(Arc::new(Host::start()), settings(json!({"python": python}))).await;
    let old = ready(&server, &[]).await;
    server.write_notebook("n.ipynb", "python3", &[FACTS]);
    // As an installer does.
    let lib = folder.path().join("venv/lib");
    let version = std::fs::read_dir(lib).unwrap().next().unwrap().unwrap().path();
    std::fs::write(version.join("site-packages/installed.py"), "").unwrap();
    let mut page = Page::open(&server, "n.ipynb", None).await;
    assert_ne!(run(&mut page).await[0], old.to_string());
    until("the old one ends", || !is_alive(old)).await;
}

#[tokio::test]
async fn a_reload_keeps_them_until_the_settings_change() {
    let host = Arc::new(Host::start());
    let server = Server::start_with(host.clone(), settings(json!({}))).await;
    let pid = ready(&server, &[]).await;
    let second = Server::start_with(host.clone(), settings(json!({}))).await;
    server.abandon().await;
    assert_eq!(ready(&second, &[]).await, pid);
    second.abandon().await;
    let third = Server::start_with(host.clone(), json!({"python": test_python()})).await;
    until_holds("none waits", async || waiting(&third).await.is_empty()).await;
    until("it ends", || !is_alive(pid)).await;
    let fourth = Server::start_with(host.clone(), settings(json!({}))).await;
    let pid = ready(&fourth, &[]).await;
    third.abandon().await;
    fourth.abandon().await;
    drop(host);
    assert!(!is_alive(pid), "the host ends it");
}

/// Accounts with the built-in kernel, which the same code starts.
fn with_accounts(more: Value) -> Value {
    let mut settings = json!({"default_kernel": "paster-python", "kernel_prewarm": {"paster-python": 1}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

#[tokio::test]
async fn a_kernel_in_a_sandbox_waits_for_the_user_of_its_folder() {
    if notebook::kernel::sandbox::probe().is_err() {
        return eprintln!("skipped: bubblewrap does not work here");
    }
    let server = start(with_accounts(json!({"kernel_sandbox": "bubblewrap"}))).await;
    let (ann, bob) =
        (Browser::new(&server, "ann", Role::User).await, Browser::new(&server, "bob", Role::User).await);
    assert!(waiting(&server).await.is_empty());
    let look =
        format!("import os\nprint(os.path.exists({:?}), len(os.listdir('.')))", server.data("ann/secret"));
    for name in ["ann", "bob"] {
        server.write_notebook(&format!("{name}/n.ipynb"), "paster-python", &[&look]);
    }
    std::fs::write(server.data("ann/secret"), "x").unwrap();
    // A reader cannot run it, so nothing is started.
    ann.share("ann/n.ipynb", "bob", "view").await;
    let shown = bob.page("ann/n.ipynb").await;
    assert_eq!(shown.level, "view");
    let mut own = bob.page("bob/n.ipynb").await;
    let of_bob = ready(&server, &[]).await;
    let mut page = ann.page("ann/n.ipynb").await;
    until_holds("one for each", async || waiting(&server).await.len() == 2).await;
    // Each gets one that sees their folder only.
    assert_eq!(run(&mut page).await, ["True", "2"]);
    assert!(waiting(&server).await.iter().any(|kernel| kernel.pid == Some(of_bob)), "bob's was not taken");
    assert_eq!(run(&mut own).await, ["False", "1"]);
    assert!(waiting(&server).await.iter().all(|kernel| kernel.pid != Some(of_bob)));
}

#[tokio::test]
async fn another_folder_at_the_same_path_gets_a_new_kernel() {
    let server = start(with_accounts(json!({}))).await;
    let ann = Browser::new(&server, "ann", Role::User).await;
    std::fs::create_dir(server.data("ann/sub")).unwrap();
    server.write_notebook("ann/sub/n.ipynb", "paster-python", &[FACTS]);
    let page = ann.page("ann/sub/n.ipynb").await;
    let old = ready(&server, &[]).await;
    drop(page);
    std::fs::rename(server.data("ann/sub"), server.data("ann/before")).unwrap();
    std::fs::create_dir(server.data("ann/sub")).unwrap();
    server.write_notebook("ann/sub/m.ipynb", "paster-python", &[FACTS]);
    let mut page = ann.page("ann/sub/m.ipynb").await;
    assert_ne!(run(&mut page).await[0], old.to_string());
    until("the old one ends", || !is_alive(old)).await;
}

#[tokio::test]
async fn limits_count_them_without_refusing_a_kernel() {
    let limits = json!({"limits": {"kernels": 2, "user_kernels": 1}});
    let server = start(with_accounts(limits)).await;
    let (ann, bob) =
        (Browser::new(&server, "ann", Role::User).await, Browser::new(&server, "bob", Role::User).await);
    for name in ["ann/a", "ann/b", "bob/a"] {
        server.write_notebook(&format!("{name}.ipynb"), "paster-python", &[FACTS]);
    }
    let mut page = ann.page("ann/a.ipynb").await;
    let first = ready(&server, &[]).await;
    assert_eq!(run(&mut page).await[0], first.to_string());
    // Ann has her one kernel, so none is started for her.
    let mut refused = ann.page("ann/b.ipynb").await;
    let mut bobs = bob.page("bob/a.ipynb").await;
    let of_bob = ready(&server, &[first]).await;
    let error = refused.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap_err();
    assert!(error.contains("user_kernels"), "{error}");
    // One that waits makes room for one that somebody starts.
    let (status, made) = ann.call("POST", "/api/kernels", Some(json!({"name": "paster-python"}))).await;
    assert_eq!(status, 201, "{made}");
    until("it makes room", || !is_alive(of_bob)).await;
    let full = bobs.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap_err();
    assert!(full.contains("2 kernels are running"), "{full}");
}
