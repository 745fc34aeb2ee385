//! Real web servers in front, with the examples' own configs: nginx, Apache and lighttpd by HTTP, SCGI, FastCGI and CGI.
//!
//! Of an example's files, only the ports, the folder `/srv/paster` and the plugin's path are changed, as its
//! README says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::support::{Serving, children, patience, plugin, root, wait_until};

/// The size of the large upload.
const UPLOAD: u64 = 100 << 20;

/// A web server in front of a running paster.
struct Front {
    program: Child,
    client: Client,
    serving: Serving,
    _folder: tempfile::TempDir,
}

/// Its clients.
struct Client {
    address: String,
}

impl Front {
    /// Copies an example, serves it, and starts the web server with the config beside it.
    fn start(example: &str, program: &str, config: &str, args: &[&str]) -> Front {
        let folder = tempfile::tempdir().unwrap();
        // The web server's user needs access to this folder, the program and the plugin.
        open_to_all(folder.path());
        let here = folder.path().to_str().unwrap().to_owned();
        copy(&root().join("examples").join(example), folder.path());
        std::fs::create_dir_all(folder.path().join("run")).unwrap();
        open_to_all(&folder.path().join("run"));
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_paster"), folder.path().join("bin/paster")).unwrap();
        let library = folder.path().join("libfaulty.so");
        std::fs::copy(plugin("faulty"), &library).unwrap();
        for file in ["server.toml", "apps.toml"] {
            let library = format!("library = {library:?}");
            replace(folder.path(), file, &[("crate = \"../../plugins/hello\"", &library)]);
        }
        let ports = [":8080\"]", ":4000\"]", ":9000\"]"].map(|port| (port, ":0\"]"));
        replace(folder.path(), "server.toml", &ports);
        let serving = Serving::start(folder.path(), &["server.toml"]);
        let port = |name: &str| serving.urls[name].rsplit(':').next().unwrap().to_owned();
        let (http, scgi, fastcgi) = (port("http"), port("scgi"), port("fastcgi"));
        let original = std::fs::read_to_string(folder.path().join(config)).unwrap();
        let path = format!("{here}/bin:{}", std::env::var("PATH").unwrap());
        // Another process may take a free port before the web server binds it: then try again.
        for _ in 0..5 {
            let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
            std::fs::write(folder.path().join(config), &original).unwrap();
            let ports = [("8080", &*http), ("4000", &scgi), ("9000", &fastcgi), ("8000", &own)];
            replace(folder.path(), config, &[&ports[..], &[("/srv/paster", &here)]].concat());
            let mut command = Command::new(program);
            command.args(args).current_dir(folder.path()).env("PATH", &path).stdin(Stdio::null());
            let mut child = command.spawn().unwrap();
            let address = format!("127.0.0.1:{own}");
            let mut ended = false;
            wait_until("the web server answers", || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(&address).is_ok()
            });
            if !ended {
                return Front { program: child, client: Client { address }, serving, _folder: folder };
            }
        }
        panic!("{program} does not start");
    }

    /// The most memory that a worker has had so far, in KiB.
    fn peak(&self) -> u64 {
        let peak = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned));
            line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
        };
        children(self.serving.pid()).into_iter().map(peak).max().unwrap()
    }
}

impl std::ops::Deref for Front {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    /// Sends a head (with the host added). Returns the status line with the fields, and a reader of the body.
    fn open(&self, head: &str) -> (String, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
        write!(stream, "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", self.address)
            .unwrap();
        read_head(stream)
    }

    fn get(&self, path: &str) -> (String, String) {
        let (head, body) = self.open(&format!("GET {path}"));
        let text = String::from_utf8(whole(&head, body)).unwrap();
        (head, text)
    }

    fn json(&self, path: &str) -> Value {
        let (head, body) = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {head}{body}"))
    }

    /// Uploads this many bytes and compares what the application has counted.
    fn upload(&self, path: &str, bytes: u64) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        let host = &self.address;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n"
        )
        .unwrap();
        let (mut left, mut seed, mut hash) = (bytes / 8, 1_u64, 0xcbf2_9ce4_8422_2325_u64);
        let mut piece = Vec::with_capacity(64 << 10);
        while left > 0 {
            piece.clear();
            for _ in 0..left.min(8 << 10) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                hash = (hash ^ seed).wrapping_mul(0x0100_0000_01b3);
                piece.extend_from_slice(&seed.to_be_bytes());
            }
            stream.write_all(&piece).unwrap();
            left -= piece.len() as u64 / 8;
        }
        let (head, body) = read_head(stream);
        let text = String::from_utf8(whole(&head, body)).unwrap();
        assert_eq!(text, format!("{bytes} {hash:016x}"), "{path}: {head}");
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // TERM, so that a master also ends its workers.
        let _ = Command::new("kill").arg(self.program.id().to_string()).status();
        let _ = self.program.wait();
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn replace(folder: &Path, file: &str, pairs: &[(&str, &str)]) {
    let path = folder.join(file);
    let Ok(mut text) = std::fs::read_to_string(&path) else { return };
    for (old, new) in pairs {
        text = text.replace(old, new);
    }
    std::fs::write(&path, text).unwrap();
}

fn read_head(stream: TcpStream) -> (String, BufReader<TcpStream>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "no answer: {head:?}");
    }
    (head.to_ascii_lowercase(), reader)
}

