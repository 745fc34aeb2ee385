//! Many connections: thousands of idle ones, and more than there are descriptors.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http2::{PREFACE, SETTINGS, frame};
use crate::load::{hello, memory, with_tls};
use crate::support::{Serving, folder, get, patience, runs, wait_until};
use crate::traffic::{self, Clients, Stream};
use crate::workers::config;
use crate::{fastcgi, scgi};

/// How many idle connections: 2,000, or the value of `PASTER_TEST_IDLE`; then the figures must also meet
/// their limits.
fn idle() -> (usize, bool) {
    let wanted = std::env::var("PASTER_TEST_IDLE").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(2000), wanted.is_some())
}

/// Opens this many connections, which are idle after one request each, and a normal client's beside them.
/// Returns the connections and how much memory they cost in KiB.
fn crowd<S: Stream>(
    serving: &Serving,
    open: impl Fn() -> io::Result<S> + Clone + Send + 'static,
) -> (Vec<BufReader<S>>, u64) {
    let (count, strict) = idle();
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).unwrap();
    let opened = || BufReader::with_capacity(1024, open().unwrap());
    for _ in 0..20 {
        ask(&mut opened());
    }
    let before = memory(serving.pid());
    let mut crowd: Vec<_> = (0..count).map(|_| opened()).collect();
    crowd.iter_mut().for_each(|connection| assert!(ask(connection), "it stays open"));
    let mut clients = Clients::of(serving.address());
    let other = open.clone();
    clients.add(move |_, traffic| traffic::kept(traffic, 100, open));
    clients.add(move |_, traffic| traffic::fresh(traffic, 100, other));
    let traffic = clients.traffic.clone();
    let wanted = if strict { 2000 } else { 300 };
    wait_until("a normal client was served", || traffic.requests.load(Relaxed) > wanted);
    let after = memory(serving.pid());
    let (_, p99) = traffic.tally().requests();
    clients.stop().assert_whole();
    eprintln!(
        "{count} idle connections of {}: {before} KiB before, {after} KiB with them; a normal client 99 % within {p99:?}",
        S::KINDS[0]
    );
    if strict {
        assert!(p99 < Duration::from_millis(50), "{p99:?}");
    }
    (crowd, after - before)
}

/// One request; `true`: the connection stays open.
fn ask<S: Stream>(connection: &mut BufReader<S>) -> bool {
    traffic::exchange(connection, "/", None).unwrap()
}

const ROOM: &str = "max_connections = 12000\nidle_timeout_secs = 600";

