//! USR2: the program's file is replaced under load, and the new program takes over.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::control::Site;
use crate::load::{all_kinds, hello, with_tls};
use crate::support::{Connection, Serving, folder, get, paster, runs, wait_until};
use crate::traffic::Clients;
use crate::workers::config;

/// Starts a copy of the program in `folder`.
fn start(folder: &Path) -> Serving {
    place(folder, Path::new(env!("CARGO_BIN_EXE_paster")));
    let mut command = Command::new(folder.join("paster"));
    command.env_clear().envs(paster().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["serve", "--json"]).current_dir(folder);
    Serving::spawn(command)
}

/// Replaces the program's file, as a package manager does.
fn place(folder: &Path, program: &Path) {
    // Not by this process: while it has the file open for writing, so do programs that other tests start, and
    // the file is busy.
    assert!(Command::new("cp").arg(program).arg(folder.join("new")).status().unwrap().success());
    std::fs::rename(folder.join("new"), folder.join("paster")).unwrap();
}

fn executes(pid: u32) -> u64 {
    std::fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino()
}

#[test]
fn a_replaced_program_takes_over_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, authority) = with_tls(folder.path(), &hello("pid_file = \"run.pid\"", ""), "");
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut serving = start(folder.path());
    let mut clients = Clients::of(serving.address());
    all_kinds(&mut clients, &serving, &authority);
    let traffic = clients.traffic.clone();
    wait_until("the load runs", || traffic.requests.load(Relaxed) > 50);
    for generation in 2..=4 {
        place(folder.path(), Path::new(env!("CARGO_BIN_EXE_paster")));
        serving.signal("USR2");
        assert_eq!(serving.wait_for("reloading")["reason"], "program");
        assert_eq!(serving.wait_for("reloaded")["generation"], generation);
        let new = std::fs::metadata(folder.path().join("paster")).unwrap().ino();
        assert_eq!(executes(serving.pid()), new);
        let before = traffic.requests.load(Relaxed);
        wait_until("requests are answered", || traffic.requests.load(Relaxed) > before + 20);
    }
    // And it accepts all other signals.
    serving.signal("HUP");
    assert_eq!(serving.wait_for("reloaded")["generation"], 5);
    clients.stop().assert_whole();
    wait_until("the old workers are gone", || serving.children().len() == 2);
    let new = executes(serving.pid());
    assert!(serving.children().into_iter().all(|pid| executes(pid) == new));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("run.pid")).unwrap().trim(),
        serving.pid().to_string()
    );
    let children = serving.children();
    assert_eq!(serving.stop(), Some(0));
    assert!(!children.iter().any(|pid| runs(*pid)));
    assert!(!folder.path().join("run.pid").exists());
}

