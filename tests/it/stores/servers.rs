//! Real servers of databases, each in a folder of its own, on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bridge::free_port;
use crate::pki::Pair;
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
    let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = file.lines().map(str::trim_end).collect();
    // The process that listens has replaced its predecessor's file.
    lines.get(3).is_some_and(|port| UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).is_ok())
        && lines.get(7) == Some(&"ready")
}

/// A running server, which ends with the value.
pub(crate) struct Database {
    folder: tempfile::TempDir,
    command: Box<dyn Fn(&Path) -> Command>,
    /// Whether the server in this folder answers requests. It accepts connections earlier.
    ready: fn(&Path) -> bool,
    child: Option<Child>,
    /// The lines of its `[resource.NAME]` table.
    pub(crate) table: String,
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
    pub(crate) fn postgres() -> Option<Database> {
        Database::postgres_with(None)
    }

    /// The same over TLS with this certificate, at `localhost`.
    pub(super) fn postgres_with_tls(certificate: &Pair) -> Option<Database> {
        Database::postgres_with(Some((certificate, free_port())))
    }

    fn postgres_with(tls: Option<(&Pair, u16)>) -> Option<Database> {
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
        if let Some((pair, _)) = tls {
            for (from, to) in [(&pair.certificate, "data/server.crt"), (&pair.key, "data/server.key")] {
                let file = folder.path().join(to);
                std::fs::copy(from, &file).unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
                if nix::unistd::geteuid().is_root() {
                    std::os::unix::fs::chown(&file, Some(65534), Some(65534)).unwrap();
                }
            }
        }
        let port = tls.map(|(_, port)| port);
        let start = move |folder: &Path| {
            let mut command = as_user(Command::new(&program));
            command.args(["-D", "data", "-c", "fsync=off", "-k"]).arg(folder);
            match port {
                Some(port) => command.args([
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    &format!("port={port}"),
                    "-c",
                    "ssl=on",
                ]),
                None => command.args(["-c", "listen_addresses="]),
            };
            command.current_dir(folder);
            command
        };
        let table = match port {
            Some(port) => format!("url = \"postgres://paster:secret@localhost:{port}/postgres\"\n"),
            None => {
                let path = folder.path().display();
                format!("url = \"postgres:///postgres?host={path}&user=paster\"\n")
            }
        };
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
