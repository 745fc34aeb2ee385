//! `isolation = "process"`: an app in processes of its own.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control::Site;
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

/// What the app was told.
fn about(serving: &Serving) -> Value {
    serde_json::from_str(&get(serving, "/faulty/host")).unwrap()
}

fn restart(serving: &mut Serving, folder: &std::path::Path) {
    let output = paster().args(["restart", "faulty", "--wait"]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serving.wait_for("reloaded");
}

#[test]
fn new_processes_continue_with_the_state_of_the_old_and_keep_side_processes() {
    let isolation = "isolation = { processes = 2 }\n[app.faulty.settings]\nannounce = \"/pid?secret\"\n";
    let folder = folder(&[("server.toml", &config(isolation, ""))]);
    let mut command = paster();
    command.args(["serve", "--json"]).current_dir(folder.path());
    let mut serving = Serving::launch(command);
    let ready = serving.wait_for("ready");
    assert!(ready["open"].as_str().unwrap().ends_with("/faulty/pid?secret"), "{ready}");
    let first = about(&serving);
    assert_eq!((&first["generation"], &first["saved"]), (&1.into(), &Value::Null));
    assert_eq!(get(&serving, "/faulty/no-side"), "the plugin has no side process `ehco`: it has `echo`");
    let path = first["side"]["Ok"].as_str().unwrap_or_else(|| panic!("{first}")).to_owned();
    let sides = || {
        let output = paster().args(["ps", "--json"]).current_dir(folder.path()).output().unwrap();
        let ps: Value = serde_json::from_slice(&output.stdout).unwrap();
        ps["side_processes"].as_array().unwrap().clone()
    };
    let side = || sides().into_iter().find(|side| side["name"] == "echo").unwrap()["pid"].as_u64();
    let (before, old) = (side(), pid(&serving));
    assert!(before.is_some());
    for generation in [2, 3] {
        restart(&mut serving, folder.path());
        let mut seen = std::collections::BTreeSet::from([pid(&serving)]);
        // While one has a request in flight, the other one gets the next.
        let mut hanging = std::net::TcpStream::connect(serving.address()).unwrap();
        hanging.write_all(b"GET /faulty/wait HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        wait_until("both processes have answered", || {
            let told = about(&serving);
            assert_eq!(told["generation"], generation);
            assert_eq!(told["saved"], format!("saved by generation {}", generation - 1));
            assert_eq!((told["side"]["Ok"].as_str(), side()), (Some(&*path), before));
            seen.insert(pid(&serving));
            seen.len() == 2
        });
    }
    wait_until("the old one ends", || !runs(old));
    // The processes answer a new program too, which takes over from the one that has started them.
    serving.signal("USR2");
    serving.wait_for("reloaded");
    let told = about(&serving);
    assert_eq!((&told["generation"], &told["saved"]), (&4.into(), &"saved by generation 3".into()));
    assert_eq!((told["side"]["Ok"].as_str(), side()), (Some(&*path), before));
    // A process that has crashed starts without a state, as a worker.
    let _ = Connection::open(serving.address()).get("/faulty/abort");
    wait_until("it has started again", || about(&serving)["saved"] == Value::Null);
    assert_eq!((serving.stop(), std::path::Path::new(&path).exists()), (Some(0), false));
}

#[test]
fn a_state_that_is_not_saved_in_time_is_missing() {
    let isolation = "isolation = \"process\"\n[app.faulty.settings]\nblocks = [\"save_state\", \"retire\"]\n";
    let folder = folder(&[("server.toml", &config(isolation, ""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let old = pid(&serving);
    restart(&mut serving, folder.path());
    let told = about(&serving);
    assert_eq!((&told["generation"], &told["saved"]), (&2.into(), &Value::Null));
    wait_until("the old process ends", || !runs(old));
    assert!(serving.stderr().contains("`save_state` has not returned"), "{}", serving.stderr());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn tasks_and_commands_of_a_plugin_run_in_its_process() {
    let site = Site::faulty(
        "isolation = { processes = 2, stuck_secs = 1 }\n[task.greet]\ntask = \"greet\"\narguments = { name = \"Ada\" }\n\
         [task.fail]\ntask = \"fail\"\n[task.panic]\ntask = \"panic\"\n\
         [task.hang]\ntask = \"hang\"\ntimeout_secs = 3\n[task.ask]\nrequest = \"GET /say\"\n\
         [task.often]\nevery = \"100ms\"\ntask = \"greet\"\n",
    );
    let mut serving = site.serve(&[]);
    let often = serving.wait_for_one("task_ended", |event| event["name"] == "often");
    assert_eq!((&often["ok"], &often["text"]), (&true.into(), &"hello nobody".into()));
    assert_eq!(site.text(&["task", "run", "greet", "--wait"]), "hello Ada\n");
    assert!(site.text(&["task", "run", "ask", "--wait"]).contains("said"));
    assert!(site.failure(&["task", "run", "fail", "--wait"]).1.contains("failed: the store is gone"));
    assert!(site.failure(&["task", "run", "panic", "--wait"]).1.contains("a task fell"));
    // One that takes too long is dropped, but is no request that hangs.
    assert!(site.failure(&["task", "run", "hang", "--wait"]).1.contains("stopped after 3 s"));
    wait_until("it is dropped", || get(&serving, "/counters").contains("\"dropped\":1"));
    let ps = site.json(&["ps"]);
    assert_eq!(ps["side_processes"][0]["restarts"], 0, "{ps}");
    assert_eq!(ps["supervisor"]["generation"], 1, "{ps}");
    let run = |word: &str| site.run(&["run", "main", "server.toml", "--", word]);
    assert_eq!(text(&run("a").stdout), "[\"a\"]\n");
    assert_eq!(run("long").stdout.len(), 100_001, "the whole text");
    assert!(text(&run("fail").stderr).contains("the store is gone"));
    // A client cannot call it.
    let head = "POST /environ HTTP/1.1\r\nHost: a\r\nPaster-Call: \"List\"\r\nContent-Length: 0\r\n\r\n";
    assert!(!Connection::open(serving.address()).request(head).1.contains("greet"));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_task_whose_process_crashes_has_failed() {
    let site = Site::faulty("isolation = \"process\"\n[task.hang]\ntask = \"hang\"\n");
    let mut serving = site.serve(&[]);
    site.text(&["task", "run", "hang"]);
    wait_until("it runs", || get(&serving, "/counters").contains("\"started\":1"));
    let _ = Connection::open(serving.address()).get("/abort");
    let ended = serving.wait_for_one("task_ended", |event| event["name"] == "hang");
    assert_eq!(ended["ok"], false);
    assert!(ended["text"].as_str().unwrap().contains("process"), "{ended}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn an_isolated_plugin_must_have_the_task() {
    let site = Site::faulty("isolation = \"process\"\n[task.greet]\ntask = \"gret\"\n");
    let (code, error) = site.failure(&["serve"]);
    assert!(code == 78 && error.contains("server.toml:10:8"), "{error}");
    assert!(error.contains("the app `main` has no task `gret`") && error.contains("`greet`?"), "{error}");
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
