//! The table `[log]`: formats, levels for single targets, a file that is reopened, and no secrets.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::control::Site;
use crate::support::{Serving, folder, get, paster, plugin, read_until, save, wait_until};

fn config(log: &str) -> String {
    format!(
        "[process]\nworkers = 2\n[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n{log}",
        plugin("faulty")
    )
}

/// Lines of a log as JSON.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn lines_of_workers_and_plugins_are_json_in_a_file_that_is_opened_anew() {
    let folder = folder(&[("server.toml", "")]);
    let text = config(
        "[log]\nformat = \"json\"\nfile = \"${here}/log/paster.log\"\nlevels.\"paster::server\" = \"debug\"\n",
    );
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let output = paster().args(["serve", "--json"]).current_dir(folder.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("cannot open the log file") && shown.contains("create its directory"), "{shown}");

    std::fs::create_dir(folder.path().join("log")).unwrap();
    let path = folder.path().join("log/paster.log");
    let mut serving = Serving::start(folder.path(), &[]);
    assert_eq!(get(&serving, "/say"), "said");
    wait_until("it is logged", || read(&path).contains("something"));
    let all = lines(&read(&path));
    let said = all.iter().find(|line| line["message"] == "says\nsomething").unwrap();
    assert_eq!((said["level"].as_str(), said["app"].as_str()), (Some("info"), Some("main")));
    assert_eq!((said["generation"].as_u64(), said["item"].as_str()), (Some(1), Some("7")));
    assert!(said["worker"].as_u64().is_some_and(|worker| worker < 2), "{said}");
    assert!(said["target"].as_str().is_some_and(|target| target.starts_with("faulty")), "{said}");
    assert_eq!((said["password"].as_str(), said["set_cookie"].as_str()), (Some("***"), Some("***")));
    assert!(humantime_like(said["time"].as_str().unwrap()));
    let text = read(&path);
    assert!(!text.contains("hunter2") && !text.contains("s3cr3t"), "{text}");
    assert!(!text.contains("says little"), "debug is asked for of our own servers alone");

    // Refusals are logged at debug, the level of our servers.
    let mut connection = crate::support::Connection::open(serving.address());
    connection.request("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    wait_until("the refusal is logged", || read(&path).contains("more than one Host"));
    assert!(lines(&read(&path)).iter().any(|line| line["level"] == "debug" && line["status"] == 400));

    // Moved away and reopened.
    let moved = folder.path().join("log/old.log");
    std::fs::rename(&path, &moved).unwrap();
    serving.signal("USR1");
    wait_until("the new file is there", || {
        get(&serving, "/say");
        read(&path).contains("something")
    });
    assert_eq!(serving.stop(), Some(0));
}

/// `2026-11-21T06:00:00.123Z`
fn humantime_like(time: &str) -> bool {
    time.len() == 24 && time.as_bytes()[10] == b'T' && time.ends_with('Z')
}

