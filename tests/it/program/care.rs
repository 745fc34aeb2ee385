//! Programs that start slowly, crash, hang or grow.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Site, pid};
use crate::support::{Connection, Serving, get, paster, patience, runs, wait_until};

#[test]
fn a_slow_start_is_waited_for_and_a_failed_one_is_told() {
    let Some(site) = Site::new("ready = \"/healthz\"\nenv = { ASK_TIMES = \"3\" }", "") else { return };
    let serving = site.serve();
    let asked: u32 = get(&serving, "/asked").parse().unwrap();
    assert!(asked >= 3, "it was asked {asked} times");
    drop(serving);
    let failed = |app: &str| {
        site.configure(app, "");
        let mut command = paster();
        command.args(["serve", "--json"]).current_dir(site.0.path());
        let mut serving = Serving::launch(command);
        let failed = serving.wait_for("failed").to_string();
        assert_eq!(serving.end(), Some(78));
        failed
    };
    let told = failed("env = { CRASH = \"1\" }");
    assert!(told.contains("it ended before it was ready (exit status: 3)"), "{told}");
    assert!(told.contains("cannot find the database"), "the last output: {told}");
    let told = failed("start_secs = 1\nready = \"/healthz\"\nenv = { ASK_TIMES = \"1000000\" }");
    assert!(told.contains("it was not ready within 1 s"), "{told}");
    assert!(told.contains("GET /healthz fails (the response is 503"), "{told}");
}

#[test]
fn a_program_that_keeps_crashing_says_why() {
    let Some(site) = Site::new("", "") else { return };
    let mut serving = site.serve();
    let mut exits = 0;
    let warning = loop {
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream
            .write_all(b"POST /exit HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        exits += 1;
        // The first five restarts are at once.
        if exits <= 5 {
            let event = serving.wait_for("app_exit");
            assert!(event["status"].to_string().contains("exit status: 3"), "{event}");
            assert_eq!(event["restarts"], true);
        } else {
            break serving.wait_for("warning")["message"].to_string();
        }
    };
    assert!(warning.contains("exit status: 3") && warning.contains("; restarting it in 100 ms"), "{warning}");
    assert!(warning.contains("cannot find the database"), "{warning}");
    assert_eq!(get(&serving, "/"), "Hello, world!");
    let log = serving.stderr();
    assert!(log.matches("cannot find the database").count() >= 6, "its output is in the log: {log}");
}

#[test]
fn a_program_that_hangs_is_started_again() {
    let Some(site) = Site::new("ready = \"/healthz\"\nstuck_secs = 1", "") else { return };
    let mut serving = site.serve();
    let hanging = pid(&serving);
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let status = serving.wait_for("app_exit")["status"].to_string();
    assert!(status.contains("it has not been ready for") && status.contains("GET /healthz"), "{status}");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_ne!(pid(&serving), hanging);
    assert!(!runs(hanging));
}

#[test]
fn a_program_that_grows_is_replaced_without_losing_a_request() {
    let Some(site) = Site::new("max_growth_mib = 32", "") else { return };
    let mut serving = site.serve();
    let file = site.path("go");
    let first = pid(&serving);
    let mut waiting = Connection::open(serving.address());
    let (address, path) = (serving.address().to_owned(), format!("/waits?{}", file.display()));
    let answer = std::thread::spawn(move || waiting.get(&path).1);
    let in_flight = || {
        let (_, told) = site.run(&["top", "--once", "--json"]);
        told.contains("/waits")
    };
    wait_until("it waits", in_flight);
    assert_eq!(Connection::open(&address).get("/grow").1, "grown");
    let event = serving.wait_for("reloading");
    assert!(event["detail"].to_string().contains("its memory has grown by"), "{event}");
    serving.wait_for("reloaded");
    assert_ne!(pid(&serving), first);
    assert!(runs(first), "it still has a request");
    std::fs::write(&file, "").unwrap();
    assert_eq!(answer.join().unwrap(), format!("waited in {first}"));
    wait_until("it ends", || !runs(first));
}

#[test]
fn a_program_that_ignores_its_end_is_killed() {
    let app = "stop_signal = \"USR1\"\nstop_secs = 1";
    let Some(site) = Site::new(app, "") else { return };
    let server = include_str!("../../fixtures/programs/server.js").replace("'SIGTERM'", "'SIGUSR1'");
    let server = server.replace("process.exit(0);", "return;");
    crate::support::save(&site.path("server.js"), &server);
    let mut serving = site.serve();
    let old = pid(&serving);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    wait_until("it is killed", || !runs(old));
    assert!(serving.stderr().contains("ended politely"), "it was asked with its signal");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn programs_have_their_own_user_and_limits() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return; // only root can set another user
    }
    for (address, workers) in
        [("socket", ""), ("socket", "user = \"nobody\""), ("descriptor", "user = \"nobody\"")]
    {
        let app = format!(
            "address = \"{address}\"\nuser = \"daemon\"\ngroup = \"nogroup\"\nlimits = {{ open_files = 99 }}\nterminal = false"
        );
        let Some(site) = Site::new(&app, &format!("[process]\n{workers}\n")) else { return };
        std::fs::set_permissions(site.0.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let serving = site.serve();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid(&serving))).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!((&*field("Uid:"), &*field("Gid:")), ("1", "65534"), "{address} {workers}");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid(&serving))).unwrap();
        assert!(
            limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 99 ")),
            "{limits}"
        );
    }
}

#[test]
fn watched_directories_replace_a_program() {
    let Some(site) = Site::new("watch = [\"lib\"]\nworking_dir = \".\"", "") else { return };
    std::fs::create_dir(site.path("lib")).unwrap();
    std::fs::write(site.path("lib/a.js"), "1").unwrap();
    let mut serving = Serving::start(site.0.path(), &["--reload"]);
    let first = pid(&serving);
    std::fs::write(site.path("lib/a.js"), "two").unwrap();
    serving.wait_for("reloaded");
    let second = pid(&serving);
    assert_ne!(second, first);
    std::fs::create_dir(site.path("lib/node_modules")).unwrap();
    std::fs::write(site.path("lib/node_modules/b.js"), "3").unwrap();
    std::fs::write(site.path("lib/c.js"), "4").unwrap();
    serving.wait_for("reloaded");
    assert_ne!(pid(&serving), second);
}
