//! Programs that serve requests: a server of Node.js, and how paster starts, watches, replaces and ends it.

mod background;
mod care;
mod languages;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::{Serving, folder, get, paster, runs, save, text, wait_until};
use crate::traffic::{self, Clients};

/// The path of a program; `None`, with a note, if it is missing.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no `{name}`");
    }
    found
}

/// A directory with the server of Node.js, and a config that has these lines in `[app.main]`.
struct Site(tempfile::TempDir);

impl Site {
    /// `None` without Node.js.
    fn new(app: &str, more: &str) -> Option<Site> {
        program("node")?;
        let server = include_str!("../fixtures/programs/server.js");
        let site = Site(folder(&[("server.js", server)]));
        site.configure(app, more);
        Some(site)
    }

    fn configure(&self, app: &str, more: &str) {
        let config = format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"program\"\n\
             command = [\"node\", \"server.js\"]\n{app}\n{more}"
        );
        save(&self.path("server.toml"), &config);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn serve(&self) -> Serving {
        Serving::start(self.0.path(), &[])
    }

    /// What a command prints, with its exit code.
    fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = paster().args(args).current_dir(self.0.path()).output().unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    }
}

fn pid(serving: &Serving) -> u32 {
    get(serving, "/pid").parse().unwrap()
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_server_gets_its_address_in_three_ways() {
    for address in ["port", "socket", "descriptor"] {
        let Some(site) =
            Site::new(&format!("address = \"{address}\"\nworkers = 2"), "[process]\nworkers = 2\n")
        else {
            return;
        };
        let mut serving = site.serve();
        let pids: BTreeSet<u32> = (0..40).map(|_| pid(&serving)).collect();
        assert_eq!(pids.len(), 2, "{address}: two workers share two programs: {pids:?}");
        let fields: Value = serde_json::from_str(&get(&serving, "/fields")).unwrap();
        assert_eq!(fields["x-forwarded-for"], "127.0.0.1", "{address}: {fields}");
        assert_eq!(fields["host"], "localhost", "{address}: {fields}");
        // One that was killed is started again; requests wait for it.
        let first = *pids.first().unwrap();
        kill(first);
        let seen = |serving: &Serving| (0..8).map(|_| pid(serving)).collect::<BTreeSet<u32>>();
        wait_until("another one serves", || seen(&serving).iter().any(|pid| !pids.contains(pid)));
        let (_, ps) = site.run(&["ps"]);
        assert!(ps.contains("process 0") && ps.contains("process 1"), "{ps}");
        assert_eq!(serving.stop(), Some(0));
        wait_until("they end", || !pids.iter().any(|pid| runs(*pid)));
        wait_until("the log has the last line", || serving.stderr().contains("ended politely"));
    }
}

#[test]
fn requests_wait_while_the_only_process_starts_again() {
    for address in ["port", "socket", "descriptor"] {
        let Some(site) = Site::new(&format!("address = \"{address}\""), "") else { return };
        let serving = site.serve();
        let mut clients = Clients::of(serving.address());
        let first = pid(&serving);
        kill(first);
        // Until its last thread has ended, its socket takes connections.
        wait_until("it is gone", || !std::path::Path::new(&format!("/proc/{first}")).exists());
        clients.add(|address, traffic| traffic::fresh(traffic, 100, || traffic::connect(address)));
        let traffic = clients.traffic.clone();
        wait_until("another one serves", || traffic.requests.load(std::sync::atomic::Ordering::Relaxed) > 20);
        clients.stop().assert_whole();
        assert_ne!(pid(&serving), first, "{address}");
    }
}

#[test]
fn reloads_and_restarts_under_load_lose_nothing() {
    let Some(site) = Site::new("workers = 2\nready = \"/healthz\"", "") else { return };
    let mut serving = site.serve();
    let mut clients = Clients::of(serving.address());
    clients.add(|address, traffic| traffic::kept(traffic, 60, || traffic::connect(address)));
    clients.add(|address, traffic| traffic::fresh(traffic, 60, || traffic::connect(address)));
    for _ in 0..3 {
        clients.add(|address, traffic| traffic::web_socket(address, traffic, 20));
    }
    let traffic = clients.traffic.clone();
    let count = || traffic.requests.load(std::sync::atomic::Ordering::Relaxed);
    for turn in 0..6 {
        let (before, old) = (count(), pid(&serving));
        match turn % 2 {
            0 => serving.signal("HUP"),
            _ => {
                let (code, told) = site.run(&["restart", "main", "--wait"]);
                assert_eq!(code, Some(0), "{told}");
            }
        }
        serving.wait_for("reloaded");
        wait_until("requests are answered", || count() > before + 50);
        assert_ne!(pid(&serving), old, "turn {turn}");
        traffic.assert_whole();
    }
    clients.stop().assert_whole();
    assert!(traffic.messages.load(std::sync::atomic::Ordering::Relaxed) > 0, "WebSockets pass");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn only_what_has_changed_is_replaced() {
    let more = "[app.note]\nuse = \"respond\"\nbody = \"one\"\n";
    let Some(site) = Site::new("env = { NUMBER = \"1\" }", more) else { return };
    let mut serving = Serving::start(site.0.path(), &["--reload"]);
    let first = pid(&serving);
    site.configure("env = { NUMBER = \"1\" }", &more.replace("one", "two"));
    serving.wait_for("reloaded");
    assert_eq!(pid(&serving), first, "another app has changed");
    site.configure("env = { NUMBER = \"2\" }", &more.replace("one", "two"));
    serving.wait_for("reloaded");
    let second = pid(&serving);
    assert_ne!(second, first, "its variables have changed");
    wait_until("the old one ends", || !runs(first));
    let server = include_str!("../fixtures/programs/server.js").replace("Hello, world!", "Hello again!");
    save(&site.path("server.js"), &server);
    serving.wait_for("reloaded");
    assert_eq!(get(&serving, "/"), "Hello again!");
    assert_ne!(pid(&serving), second);
    // A broken program does not replace one that works.
    save(&site.path("server.js"), "console.log('a bad line'); throw new Error('it is broken');");
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("it is broken") && failed.contains("a bad line"), "{failed}");
    assert_eq!(get(&serving, "/"), "Hello again!");
}

#[test]
fn variables_come_from_the_shell_the_config_and_files() {
    let app =
        "env = { BOTH = \"config\", PLACE = \"http://{host}:{port}\" }\nenv_files = [\".env\", \"more.env\"]";
    let Some(site) = Site::new(app, "") else { return };
    save(&site.path(".env"), "# secrets\nSHELL_HAS=file\nBOTH=file\nexport FIRST='a b'\nLAST=1\n");
    save(&site.path("more.env"), "LAST=2\n");
    let mut command = paster();
    command.args(["serve", "--json"]).env("SHELL_HAS", "shell").current_dir(site.0.path());
    let serving = Serving::spawn(command);
    let env: Value = serde_json::from_str(&get(&serving, "/env")).unwrap();
    let values = ["SHELL_HAS", "BOTH", "FIRST", "LAST"].map(|name| env[name].as_str().unwrap());
    assert_eq!(values, ["shell", "config", "a b", "2"]);
    let (port, place) = (env["PORT"].as_str().unwrap(), env["PLACE"].as_str().unwrap());
    assert_eq!((env["HOST"].as_str().unwrap(), place), ("127.0.0.1", &*format!("http://127.0.0.1:{port}")));
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "PASTER_PREDECESSOR"] {
        assert!(env.get(name).is_none(), "{name}");
    }
}

