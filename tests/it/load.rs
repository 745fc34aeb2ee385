//! Reloads under load: nothing is lost, and nothing grows.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::{Connection, PATIENCE, Serving, children, plugin, wait_until};

/// How many reloads: 20, or what `PASTER_TEST_RELOADS` says.
fn reloads() -> u64 {
    std::env::var("PASTER_TEST_RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicU64,
    echoes: AtomicU64,
    streamed: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }
}

/// A body that shows every lost, doubled or misplaced byte.
fn body(seed: u64) -> String {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = (0..200 + seed % 1500).map(|_| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        format!("{number:016x}")
    });
    words.collect()
}

/// GET and POST in turn, on one connection as long as the server keeps it, or on a new one each.
fn requests(address: &str, load: &Load, keep: bool) {
    let mut connection = Connection::open(address);
    let mut count = 0;
    while load.goes_on() {
        count += 1;
        let (head, text) = if count % 2 == 0 {
            let sent = body(count);
            let post = format!(
                "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{sent}",
                sent.len()
            );
            let (head, back) = connection.request(&post);
            assert!(back == sent, "the body came back changed");
            (head, back)
        } else {
            connection.get("/")
        };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{text}");
        load.requests.fetch_add(1, Relaxed);
        if !keep || head.to_ascii_lowercase().contains("connection: close") {
            connection = Connection::open(address);
        }
    }
}

/// Numbered messages that come back in order; with `lives`, closed by us and opened anew after so many.
fn web_socket(address: &str, load: &Load, lives: u64) {
    let mut count = 0_u64;
    while load.goes_on() {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/ws"), stream).unwrap();
        for _ in 0..lives {
            if !load.goes_on() {
                break;
            }
            count += 1;
            socket.send(Message::text(count.to_string())).unwrap();
            let back = socket.read().unwrap();
            assert_eq!(
                back.to_text().unwrap(),
                count.to_string(),
                "a WebSocket was closed or lost a message"
            );
            load.echoes.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_millis(5)); // a person's pace, so that requests get their share
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    }
}

/// One answer read slowly from the first generation to the last.
fn stream(address: &str, load: &Load) {
    use std::io::Write;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /stream?bytes=1000000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut chunk = vec![0; 64 << 10];
    while load.goes_on() {
        let count = stream.read(&mut chunk).unwrap();
        assert_ne!(count, 0, "the stream was cut off");
        load.streamed.fetch_add(count as u64, Relaxed);
        thread::sleep(Duration::from_millis(5)); // slower than it could, as a client far away
    }
}

/// What one client does.
type Client = Box<dyn FnOnce(&str, &Load) + Send>;

/// Resident memory of a process and its children, in KiB, without pages that files back.
fn memory(pid: u32) -> u64 {
    let own = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    own(pid) + children(pid).into_iter().map(own).sum::<u64>()
}

#[test]
fn reloads_under_load_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("hello")
    );
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let address: Arc<str> = serving.address().into();
    let load = Arc::<Load>::default();
    let mut clients = Vec::new();
    let mut client = |run: Client| {
        let (address, load) = (address.clone(), load.clone());
        clients.push(thread::spawn(move || run(&address, &load)));
    };
    for _ in 0..3 {
        client(Box::new(|address, load| requests(address, load, true)));
    }
    client(Box::new(|address, load| requests(address, load, false)));
    for number in 0..10 {
        // Half of them stay from the first generation to the last, half come and go.
        let lives = if number < 5 { u64::MAX } else { 40 + number };
        client(Box::new(move |address, load| web_socket(address, load, lives)));
    }
    client(Box::new(stream));
    wait_until("the load runs", || {
        [&load.requests, &load.echoes, &load.streamed].iter().all(|count| count.load(Relaxed) > 0)
    });

    let count = reloads();
    let began = Instant::now();
    let mut switches = Vec::new();
    let (mut early, mut own_early) = (0, 0);
    for number in 1..=count {
        let before = load.requests.load(Relaxed);
        serving.signal("HUP");
        let reloaded = serving.wait_for("reloaded");
        assert_eq!(reloaded["generation"], number + 1);
        switches.push(reloaded["ms"].as_u64().unwrap());
        wait_until("requests are answered", || {
            load.requests.load(Relaxed) > before + 20 || clients.iter().any(|client| client.is_finished())
        });
        if number == count.min(5) {
            early = memory(serving.pid());
            own_early = memory_of_supervisor(&serving);
        }
    }
    let (late, own_late) = (memory(serving.pid()), memory_of_supervisor(&serving));
    load.stop.store(true, Relaxed);
    for client in clients {
        client.join().expect("a client lost something");
    }
    switches.sort_unstable();
    eprintln!(
        "{count} reloads in {:.1} s, half of them within {} ms, all within {} ms; {} requests, {} WebSocket messages, \
         {} MiB streamed, nothing lost; memory {early} KiB early, {late} KiB late, supervisor {own_early} and {own_late} KiB",
        began.elapsed().as_secs_f64(),
        switches[switches.len() / 2],
        switches[switches.len() - 1],
        load.requests.load(Relaxed),
        load.echoes.load(Relaxed),
        load.streamed.load(Relaxed) >> 20,
    );
    // Old generations stay for their WebSockets, never more than a few.
    assert!(late < early * 2 + 50_000, "memory grows: {early} KiB, then {late} KiB");
    assert!(own_late < own_early + 4_096, "the supervisor grows: {own_early} KiB, then {own_late} KiB");
    wait_until("all old workers are gone", || serving.children().len() == 1);
    assert_eq!(serving.stop(), Some(0));
}

fn memory_of_supervisor(serving: &Serving) -> u64 {
    memory(serving.pid()) - serving.children().into_iter().map(memory).sum::<u64>().min(memory(serving.pid()))
}
