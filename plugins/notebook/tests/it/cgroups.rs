//! Kernels in control groups of their own, in a real file system of cgroup v2 if this machine lets the test make folders there.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::Server;
use crate::support::{Host, plain_python, until};

/// A folder of the test's own, removed at the end.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> Option<Delegated> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mounted = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
        for mount in mounted.filter_map(|line| line.split(' ').nth(1)) {
            let folder = PathBuf::from(mount).join(format!("paster-test-{}", std::process::id()));
            if std::fs::create_dir(&folder).is_ok() {
                return Some(Delegated(folder));
            }
        }
        eprintln!("skipped: no folder of cgroup v2 can be made here");
        None
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_kernel_has_a_group_that_ends_with_it() {
    let Some(delegated) = Delegated::make() else { return };
    let settings =
        json!({"python": plain_python(), "default_kernel": "paster-python", "kernel_cgroup": delegated.0});
    let server = Server::start_with(Arc::new(Host::start()), settings).await;
    assert!(
        server.notebook().kernel_limits.contains("each kernel has a cgroup"),
        "{}",
        server.notebook().kernel_limits
    );
    until("the probe is gone", || delegated.groups().is_empty()).await;
    server.write_notebook(
        "n.ipynb",
        "paster-python",
        &["import subprocess\nprint(open('/proc/self/cgroup').read())\nprint(subprocess.run(['cat', '/proc/self/cgroup'], capture_output=True, text=True).stdout)\n\
           subprocess.Popen(['setsid', 'sleep', '1000'])"],
    );
    let mut page = crate::server::Page::open(&server, "n.ipynb", None).await;
    page.ask(json!({"type": "run", "cell_ids": ["c0"]})).await.unwrap();
    page.until_idle().await;
    // The kernel and what it starts are in the same group, and in nobody else's.
    assert_eq!(page.text(0).matches("/kernel-run-").count(), 2, "{}", page.text(0));
    assert_eq!(delegated.groups().len(), 1);
    let (_, kernels) = server.call("GET", "/api/kernels", None).await;
    let id = kernels[0]["id"].as_str().unwrap();
    assert_eq!(server.call("DELETE", &format!("/api/kernels/{id}"), None).await, (204, Value::Null));
    // Also a process that has left the kernel's session ends.
    until("the group is gone", || delegated.groups().is_empty()).await;
}

#[tokio::test]
async fn a_folder_that_is_none_is_refused() {
    let host = Host::start();
    let settings = |more: Value| {
        let mut settings = json!({"data_dir": host.folder.path().join("data"), "state_dir": host.folder.path().join("state")});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<notebook::settings::Settings>(settings).unwrap()
    };
    for (more, words) in [
        (json!({"kernel_cgroup": "/proc/none"}), "cgroup v2 that the server may write"),
        (json!({"limits": {"kernel_cpu_percent": 50}, "kernel_cgroup": "/proc/none"}), "kernel_cgroup"),
    ] {
        let link = notebook::kernel::link::Link::unavailable("a test");
        let error = notebook::state::Notebook::open(settings(more), link).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