#[test]
fn idle_connections_cost_little_and_disturb_nobody() {
    let folder = folder(&[("server.toml", &hello("", ROOM))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let address = serving.address().to_owned();
    let (mut crowd, grown) = crowd(&serving, move || traffic::connect(&address));
    assert!(grown < (160 << 10), "{grown} KiB");
    // They are still connected, even to the next generation.
    serving.signal("HUP");
    serving.wait_for("reloaded");
    crowd.iter_mut().for_each(|connection| assert!(ask(connection), "it stays open"));
    drop(crowd);
    wait_until("the old workers are gone", || serving.children().len() == 2);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn idle_connections_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = with_tls(folder.path(), &hello("", ""), ROOM);
    // The clients shake hands when they ask, the last one long after it has connected.
    let config = config + "handshake_timeout_secs = 600\n";
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let address = serving.urls["secure"].trim_start_matches("https://").to_owned();
    let tls = authority.client(&["http/1.1"], None).config().clone();
    let (mut crowd, grown) = crowd(&serving, move || traffic::connect_tls(&address, &tls));
    assert!(grown < (160 << 10), "{grown} KiB");
    // Nobody else can take them over: the old generation responds once more, or twice if it has just learned
    // that it must end.
    serving.signal("HUP");
    serving.wait_for("reloaded");
    crowd.iter_mut().for_each(|connection| assert!(!ask(connection) || !ask(connection), "it ends"));
    wait_until("the old workers are gone", || serving.children().len() == 2);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn exhausted_descriptors_are_survived() {
    let folder = folder(&[("server.toml", &config("threads = 1\n[process.limits]\nopen_files = 64"))]);
    let serving = Serving::start(folder.path(), &[]);
    let worker = serving.children()[0];
    let crowd: Vec<_> = (0..120).map(|_| TcpStream::connect(serving.address()).unwrap()).collect();
    wait_until("it says so", || serving.stderr().contains("no file descriptors left"));
    drop(crowd);
    assert_eq!(get(&serving, "/pid").trim(), worker.to_string());
    assert!(runs(worker));
}

/// More connections than a server may have, all idle in the same way, and then a client with a request. In
/// the long form there are 4,200, the limits are the defaults, and the response comes within 100 ms.
#[test]
fn idle_connections_make_room_for_a_client_that_asks() {
    let strict = idle().1;
    let (count, limits) = match strict {
        true => (4200, ""),
        false => (150, "max_connections = 128\nidle_timeout_secs = 600\nhead_timeout_secs = 600\n"),
    };
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gateway =
        |kind: &str| format!("[server.{kind}]\nuse = {kind:?}\nlisten = [\"127.0.0.1:0\"]\n{limits}");
    let one = hello("", limits).replace("workers = 2", "workers = 1");
    let (text, authority) = with_tls(folder.path(), &one, limits);
    let slow = if strict { "" } else { "handshake_timeout_secs = 600\n" };
    let text = text + slow + &gateway("scgi") + &gateway("fastcgi");
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let tls = authority.client(&["http/1.1"], None).config().clone();
    let address = |server: &str| serving.urls[server].rsplit_once('/').unwrap().1.to_owned();
    let connect = |server: &str| traffic::connect(&address(server)).unwrap();
    // A whole request and its response.
    let fresh = |server: &str| match server {
        "main" => drop(traffic::exchange(&mut BufReader::new(connect(server)), "/", None).unwrap()),
        "secure" => {
            let stream = traffic::connect_tls(&address(server), &tls).unwrap();
            traffic::exchange(&mut BufReader::new(stream), "/", None).unwrap();
        }
        _ => {
            let whole =
                if server == "scgi" { scgi::ask("/", &[], "") } else { fastcgi::ask(1, false, "/", "") };
            let (mut stream, mut answer) = (connect(server), Vec::new());
            stream.set_read_timeout(Some(patience())).unwrap();
            stream.write_all(&whole).unwrap();
            stream.read_to_end(&mut answer).unwrap();
            assert!(String::from_utf8_lossy(&answer).contains("Hello, world!"));
        }
    };
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let http2 = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let kept = fastcgi::ask(1, true, "/", "");
    // For each: what it is, where it connects, what it sends, and whether it gets a response.
    let kinds: [(&str, &str, &[u8], bool); 9] = [
        ("HTTP/1, kept alive", "main", &get, true),
        ("silent", "main", b"", false),
        ("half a head", "main", b"GET / HT", false),
        ("HTTP/2, idle", "main", &http2, true),
        ("TLS, silent", "secure", b"", false),
        ("half a handshake", "secure", b"\x16\x03\x01\x02\x00\x01", false),
        ("SCGI, silent", "scgi", b"", false),
        ("half a head of SCGI", "scgi", b"70:CONTENT_LENGTH", false),
        ("FastCGI, kept", "fastcgi", &kept, true),
    ];
    for (what, server, says, hears) in kinds {
        let open = || {
            let mut stream = connect(server);
            // A read shows whether it was closed to make room for a later one.
            let _ = stream.write_all(says);
            if hears {
                stream.read_exact(&mut [0]).unwrap();
            }
            stream
        };
        let crowd: Vec<_> = (0..count).map(|_| open()).collect();
        let slowest = (0..5).map(|_| {
            let began = Instant::now();
            fresh(server);
            began.elapsed()
        });
        let slowest = slowest.max().unwrap();
        eprintln!("{count} connections, {what}: a fresh request was answered within {slowest:?}");
        assert!(!strict || slowest < Duration::from_millis(100), "{what}: {slowest:?}");
        drop(crowd);
    }
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn exhausted_descriptors_are_taken_from_idle_connections() {
    let folder = folder(&[("server.toml", &config("threads = 1\n[process.limits]\nopen_files = 64"))]);
    let serving = Serving::start(folder.path(), &[]);
    let crowd: Vec<_> = (0..120).map(|_| TcpStream::connect(serving.address()).unwrap()).collect();
    wait_until("it says so", || serving.stderr().contains("no file descriptors left"));
    assert_eq!(get(&serving, "/pid").trim(), serving.children()[0].to_string());
    drop(crowd);
}
