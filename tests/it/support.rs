//! Starts the real program in a temporary folder, waits for its readiness, and ends it.
#![allow(dead_code, reason = "each helper serves some of the files")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

/// The longest wait for anything, far above what is usual, so that only a real failure reaches it: 30 s, or
/// the value of `PASTER_TEST_PATIENCE_SECS`.
pub(crate) fn patience() -> Duration {
    static SECS: LazyLock<u64> = LazyLock::new(|| match std::env::var("PASTER_TEST_PATIENCE_SECS") {
        Ok(secs) => secs.parse().expect("PASTER_TEST_PATIENCE_SECS must be a whole number of seconds"),
        Err(_) => 30,
    });
    Duration::from_secs(*SECS)
}

/// The longest wait for output from a build.
fn patience_with_a_build() -> Duration {
    10 * patience()
}

/// The program under test in a cleared environment.
pub(crate) fn paster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_paster"));
    command.env_clear();
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "CARGO", "RUSTUP_TOOLCHAIN"]
    {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // What tests build and cache stays with the rest of this build, and is built once.
    let target = Path::new(env!("CARGO_BIN_EXE_paster")).ancestors().nth(2).unwrap();
    command.env("CARGO_TARGET_DIR", target).env("XDG_CACHE_HOME", target.join("tmp/cache"));
    command
}

/// Runs a program to its end with `input` as its standard input.
pub(crate) fn piped(command: &mut Command, input: &str) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What a program wrote.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A temporary folder that contains `files` (path, content).
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// A running `paster serve --json`. When the value is dropped, it gets TERM first, then KILL.
pub(crate) struct Serving {
    child: Child,
    events: Receiver<Value>,
    stderr: std::sync::Arc<std::sync::Mutex<String>>,
    /// The base URL of each server by name, without a slash at the end.
    pub(crate) urls: std::collections::BTreeMap<String, String>,
}

impl Serving {
    /// Starts `paster serve --json ARGS` in `folder` and waits until the first generation is ready.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Serving {
        let mut command = paster();
        command.arg("serve").arg("--json").args(args).current_dir(folder);
        Serving::spawn(command)
    }

    /// The same, with another command.
    pub(crate) fn spawn(command: Command) -> Serving {
        let mut serving = Serving::launch(command);
        serving.wait_for("ready");
        serving
    }

    /// The same, without waiting.
    pub(crate) fn launch(command: Command) -> Serving {
        Serving::launch_with(command, Stdio::null())
    }

    /// The same, with a standard input.
    pub(crate) fn launch_with(mut command: Command, stdin: Stdio) -> Serving {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let stderr = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let mut pipe = child.stderr.take().unwrap();
        let copy = stderr.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..count]));
            }
        });
        Serving { child, events, stderr, urls: Default::default() }
    }

    /// Waits for the next event named `name` and returns it. Records the URLs of `listening` events on the
    /// way.
    pub(crate) fn wait_for(&mut self, name: &str) -> Value {
        self.wait_for_one(name, |_| true)
    }

    /// The same for the next such event that `fits`.
    pub(crate) fn wait_for_one(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut end = Instant::now() + patience();
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    match event["event"].as_str() {
                        Some("building" | "progress") => end = Instant::now() + patience_with_a_build(),
                        Some("built") => end = Instant::now() + patience(),
                        _ => {}
                    }
                    if event["event"] == "listening" {
                        let server = event["server"].as_str().unwrap().to_string();
                        let url = event["url"].as_str().unwrap().trim_end_matches('/').to_string();
                        self.urls.entry(server).or_insert(url);
                    }
                    if event["event"] == name && fits(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no event `{name}`; stderr:\n{}", self.stderr()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended before `{name}`; stderr:\n{}", self.stderr())
                }
            }
        }
    }

    /// Base URL of the server `main`.
    pub(crate) fn url(&self) -> &str {
        &self.urls["main"]
    }

    /// `host:port` of the server `main`.
    pub(crate) fn address(&self) -> &str {
        self.url().trim_start_matches("http://")
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// The supervisor's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process ids of the children of the supervisor: workers and side processes.
    pub(crate) fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// Kills the supervisor and reaps it. Its children must notice.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name (`HUP`, `TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Sends TERM and waits for the end; returns the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.code();
        }
        self.signal("TERM");
        self.end()
    }

    /// Waits for the end; returns the exit code, or `None` if a signal ended it.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + patience();
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10)); // poll of a process that is ending
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Process ids of the children of `pid`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// Whether a process exists and is not a zombie.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