/// The body of a response that ends the connection, without chunk framing.
fn whole(head: &str, mut reader: BufReader<TcpStream>) -> Vec<u8> {
    let mut body = Vec::new();
    if !head.contains("transfer-encoding: chunked") {
        reader.read_to_end(&mut body).unwrap();
        return body;
    }
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Everything that a client may do, at one address of the front.
fn check(front: &Front, way: &str) {
    let base = format!("/{way}");
    // What the application receives.
    let told = front.json(&format!("{base}/environ?a=b%20c"));
    assert_eq!(told["script_name"], base, "{told}");
    assert_eq!(told["uri"], "/environ?a=b%20c", "{told}");
    assert_eq!((&told["client"], &told["secure"]), (&"127.0.0.1".into(), &false.into()), "{told}");
    assert_eq!(told["host"], "127.0.0.1", "{told}");
    assert!(!told.to_string().contains("forwarded-for\",\"6.6.6.6"), "{told}");
    // A client's own claim about who it is does not count, and encoded parts stay encoded.
    let (_, forged) =
        front.open(&format!("GET {base}/environ\nX-Forwarded-Proto: https\r\nProxy: http://evil\r\n"));
    let forged = String::from_utf8(whole("", forged)).unwrap();
    assert!(way == "http" || forged.contains("\"secure\":false"), "{forged}");
    assert!(!forged.contains("evil"), "{forged}");
    let (head, _) = front.get(&format!("{base}/no%20such"));
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    // HEAD, and a redirect that includes the prefix.
    let (head, body) = front.open(&format!("HEAD {base}/environ"));
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(whole("", body), b"", "a body in answer to HEAD");
    let (head, _) = front.get(&format!("{base}/files/docs"));
    assert!(head.starts_with("http/1.1 30"), "{head}");
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    let path = location.trim_start_matches(&format!("http://{}", front.address));
    assert_eq!(path, format!("{base}/files/docs/"), "{head}");
    assert!(front.get(path).1.contains("<h1>A folder in a folder</h1>"));
    // Bodies.
    front.upload(&format!("{base}/digest"), 0);
    front.upload(&format!("{base}/digest"), 800);
    let before = front.peak();
    front.upload(&format!("{base}/digest"), UPLOAD);
    let grown = front.peak().saturating_sub(before);
    assert!(grown < 32 << 10, "{way}: {grown} KiB more for an upload of {UPLOAD} bytes");
    // A stream arrives as it is made. A client that leaves in the middle ends it (Apache notices when it
    // writes).
    let stream = if way == "cgi" { "endless" } else { "hang" };
    let (head, mut body) = front.open(&format!("GET {base}/{stream}"));
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let mut piece = [0; 64];
    let mut seen = Vec::new();
    while !seen.windows(7).any(|part| part == b"a piece" || part == [0; 7]) {
        let count = body.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{way}: the stream has ended");
        seen.extend_from_slice(&piece[..count]);
    }
    drop(body);
    if way != "cgi" {
        front.get(&format!("{base}/go"));
        let counter = |name: &str| front.json(&format!("{base}/counters"))[name].as_u64().unwrap();
        wait_until(&format!("the stream by {way} is dropped"), || counter("dropped") == counter("started"));
    }
}

#[test]
fn nginx() {
    let mut args = vec!["-p", ".", "-c", "nginx.conf"];
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        args.extend(["-g", "user root;"]); // a folder for temporary files is made by the master
    }
    let front = Front::start("behind-nginx", "nginx", "nginx.conf", &args);
    ["http", "scgi", "fastcgi"].iter().for_each(|way| check(&front, way));
    reloads(&front);
}

#[test]
fn apache() {
    let config = "apache.conf";
    // Absolute, because Apache looks for a relative one below its own root.
    let script = format!("exec apache2 -f \"$PWD/{config}\" -D FOREGROUND");
    let front = Front::start("behind-apache", "sh", config, &["-c", &script]);
    ["http", "scgi", "fastcgi", "cgi"].iter().for_each(|way| check(&front, way));
    reloads(&front);
}

#[test]
fn lighttpd() {
    let front = Front::start("behind-lighttpd", "lighttpd", "lighttpd.conf", &["-D", "-f", "lighttpd.conf"]);
    ["http", "scgi", "fastcgi", "cgi"].iter().for_each(|way| check(&front, way));
    reloads(&front);
}

/// GET and POST in each way while paster reloads. None fails, whether or not the front keeps its connections.
fn reloads(front: &Front) {
    let (stop, asked, client) = (AtomicBool::new(false), AtomicU64::new(0), &front.client);
    std::thread::scope(|scope| {
        for way in ["http", "scgi", "fastcgi", "fastcgi"] {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let (head, text) = client.get(&format!("/{way}/pid"));
                    assert!(head.starts_with("http/1.1 200 "), "{way}: {head}{text}");
                    client.upload(&format!("/{way}/digest"), 8000);
                    asked.fetch_add(2, Relaxed);
                }
            });
        }
        let stopping = Stopping(&stop);
        let mut seen = 0;
        for _ in 0..5 {
            wait_until("the next requests are answered", || asked.load(Relaxed) >= seen + 20);
            seen = asked.load(Relaxed);
            let before = children(front.serving.pid());
            front.serving.signal("HUP");
            wait_until("another generation serves alone", || {
                let now = children(front.serving.pid());
                !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
            });
        }
        drop(stopping);
    });
}

/// Ends the clients even if the test fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
