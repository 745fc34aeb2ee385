//! A kernel host in a child process, which is this test program run again.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use notebook::kernel::host;

const HOST_SOCKET: &str = "NOTEBOOK_TEST_HOST_SOCKET";

/// Not a test: the body of the child process, which [`Host::start`] runs.
#[test]
#[ignore = "the kernel host of other tests"]
fn kernel_host_process() {
    let path = std::env::var_os(HOST_SOCKET).expect("only `Host::start` runs this");
    std::process::exit(host::main(UnixListener::bind(path).unwrap()));
}

/// A running kernel host. Dropping the value ends it and its kernels.
pub(crate) struct Host {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn start() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "support::kernel_host_process", "--nocapture"])
            .env(HOST_SOCKET, folder.path().join("host.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Host { child, folder }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("host.sock")
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// The Python with ipykernel that the test command sets up.
pub(crate) fn test_python() -> String {
    std::env::var("PASTER_TEST_PYTHON")
        .expect("PASTER_TEST_PYTHON must name the python of a virtual environment with ipykernel: `cargo xtask test` makes one")
}

/// A virtual environment in `folder` with the packages of [`test_python`], for further kernels. Returns its Python and the folder
/// of its kernelspecs.
pub(crate) fn own_environment(folder: &Path) -> (PathBuf, PathBuf) {
    let run = |arguments: &[&str]| {
        let done = Command::new(test_python()).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    let place = folder.join("venv");
    run(&["-m", "venv", "--without-pip", place.to_str().unwrap()]);
    let packages = run(&["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]);
    let version = run(&["-c", "import sys; print('python%d.%d' % sys.version_info[:2])"]);
    let own = place.join("lib").join(version).join("site-packages");
    std::fs::write(own.join("packages.pth"), packages).unwrap();
    let kernels = place.join("share/jupyter/kernels");
    std::fs::create_dir_all(&kernels).unwrap();
    (place.join("bin/python"), kernels)
}

/// A Python without ipykernel.
pub(crate) fn plain_python() -> String {
    "python3".to_owned()
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// The longest wait for anything: 30 s, or the value of `PASTER_TEST_PATIENCE_SECS`.
pub(crate) fn patience() -> Duration {
    Duration::from_secs(match std::env::var("PASTER_TEST_PATIENCE_SECS") {
        Ok(secs) => secs.parse().expect("PASTER_TEST_PATIENCE_SECS must be a whole number of seconds"),
        Err(_) => 30,
    })
}

/// Waits for a future, with a limit.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(patience(), future).await.expect("in time")
}

/// The same as [`until`] for a check that waits itself.
pub(crate) async fn until_holds(what: &str, done: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + patience();
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `done` is true, checking repeatedly.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + patience();
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
