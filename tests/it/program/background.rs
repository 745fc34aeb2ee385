//! Programs that serve nothing, the order in which programs start and end, and their terminals.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{Site, program};
use crate::support::{Serving, folder, get, paster, read_until, runs, save, text, wait_until};

const SERVER: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = \"ok\"\n";

/// A shell program that writes `NAME begins` and `NAME ends` to the file `log`.
fn script(name: &str) -> String {
    let code = format!(
        "echo {name} begins >> log; trap \\\"echo {name} ends >> log; exit 0\\\" TERM; touch {name}.ready; while :; do sleep 0.02; done"
    );
    format!(
        "[program.{name}]\ncommand = [\"sh\", \"-c\", \"{code}\"]\nready = {{ command = [\"test\", \"-e\", \"{name}.ready\"] }}\n"
    )
}

#[test]
fn programs_start_after_what_they_need_and_end_before_it() {
    let config = format!(
        "{SERVER}{}{}after = [\"migrate\"]\n[program.migrate]\ncommand = [\"sh\", \"-c\", \"echo migrated >> log\"]\nonce = true\n\
         after = [\"db\"]\n",
        script("db"),
        script("queue"),
    );
    let folder = folder(&[("server.toml", &config)]);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let mut serving = Serving::start(folder.path(), &[]);
    assert_eq!(log(), "db begins\nmigrated\nqueue begins\n");
    let output = paster().args(["ps", "--json"]).current_dir(folder.path()).output().unwrap();
    let ps: Value = serde_json::from_slice(&output.stdout).unwrap();
    let side = ps["side_processes"].as_array().unwrap();
    let names: Vec<_> = side.iter().map(|one| (one["app"].as_str().unwrap(), one["pid"].is_u64())).collect();
    assert_eq!(names, [("db", true), ("migrate", false), ("queue", true)], "{ps}");
    // A restart of one leaves what it needs alone.
    let args = ["restart", "queue", "--wait"];
    let output = paster().args(args).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    wait_until("the old one ends", || log().contains("queue ends"));
    assert_eq!(log().matches("db begins").count() + log().matches("migrated").count(), 2, "{}", log());
    assert_eq!(serving.stop(), Some(0));
    let log = log();
    assert!(log.ends_with("queue ends\ndb ends\n"), "{log}");
}

#[test]
fn a_program_that_runs_once_decides_about_the_start() {
    let once = |code: &str| {
        format!("{SERVER}[program.migrate]\ncommand = [\"sh\", \"-c\", \"{code}\"]\nonce = true\n")
    };
    let folder = folder(&[("server.toml", &once("echo run >> log"))]);
    let mut serving = Serving::start(folder.path(), &["--reload"]);
    let runs = || std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count();
    assert_eq!(runs(), 1);
    // Not again for another change; again for one that is asked for.
    let config = once("echo run >> log");
    save(&folder.path().join("server.toml"), &config.replace("\"ok\"", "\"fine\""));
    serving.wait_for("reloaded");
    assert_eq!((runs(), get(&serving, "/").trim()), (1, "fine"));
    serving.signal("HUP");
    serving.wait_for("reloaded");
    assert_eq!(runs(), 2);
    save(&folder.path().join("server.toml"), &once("echo table exists >&2; exit 4"));
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("the program `migrate` failed: exit status: 4"), "{failed}");
    assert!(failed.contains("table exists"), "{failed}");
    assert_eq!(get(&serving, "/").trim(), "fine", "what serves goes on");
}

