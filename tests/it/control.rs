//! The control socket and the commands that use it, over the real program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::support::{Connection, Serving, paster, patience, plugin, read_until, save, wait_until};

/// A folder with a config, and a separate folder for control sockets.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(config: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.toml"), config).unwrap();
        Site { folder }
    }

    /// The plugin `faulty` with additional tables.
    pub(crate) fn faulty(more: &str) -> Site {
        Site::new(&format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\n\
             library = {:?}\nmiddleware = [\"request_id\", \"headers\"]\n{more}",
            plugin("faulty")
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let mut command = paster();
        command.env("XDG_RUNTIME_DIR", self.path()).current_dir(self.path());
        command
    }

    pub(crate) fn serve(&self, args: &[&str]) -> Serving {
        let mut command = self.command();
        command.arg("serve").arg("--json").args(args);
        Serving::spawn(command)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Standard output of a command, which must succeed.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with `--json`, parsed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).unwrap()
    }

    /// Exit code and standard error of a command, which must fail.
    pub(crate) fn failure(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// The requests in flight.
    fn in_flight(&self) -> Vec<Value> {
        self.json(&["top"])["requests"].as_array().unwrap().clone()
    }

    /// Waits until this many requests are in flight and returns them.
    pub(crate) fn wait_in_flight(&self, count: usize) -> Vec<Value> {
        let mut requests = Vec::new();
        wait_until("the requests are in flight", || {
            requests = self.in_flight();
            requests.len() == count
        });
        requests
    }
}

const HELLO: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

/// Sends a request and does not read the response.
fn begin(serving: &Serving, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text); // a reset ends it too
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn ps_shows_the_processes_and_what_they_do() {
    let site = Site::faulty("[process]\nworkers = 2\n");
    let mut serving = site.serve(&[]);
    assert!(Connection::open(serving.address()).get("/host").1.contains("side"));
    let ps = site.json(&["ps"]);
    let of = &ps["supervisor"];
    assert_eq!(of["pid"], serving.pid());
    assert_eq!((of["state"].as_str(), of["generation"].as_u64()), (Some("serving"), Some(1)));
    assert_eq!(of["listening"][0][1].as_str().unwrap().trim_end_matches('/'), serving.url());
    assert_eq!(of["config"], site.path().join("server.toml").canonicalize().unwrap().to_str().unwrap());
    let workers = ps["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    let requests: u64 = workers.iter().map(|one| one["load"]["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 1);
    for worker in workers {
        assert!(serving.children().contains(&(worker["pid"].as_u64().unwrap() as u32)));
        assert!(worker["memory_bytes"].as_u64().unwrap() > 1 << 20, "{worker}");
    }
    let side = &ps["side_processes"][0];
    assert_eq!((side["app"].as_str(), side["name"].as_str()), (Some("main"), Some("echo")));
    assert!(serving.children().contains(&(side["pid"].as_u64().unwrap() as u32)));
    let text = site.text(&["ps", "server.toml"]);
    for word in ["serving generation 1", "WORKER", "SIDE PROCESS", "echo"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let routes = site.text(&["routes", "--running"]);
    assert!(routes.contains(serving.address()) && routes.contains("request_id → headers → main"), "{routes}");
    assert_eq!(serving.stop(), Some(0));
    assert!(std::fs::read_dir(site.path().join("paster")).unwrap().next().is_none(), "no socket is left");
    assert_eq!(site.failure(&["ps"]).0, 1);
}

#[test]
fn requests_in_flight_are_listed_and_dropped() {
    let site = Site::faulty("");
    let serving = site.serve(&[]);
    let (first, second) = (begin(&serving, "/wait?secret=1"), begin(&serving, "/wait"));
    let requests = site.wait_in_flight(2);
    let one = &requests[0];
    assert_eq!((one["method"].as_str(), one["path"].as_str()), (Some("GET"), Some("/wait")), "no query");
    assert_eq!((one["app"].as_str(), one["middleware"].as_str()), (Some("main"), None), "{one}");
    assert_eq!((one["client"].as_str(), one["phase"].as_str()), (Some("127.0.0.1"), Some("answering")));
    assert_eq!((one["generation"].as_u64(), one["server"].as_str()), (Some(1), Some("main")));
    let table = site.text(&["top", "--once"]);
    assert!(table.contains("REQUEST") && table.contains("/wait"), "{table}");

    // By its number, then by the id that `request_id` set.
    let done = site.json(&["cancel", one["id"].as_str().unwrap()]);
    assert_eq!(done["cancelled"], serde_json::json!([one["id"]]));
    let other = requests[1]["request_id"].as_str().unwrap();
    site.text(&["cancel", other]);
    // Which of them was which cannot be seen.
    assert!(rest(first).starts_with("HTTP/1.1 503 "));
    assert!(rest(second).starts_with("HTTP/1.1 503 "));
    wait_until("the plugin's futures are dropped", || {
        Connection::open(serving.address()).get("/counters").1.contains("\"dropped\":2")
    });
    let (code, error) = site.failure(&["cancel", other]);
    assert!(code == 1 && error.contains("is in flight") && error.contains("paster top"), "{error}");
}

#[test]
fn a_request_is_dropped_in_the_middle_of_its_answer() {
    let site = Site::faulty("");
    let serving = site.serve(&[]);
    let mut stream = begin(&serving, "/endless");
    let mut chunk = [0; 1000];
    stream.read_exact(&mut chunk).unwrap();
    let requests = site.wait_in_flight(1);
    assert_eq!(
        (requests[0]["path"].as_str(), requests[0]["phase"].as_str()),
        (Some("/endless"), Some("sending"))
    );
    site.text(&["cancel", requests[0]["id"].as_str().unwrap()]);
    let text = rest(stream);
    assert!(!text.ends_with("0\r\n\r\n"), "a cut answer must not look whole");
    site.wait_in_flight(0);
}

#[test]
fn reload_waits_and_tells_what_is_wrong_and_rollback_goes_back() {
    let site = Site::new(HELLO);
    let serving = site.serve(&[]);
    let config = site.path().join("server.toml");
    save(&config, &HELLO.replace("hello", "second"));
    assert_eq!(site.json(&["reload", "--wait"])["generation"], 2);
    assert_eq!(Connection::open(serving.address()).get("/").1, "second");
    save(&config, &HELLO.replace("respond", "respnd"));
    let (code, error) = site.failure(&["reload", "--wait"]);
    assert!(
        code == 78 && error.contains("server.toml:5:7") && error.contains("did you mean `respond`?"),
        "{error}"
    );
    let output = site.run(&["reload", "--wait", "--json"]);
    let errors: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), errors["errors"][0]["origin"]["line"].as_u64()), (Some(78), Some(5)));
    assert_eq!(Connection::open(serving.address()).get("/").1, "second", "the old one serves on");
    let text = site.text(&["rollback", "--wait"]);
    assert!(text.contains("generation 3 is serving"), "{text}");
    assert_eq!(Connection::open(serving.address()).get("/").1, "hello");
    site.text(&["rollback", "--wait"]);
    assert_eq!(Connection::open(serving.address()).get("/").1, "second", "and forward again");
    save(&config, HELLO);
    assert!(site.text(&["reload"]).contains("started"));
    wait_until("it serves", || site.json(&["ps"])["supervisor"]["generation"] == 5);
    let of = site.json(&["ps"])["supervisor"].clone();
    assert_eq!((of["switches"].as_u64(), of["failures"].as_u64()), (Some(5), Some(2)));
}

