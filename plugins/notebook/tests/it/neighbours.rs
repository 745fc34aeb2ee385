//! What one user's kernel does to the machine does not fail the requests of another user.

use notebook::identity::Role;
use serde_json::json;

use crate::accounts::{Browser, start};
use crate::support::{is_alive, until};

/// Forks up to a number of processes, because the system does not limit those of root, which may run the tests.
const FORKS: &str = "\
import os
print('begun', flush=True)
count = 1
while count < 7:
    try:
        os.fork()
    except OSError:
        pass
    count += 1
while True: pass";

const MEMORY: &str = "\
print('begun', flush=True)
while True:
    blocks = []
    try:
        while len(blocks) < 128: blocks.append(b'x' * (64 << 20))
    except MemoryError:
        pass";

const OUTPUT: &str = "print('begun', flush=True)\nwhile True: print('x' * 1000)";

/// A file of the greatest size, and then the next.
const DISK: &str = "\
import os
print('begun', flush=True)
while True:
    try:
        with open('full', 'wb') as file:
            while True: file.write(bytes(1 << 20))
    except OSError:
        os.remove('full')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_user_runs_fails_no_request_of_another() {
    let sandbox = if notebook::kernel::sandbox::probe().is_ok() { "bubblewrap" } else { "none" };
    let limits = json!({"kernel_memory_bytes": 1 << 30, "kernel_processes": 200, "kernel_file_bytes": 32 << 20, "journal_bytes": 8 << 20});
    let server =
        start(json!({"kernel_sandbox": sandbox, "default_kernel": "paster-python", "limits": limits})).await;
    let (ann, bob) =
        (Browser::new(&server, "ann", Role::User).await, Browser::new(&server, "bob", Role::User).await);
    server.write_notebook("bob/n.ipynb", "paster-python", &["", "print(1 + 1)"]);
    let mut page = bob.page("bob/n.ipynb").await;
    for (name, source) in [("forks", FORKS), ("memory", MEMORY), ("output", OUTPUT), ("disk", DISK)] {
        let path = format!("ann/{name}.ipynb");
        server.write_notebook(&path, "paster-python", &[source]);
        let mut bomb = ann.page(&path).await;
        bomb.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
        bomb.until(|document| document["cells"][0]["outputs"].to_string().contains("begun")).await;
        let kernel = server
            .notebook()
            .link
            .list()
            .await
            .unwrap()
            .into_iter()
            .find(|kernel| kernel.state == notebook::protocol::KernelState::Busy);
        let kernel = kernel.unwrap_or_else(|| panic!("{name}: its kernel is busy"));
        drop(bomb);
        for number in 0..10 {
            let revision = page.cell(0)["revision"].clone();
            let source = format!("{name} = {number}");
            let edit =
                json!({"type": "set_source", "cell_id": "c0", "source": source, "base_revision": revision});
            page.ask(edit).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            page.ask(json!({"type": "run", "cell_ids": ["c1"]}))
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            page.until(|document| document["cells"][1]["state"] == "idle").await;
            assert_eq!(page.text(1), "2\n", "{name}");
            let (status, read) = bob.call("GET", "/api/contents/bob/n.ipynb?content=1", None).await;
            assert_eq!((status, &read["content"]["cells"][0]["source"]), (200, &json!(source)), "{name}");
        }
        // It is ended with all that it has started.
        let (_, sessions) = ann.call("GET", "/api/sessions", None).await;
        let id = sessions[0]["id"].as_str().unwrap();
        assert_eq!(ann.call("DELETE", &format!("/api/sessions/{id}"), None).await.0, 204, "{name}");
        until("its kernel ends", || !is_alive(kernel.pid.unwrap())).await;
    }
    page.ask(json!({"type": "save"})).await.unwrap();
    let saved = std::fs::read_to_string(server.data("bob/n.ipynb")).unwrap();
    assert!(saved.contains("disk = 9"), "{saved}");
}
