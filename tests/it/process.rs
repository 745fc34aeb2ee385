//! The table `[process]`: hung and worn-out workers, users, limits, the pid file, and notifications to
//! systemd.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio_tungstenite::tungstenite;

use crate::control::Site;
use crate::support::{Connection, Serving, folder, get, paster, patience, plugin, runs, wait_until};
use crate::workers::config;

/// Sends a request and does not wait for a response.
fn ask(serving: &Serving, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    stream
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The value of a line of `/proc/PID/FILE`.
fn about(pid: u32, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[test]
fn a_hung_worker_is_replaced_and_named_with_what_it_did() {
    let folder = folder(&[("server.toml", &config("workers = 2\nthreads = 1\nheartbeat_secs = 1"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let _waiting = ask(&serving, "/block");
    let hung = serving.wait_for("worker_hung");
    assert!(hung["doing"][0].as_str().unwrap().starts_with("GET /block ("), "{hung}");
    assert_eq!(serving.wait_for("worker_ready")["reason"], "hung");
    let exit = serving.wait_for("worker_exit");
    assert_eq!((&exit["pid"], &exit["expected"]), (&hung["pid"], &true.into()));

    // A worker that sends nothing at all.
    let victim = serving.children()[0];
    signal(victim, rustix::process::Signal::STOP);
    assert_eq!(serving.wait_for("worker_hung")["pid"], victim);
    assert_eq!(serving.wait_for("worker_exit")["pid"], victim);
    assert!(!get(&serving, "/pid").is_empty());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_worker_with_one_held_thread_is_replaced_and_its_other_threads_finish() {
    let text = config("threads = 2\nheartbeat_secs = 1\ngrace_secs = 1");
    let folder = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let old = serving.children();
    let _waiting = ask(&serving, "/block");
    serving.wait_for("worker_hung");
    assert_eq!(serving.wait_for("worker_ready")["reason"], "hung");
    serving.wait_for("worker_exit");
    assert!(!runs(old[0]));
    assert!(!get(&serving, "/pid").is_empty());
}

#[test]
fn a_spent_worker_is_replaced_without_losing_a_request() {
    let folder = folder(&[("server.toml", &config("workers = 2\nheartbeat_secs = 1\nmax_requests = 100"))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let clients: Vec<_> = (0..3)
        .map(|number| {
            let (address, stop, answered) = (serving.address().to_owned(), stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut connection = Connection::open(&address);
                while !stop.load(Relaxed) {
                    let (head, _) = connection.get("/pid");
                    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
                    answered.fetch_add(1, Relaxed);
                    if number == 0 || head.to_ascii_lowercase().contains("connection: close") {
                        connection = Connection::open(&address);
                    }
                }
            })
        })
        .collect();
    for _ in 0..4 {
        let ready = serving.wait_for("worker_ready");
        assert_eq!((&ready["reason"], &ready["generation"]), (&"requests".into(), &1.into()));
    }
    stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("a request was lost"));
    assert!(answered.load(Relaxed) > 200);
}

#[test]
fn growth_and_age_end_a_worker_too() {
    let text = config("heartbeat_secs = 1\nmax_growth_mib = 24");
    let folder = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(folder.path(), &[]);
    // Growth is measured from the first reading.
    wait_until("its growth is seen", || {
        get(&serving, "/grow");
        let children = serving.children();
        children.len() > 1
    });
    assert_eq!(serving.wait_for("worker_ready")["reason"], "growth");
    std::fs::write(folder.path().join("server.toml"), config("heartbeat_secs = 1\nmax_age_secs = 1"))
        .unwrap();
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let ready = serving.wait_for("worker_ready");
    assert_eq!((ready["reason"].as_str(), ready["generation"].as_u64()), (Some("age"), Some(2)));
}

#[test]
fn workers_and_side_processes_run_as_the_user_within_the_limits() {
    let root = rustix::process::geteuid().is_root();
    let text = config(
        "user = \"nobody\"\numask = \"027\"\n[process.limits]\nopen_files = 512\ncore_mib = 1\naddress_space_mib = 65536",
    );
    let folder = folder(&[("server.toml", &text)]);
    if !root {
        let output = paster().arg("serve").current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains("only root can run its workers as user `nobody`"), "{stderr}");
        return;
    }
    let mut serving = Serving::start(folder.path(), &[]);
    let host = get(&serving, "/host");
    assert!(host.contains("\"Ok\""), "the side process can be reached: {host}");
    wait_until("the side process has taken its standing", || {
        serving.children().into_iter().all(|pid| !about(pid, "status", "Uid:").starts_with('0'))
    });
    let children = serving.children();
    assert_eq!(children.len(), 2);
    for pid in children {
        let ids = about(pid, "status", "Uid:");
        assert!(ids.split_whitespace().all(|id| id == "65534"), "{ids}");
        assert!(!about(pid, "status", "Gid:").split_whitespace().any(|id| id == "0"));
        assert!(!about(pid, "status", "Groups:").split_whitespace().any(|id| id == "0"));
        assert_eq!(about(pid, "status", "CapEff:"), "0000000000000000");
        assert_eq!(about(pid, "status", "Umask:"), "0027");
        assert!(about(pid, "limits", "Max open files").starts_with("512 "));
        assert!(about(pid, "limits", "Max core file size").starts_with("1048576 "));
        assert!(about(pid, "limits", "Max address space").starts_with("68719476736 "));
    }
    // They still end with a killed supervisor, although the kernel clears that setting when the user changes.
    let children = serving.children();
    serving.kill();
    wait_until("all have ended", || !children.iter().any(|pid| runs(*pid)));
}

#[test]
fn bad_users_and_masks_are_told_together() {
    let folder = folder(&[("server.toml", &config("user = \"no-such-user\"\numask = \"9\""))]);
    let output = paster().arg("serve").current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    for word in ["no user `no-such-user`", "`9` is not a file mode creation mask", "server.toml:2:"] {
        assert!(stderr.contains(word), "{word} in {stderr}");
    }
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    let folder = folder(&[("server.toml", &config(""))]);
    let serving = Serving::start(folder.path(), &[]);
    let limits = about(serving.children()[0], "limits", "Max open files");
    let values: Vec<_> = limits.split_whitespace().collect();
    assert_eq!(values[0], values[1], "{limits}");
}

#[test]
fn the_pid_file_is_locked_and_goes_at_the_end() {
    let folder = folder(&[("server.toml", &config("pid_file = \"run.pid\""))]);
    let path = folder.path().join("run.pid");
    let pid = || std::fs::read_to_string(&path).unwrap().trim().to_owned();
    let mut serving = Serving::start(folder.path(), &[]);
    assert_eq!(pid(), serving.pid().to_string());
    let second = paster().arg("serve").current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("process {}", serving.pid())), "{stderr}");
    serving.kill();
    assert!(path.exists(), "a killed one leaves it behind");
    let mut next = Serving::start(folder.path(), &[]);
    assert_eq!(pid(), next.pid().to_string());
    assert_eq!(next.stop(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_rollback_takes_the_pid_file_of_then() {
    let text = |name: &str| config(&format!("pid_file = {name:?}"));
    let site = Site::new(&text("one.pid"));
    let mut serving = site.serve(&[]);
    let held = |name: &str| std::fs::read_to_string(site.path().join(name)).ok();
    let own = Some(format!("{}\n", serving.pid()));
    std::fs::write(site.path().join("server.toml"), text("two.pid")).unwrap();
    site.text(&["reload", "--wait"]);
    assert_eq!((held("one.pid"), held("two.pid")), (None, own.clone()));
    site.text(&["rollback", "--wait"]);
    assert_eq!((held("one.pid"), held("two.pid")), (own, None));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_pid_file_that_is_a_link_is_refused() {
    let folder = folder(&[("server.toml", &config("pid_file = \"run.pid\"")), ("precious", "text")]);
    for name in ["precious", "nowhere"] {
        let path = folder.path().join("run.pid");
        std::os::unix::fs::symlink(name, &path).unwrap();
        let mut command = paster();
        command.args(["serve", "--json"]).current_dir(folder.path());
        let mut serving = Serving::launch(command);
        let failed = serving.wait_for("failed");
        assert!(failed.to_string().contains("the path is a symbolic link"), "{failed}");
        assert_eq!(serving.end(), Some(1));
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("precious")).unwrap(), "text");
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn systemd_is_told() {
    let folder = folder(&[("server.toml", &config(""))]);
    let path = folder.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    let until = |word: &str| {
        let (mut message, end) = ([0; 1024], Instant::now() + patience());
        loop {
            assert!(Instant::now() < end, "no {word}");
            let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("no {word}: {error}"));
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(word)) {
                return text;
            }
        }
    };
    let mut command = paster();
    command.args(["serve", "--json"]).current_dir(folder.path());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut serving = Serving::spawn(command);
    until(&format!("MAINPID={}", serving.pid()));
    assert!(until("READY=1").contains("STATUS=generation 1 serves"));
    until("WATCHDOG=1");
    serving.signal("HUP");
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(until("READY=1").contains("STATUS=generation 2 serves"));
    std::fs::write(folder.path().join("server.toml"), "[server.main]\nuse = \"htp\"\n").unwrap();
    serving.signal("HUP");
    until("RELOADING=1");
    assert!(until("READY=1").contains("STATUS=generation 2 keeps serving: "));
    // The worker of an attempt that failed, or of generation 1, may be ending. A live one has an environment.
    let environ = |pid| std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
    let environ = serving.children().into_iter().map(environ).find(|text| !text.is_empty()).unwrap();
    assert!(!environ.contains("NOTIFY_SOCKET"), "only the supervisor speaks to it");
    assert_eq!(serving.stop(), Some(0));
    until("STOPPING=1");
}

#[test]
fn usr1_opens_log_files_anew() {
    let text = config("workers = 2").replace("library", "middleware = [\"log\"]\nlibrary")
        + "[middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\n";
    let folder = folder(&[("server.toml", &text)]);
    let serving = Serving::start(folder.path(), &[]);
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    get(&serving, "/pid?before");
    wait_until("it is written", || read(&path).contains("before"));
    std::fs::rename(&path, &moved).unwrap();
    serving.signal("USR1");
    wait_until("the file is there again", || {
        get(&serving, "/pid?after");
        read(&path).contains("after")
    });
    assert!(read(&moved).contains("before"));
}

#[test]
fn web_sockets_may_be_asked_to_come_back_at_once() {
    let text = config("websockets = \"drain\"")
        .replace(&format!("{:?}", plugin("faulty")), &format!("{:?}", plugin("hello")));
    let folder = folder(&[("server.toml", &text)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{}/ws", serving.address()), stream).unwrap();
    socket.send(tungstenite::Message::text("one")).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "one");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    while socket.read().is_ok() {}
    wait_until("the old worker is gone", || serving.children().len() == 1);
}

/// A WebSocket that has received one message.
fn web_socket(serving: &Serving) -> tungstenite::WebSocket<TcpStream> {
    let stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{}/ws", serving.address()), stream).unwrap();
    echo(&mut socket);
    socket
}

fn echo(socket: &mut tungstenite::WebSocket<TcpStream>) {
    socket.send(tungstenite::Message::text("one")).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "one");
}

/// Reads until the server has closed.
fn closed(socket: &mut tungstenite::WebSocket<TcpStream>) {
    let end = loop {
        if let Err(error) = socket.read() {
            break error;
        }
    };
    let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!matches!(&end, tungstenite::Error::Io(error) if timed_out(error)), "{end}");
}

#[test]
fn an_old_generation_is_drained_after_its_time_or_when_there_are_too_many() {
    let start = |process: &str| {
        let text = config(process);
        let text = text.replace(&format!("{:?}", plugin("faulty")), &format!("{:?}", plugin("hello")));
        let folder = folder(&[("server.toml", &text)]);
        (Serving::start(folder.path(), &[]), folder)
    };
    let (mut serving, _folder) = start("drain_secs = 1");
    let mut socket = web_socket(&serving);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    closed(&mut socket);

    let (mut serving, _folder) = start("max_lingering = 1");
    let (mut first, mut second) = (web_socket(&serving), None);
    for _ in 0..2 {
        echo(&mut first);
        serving.signal("HUP");
        serving.wait_for("reloaded");
        second.get_or_insert_with(|| web_socket(&serving));
    }
    closed(&mut first);
    echo(&mut second.unwrap());
}