#[test]
fn a_policy_decides_about_restarts() {
    let one = |name: &str, restart: &str, code: &str| {
        let code = format!("while ! test -e go; do sleep 0.02; done; echo {name} >> log; {code}");
        format!("[program.{name}]\ncommand = [\"sh\", \"-c\", \"{code}\"]\nrestart = \"{restart}\"\n")
    };
    let config = [
        SERVER.to_owned(),
        one("never", "never", "exit 3"),
        one("well", "on-failure", "exit 0"),
        // The second time, it goes on.
        one("badly", "on-failure", "test -e second || { touch second; exit 3; }; exec sleep 1000"),
    ];
    let folder = folder(&[("server.toml", &config.concat())]);
    let mut serving = Serving::start(folder.path(), &[]);
    std::fs::write(folder.path().join("go"), "").unwrap();
    let mut ends: Vec<(String, bool)> = (0..3)
        .map(|_| {
            let event = serving.wait_for("app_exit");
            (event["app"].as_str().unwrap().to_owned(), event["restarts"].as_bool().unwrap())
        })
        .collect();
    ends.sort();
    let ends: Vec<_> = ends.iter().map(|(app, restarts)| (&**app, *restarts)).collect();
    assert_eq!(ends, [("badly", true), ("never", false), ("well", false)]);
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    wait_until("it runs again", || log().matches("badly").count() == 2);
    assert_eq!((log().matches("never").count(), log().matches("well").count()), (1, 1));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn circles_and_unknown_names_are_errors() {
    let check = |more: &str, words: &[&str]| {
        let folder = folder(&[("server.toml", &format!("{SERVER}{more}"))]);
        let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{told}");
        for word in words {
            assert!(told.contains(word), "{more}: {told}");
        }
    };
    let one =
        |name: &str, after: &str| format!("[program.{name}]\ncommand = \"true\"\nafter = [\"{after}\"]\n");
    check(
        &[one("a", "b"), one("b", "c"), one("c", "a")].concat(),
        &["programs wait for one another: `a` after `b` after `c` after `a`", "remove one of these"],
    );
    check(&one("a", "queu"), &["neither a program `queu`"]);
    check("[program]\na = 1\n", &["`[program.worker]`"]);
    check("[program.a]\ncommand = \"true\"\nonce = true\nready = \"notify\"\n", &["no effect with `once`"]);
    check("[program.a]\ncommand = \"true\"\nport = 1\n", &["unknown", "`port`"]);
}

#[test]
fn readiness_comes_over_the_notify_socket() {
    if program("python3").is_none() {
        return;
    }
    let code = "import os, socket, time\nopen('log', 'a').write('first\\n')\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\ns.send(b'STATUS=starting\\nREADY=1')\ntime.sleep(1000)\n";
    let config = format!(
        "{SERVER}[program.first]\ncommand = [\"python3\", \"first.py\"]\nready = \"notify\"\n[program.second]\n\
         command = [\"sh\", \"-c\", \"echo second >> log\"]\nonce = true\nafter = [\"first\"]\n"
    );
    let folder = folder(&[("server.toml", &config), ("first.py", code)]);
    let _serving = Serving::start(folder.path(), &[]);
    assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "first\nsecond\n");
}

#[test]
fn a_terminal_can_be_attached_to_a_program() {
    let code = "test -t 0 && echo a terminal; while read line; do echo got $line; done";
    let config = format!(
        "{SERVER}[program.console]\ncommand = [\"sh\", \"-c\", \"{code}\"]\nterminal = true\n\
         [program.plain]\ncommand = \"sleep 1000\"\n"
    );
    let folder = folder(&[("server.toml", &config)]);
    let mut serving = Serving::start(folder.path(), &[]);
    wait_until("it has a terminal", || serving.stderr().contains("a terminal"));
    let attach = |name: &str| {
        let mut command = paster();
        command.args(["attach", name]).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut attached = attach("console").spawn().unwrap();
    attached.stdin.as_mut().unwrap().write_all(b"help\n").unwrap();
    let shown = read_until(attached.stdout.as_mut().unwrap(), |shown| shown.contains("got help"));
    assert!(shown.contains("help"), "{shown}");
    // It goes on when the command has ended, and its output is in the log too.
    attached.kill().unwrap();
    attached.wait().unwrap();
    wait_until("the log has it", || serving.stderr().contains("got help"));
    let mut again = attach("console").spawn().unwrap();
    again.stdin.as_mut().unwrap().write_all(b"more\n").unwrap();
    read_until(again.stdout.as_mut().unwrap(), |shown| shown.contains("got more"));
    let refused = attach("plain").output().unwrap();
    let told = text(&refused.stderr);
    assert!(
        told.contains("process 0 of `plain` has no terminal") && told.contains("terminal = true"),
        "{told}"
    );
    let refused = attach("none").output().unwrap();
    assert!(text(&refused.stderr).contains("neither an app nor a program `none`"));
    assert_eq!(serving.stop(), Some(0));
    // The end of the program ends the command.
    assert!(again.wait().unwrap().success());
}

#[test]
fn a_program_takes_what_it_has_started_along() {
    let Some(site) = Site::new(
        "",
        "[program.family]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $! > child; wait\"]\n",
    ) else {
        return;
    };
    let mut serving = site.serve();
    let child = || std::fs::read_to_string(site.path("child")).ok()?.trim().parse::<u32>().ok();
    wait_until("it has a child", || child().is_some());
    let child = child().unwrap();
    assert_eq!(serving.stop(), Some(0));
    wait_until("the child ends", || !runs(child));
}
