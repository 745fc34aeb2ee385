//! Side processes of plugins: they outlive generations, are restarted when they die, and end with the
//! supervisor.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Serving, get, plugin, runs, wait_until};

fn start(folder: &Path) -> Serving {
    let text = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("faulty")
    );
    std::fs::write(folder.join("server.toml"), text).unwrap();
    Serving::start(folder, &[])
}

/// The path of the side process's socket, as the plugin is told.
fn socket(serving: &Serving) -> PathBuf {
    let about: Value = serde_json::from_str(&get(serving, "/host")).unwrap();
    about["side"]["Ok"].as_str().unwrap_or_else(|| panic!("{about}")).into()
}

/// Sends a line through the side process, which then ends.
fn echo(path: &Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"over there").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "over there");
}

/// The process id of the side process.
fn process(serving: &Serving) -> Option<u32> {
    let is_side = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(b"__side")
    };
    serving.children().into_iter().find(is_side)
}

#[test]
fn a_side_process_outlives_generations_and_is_started_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = start(folder.path());
    let path = socket(&serving);
    wait_until("it runs", || process(&serving).is_some());
    let first = process(&serving);
    serving.signal("HUP");
    serving.wait_for("reloaded");
    wait_until("the old worker is gone", || serving.children().len() == 2);
    assert_eq!((socket(&serving), process(&serving)), (path.clone(), first), "kept");
    echo(&path);
    let exit = serving.wait_for("side_exit");
    assert_eq!((exit["name"].as_str(), exit["status"].as_str()), (Some("echo"), Some("exit status: 7")));
    // The socket stayed open, so clients that connect in the meantime wait.
    echo(&path);
    assert_eq!(serving.stop(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_side_process_ends_with_a_killed_supervisor() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = start(folder.path());
    socket(&serving);
    wait_until("it runs", || process(&serving).is_some());
    let all = serving.children();
    assert_eq!(all.len(), 2);
    serving.kill();
    wait_until("all have ended", || !all.iter().any(|pid| runs(*pid)));
}

#[test]
fn a_side_process_of_an_unknown_name_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let serving = start(folder.path());
    assert_eq!(get(&serving, "/no-side"), "the plugin has no side process `ehco`: it has `echo`");
    assert_eq!(process(&serving), None);
}
