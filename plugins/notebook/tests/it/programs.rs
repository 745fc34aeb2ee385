//! Jupyter's own programs against the notebook: jupyter_server's tests, clients in Python and in JavaScript.
//!
//! `cargo xtask test` installs them: `PASTER_TEST_JUPYTER` names the folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::json;

use crate::durability::PLAN;
use crate::server::TOKEN;
use crate::support::{Host, until};

/// The folder of `venv`, `jupyter_server` (its sources, with tests) and `node_modules`; `None`: the test is skipped.
fn installed() -> Option<PathBuf> {
    let folder = std::env::var_os("PASTER_TEST_JUPYTER").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: PASTER_TEST_JUPYTER is not set; `cargo xtask setup` installs the programs");
    }
    folder
}

/// A notebook in a process of its own, mounted at a prefix, with a data folder of Jupyter's that tests may write.
struct Mounted {
    child: Child,
    host: Arc<Host>,
    url: String,
}

const PREFIX: &str = "/a%40b";

impl Mounted {
    async fn start(python: &Path) -> Mounted {
        let host = Arc::new(Host::start());
        let folder = host.folder.path();
        std::fs::create_dir(folder.join("jupyter")).unwrap();
        let settings = json!({
            "data_dir": folder.join("data"), "state_dir": folder.join("state"), "token": TOKEN, "python": python,
        });
        let url = folder.join("url");
        let plan = json!({"settings": settings, "socket": host.socket(), "url": url, "prefix": PREFIX});
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "durability::server_process", "--nocapture"])
            .env(PLAN, plan.to_string())
            .env("JUPYTER_DATA_DIR", folder.join("jupyter"))
            // For `~` in a path.
            .env("HOME", folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the server to listen", || url.exists()).await;
        let url = format!("{}{PREFIX}", std::fs::read_to_string(&url).unwrap());
        Mounted { child, host, url }
    }

    /// A program that is told about the notebook.
    fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let folder = self.host.folder.path();
        let mut command = Command::new(name);
        command
            .env("PASTER_URL", &self.url)
            .env("PASTER_TOKEN", TOKEN)
            .env("PASTER_ROOT", folder.join("data"))
            .env("PASTER_DATA", folder.join("jupyter"))
            .env("HOME", folder.join("data"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end. It must succeed.
async fn run(command: &mut Command) -> String {
    let mut command = std::mem::replace(command, Command::new("true"));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}", output.status);
    text
}

fn own(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

#[tokio::test]
async fn jupyter_servers_own_tests() {
    let Some(folder) = installed() else { return };
    let python = folder.join("venv/bin/python");
    let server = Mounted::start(&python).await;
    // Their files, with our fixtures in place of theirs.
    let checkout = server.host.folder.path().join("checkout");
    run(Command::new("cp").arg("-rL").arg(folder.join("jupyter_server")).arg(&checkout)).await;
    let tests = checkout.join("tests");
    std::fs::rename(tests.join("conftest.py"), tests.join("original_conftest.py")).unwrap();
    for file in ["conftest.py", "not_applicable.txt"] {
        std::fs::copy(own("jupyter_server").join(file), tests.join(file)).unwrap();
    }
    let mut pytest = server.program(&python);
    pytest.current_dir(&checkout).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]);
    pytest.args(["tests/services/api/test_api.py", "tests/services/config/test_api.py"]);
    pytest.args(["tests/services/contents/test_api.py", "tests/services/events/test_api.py"]);
    pytest.args(["tests/services/kernels/test_api.py", "tests/services/kernelspecs/test_api.py"]);
    pytest.args(["tests/services/nbconvert/test_api.py", "tests/services/sessions/test_api.py"]);
    pytest.args(["tests/nbconvert/test_handlers.py", "tests/test_files.py"]);
    pytest.args(["tests/test_terminal.py", "tests/test_view.py"]);
    let text = run(&mut pytest).await;
    println!("{}", text.lines().last().unwrap_or_default());
    assert!(text.contains(" passed"), "{text}");
}

#[tokio::test]
async fn clients_in_python_and_javascript() {
    let Some(folder) = installed() else { return };
    let python = folder.join("venv/bin/python");
    let server = Mounted::start(&python).await;
    let text = run(server.program(&python).arg(own("programs/clients.py"))).await;
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{text}");
    // Node looks for packages beside the script.
    let script = server.host.folder.path().join("services.mjs");
    std::fs::copy(own("programs/services.mjs"), &script).unwrap();
    std::os::unix::fs::symlink(folder.join("node_modules"), script.with_file_name("node_modules")).unwrap();
    let text = run(server.program("node").arg(script)).await;
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 10, "{text}");
}