#[test]
fn without_a_config_and_without_a_server() {
    let Some(site) = Site::new("", "") else { return };
    let (code, told) = site.run(&["request", "GET", "/fields"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("x-forwarded-proto"), "{told}");
    let (code, told) = site.run(&["check"]);
    assert_eq!(code, Some(0), "{told}");
    std::fs::remove_file(site.path("server.toml")).unwrap();
    let serving =
        Serving::start(site.0.path(), &["--app", "program:node 'server.js'", "--listen", "127.0.0.1:0"]);
    assert_eq!(get(&serving, "/"), "Hello, world!");
}

#[test]
fn check_tells_what_cannot_start() {
    let Some(site) = Site::new("", "") else { return };
    let check = |command: &str, more: &str, words: &[&str]| {
        let config = format!(
            "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"program\"\ncommand = {command}\n{more}\n"
        );
        save(&site.path("server.toml"), &config);
        let (code, told) = site.run(&["check"]);
        assert_eq!(code, Some(78), "{command} {more}: {told}");
        for word in words {
            assert!(told.contains(word), "{command} {more}: {told}");
        }
    };
    check("[\"nodejs-22\"]", "", &["there is no program `nodejs-22` on the `PATH`", "server.toml:5:11"]);
    check("[\"./server.js\"]", "", &["is not executable"]);
    check("[\"./none\"]", "", &["does not exist"]);
    check("[\"server.js\"]", "", &["`./server.js`"]);
    check("\"node 'server.js\"", "", &["a quote in `command` is not closed"]);
    check("[]", "", &["`command` does not name a program"]);
    check("\"node .\"", "ready = \"healthz\"", &["does not say when the program is ready", "\"/healthz\""]);
    check("\"node .\"", "ready = \"/a\"\nprotocol = \"scgi\"", &["only from a program that serves HTTP"]);
    check("\"node .\"", "ready = { command = [] }", &["it does not name a program"]);
    check("\"node .\"", "env = { PORT = \"80\" }", &["`PORT` is set by paster"]);
    check("\"node .\"", "env_files = [\"none.env\"]", &["cannot read the variables in `", "none.env"]);
    check("\"node .\"", "workers = 65", &["at most 64"]);
    check("\"node .\"", "working_dir = \"none\"", &["is not a directory"]);
    check("\"node .\"", "user = \"nobody-like-it\"", &["no user `nobody-like-it`"]);
    check("\"node .\"", "after = [\"db\"]", &["neither a program `db` nor an app `db`", "[program.db]"]);
}

/// The process ids of all processes whose environment has this variable.
fn with_variable(variable: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| one == variable.as_bytes()) && runs(*pid)
    };
    numbers.filter(has).collect()
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    let mark = format!("PASTER_TEST_MARK={}", uuid::Uuid::new_v4());
    let (name, value) = mark.split_once('=').unwrap();
    let app = format!("env = {{ {name} = \"{value}\" }}\nworkers = 2");
    let Some(site) = Site::new(&app, "") else { return };
    let mut serving = site.serve();
    assert!(with_variable(&mark).len() >= 2);
    serving.kill();
    wait_until("they end", || with_variable(&mark).is_empty());
}
