//! Many connections: thousands that do nothing, and more than there are descriptors.

use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::{hello, memory};
use crate::support::{Connection, Serving, folder, get, runs, wait_until};
use crate::traffic::{self, Clients};
use crate::workers::config;

/// How many idle connections: 2,000, or what `PASTER_TEST_IDLE` says; then the figures are held to their limits too.
fn idle() -> (usize, bool) {
    let wanted = std::env::var("PASTER_TEST_IDLE").ok().and_then(|count| count.parse().ok());
    (wanted.unwrap_or(2000), wanted.is_some())
}

#[test]
fn idle_connections_cost_little_and_disturb_nobody() {
    let (count, strict) = idle();
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).unwrap();
    let folder = folder(&[("server.toml", &hello("", "max_connections = 12000\nidle_timeout_secs = 600"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    for _ in 0..20 {
        get(&serving, "/");
    }
    let before = memory(serving.pid());
    let mut crowd: Vec<_> = (0..count).map(|_| Connection::open(serving.address())).collect();
    crowd.iter_mut().for_each(|connection| assert_eq!(connection.get("/").1, "Hello, world!"));
    let mut clients = Clients::of(serving.address());
    clients.add(|address, traffic| traffic::kept(traffic, 100, || traffic::connect(address)));
    clients.add(|address, traffic| traffic::fresh(traffic, 100, || traffic::connect(address)));
    let traffic = clients.traffic.clone();
    let wanted = if strict { 2000 } else { 300 };
    wait_until("a normal client was served", || traffic.requests.load(Relaxed) > wanted);
    let after = memory(serving.pid());
    let (p99, _) = traffic.p99();
    clients.stop().assert_whole();
    eprintln!(
        "{count} idle connections: {before} KiB before, {after} KiB with them; a normal client 99 % within {p99:?}"
    );
    assert!(after < before + (160 << 10), "{before} KiB, then {after} KiB");
    if strict {
        assert!(p99 < Duration::from_millis(50), "{p99:?}");
    }
    // They are still connected, also to the next generation.
    serving.signal("HUP");
    serving.wait_for("reloaded");
    crowd.iter_mut().for_each(|connection| assert_eq!(connection.get("/").1, "Hello, world!"));
    drop(crowd);
    wait_until("the old workers are gone", || serving.children().len() == 2);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn exhausted_descriptors_are_survived() {
    let folder = folder(&[("server.toml", &config("threads = 1\n[process.limits]\nopen_files = 64"))]);
    let serving = Serving::start(folder.path(), &[]);
    let worker = serving.children()[0];
    let crowd: Vec<_> = (0..120).map(|_| TcpStream::connect(serving.address()).unwrap()).collect();
    let open = || std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
    wait_until("no descriptor is left", || open() >= 64);
    wait_until("it says so", || serving.stderr().contains("waiting for room"));
    drop(crowd);
    let relief = Instant::now();
    assert_eq!(get(&serving, "/pid").trim(), worker.to_string());
    assert!(relief.elapsed() < Duration::from_secs(1), "{:?}", relief.elapsed());
    assert!(runs(worker));
}
