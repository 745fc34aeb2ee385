//! What a worker leaves behind when it ends: programs with their own children, and daemons.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{Connection, Serving, get, paster, plugin, runs, save, wait_until};
use crate::workers::{config, kill};

const PROGRAM: &str = r#"#!/bin/sh
case "$PATH_INFO" in
    /long) trap '' TERM
           sleep 1000 & echo $! > child.pid
           setsid sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > daemon.pid
           echo $$ > lead.pid; wait ;;
    /after) printf 'Content-Type: text/plain\n\ndone'; exec >&- 2>&-
            while [ ! -e go ]; do sleep 0.02; done; echo > after ;;
esac
"#;

/// A server with a plugin that has a side process, and the program at `/cgi`.
fn serve(place: &Path) -> Serving {
    serve_with(place, "")
}

/// The same with additional tables.
fn serve_with(place: &Path, more: &str) -> Serving {
    let path = place.join("program");
    save(&path, PROGRAM);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/\" = \"plugin\", \"/cgi\" = \"cgi\" }}\n[app.cgi]\nuse = \"cgi\"\nprogram = \"program\"\n\
         [app.plugin]\nuse = \"plugin\"\nlibrary = {:?}\n{more}",
        plugin("faulty")
    );
    std::fs::write(place.join("server.toml"), config).unwrap();
    Serving::start(place, &[])
}

/// A process whose id the program reported. It is killed when the value is dropped.
struct Told(u32);

impl Told {
    fn read(place: &Path, name: &str) -> Told {
        let mut pid = None;
        wait_until("the program has told its number", || {
            let text = std::fs::read_to_string(place.join(name)).unwrap_or_default();
            pid = text.trim().parse().ok();
            pid.is_some()
        });
        Told(pid.unwrap())
    }

    /// True even if it is a zombie.
    fn is_there(&self) -> bool {
        PathBuf::from(format!("/proc/{}", self.0)).exists()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if runs(self.0) {
            kill(self.0);
        }
    }
}

/// Sends a request and does not wait for a response.
fn ask(serving: &Serving, path: &str) -> std::net::TcpStream {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(serving.address()).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    stream
}

#[test]
fn a_killed_workers_programs_are_ended_and_nobody_else() {
    let place = tempfile::tempdir().unwrap();
    let mut serving = serve(place.path());
    let told = get(&serving, "/host");
    let worker: u32 = get(&serving, "/pid").parse().unwrap();
    let _waiting = ask(&serving, "/cgi/long");
    let of = |name| Told::read(place.path(), name);
    let (lead, child, daemon) = (of("lead.pid"), of("child.pid"), of("daemon.pid"));
    let side: Vec<_> = serving.children().into_iter().filter(|pid| *pid != worker).collect();
    assert_eq!(side.len(), 1);
    kill(worker);
    serving.wait_for("worker_ready");
    // They ignore TERM.
    wait_until("the program and its child are gone, no zombie is left", || {
        !lead.is_there() && !child.is_there()
    });
    assert!(runs(side[0]), "the side process is not an orphan");
    assert_eq!(get(&serving, "/host"), told);
    // A process that left on purpose keeps running, and is reaped at its end.
    assert!(runs(daemon.0));
    kill(daemon.0);
    wait_until("the daemon is reaped", || !daemon.is_there());
    assert_eq!(serving.children().len(), 2);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn they_are_ended_also_when_a_new_program_takes_over_or_all_ends() {
    let place = tempfile::tempdir().unwrap();
    let mut serving = serve(place.path());
    let _first = ask(&serving, "/cgi/long");
    let of = |name| Told::read(place.path(), name);
    let first = [of("lead.pid"), of("child.pid"), of("daemon.pid")];
    kill(get(&serving, "/pid").parse().unwrap());
    serving.signal("USR2");
    serving.wait_for("reloaded");
    wait_until("they are gone", || first[..2].iter().all(|told| !told.is_there()));
    for name in ["lead.pid", "child.pid", "daemon.pid"] {
        std::fs::remove_file(place.path().join(name)).unwrap();
    }
    let _second = ask(&serving, "/cgi/long");
    let second = [of("lead.pid"), of("child.pid"), of("daemon.pid")];
    kill(get(&serving, "/pid").parse().unwrap());
    serving.wait_for("worker_ready");
    assert_eq!(serving.stop(), Some(0));
    assert!(!second[..2].iter().any(|told| runs(told.0)), "nothing outlives the supervisor");
    assert!(runs(second[2].0));
}

#[test]
fn they_end_with_a_supervisor_that_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut serving = serve(place.path());
    let _waiting = ask(&serving, "/cgi/long");
    let of = |name| Told::read(place.path(), name);
    let (lead, child, daemon) = (of("lead.pid"), of("child.pid"), of("daemon.pid"));
    let all = serving.children();
    serving.kill();
    wait_until("nothing outlives it", || {
        !runs(lead.0) && !runs(child.0) && !all.iter().any(|pid| runs(*pid))
    });
    assert!(runs(daemon.0), "what has left on purpose goes on");
}

/// A server with a plugin that starts a program and then does what `create` names; returns the program too.
fn begin(place: &Path, create: &str) -> (Serving, Told) {
    let helper = format!("[app.main.settings]\nhelper_file = \"helper.pid\"\ncreate = {create:?}\n");
    std::fs::write(place.join("server.toml"), config("") + &helper).unwrap();
    let mut command = paster();
    command.args(["serve", "--json"]).current_dir(place);
    (Serving::launch(command), Told::read(place, "helper.pid"))
}

#[test]
fn they_end_with_a_server_that_does_not_come_to_serve() {
    let place = tempfile::tempdir().unwrap();
    let (mut serving, helper) = begin(place.path(), "fail");
    serving.wait_for("failed");
    assert_eq!(serving.end(), Some(1));
    assert!(!helper.is_there());

    let place = tempfile::tempdir().unwrap();
    let (mut serving, helper) = begin(place.path(), "hang");
    assert_eq!(serving.stop(), Some(0));
    assert!(!helper.is_there());
}

#[test]
fn they_end_also_when_the_worker_has_no_descriptor_left() {
    let place = tempfile::tempdir().unwrap();
    let mut serving = serve_with(place.path(), "[process]\nlimits = { open_files = 100 }\n");
    let worker: u32 = get(&serving, "/pid").parse().unwrap();
    let _waiting = ask(&serving, "/cgi/long");
    let of = |name| Told::read(place.path(), name);
    let (lead, child, _daemon) = (of("lead.pid"), of("child.pid"), of("daemon.pid"));
    let mut kept = Vec::new();
    // At the limit the server closes idle connections for new ones, so a look may find fewer.
    while kept.len() < 200 && std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count() < 100 {
        kept.push(Connection::open(serving.address()));
        kept.last_mut().unwrap().get("/pid");
    }
    serving.kill();
    wait_until("nothing outlives it", || !runs(lead.0) && !runs(child.0) && !runs(worker));
}

#[test]
fn a_program_that_has_answered_may_end_its_work() {
    let place = tempfile::tempdir().unwrap();
    let mut serving = serve(place.path());
    let worker = get(&serving, "/pid").parse().unwrap();
    assert_eq!(Connection::open(serving.address()).get("/cgi/after").1, "done");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    wait_until("the old worker is gone", || !runs(worker));
    std::fs::write(place.path().join("go"), "").unwrap();
    wait_until("it has done its work", || place.path().join("after").exists());
}