#[test]
fn reload_waits_for_its_own_generation_while_the_one_before_still_rolls() {
    let config = |body| HELLO.replace("hello", body) + "[process]\nworkers = 2\nrolling = true\n";
    let site = Site::new(&config("first"));
    let serving = site.serve(&[]);
    let last = site.json(&["ps"])["workers"][1]["pid"].as_u64().unwrap() as u32;
    // It does not save its state, which its replacement waits for.
    signal(last, rustix::process::Signal::STOP);
    save(&site.path().join("server.toml"), &config("second"));
    serving.signal("HUP");
    let answers = |body| Connection::try_get(serving.address(), "/").as_deref() == Some(body);
    wait_until("the first of generation 2 serves", || answers("second"));
    save(&site.path().join("server.toml"), &config("third"));
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| site.json(&["reload", "--wait"]));
        wait_until("the first of generation 3 serves", || answers("third"));
        signal(last, rustix::process::Signal::CONT);
        answer.join().unwrap()
    });
    assert_eq!(answer["generation"], 3);
}

#[test]
fn a_rollback_needs_a_generation_before() {
    let site = Site::new(HELLO);
    let _serving = site.serve(&[]);
    let (code, error) = site.failure(&["rollback", "--wait"]);
    assert!(code == 1 && error.contains("no previous generation"), "{error}");
}