#[test]
fn text_has_one_line_for_an_event_and_levels_hold() {
    let folder = folder(&[("server.toml", &config(""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    get(&serving, "/say");
    wait_until("it is logged", || serving.stderr().contains("something"));
    let text = serving.stderr();
    let line = text.lines().find(|line| line.contains("something")).unwrap();
    assert!(line.contains(" INFO  faulty: says\\nsomething "), "{line}");
    assert!(line.contains(" app=main ") && line.contains(" generation=1 worker="), "{line}");
    assert!(line.contains(" item=7 ") && !line.contains("hunter2"), "{line}");

    // A reload applies another level; an unknown one is an error with its place.
    std::fs::write(folder.path().join("server.toml"), config("[log]\nlevel = \"of\"\n")).unwrap();
    serving.signal("HUP");
    let failed = serving.wait_for("reload_failed");
    assert!(failed["errors"][0]["message"].as_str().unwrap().contains("level"), "{failed}");
    std::fs::write(folder.path().join("server.toml"), config("[log]\nlevel = \"off\"\n")).unwrap();
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let before = serving.stderr().matches("something").count();
    get(&serving, "/say");
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(serving.stderr().matches("something").count(), before);
}

#[test]
fn a_wrong_target_is_an_error_of_the_config() {
    let text = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\n[log]\nlevels.\"pas ter\" = \"debug\"\n";
    let folder = folder(&[("server.toml", text)]);
    let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(shown.contains("`pas ter` is not a log target"), "{shown}");
    assert!(shown.contains("server.toml:6"), "{shown}");
    assert_eq!(output.status.code(), Some(78));
}

/// The supervisor's lines with that event.
fn told(text: &str, event: &str) -> Vec<Value> {
    let own = |line: &Value| line["target"] == "paster::supervisor" && line["event"] == event;
    lines(text).into_iter().filter(own).collect()
}

#[test]
fn the_supervisors_events_follow_the_table_into_its_file() {
    let log = |more: &str| config(&format!("[log]\nformat = \"json\"\nfile = \"paster.log\"\n{more}"));
    let folder = folder(&[("server.toml", &log(""))]);
    let mut serving = Serving::start(folder.path(), &[]);
    let path = folder.path().join("paster.log");
    let ready = told(&read(&path), "ready");
    assert_eq!((ready.len(), ready[0]["level"].as_str()), (1, Some("info")));
    assert!(ready[0]["message"].as_str().unwrap().starts_with("ready in "), "{ready:?}");
    assert_eq!(ready[0]["generation"], 1);
    assert!(told(&read(&path), "listening")[0]["message"].as_str().unwrap().contains(serving.url()));
    assert!(!serving.stderr().contains("ready in"), "the file has it");
    let worker = serving.children()[0];
    crate::workers::kill(worker);
    serving.wait_for("worker_ready");
    let exit = told(&read(&path), "worker_exit");
    assert_eq!((exit[0]["level"].as_str(), exit[0]["pid"].as_u64()), (Some("error"), Some(worker.into())));

    // An error with its place and how to fix it.
    save(&folder.path().join("server.toml"), &log("").replace("\"plugin\"", "\"plugn\""));
    serving.signal("HUP");
    serving.wait_for("reload_failed");
    let failed = told(&read(&path), "reload_failed");
    assert_eq!((failed[0]["level"].as_str(), failed[1]["level"].as_str()), (Some("error"), Some("warn")));
    assert!(failed[0]["message"].as_str().unwrap().contains("`plugn`"), "{failed:?}");
    assert!(failed[0]["place"].as_str().unwrap().contains("server.toml:7"), "{failed:?}");
    assert!(failed[0]["help"].as_str().unwrap().contains("did you mean"), "{failed:?}");
    assert_eq!(failed[1]["message"], "generation 1 keeps serving");

    // Moved away and reopened; and the next program continues with it.
    let moved = folder.path().join("old.log");
    std::fs::rename(&path, &moved).unwrap();
    serving.signal("USR1");
    save(&folder.path().join("server.toml"), &log("levels.\"paster::supervisor\" = \"debug\"\n"));
    serving.signal("USR2");
    serving.wait_for("reloaded");
    wait_until("the new file is written to", || told(&read(&path), "worker_exit").len() == 2);
    assert!(told(&read(&moved), "reloaded").is_empty());
    assert_eq!(told(&read(&path), "reloading")[0]["reason"], "program");
    assert!(told(&read(&path), "worker_exit").iter().all(|exit| exit["level"] == "debug"));

    // Levels apply.
    save(&folder.path().join("server.toml"), &log("levels.\"paster::supervisor\" = \"warn\"\n"));
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 3);
    assert_eq!(told(&read(&path), "reloaded").len(), 1);
    assert_eq!(serving.stop(), Some(0));
    assert!(told(&read(&path), "stopping").is_empty());
}

#[test]
fn without_a_terminal_the_log_takes_the_place_of_lines_for_people() {
    let site = Site::new(&config("[log]\nformat = \"json\"\n"));
    let mut command = paster();
    command.arg("serve").env("XDG_RUNTIME_DIR", site.path()).current_dir(site.path());
    let mut serving = Serving::launch(command);
    wait_until("it is ready", || serving.stderr().contains("ready in "));
    assert_eq!(serving.stop(), Some(0));
    for event in ["listening", "ready", "stopping"] {
        assert_eq!(told(&serving.stderr(), event).len(), 1, "{}", serving.stderr());
    }

    // On a terminal they are unchanged, and appear only once.
    let line = format!("{} serve", env!("CARGO_BIN_EXE_paster"));
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(site.path());
    script.env("XDG_RUNTIME_DIR", site.path()).env("TERM", "xterm-256color");
    let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut screen = script.stdout.take().unwrap();
    let mut shown = read_until(&mut screen, |shown| shown.contains("ready in "));
    site.text(&["stop"]);
    screen.read_to_string(&mut shown).unwrap();
    assert!(script.wait().unwrap().success(), "{shown}");
    assert_eq!(shown.matches("ready in ").count(), 1, "{shown}");
    assert!(!shown.contains("paster::supervisor"), "{shown}");
}

#[test]
fn a_file_of_the_log_belongs_to_the_workers_user() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can run workers as another user");
    }
    let folder = folder(&[]);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let text =
        config("[log]\nfile = \"paster.log\"\n").replace("[process]\n", "[process]\nuser = \"nobody\"\n");
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    let path = folder.path().join("paster.log");
    for turn in 0..2 {
        wait_until("it is there", || read(&path).contains("paster::supervisor: "));
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&path.metadata().unwrap()), 65534, "turn {turn}");
        std::fs::rename(&path, folder.path().join("old.log")).unwrap();
        serving.signal("USR1");
        // The supervisor writes first.
        serving.signal("HUP");
        serving.wait_for("reloaded");
    }
    wait_until("workers write there too", || {
        get(&serving, "/say");
        read(&path).contains("something")
    });
}