#[test]
fn side_processes_go_along_and_everything_dies_with_the_successor() {
    let folder = folder(&[("server.toml", &config("workers = 2"))]);
    let mut serving = start(folder.path());
    let mut kept = Connection::open(serving.address());
    let told = kept.get("/host").1;
    let side = |serving: &Serving| {
        let is_side = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"__side")
        };
        serving.children().into_iter().find(is_side)
    };
    wait_until("the side process runs", || side(&serving).is_some());
    let first = side(&serving);
    serving.signal("USR2");
    serving.wait_for("reloaded");
    wait_until("the old workers are gone", || serving.children().len() == 3);
    assert_eq!(side(&serving), first, "kept");
    let socket = |told: &str| serde_json::from_str::<serde_json::Value>(told).unwrap()["side"].clone();
    assert_eq!(
        socket(&kept.get("/host").1),
        socket(&told),
        "the connection and the socket's path went along"
    );
    // The new program reaps what it did not start, and restarts it.
    crate::workers::kill(first.unwrap());
    assert_eq!(serving.wait_for("side_exit")["name"], "echo");
    wait_until("it runs again", || side(&serving).is_some_and(|pid| Some(pid) != first));
    let all = serving.children();
    serving.kill();
    wait_until("all have ended", || !all.iter().any(|pid| runs(*pid)));
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    let folder = folder(&[("server.toml", &config("")), ("broken", "#!/bin/sh\necho too old >&2\nexit 3\n")]);
    let mut serving = start(folder.path());
    let worker = get(&serving, "/pid");
    let before = executes(serving.pid());
    let mut check = |word: &str| {
        serving.signal("USR2");
        let failed = serving.wait_for("reload_failed");
        assert!(failed.to_string().contains(word), "{failed}");
        assert_eq!((get(&serving, "/pid"), executes(serving.pid())), (worker.clone(), before));
    };
    std::fs::remove_file(folder.path().join("paster")).unwrap();
    check("No such file");
    place(folder.path(), &folder.path().join("broken"));
    check("denied");
    let mut permissions = std::fs::metadata(folder.path().join("paster")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(folder.path().join("paster"), permissions).unwrap();
    check("too old");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_reload_goes_on_when_the_hand_over_fails_at_its_last_step() {
    let text = config("control = \"own.sock\"");
    let folder = folder(&[("server.toml", &text), ("broken", "#!/bin/sh\nchmod -x \"$0\"\n")]);
    let mut serving = start(folder.path());
    // It passes the rehearsal, but cannot be executed afterwards.
    assert!(Command::new("chmod").arg("+x").arg(folder.path().join("broken")).status().unwrap().success());
    std::fs::rename(folder.path().join("broken"), folder.path().join("paster")).unwrap();
    let hangs = text.clone() + "[app.main.settings]\ncreate = \"hang\"\n";
    std::fs::write(folder.path().join("server.toml"), hangs).unwrap();
    let mut reload = paster();
    reload.args(["reload", "--wait", "--json", "--control", "own.sock"]).current_dir(folder.path());
    let reload = reload.stdout(Stdio::piped()).spawn().unwrap();
    serving.wait_for("reloading");
    wait_until("its worker is being started", || serving.children().len() == 2);
    std::fs::write(folder.path().join("server.toml"), text).unwrap();
    serving.signal("USR2");
    assert_eq!(serving.wait_for("reloading")["reason"], "command");
    let failed = serving.wait_for("reload_failed");
    assert!(failed.to_string().contains("cannot execute"), "{failed}");
    assert_eq!(serving.wait_for("reloaded")["generation"], 2);
    let output = reload.wait_with_output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["generation"], 2, "who waits for it is not told of the hand-over");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_control_socket_of_the_config_is_there_also_when_the_successor_cannot_reload() {
    let text = config("control = \"own.sock\"");
    let site = Site::new(&text);
    let mut serving = site.serve(&[]);
    std::fs::write(site.path().join("server.toml"), text.replace("\"http\"", "\"htp\"")).unwrap();
    serving.signal("USR2");
    serving.wait_for("reload_failed");
    let ps = site.json(&["ps", "--control", "own.sock"]);
    assert_eq!(ps["supervisor"]["pid"], serving.pid());
}

/// Counters of a page of metrics, except those that belong to a generation.
fn counters(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#') && !line.contains("generation="));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    let counts = |name: &str| ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.contains(end));
    samples
        .filter(|(name, _)| counts(name))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn no_counter_falls_and_tasks_keep_their_times() {
    let site = Site::new(
        "[process]\nworkers = 2\n\
         [server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [server.admin]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"admin\"\n\
         [app.main]\nuse = \"respond\"\nbody = \"hello\"\n\
         [app.admin]\nuse = \"respond\"\nmiddleware = [\"metrics\"]\n\
         [task.often]\nevery = \"100ms\"\ncommand = [\"true\"]\n\
         [task.seldom]\nevery = \"1h\"\njitter_secs = 1000\ncommand = [\"true\"]\n\
         [task.long]\ncommand = [\"cat\", \"gate\"]\n",
    );
    assert!(Command::new("mkfifo").arg(site.path().join("gate")).status().unwrap().success());
    let mut serving = site.serve(&[]);
    let admin = serving.urls["admin"].trim_start_matches("http://").to_owned();
    let scrape = {
        let admin = admin.clone();
        move || {
            let page = Connection::try_get(&admin, "/metrics").expect("metrics are told");
            assert!(page.contains("paster_start_time_seconds "), "no metrics: {page}");
            page
        }
    };
    let task = |name: &str| {
        let tasks = site.json(&["task", "list"]);
        tasks.as_array().unwrap().iter().find(|task| task["name"] == name).unwrap().clone()
    };
    // State to remember: requests, a reload, a crashed worker, runs of tasks, and one that still runs.
    (0..20).for_each(|_| assert_eq!(get(&serving, "/"), "hello"));
    serving.signal("HUP");
    serving.wait_for("reloaded");
    wait_until("the old workers are gone", || serving.children().len() == 2);
    crate::workers::kill(serving.children()[0]);
    serving.wait_for("worker_ready");
    wait_until("a task has run", || task("often")["runs_ended"].as_u64() > Some(2));
    site.text(&["task", "run", "long"]);
    let (seldom, often) = (task("seldom")["next_ms"].clone(), task("often")["runs_ended"].as_u64());
    assert!(seldom.as_u64() > Some(0));
    let ps = site.json(&["ps"])["supervisor"].clone();
    let first = scrape();
    let began = |page: &str| {
        page.lines().find(|line| line.starts_with("paster_start_time_seconds ")).map(str::to_owned)
    };

    // A client reads the metrics all the time.
    let mut clients = Clients::of(&admin);
    let (looked, fallen) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default());
    let (counted, seen) = (looked.clone(), fallen.clone());
    let before = Mutex::new(counters(&first));
    let look = scrape.clone();
    clients.add(move |_, traffic| {
        while traffic.goes_on() {
            let mut before = before.lock().unwrap();
            let now = counters(&look());
            let falls = before.iter().filter(|(name, value)| now.get(*name).is_none_or(|now| now < *value));
            seen.lock()
                .unwrap()
                .extend(falls.map(|(name, value)| format!("{name}: {value}, then {:?}", now.get(name))));
            *before = now;
            counted.fetch_add(1, Relaxed);
        }
    });
    for generation in 3..=5 {
        let before = looked.load(Relaxed);
        serving.signal("USR2");
        assert_eq!(serving.wait_for("reloaded")["generation"], generation);
        wait_until("the metrics are looked at", || looked.load(Relaxed) > before + 3);
        assert_eq!(task("seldom")["next_ms"], seldom, "due when it was");
        assert_eq!(task("long")["running"], 1);
    }
    clients.stop();
    assert_eq!(*fallen.lock().unwrap(), Vec::<String>::new());
    let last = counters(&scrape());
    assert_eq!(last["paster_reloads_total{outcome=\"done\"}"], 4.0);
    assert_eq!(last["paster_worker_exits_total{expected=\"false\"}"], 1.0);
    assert_eq!(last["paster_worker_restarts_total{reason=\"ended\"}"], 1.0);
    assert!(last["paster_requests_total{server=\"main\",outcome=\"2xx\"}"] >= 20.0);
    assert_eq!(began(&scrape()), began(&first));
    let now = site.json(&["ps"])["supervisor"].clone();
    let both = |name: &str| (ps[name].as_f64().unwrap(), now[name].as_f64().unwrap());
    assert_eq!(both("switches"), (2.0, 5.0));
    assert_eq!(both("crashes"), (1.0, 1.0));
    let (before, after) = both("age_secs");
    assert!(after > before);

    // Tasks continue: none starts twice, and the end of the running one is noticed.
    assert!(task("often")["runs_ended"].as_u64() > often);
    assert!(site.failure(&["task", "run", "long"]).1.contains("is already running"));
    std::fs::write(site.path().join("gate"), "through").unwrap();
    let ended = serving.wait_for_one("task_ended", |ended| ended["name"] == "long");
    assert_eq!((ended["ok"].as_bool(), ended["text"].as_str()), (Some(true), Some("through")));
    assert_eq!(task("long")["running"], 0);
    assert_eq!(serving.stop(), Some(0));
}
