//! `paster serve` as a process: start, signals, exit codes, workers that come and go.

use std::process::Stdio;

use crate::support::{Connection, Serving, folder, get, paster, runs, wait_until};

const HELLO: &str = r#"
[server.main]
use = "http"
listen = ["127.0.0.1:0"]
[app.main]
use = "respond"
body = "hello"
"#;

/// The same config with another text.
fn saying(text: &str) -> String {
    HELLO.replace("hello", text)
}

#[test]
fn starts_serves_and_ends_on_term() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    assert_eq!(get(&serving, "/"), "hello");
    let workers = serving.children();
    assert_eq!(workers.len(), 1);
    assert_eq!(serving.stop(), Some(0));
    assert!(!runs(workers[0]));
}

#[test]
fn int_ends_it_too() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let _idle = Connection::open(serving.address());
    serving.signal("INT");
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let check = |files: &[(&str, &str)], args: &[&str], code: i32, word: &str| {
        let folder = folder(files);
        let output = paster().arg("serve").args(args).current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(word), "{stderr}");
    };
    check(&[], &[], 78, "server.toml");
    check(&[("server.toml", HELLO)], &["--nonsense"], 2, "--nonsense");
    check(&[("server.toml", HELLO)], &["--server", "mian"], 2, "did you mean `main`?");
    check(&[("server.toml", &HELLO.replace("respond", "respnd"))], &[], 78, "did you mean `respond`?");
    check(&[("server.toml", &HELLO.replace("listen", "lisen"))], &[], 78, "did you mean `listen`?");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check(&[("server.toml", HELLO)], &["--listen", &address], 1, "another port");
    check(&[("server.toml", HELLO)], &["--listen", &address, "--reload"], 1, "another port");
}

#[test]
fn flags_choose_server_app_and_address() {
    let text = format!(
        "{HELLO}[server.other]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.admin]\nuse = \"respond\"\nbody = \"admin\"\n"
    );
    let folder = folder(&[("server.toml", &text)]);
    let path = folder.path().join("here.sock");
    let listen = format!("unix:{}", path.display());
    let both = Serving::start(folder.path(), &[]);
    assert_eq!(both.urls.len(), 2);
    let one = Serving::start(folder.path(), &["--server", "main", "--app", "admin"]);
    assert_eq!((one.urls.len(), get(&one, "/").as_str()), (1, "admin"));
    let mut unix = Serving::start(folder.path(), &["--server", "main", "--listen", &listen]);
    assert!(path.exists());
    assert_eq!(unix.stop(), Some(0));
    assert!(!path.exists(), "the socket's file goes with the server");
}

#[test]
fn hup_switches_and_passes_connections_on() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let mut connection = Connection::open(serving.address());
    assert_eq!(connection.get("/").1, "hello");
    for generation in 2..=4 {
        let text = format!("hello {generation}");
        std::fs::write(folder.path().join("server.toml"), saying(&text)).unwrap();
        serving.signal("HUP");
        assert_eq!(serving.wait_for("reloaded")["generation"], generation);
        wait_until("the new generation has the connection", || connection.get("/").1 == text);
        assert_eq!(get(&serving, "/"), text);
    }
    wait_until("the old workers are gone", || serving.children().len() == 1);
}

#[test]
fn a_changed_config_keeps_adds_and_closes_sockets() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let address = serving.address().to_owned();
    let more = format!("{HELLO}[server.more]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n");
    std::fs::write(folder.path().join("server.toml"), more).unwrap();
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let added = serving.urls["more"].trim_start_matches("http://").to_owned();
    assert_eq!(Connection::open(&added).get("/").1, "hello");
    assert_eq!(Connection::open(&address).get("/").1, "hello", "kept");
    std::fs::write(folder.path().join("server.toml"), HELLO).unwrap();
    serving.signal("HUP");
    serving.wait_for("reloaded");
    wait_until("the removed socket is closed", || std::net::TcpStream::connect(&added).is_err());
    assert_eq!(Connection::open(&address).get("/").1, "hello", "kept again");
}

#[test]
fn a_broken_config_leaves_the_old_generation() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    std::fs::write(folder.path().join("server.toml"), HELLO.replace("respond", "respnd")).unwrap();
    serving.signal("HUP");
    let failed = serving.wait_for("reload_failed");
    assert_eq!(failed["generation"], 1);
    assert_eq!(failed["errors"][0]["helps"][0], "did you mean `respond`?");
    assert_eq!(failed["errors"][0]["origin"]["line"], 6);
    assert_eq!(get(&serving, "/"), "hello");
    std::fs::write(folder.path().join("server.toml"), saying("mended")).unwrap();
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    assert_eq!(get(&serving, "/"), "mended");
}

#[test]
fn a_killed_worker_is_replaced_while_the_socket_stays_open() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    for _ in 0..3 {
        let worker = serving.children()[0];
        // Waits in the kernel's queue until the next worker accepts.
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(worker.cast_signed()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        assert_eq!(get(&serving, "/"), "hello");
        let exit = serving.wait_for("worker_exit");
        assert_eq!((exit["pid"].as_u64(), exit["expected"].as_bool()), (Some(worker.into()), Some(false)));
        let ready = serving.wait_for("worker_ready");
        assert_eq!((ready["generation"].as_u64(), ready["reason"].as_str()), (Some(1), Some("ended")));
    }
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut serving = Serving::start(folder.path(), &[]);
    let workers = serving.children();
    serving.kill();
    wait_until("its workers are gone", || !workers.iter().any(|worker| runs(*worker)));
}

#[test]
fn people_read_plain_lines() {
    let folder = folder(&[("server.toml", HELLO)]);
    let mut command = paster();
    command.arg("serve").current_dir(folder.path()).stdin(Stdio::null());
    let mut serving = Serving::launch(command);
    wait_until("it is ready", || serving.stderr().contains("ready in"));
    assert!(serving.stderr().contains("serving http://127.0.0.1:"), "{}", serving.stderr());
    assert!(!serving.stderr().contains('\x1b'), "no colours in a pipe");
    assert_eq!(serving.stop(), Some(0));
}
