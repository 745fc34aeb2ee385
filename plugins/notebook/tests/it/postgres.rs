//! A real PostgreSQL server in a folder of its own, on a Unix socket, and also over TLS if a test asks for it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::pki::Pair;
use crate::support::patience;

/// The user that runs the server if the tests run as root, which PostgreSQL refuses.
const NOBODY: u32 = 65534;

/// A running server, which ends with the value.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    program: PathBuf,
    /// The port over TCP; `None`: it has only a Unix socket.
    port: Option<u16>,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one with an empty database; `None`, with a message, if it is not installed. It writes each commit to the disk.
    pub(crate) fn start() -> Option<Postgres> {
        Postgres::start_with(None)
    }

    /// The same over TCP, with a certificate.
    pub(crate) fn start_with_tls(certificate: &Pair) -> Option<Postgres> {
        Postgres::start_with(Some(certificate))
    }

    fn start_with(certificate: Option<&Pair>) -> Option<Postgres> {
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
        let port = certificate.map(|_| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        });
        let mut server = Postgres { folder, program, port, child: None };
        if let Some(certificate) = certificate {
            server.set_certificate(certificate);
        }
        server.run();
        Some(server)
    }

    /// Replaces the certificate. It is used after a restart.
    pub(crate) fn set_certificate(&self, pair: &Pair) {
        for (name, text) in [("server.crt", &pair.certificate), ("server.key", &pair.key)] {
            let file = self.folder.path().join("data").join(name);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// Starts it, and waits until it answers requests.
    pub(crate) fn run(&mut self) {
        let end = Instant::now() + patience();
        while !self.is_ready() {
            assert!(Instant::now() < end, "PostgreSQL does not start");
            // It does not start while a process of its predecessor is still ending.
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                let mut command = as_user(Command::new(&self.program));
                command.args(["-D", "data", "-k"]).arg(self.folder.path());
                match self.port {
                    Some(port) => {
                        let port = format!("port={port}");
                        command.args(["-c", "listen_addresses=127.0.0.1", "-c", &port, "-c", "ssl=on"])
                    }
                    None => command.args(["-c", "listen_addresses="]),
                };
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
            && UnixStream::connect(self.folder.path().join(format!(".s.PGSQL.{}", self.socket_port())))
                .is_ok()
    }

    /// Kills it as a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Its own children end when they notice it.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn socket_port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    /// A client program that is connected over the Unix socket.
    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program(name).unwrap());
        command.arg("-h").arg(self.folder.path());
        command.args(["-p", &self.socket_port().to_string(), "-U", "paster"]);
        command
    }

    /// The address of a new, empty database.
    pub(crate) fn database(&self, name: &str) -> String {
        assert!(self.client("createdb").arg(name).status().unwrap().success());
        self.url(name)
    }

    /// The result of a query, as text.
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        let output = self.client("psql").args(["-At", "-d", database, "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The address of a database over TCP, at this name of the machine.
    pub(crate) fn tcp_url(&self, host: &str, name: &str) -> String {
        format!("postgres://paster:secret@{host}:{}/{name}", self.port.expect("it listens"))
    }

    /// The address of a database.
    pub(crate) fn url(&self, name: &str) -> String {
        let port = self.socket_port();
        format!("postgres:///{name}?host={}&port={port}&user=paster", self.folder.path().display())
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
