//! `isolation = "process"`: an app in processes of its own.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Connection, Serving, folder, get, paster, plugin, runs, save, text, wait_until};
use crate::traffic::{self, Clients};

/// A healthy app at `/`, and the app of `faulty` at `/faulty`, with these lines in its table.
fn config(faulty: &str, more: &str) -> String {
    format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/\" = \"hello\", \"/faulty\" = \"faulty\", \"/note\" = \"note\" }}\n\
         [app.hello]\nuse = \"plugin\"\nlibrary = {:?}\n[app.note]\nuse = \"respond\"\nbody = \"one\"\n\
         [app.faulty]\nuse = \"plugin\"\nlibrary = {:?}\n{faulty}\n{more}",
        plugin("hello"),
        plugin("faulty")
    )
}

fn pid(serving: &Serving) -> u32 {
    get(serving, "/faulty/pid").parse().unwrap()
}

#[test]
fn an_app_that_crashes_each_time_takes_no_other_along() {
    let folder = folder(&[("server.toml", &config("isolation = \"process\"", ""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut clients = Clients::of(serving.address());
    for _ in 0..2 {
        clients.add(|address, traffic| traffic::kept(traffic, 60, || traffic::connect(address)));
    }
    clients.add(|address, traffic| traffic::fresh(traffic, 60, || traffic::connect(address)));
    clients.add(|address, traffic| traffic::web_socket(address, traffic, u64::MAX));
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || traffic.requests.load(Relaxed) > 30);
    traffic.tally();
    let began = Instant::now();
    wait_until("calm was measured", || began.elapsed() > Duration::from_secs(1));
    let calm = traffic.tally();
    let mut aborted = 0;
    for _ in 0..10 {
        let before = traffic.requests.load(Relaxed);
        let (head, _) = Connection::open(serving.address()).get("/faulty/abort");
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        aborted += 1;
        let status = loop {
            let event = serving.wait_for("app_exit");
            if event["app"] == "faulty" {
                break event["status"].to_string();
            }
        };
        assert!(status.contains("SIGABRT"), "{status}");
        wait_until("the neighbour answers", || traffic.requests.load(Relaxed) > before + 20);
        if aborted == 5 {
            break; // the next starts have pauses
        }
    }
    let busy = traffic.tally();
    clients.stop().assert_whole();
    eprintln!("{aborted} crashes beside it; calm {:?}, with crashes {:?}", calm.requests(), busy.requests());
    assert!(pid(&serving) > 0);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_blocked_app_leaves_its_neighbours_alone_and_is_replaced() {
    let isolation = "isolation = { processes = 1, stuck_secs = 1 }";
    let folder = folder(&[("server.toml", &config(isolation, ""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let blocked = pid(&serving);
    let address = serving.address().to_owned();
    let hanging = std::thread::spawn(move || Connection::try_get(&address, "/faulty/wait"));
    // It is replaced because a request has no response.
    let event = serving.wait_for("reloading");
    assert!(event["detail"].to_string().contains("it has been hanging for"), "{event}");
    assert_eq!(get(&serving, "/"), "Hello, world!");
    serving.wait_for("reloaded");
    assert_ne!(pid(&serving), blocked);
    drop(serving);
    let _ = hanging.join();
}

#[test]
fn facts_streams_and_failures_pass() {
    let config = config("isolation = \"process\"\nmiddleware = [\"request_id\", \"error_page\"]", "");
    let folder = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let alone = crate::support::folder(&[("server.toml", &config.replace("isolation = \"process\"", ""))]);
    let mut plain = Serving::start(alone.path(), &[]);
    let head = |host: &str| {
        format!(
            "GET /faulty/environ?c=d HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: my-id-1234\r\nPaster-Facts: {{}}\r\n\
             X-Forwarded-For: 9.9.9.9\r\nAccept: */*\r\n\r\n"
        )
    };
    let ask = |serving: &Serving| {
        let told = Connection::open(serving.address()).request(&head("example.org:8080")).1;
        let mut told: Value = serde_json::from_str(&told).unwrap();
        assert!(told["peer"].is_string() && told["client"] == "127.0.0.1", "{told}");
        (told["peer"], told["listen"]) = (Value::Null, Value::Null);
        let id = told["request_id"].take();
        assert!(id.is_string(), "{told}");
        // Without isolation, the field of the client has no meaning.
        let headers = told["headers"].as_array_mut().unwrap();
        headers.retain(|field| field[0] != "paster-facts");
        assert!(headers.iter().any(|field| field[0] == "x-request-id" && field[1] == id), "{headers:?}");
        headers.retain(|field| field[0] != "x-request-id");
        headers.sort_by_key(ToString::to_string);
        told
    };
    let (isolated, in_worker) = (ask(&serving), ask(&plain));
    assert_eq!(isolated, in_worker);
    // A body in both directions, with trailers, as without isolation.
    let trailers = "POST /faulty/trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: x-sum\r\n\r\n\
                    5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    let digest = |serving: &Serving| {
        let (head, body) = Connection::open(serving.address()).request(trailers);
        (head.lines().next().unwrap().to_owned(), body)
    };
    assert_eq!(digest(&serving), digest(&plain));
    // A panic is a failure of the app, with the page of the worker.
    let (head, body) = Connection::open(serving.address()).get("/faulty/panic");
    assert!(head.starts_with("HTTP/1.1 500") && !head.to_ascii_lowercase().contains("paster-"), "{head}");
    assert!(!body.is_empty());
    let (status, _) = (serving.stop(), plain.stop());
    assert_eq!(status, Some(0));
}

#[test]
fn a_change_of_one_app_replaces_only_its_processes() {
    let isolated = "isolation = \"process\"\n";
    let folder = folder(&[("server.toml", &config(isolated, ""))]);
    let path = folder.path().join("server.toml");
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let first = pid(&serving);
    // Another app has changed, and the lines have moved.
    save(&path, &format!("# a comment\n{}", config(isolated, "").replace("\"one\"", "\"two\"")));
    serving.wait_for("reloaded");
    assert_eq!((get(&serving, "/note").trim(), pid(&serving)), ("two", first));
    save(&path, &config(&format!("{isolated}settings = {{}}\n"), "").replace("\"one\"", "\"two\""));
    serving.wait_for("reloaded");
    let second = pid(&serving);
    assert_ne!(second, first);
    wait_until("the old one ends", || !runs(first));
    let output = paster().args(["restart", "faulty", "--wait"]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_ne!(pid(&serving), second);
    let output = paster().args(["ps", "--json"]).current_dir(folder.path()).output().unwrap();
    let ps: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ps["side_processes"][0]["app"], "faulty", "{ps}");
}

#[test]
fn its_faults_are_found() {
    let check = |faulty: &str, command: &str, word: &str| {
        let folder = folder(&[("server.toml", &config(faulty, ""))]);
        let output = paster().args([command, "server.toml"]).current_dir(folder.path()).output().unwrap();
        let told = text(&output.stderr);
        assert!(!output.status.success() && told.contains(word), "{faulty}: {told}");
    };
    check("isolation = \"thread\"", "check", "`isolation` must be \"process\"");
    check("isolation = { workers = 2 }", "check", "`processes`");
    let wrong = "isolation = \"process\"\nsettings = { no_such_setting = 1 }";
    check(wrong, "check", "no_such_setting");
    check(wrong, "serve", "no_such_setting");
}