/// Waits until `done` is true.
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    wait_within(patience(), what, done);
}

/// The same, for something that may need a plugin to be built.
pub(crate) fn wait_until_built(what: &str, done: impl FnMut() -> bool) {
    wait_within(patience_with_a_build(), what, done);
}

fn wait_within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5)); // poll of what tells nobody
    }
}

/// Reads a program's output until `done` accepts it, and returns it.
pub(crate) fn read_until(pipe: &mut (impl Read + AsFd), done: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + patience();
    let (mut shown, mut chunk) = (String::new(), [0; 4096]);
    while !done(&shown) {
        let left = end.saturating_duration_since(Instant::now()).try_into().unwrap();
        let ready = poll(&mut [PollFd::new(&*pipe, PollFlags::IN)], Some(&left)).unwrap();
        assert!(ready > 0, "waited in vain; it has written: {shown}");
        let count = pipe.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended: {shown}");
        shown += &String::from_utf8_lossy(&chunk[..count]);
    }
    shown
}

/// One HTTP/1.1 connection, kept alive.
pub(crate) struct Connection(BufReader<std::net::TcpStream>);

impl Connection {
    pub(crate) fn open(address: &str) -> Connection {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        Connection(BufReader::new(stream))
    }

    /// The body of one GET on a new connection; `None` if it was lost.
    pub(crate) fn try_get(address: &str, path: &str) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(patience())).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// Sends GET and returns the head and the body of the response.
    pub(crate) fn get(&mut self, path: &str) -> (String, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Sends `head` as it is.
    pub(crate) fn request(&mut self, head: &str) -> (String, String) {
        self.0.get_mut().write_all(head.as_bytes()).unwrap();
        self.response()
    }

    /// Reads one response with a `content-length` or with chunks.
    pub(crate) fn response(&mut self) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).unwrap(), 0, "the connection was closed: {head:?}");
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        if let Some(length) = length {
            body.resize(length.parse().unwrap(), 0);
            self.0.read_exact(&mut body).unwrap();
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let mut size = String::new();
                self.0.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let mut chunk = vec![0; size + 2];
                self.0.read_exact(&mut chunk).unwrap();
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        }
        (head, String::from_utf8(body).unwrap())
    }
}

/// The body of one GET on a new connection.
pub(crate) fn get(serving: &Serving, path: &str) -> String {
    Connection::open(serving.address()).get(path).1
}

/// The cargo that runs the tests, in the repository's root. It does not see the variables that `cargo test` sets: it would run
/// build scripts that track them, such as that of `ring`, again, and compile everything that depends on them.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    without_variables_of_cargo(&mut command);
    command
}

/// Removes what `cargo test` sets for the tests of one package.
pub(crate) fn without_variables_of_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "OUT_DIR" {
            command.env_remove(&name);
        }
    }
}

/// The library of a plugin of the workspace (`hello`) or of `tests/fixtures/plugins` (`faulty`), built once
/// per run.
pub(crate) fn plugin(name: &str) -> PathBuf {
    static BUILT: std::sync::Mutex<std::collections::BTreeSet<String>> =
        std::sync::Mutex::new(std::collections::BTreeSet::new());
    let library =
        Path::new(env!("CARGO_BIN_EXE_paster")).with_file_name(format!("lib{}.so", name.replace('-', "_")));
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if built.insert(name.to_owned()) {
        let mut command = cargo();
        command.args(["build", "--quiet"]);
        // Packages and features as in the build of the tests: others would need other builds of their dependencies.
        match std::env::var("PASTER_TEST_BUILD") {
            Ok(arguments) => command.args(arguments.split_whitespace()),
            Err(_) => command.args(["--package", name]),
        };
        if library.parent().unwrap().ends_with("release") {
            command.arg("--release");
        }
        assert!(command.status().unwrap().success(), "the plugin `{name}` does not build");
    }
    library
}

/// Saves a file like careful editors do: writes a new file and renames it over the old one, so that nobody
/// reads half of it.
pub(crate) fn save(path: &Path, text: &str) {
    let new = path.with_extension("new~");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}
