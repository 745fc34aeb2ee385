//! `paster serve` on a terminal: what it shows there, and what happens when the terminal closes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::support::{Serving, folder, paster, plugin, runs, wait_until};

const CONFIG: &str = "[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n\
                      [app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

/// A terminal with a shell command. It is closed when the value is dropped.
struct Terminal {
    script: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Terminal {
    /// `command` sees the program as `$PASTER`.
    fn start(folder: &Path, command: &str) -> Terminal {
        let program = paster();
        // HUP has its default action, even if the tests themselves were started by `nohup`.
        let mut script = Command::new("env");
        script.args(["--default-signal=HUP", "script"]);
        script.args(["--quiet", "--flush", "--return", "--command", command, "/dev/null"]);
        script.env("PASTER", program.get_program()).env("SHELL", "/bin/sh").env("NO_COLOR", "1");
        script.env("XDG_RUNTIME_DIR", folder).current_dir(folder);
        let mut script = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines();
        Terminal { script, lines }
    }

    /// The next line that contains `text`, and the lines before it.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            seen.push(line.trim_end().to_owned());
            if seen.last().is_some_and(|line| line.contains(text)) {
                return seen;
            }
        }
        panic!("no line with `{text}`: {seen:?}");
    }

    /// Closes it, like a closed window or a lost connection does.
    fn close(&mut self) {
        self.script.kill().unwrap();
        self.script.wait().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

fn pid(folder: &Path) -> u32 {
    let file = folder.join("pid");
    wait_until("the pid file is there", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n'))
    });
    std::fs::read_to_string(&file).unwrap().trim().parse().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn the_end_of_the_terminal_ends_a_foreground_server() {
    let folder = folder(&[("server.toml", &format!("{CONFIG}[process]\npid_file = \"pid\"\n"))]);
    let mut terminal = Terminal::start(folder.path(), "exec \"$PASTER\" serve");
    terminal.until("ready in");
    let pid = pid(folder.path());
    // As long as the terminal exists, HUP reloads.
    signal(pid, Signal::HUP);
    terminal.until("generation 2 is serving");
    terminal.close();
    wait_until("it has ended", || !runs(pid));
}

#[test]
fn a_server_detached_from_its_terminal_outlives_it() {
    let text = format!("{CONFIG}[process]\npid_file = \"pid\"\n[log]\nfile = \"log\"\n");
    for detached in ["nohup", "setsid"] {
        let folder = folder(&[("server.toml", &text)]);
        let command = format!("{detached} \"$PASTER\" serve & sleep 600");
        let mut terminal = Terminal::start(folder.path(), &command);
        let pid = pid(folder.path());
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        wait_until("it is ready", || log().contains("ready in"));
        terminal.close();
        // It reloads instead of ending, because the signal is sent manually after the terminal is gone.
        for generation in 2..4 {
            signal(pid, Signal::HUP);
            wait_until("it has reloaded", || log().contains(&format!("generation {generation} is serving")));
        }
        signal(pid, Signal::TERM);
        wait_until("it has ended", || !runs(pid));
    }
}

#[test]
fn the_address_is_the_last_line_of_a_start_and_alone() {
    let folder = folder(&[("server.toml", CONFIG)]);
    let mut terminal = Terminal::start(folder.path(), "exec \"$PASTER\" serve");
    let lines = terminal.until("ready in");
    let serving = lines.iter().find(|line| line.contains("serving http://")).unwrap();
    let url = serving.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    assert_eq!(terminal.until("http")[0], url);
}

#[test]
fn an_app_names_the_address_to_open_and_no_log_has_it() {
    let library = plugin("faulty");
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = \"127.0.0.1:0\"\n[app.main]\nuse = \"mount\"\n\
         routes.\"/tool\" = \"tool\"\n\
         [app.tool]\nuse = \"plugin\"\nlibrary = {library:?}\nsettings.announce = \"/?token=s3cret\"\n"
    );
    let logged = format!("{config}[log]\nfile = \"log\"\n");
    for text in [&config, &logged] {
        let folder = folder(&[("server.toml", text)]);
        let mut terminal = Terminal::start(folder.path(), "exec \"$PASTER\" serve");
        terminal.until("ready in");
        let last = terminal.until("http").remove(0);
        assert!(last.starts_with("http://127.0.0.1:") && last.ends_with("/tool/?token=s3cret"), "{last}");
        let mut logs = paster();
        let logs = logs.args(["logs"]).env("XDG_RUNTIME_DIR", folder.path()).current_dir(folder.path());
        let shown = String::from_utf8(logs.output().unwrap().stdout).unwrap();
        assert!(shown.contains("ready in") && !shown.contains("s3cret"), "{shown}");
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[test]
fn a_start_with_a_log_file_says_where_it_serves_and_where_the_log_goes() {
    let folder = folder(&[("server.toml", &format!("{CONFIG}[log]\nfile = \"log\"\n"))]);
    // On a terminal and in a pipe.
    let mut terminal = Terminal::start(folder.path(), "exec \"$PASTER\" serve");
    let lines = terminal.until("ready in").join("\n");
    assert!(lines.contains("serving http://") && lines.contains("logging to "), "{lines}");
    let mut command = paster();
    command.arg("serve").current_dir(folder.path());
    let serving = Serving::launch(command);
    wait_until("it is ready", || {
        serving.stderr().lines().last().is_some_and(|last| last.starts_with("http://"))
    });
    let shown = serving.stderr();
    let log = folder.path().join("log");
    assert!(shown.contains("serving http://") && shown.contains(log.to_str().unwrap()), "{shown}");
    assert_eq!(shown.lines().count(), 4, "the rest is in the log: {shown}");
}
