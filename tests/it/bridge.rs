//! Upstreams for tests: scripted ones, and real programs that end with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::support::{patience, wait_until};

/// A TCP server in the test that calls a function for each connection.
pub(crate) struct Scripted {
    pub(crate) port: u16,
    /// The number of connections so far.
    pub(crate) connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Scripted {
        Scripted::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn at(listener: TcpListener, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Scripted {
        let port = listener.local_addr().unwrap().port();
        let (connections, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let script = Arc::new(script);
        let (counted, stopped) = (connections.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(SeqCst) {
                    return;
                }
                counted.fetch_add(1, SeqCst);
                let script = script.clone();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(patience())).unwrap();
                    script(&mut Peer(BufReader::new(stream)));
                });
            }
        });
        Scripted { port, connections, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener
    }
}

/// One connection, as the upstream sees it.
pub(crate) struct Peer(pub(crate) BufReader<TcpStream>);

impl Peer {
    /// The head of the next request, in lower case; `None` if the connection has ended.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        Some(head)
    }

    /// The body of a request with this head.
    pub(crate) fn body(&mut self, head: &str) -> Vec<u8> {
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if let Some(length) = lower.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            body.resize(length.parse().unwrap(), 0);
            self.0.read_exact(&mut body).unwrap();
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let mut line = String::new();
                self.0.read_line(&mut line).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    while line != "\r\n" {
                        line.clear();
                        self.0.read_line(&mut line).unwrap();
                        if line != "\r\n" {
                            body.extend_from_slice(format!(" +{}", line.trim()).as_bytes());
                        }
                    }
                    return body;
                }
                let at = body.len();
                body.resize(at + size + 2, 0);
                self.0.read_exact(&mut body[at..]).unwrap();
                body.truncate(at + size);
            }
        }
        body
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// A response with a length.
    pub(crate) fn answer(&mut self, body: impl AsRef<[u8]>) -> bool {
        let body = body.as_ref();
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())) && self.write(body)
    }

    /// Waits for the other end to close.
    pub(crate) fn wait_for_close(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest); // a reset is an end too
    }
}

/// An upstream that responds to every request with its head and body as it received them.
pub(crate) fn mirror() -> Scripted {
    Scripted::start(|peer| {
        while let Some(head) = peer.head() {
            let body = peer.body(&head);
            peer.answer([head.as_bytes(), &body].concat());
        }
    })
}

/// A program that is killed when the value is dropped.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(command: &mut Command) -> Program {
        Program(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits until a TCP port accepts; `false` if the program ended before that.
    pub(crate) fn wait_for_port(&mut self, port: u16) -> bool {
        let mut there = false;
        wait_until("the upstream listens", || {
            there = TcpStream::connect(("127.0.0.1", port)).is_ok();
            there || self.0.try_wait().unwrap().is_some()
        });
        there
    }

    /// Waits until a Unix socket accepts.
    pub(crate) fn wait_for_socket(&mut self, path: &Path) {
        wait_until("the upstream listens", || {
            assert!(self.0.try_wait().unwrap().is_none(), "the upstream has ended");
            std::os::unix::net::UnixStream::connect(path).is_ok()
        });
    }
}

impl Program {
    /// Sends TERM first, so that a server with workers ends them too.
    pub(crate) fn end(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let _ = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::time::Instant::now() < end {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10)); // poll of a process that is ending
        }
        self.kill();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Process ids of the children of all threads of `pid`.
pub(crate) fn all_children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    texts.flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>()).collect()
}

/// A port that was free a moment ago, for programs that cannot bind port 0. Try again if it was taken.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Resident memory of a process and all its descendants, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let own = own.and_then(|text| text.split_whitespace().next()).map_or(0, |kib| kib.parse().unwrap());
    own + crate::support::children(pid).into_iter().map(resident_kib).sum::<u64>()
}
