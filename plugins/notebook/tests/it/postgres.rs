//! A real PostgreSQL server in a folder of its own, on a Unix socket.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::patience;

/// The user that runs the server if the tests run as root, which PostgreSQL refuses.
const NOBODY: u32 = 65534;

/// A running server, which ends with the value.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    program: PathBuf,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one with an empty database; `None`, with a message, if it is not installed. It writes each commit to the disk.
    pub(crate) fn start() -> Option<Postgres> {
        let (initdb, program) = (program("initdb")?, program("postgres")?);
        let folder = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = as_user(Command::new(initdb));
        command.args(["-D", "data", "-U", "paster", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut server = Postgres { folder, program, child: None };
        server.run();
        Some(server)
    }

    /// Starts it, and waits until it answers requests.
    pub(crate) fn run(&mut self) {
        let end = Instant::now() + patience();
        while !self.is_ready() {
            assert!(Instant::now() < end, "PostgreSQL does not start");
            // It does not start while a process of its predecessor is still ending.
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                let mut command = as_user(Command::new(&self.program));
                command.args(["-D", "data", "-c", "listen_addresses=", "-k"]).arg(self.folder.path());
                let command = command.current_dir(self.folder.path()).stdin(Stdio::null());
                self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// PostgreSQL refuses clients while it recovers. The last line of the file with its process id tells.
    fn is_ready(&self) -> bool {
        let Some(child) = &self.child else { return false };
        let file =
            std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        lines.first() == Some(&child.id().to_string().as_str())
            && lines.get(7) == Some(&"ready")
            && UnixStream::connect(self.folder.path().join(".s.PGSQL.5432")).is_ok()
    }

    /// Kills it as a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its own children end when they notice it.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The address of a new, empty database.
    pub(crate) fn database(&self, name: &str) -> String {
        let status = Command::new(program("createdb").unwrap())
            .args(["-h"])
            .arg(self.folder.path())
            .args(["-U", "paster", name])
            .status()
            .unwrap();
        assert!(status.success());
        self.url(name)
    }

    /// The address of a database.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres:///{name}?host={}&user=paster", self.folder.path().display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
            // "Fast shutdown".
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
            let _ = child.wait();
        }
    }
}

fn as_user(mut command: Command) -> Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A program on the path, or in Debian's directories of PostgreSQL; `None`, with a message, if it is not installed.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    places.sort();
    places.extend(std::env::split_paths(&path));
    let found = places.into_iter().rev().map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no {name}");
    }
    found
}
