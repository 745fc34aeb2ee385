//! Real servers of databases, each in a folder of its own, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::wait_until;

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

/// Redis refuses commands while it reads its file.
fn redis_is_ready(folder: &Path) -> bool {
    let mut reply = [0; 5];
    let answer = UnixStream::connect(folder.join("redis.sock")).and_then(|mut socket| {
        socket.write_all(b"PING\r\n")?;
        socket.read_exact(&mut reply)
    });
    answer.is_ok() && reply == *b"+PONG"
}

/// PostgreSQL refuses clients while it recovers. The last line of the file with its process id tells.
fn postgres_is_ready(folder: &Path) -> bool {
    // The process that listens has replaced its predecessor's file.
    UnixStream::connect(folder.join(".s.PGSQL.5432")).is_ok_and(|_| {
        let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
        file.lines().nth(7).is_some_and(|status| status.trim_end() == "ready")
    })
}

/// A running server, which ends with the value.
pub(super) struct Database {
    folder: tempfile::TempDir,
    command: Box<dyn Fn(&Path) -> Command>,
    /// Whether the server in this folder answers requests. It accepts connections earlier.
    ready: fn(&Path) -> bool,
    child: Option<Child>,
    /// The lines of its `[resource.NAME]` table.
    pub(super) table: String,
    pub(super) kind: &'static str,
}

impl Database {
    /// Redis, which writes every change to its file before it answers.
    pub(super) fn redis() -> Option<Database> {
        let program = program("redis-server")?;
        let command = move |folder: &Path| {
            let mut command = Command::new(&program);
            command.args(["--port", "0", "--unixsocket", "redis.sock", "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]).current_dir(folder);
            command
        };
        let folder = tempfile::tempdir().unwrap();
        let table = format!("url = \"redis+unix://{}/redis.sock\"\n", folder.path().display());
        let mut database = Database {
            folder,
            command: Box::new(command),
            ready: redis_is_ready,
            child: None,
            table,
            kind: "redis",
        };
        database.start();
        Some(database)
    }

    /// PostgreSQL, which does not run as root.
    pub(super) fn postgres() -> Option<Database> {
        let (initdb, program) = (program("initdb")?, program("postgres")?);
        let folder = tempfile::tempdir().unwrap();
        let as_user = |mut command: Command| {
            if nix::unistd::geteuid().is_root() {
                command.uid(65534).gid(65534);
            }
            command
        };
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = as_user(Command::new(initdb));
        command.args(["-D", "data", "-U", "paster", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]);
        let output = command.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let start = move |folder: &Path| {
            let mut command = as_user(Command::new(&program));
            command.args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-k"]).arg(folder);
            command.current_dir(folder);
            command
        };
        let path = folder.path().display();
        let table = format!("url = \"postgres:///postgres?host={path}&user=paster\"\n");
        let ready = postgres_is_ready;
        let mut database =
            Database { folder, command: Box::new(start), ready, child: None, table, kind: "postgres" };
        database.start();
        Some(database)
    }

    /// Starts it, and waits until it answers requests.
    pub(super) fn start(&mut self) {
        wait_until("the database runs", || {
            // PostgreSQL does not start while a process of its predecessor is still ending.
            let runs = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
            if !runs {
                let mut command = (self.command)(self.folder.path());
                let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                self.child = Some(silent.spawn().unwrap());
            }
            (self.ready)(self.folder.path())
        });
    }

    /// Kills it as a power failure would.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // PostgreSQL's own children end when they notice it.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it in order: clients are disconnected.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            // To PostgreSQL: "fast shutdown".
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
            child.wait().unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}