#[test]
fn logs_show_all_processes_and_follow() {
    let site = Site::faulty("");
    let mut serving = site.serve(&[]);
    begin(&serving, "/wait");
    wait_until("the worker's line is there", || site.text(&["logs"]).contains("waits for ever"));
    let lines = site.text(&["logs", "--json", "--lines", "1000"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |word: &str| lines.iter().find(|line| line["text"].as_str().unwrap().contains(word)).unwrap();
    assert_eq!(of("ready in")["from"], "supervisor");
    assert!(of("waits for ever")["from"].as_str().unwrap().starts_with("worker "), "{lines:?}");
    assert_eq!(site.text(&["logs", "-n", "1"]).lines().count(), 1);

    let mut follow = site.command();
    let mut follow = follow.args(["logs", "-f", "-n", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut following = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Events after it has connected arrive; until then, the event is repeated.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let site = &site;
        let follows = follow.id();
        scope.spawn(move || {
            let end = Instant::now() + patience();
            while stopped.try_recv().is_err() {
                site.text(&["reload", "--wait"]);
                if Instant::now() > end {
                    return signal(follows, rustix::process::Signal::KILL); // which ends its lines
                }
            }
        });
        let line = following.next();
        let _ = stop.send(()); // it has given up
        assert!(line.expect("a line").unwrap().contains("supervisor"));
    });
    serving.stop();
    assert!(following.any(|line| line.unwrap().contains("stopping on TERM")));
    assert!(follow.wait().unwrap().success(), "it ends with the server");
}

#[test]
fn stop_ends_the_server() {
    let site = Site::faulty("");
    let mut serving = site.serve(&[]);
    assert!(site.text(&["stop", "--wait"]).contains("has stopped"));
    assert_eq!(serving.end(), Some(0));

    let mut serving = site.serve(&[]);
    let hanging = begin(&serving, "/wait");
    site.wait_in_flight(1);
    assert!(site.text(&["stop"]).contains("is stopping"), "in flight: it goes on for grace_secs");
    assert_eq!(site.json(&["ps"])["supervisor"]["state"], "stopping");
    assert!(site.failure(&["reload"]).1.contains("stopping"));
    site.text(&["stop", "--fast", "--wait"]);
    assert_eq!(serving.end(), Some(0));
    drop(hanging);
}

/// The default control socket of a server.
fn socket(site: &Site, serving: &Serving) -> PathBuf {
    site.path().join(format!("paster/{}.sock", serving.pid()))
}

#[test]
fn servers_are_found_by_config_by_socket_and_alone() {
    let site = Site::new(HELLO);
    std::fs::write(
        site.path().join("other.toml"),
        HELLO.to_owned() + "[process]\ncontrol = \"c/own.sock\"\n",
    )
    .unwrap();
    std::fs::create_dir(site.path().join("c")).unwrap();
    let one = site.serve(&[]);
    let mut two = site.serve(&["other.toml"]);
    assert_eq!(socket(&site, &one).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.path().join("paster").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let pid =
        |args: &[&str]| site.json(&[&["ps"], args].concat())["supervisor"]["pid"].as_u64().unwrap() as u32;
    assert_eq!(pid(&["other.toml"]), two.pid());
    assert_eq!(pid(&["--control", socket(&site, &two).to_str().unwrap()]), two.pid());
    assert_eq!(pid(&["--control", "c/own.sock"]), two.pid(), "the one that the config names");
    assert_eq!(pid(&[]), one.pid(), "that of ./server.toml");
    let elsewhere = tempfile::tempdir().unwrap();
    let output = site.command().arg("ps").current_dir(elsewhere.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("2 servers are running: choose one") && error.contains("other.toml"), "{error}");
    two.kill();
    let output = site.command().arg("ps").current_dir(elsewhere.path()).output().unwrap();
    assert!(output.status.success(), "a killed server is not counted");
    let (code, error) = site.failure(&["ps", "other.toml"]);
    assert!(code == 1 && error.contains("no server responds at"), "{error}");
    let _again = site.serve(&["other.toml"]);
    assert!(
        site.run(&["ps", "--control", "c/own.sock"]).status.success(),
        "what a killed one left is replaced"
    );
}

/// Sends one line and returns the answer.
fn say(stream: &UnixStream, line: &str) -> Value {
    (&mut &*stream).write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn bad_and_slow_clients_harm_nobody() {
    let site = Site::new(HELLO);
    let serving = site.serve(&[]);
    let connect = || {
        let stream = UnixStream::connect(socket(&site, &serving)).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream
    };
    let silent: Vec<_> = (0..20).map(|_| connect()).collect();
    (&mut &silent[0]).write_all(b"{\"paster\":1,").unwrap();
    // A client that asks for much and reads nothing.
    for _ in 0..200 {
        if (&mut &silent[1]).write_all(b"{\"paster\":1,\"ask\":\"ps\"}\n").is_err() {
            break;
        }
    }
    assert_eq!(site.json(&["ps"])["supervisor"]["state"], "serving");
    let refused = [
        ("no json\n", "does not know this request"),
        ("{\"paster\":2,\"ask\":\"ps\"}\n", "version 1 of the control protocol"),
        ("{\"paster\":1,\"ask\":\"fly\"}\n", "does not know this request"),
    ];
    for (line, reason) in refused {
        let answer = say(&connect(), line);
        assert!(answer["failed"][0]["message"].as_str().unwrap().contains(reason), "{answer}");
    }
    let long = connect();
    let _ = (&mut &long).write_all(&vec![b'x'; 1 << 20]); // it may close before it has all
    let mut answer = String::new();
    let _ = BufReader::new(&long).read_line(&mut answer); // what was unread may reset the connection
    assert!(answer.is_empty() || answer.contains("too long"), "{answer}");
    let several = connect();
    assert_eq!(say(&several, "{\"paster\":1,\"ask\":\"hello\"}\n")["done"]["pid"], serving.pid());
    assert!(say(&several, "{\"paster\":1,\"ask\":\"tasks\"}\n")["done"].as_array().unwrap().is_empty());
}

#[test]
fn the_live_view_looks_as_often_as_the_server_waits_for() {
    let site = Site::new(HELLO);
    for wrong in ["90", "0", "-1", "NaN", "often"] {
        let (code, error) = site.failure(&["top", &format!("--every={wrong}")]);
        assert!(code == 2 && error.contains("a number from 0.1 to 30"), "{error}");
    }
}

#[test]
fn the_live_view_shows_and_is_left_with_q() {
    let site = Site::faulty("");
    let serving = site.serve(&[]);
    let _waits = begin(&serving, "/wait");
    site.wait_in_flight(1);
    let line = format!("stty rows 30 cols 120; {} top --every 0.1", env!("CARGO_BIN_EXE_paster"));
    // `script` gives it a terminal.
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(site.path());
    script.env("XDG_RUNTIME_DIR", site.path()).env("TERM", "xterm-256color");
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut screen = script.stdout.take().unwrap();
    let shown = read_until(&mut screen, |shown| shown.contains("requests/s") && shown.contains("/wait"));
    script.stdin.take().unwrap().write_all(b"q").unwrap();
    let mut left = Vec::new();
    screen.read_to_end(&mut left).unwrap();
    assert!(script.wait().unwrap().success(), "{shown}");
}
