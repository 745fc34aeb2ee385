//! The table `[log]`: formats, levels for single targets, a file that is opened anew; no secrets.

use std::path::Path;

use serde_json::Value;

use crate::support::{Serving, folder, get, paster, plugin, wait_until};

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
    assert!(shown.contains("cannot open the log file") && shown.contains("create its folder"), "{shown}");

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

    // Refusals are told at debug, which holds for our servers.
    let mut connection = crate::support::Connection::open(serving.address());
    connection.request("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    wait_until("the refusal is logged", || read(&path).contains("more than one Host"));
    assert!(lines(&read(&path)).iter().any(|line| line["level"] == "debug" && line["status"] == 400));

    // Moved away, and opened anew.
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

    // A reload takes another level; an unknown one is an error with its place.
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
    assert!(shown.contains("`pas ter` is no target of the log"), "{shown}");
    assert!(shown.contains("server.toml:6"), "{shown}");
    assert_eq!(output.status.code(), Some(78));
}
