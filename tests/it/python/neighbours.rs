//! What a misbehaving application does to another one in the same server: nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::Value;

use super::{MODES, Site};
use crate::support::{Connection, Serving, get, patience, runs, wait_until};
use crate::traffic::{self, Clients};
use crate::workers::kill;

/// The neighbour answers as the clients of `traffic` expect.
const GOOD: &str = r#"def application(environ, start_response):
    body = environ["wsgi.input"].read() if environ["PATH_INFO"] == "/echo" else b"Hello, world!"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"#;

const BAD: &str = r#"import ctypes, os, time

def sleep(_):
    while True:
        time.sleep(1000)

def reserve(_):
    kept = []
    while True:
        kept.append(bytearray(64 << 20))

def grow(_):
    kept = []
    while True:
        kept.append(b"x" * (4 << 20))
        time.sleep(0.02)

def fork(path):
    for number in range(10):
        child = os.fork()
        if child == 0:
            if number % 2:  # its own process group
                os.setpgid(0, 0)
            time.sleep(1000)
            os._exit(0)
        with open(path, "a") as file:
            file.write(f"{child}\n")
    return "forked"

def daemon(path):
    if (child := os.fork()) == 0:
        os.setsid()
        with open(path + ".ready", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(1000)
        os._exit(0)
    while not os.path.exists(path + ".ready"):
        time.sleep(0.01)
    os.rename(path + ".ready", path)
    return "forked"

def crash(_):
    ctypes.string_at(0)

def hello(_):
    return str(os.getpid())

def age(_):
    return str(time.monotonic() - began)

began = time.monotonic()

def application(environ, start_response):
    body = globals()[environ["PATH_INFO"].strip("/")](environ["QUERY_STRING"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"#;

/// The slowest answer of the neighbour, even on a machine that is busy with other tests, and the time within which
/// 99 of 100 come.
const LONGEST: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(2)];

/// Serves both applications, the misbehaving one with the options `bad`, and calls `misbehave` while the neighbour gets
/// requests.
fn beside(bad: &str, process: &str, misbehave: impl Fn(&Site, &mut Serving)) {
    let Some(site) = Site::new(&[("good.py", GOOD), ("bad.py", BAD)]) else { return };
    for mode in MODES {
        let python = site.python.display();
        let more = format!(
            "[app.good]\nuse = \"wsgi\"\npython = \"{python}\"\napplication = \"good:application\"\n{mode}\
             [app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/\" = \"good\"\n\"/bad\" = \"main\"\n{process}"
        );
        let app = format!("application = \"bad:application\"\n{bad}");
        let mut serving = site.serve_with(&app, &more, &["--app", "site"]);
        let mut clients = Clients::of(serving.address());
        for _ in 0..2 {
            clients.add(|address, traffic| traffic::kept(traffic, 50, || traffic::connect(address)));
        }
        clients.add(|address, traffic| traffic::fresh(traffic, 50, || traffic::connect(address)));
        let traffic = clients.traffic.clone();
        let answered = |count| {
            let before = traffic.requests.load(Relaxed);
            wait_until("the neighbour answers", || traffic.requests.load(Relaxed) > before + count);
        };
        answered(100);
        let (_, calm) = traffic.tally().requests();
        misbehave(&site, &mut serving);
        answered(300);
        let tally = traffic.tally();
        let ((answers, p99), slowest) = (tally.requests(), tally.slowest());
        clients.stop().assert_whole();
        eprintln!(
            "a neighbour with {}: {answers} answers, none lost; 99 % within {calm:?} before, then within {p99:?}, all \
             within {slowest:?}",
            mode.trim()
        );
        assert!(slowest < LONGEST[0] && p99 < LONGEST[1], "{p99:?}, {slowest:?}");
        assert_eq!(serving.stop(), Some(0));
    }
}

/// Sends a request for the misbehaving application, without waiting for the answer.
fn send(serving: &Serving, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn handlers_that_sleep_for_ever() {
    beside("threads = 2\nstuck_secs = 2\n", "", |_, serving| {
        let before = get(serving, "/bad/hello");
        let sleeping: Vec<_> = (0..8).map(|_| send(serving, "/bad/sleep")).collect();
        let replaced = serving.wait_for("app_replaced");
        assert!(replaced["reason"].as_str().unwrap().contains("hanging"), "{replaced}");
        drop(sleeping);
        wait_until("another process serves", || {
            Connection::try_get(serving.address(), "/bad/hello").is_some_and(|pid| pid != before)
        });
    });
}

#[test]
fn a_handler_that_allocates_without_end() {
    beside("max_growth_mib = 100\n", "", |_, serving| {
        let before = get(serving, "/bad/hello");
        // Its memory is first measured after a second.
        wait_until("it was measured", || get(serving, "/bad/age").parse::<f64>().unwrap() > 3.0);
        let growing = send(serving, "/bad/grow");
        let replaced = serving.wait_for("app_replaced");
        assert!(replaced["reason"].as_str().unwrap().contains("has grown by"), "{replaced}");
        // It does not get the time that other replaced processes have for their requests.
        let killed = |event: &Value| {
            event["message"].as_str().is_some_and(|text| text.contains("twice `max_growth_mib`"))
        };
        serving.wait_for_one("warning", killed);
        wait_until("it has ended", || !runs(before.parse().unwrap()));
        assert_ne!(get(serving, "/bad/hello"), before);
        drop(growing);
    });
}

#[test]
fn a_handler_that_reaches_the_limit_of_the_memory() {
    beside("", "[process.limits]\naddress_space_mib = 4096\n", |_, serving| {
        for _ in 0..3 {
            let (head, body) = Connection::open(serving.address()).get("/bad/reserve");
            assert!(head.starts_with("HTTP/1.1 500 "), "{head}{body}");
        }
        wait_until("the log tells why", || serving.stderr().contains("MemoryError"));
        assert_ne!(get(serving, "/bad/hello"), "");
    });
}

#[test]
fn a_handler_that_forks() {
    beside("", "", |site, serving| {
        let file = site.folder().join("children");
        let _ = std::fs::remove_file(&file); // there is one after the first mode
        for _ in 0..3 {
            assert_eq!(get(serving, &format!("/bad/fork?{}", file.display())), "forked");
        }
        let children = std::fs::read_to_string(&file).unwrap();
        let children: Vec<u32> = children.lines().map(|pid| pid.parse().unwrap()).collect();
        assert!(children.len() == 30 && children.iter().all(|pid| runs(*pid)));
        serving.signal("HUP");
        serving.wait_for("reloaded");
        wait_until("they end with their parent", || !children.iter().any(|pid| runs(*pid)));
    });
}

#[test]
fn crashes_in_a_library() {
    beside("", "", |_, serving| {
        for _ in 0..3 {
            let (head, body) = Connection::open(serving.address()).get("/bad/crash");
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}{body}");
            let exit = serving.wait_for("app_exit");
            assert!(exit["status"].as_str().unwrap().contains("SIGSEGV"), "{exit}");
        }
        assert_ne!(get(serving, "/bad/hello"), "");
    });
}

#[test]
fn children_end_with_the_supervisor_and_keep_no_socket() {
    let Some(site) = Site::new(&[("bad.py", BAD)]) else { return };
    for mode in MODES {
        let mut serving = site.serve(&format!("application = \"bad:application\"\n{mode}"));
        let address = serving.address().to_owned();
        let kept = TcpStream::connect(&address).unwrap();
        kept.set_read_timeout(Some(patience())).unwrap();
        let fork = |kind: &str| {
            let file = site.folder().join(kind);
            let _ = std::fs::remove_file(&file); // there is one after the first mode
            assert_eq!(get(&serving, &format!("/{kind}?{}", file.display())), "forked");
            let children = std::fs::read_to_string(&file).unwrap();
            let children: Vec<u32> = children.lines().map(|pid| pid.parse().unwrap()).collect();
            assert!(!children.is_empty() && children.iter().all(|pid| runs(*pid)));
            children
        };
        let (children, daemon) = (fork("fork"), fork("daemon")[0]);
        serving.kill();
        wait_until("they end", || !children.iter().any(|pid| runs(*pid)));
        // A process with its own session has left on purpose.
        assert!(runs(daemon));
        wait_until("nobody listens", || TcpStream::connect(&address).is_err());
        let read = (&kept).read(&mut [0]);
        let is_open = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!matches!(&read, Ok(1..)) && !read.as_ref().is_err_and(is_open), "{mode}: {read:?}");
        kill(daemon);
    }
}
