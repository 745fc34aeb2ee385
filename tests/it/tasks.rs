//! Scheduled tasks: on a schedule and started manually; of plugins, requests and programs; once for the whole
//! server.

use serde_json::Value;

use crate::control::Site;
use crate::support::{Connection, Serving, runs, save, wait_until};

const HELLO: &str = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"respond\"\nbody = \"hello\"\n";

fn task(site: &Site, name: &str) -> Value {
    let tasks = site.json(&["task", "list"]);
    tasks.as_array().unwrap().iter().find(|task| task["name"] == name).unwrap().clone()
}

/// Waits for the end of a run of `name`.
fn ended(serving: &mut Serving, name: &str) -> Value {
    serving.wait_for_one("task_ended", |event| event["name"] == name)
}

#[test]
fn a_task_runs_once_for_all_workers_and_never_twice_at_once() {
    let site = Site::new(&format!(
        "{HELLO}[process]\nworkers = 3\ngrace_secs = 0\n[task.often]\nevery = \"100ms\"\ncommand = [\"sh\", \"-c\", \"echo run >> runs; cat gate\"]\n"
    ));
    let status = std::process::Command::new("mkfifo").arg(site.path().join("gate")).status().unwrap();
    assert!(status.success());
    let mut serving = site.serve(&[]);
    // The first run waits at the gate; runs that are due in the meantime are skipped.
    wait_until("runs are left out", || task(&site, "often")["skipped"].as_u64() > Some(2));
    let of = task(&site, "often");
    assert_eq!((of["running"].as_u64(), of["last"].as_str()), (Some(1), None));
    assert_eq!(std::fs::read_to_string(site.path().join("runs")).unwrap(), "run\n");
    let (code, error) = site.failure(&["task", "run", "often"]);
    assert!(code == 1 && error.contains("is already running") && error.contains("overlap"), "{error}");
    // A reload does not end it, and the next generation does not start a second one.
    assert_eq!(site.json(&["reload", "--wait"])["generation"], 2);
    assert_eq!(task(&site, "often")["running"], 1);
    assert_eq!(std::fs::read_to_string(site.path().join("runs")).unwrap(), "run\n");
    std::fs::write(site.path().join("gate"), "through").unwrap();
    let event = ended(&mut serving, "often");
    assert_eq!((event["ok"].as_bool(), event["text"].as_str()), (Some(true), Some("through")));
    std::fs::write(site.path().join("gate"), "again").unwrap();
    assert_eq!(ended(&mut serving, "often")["text"], "again");
}

#[test]
fn tasks_of_a_plugin_run_by_hand() {
    let site = Site::faulty(
        "[task.greet]\ntask = \"greet\"\narguments = { name = \"Ada\" }\n[task.fail]\ntask = \"fail\"\n\
         [task.panic]\ntask = \"panic\"\n[task.hang]\ntask = \"hang\"\ntimeout_secs = 1\n",
    );
    let mut serving = site.serve(&[]);
    assert_eq!(site.text(&["task", "run", "greet", "--wait"]), "hello Ada\n");
    let run = site.json(&["task", "run", "greet", "--wait"]);
    assert_eq!((run["ok"].as_bool(), run["text"].as_str()), (Some(true), Some("hello Ada")));
    let (code, error) = site.failure(&["task", "run", "fail", "--wait"]);
    assert!(code == 1 && error.contains("the task `fail` failed: the store is gone"), "{error}");
    assert!(site.failure(&["task", "run", "panic", "--wait"]).1.contains("a task fell"));
    // One that takes too long is dropped.
    assert!(site.text(&["task", "run", "hang"]).contains("has started"));
    let event = ended(&mut serving, "hang");
    assert!(event["text"].as_str().unwrap().contains("stopped after 1 s"), "{event}");
    assert!(Connection::open(serving.address()).get("/counters").1.contains("\"dropped\":1"));
    let (code, error) = site.failure(&["task", "run", "gret"]);
    assert!(code == 1 && error.contains("did you mean `greet`?"), "{error}");
    let of = task(&site, "fail");
    assert_eq!((of["runs_ended"].as_u64(), of["runs_failed"].as_u64()), (Some(1), Some(1)));
    assert_eq!((of["schedule"].as_str(), of["next_ms"].as_u64()), (Some("by hand"), None));
    assert!(site.text(&["task", "list"]).contains("failed in "));
    assert!(site.text(&["logs"]).contains("task fail failed: the store is gone"));
}

#[test]
fn a_plugin_must_have_the_task() {
    let site = Site::faulty("[task.greet]\ntask = \"gret\"\n");
    let (code, error) = site.failure(&["serve"]);
    assert!(code == 78 && error.contains("server.toml:9:8"), "{error}");
    assert!(
        error.contains("the app `main` has no task `gret`") && error.contains("did you mean `greet`?"),
        "{error}"
    );
}

#[test]
fn requests_and_programs_are_tasks_too() {
    let config = format!(
        "{HELLO}[app.gone]\nuse = \"respond\"\nstatus = 410\nbody = \"no more\"\n\
         [task.ask]\nrequest = \"GET /\"\n[task.gone]\napp = \"gone\"\nrequest = \"POST /sweep\"\n\
         [task.daily]\ncron = \"0 3 * * *\"\ntime_zone = \"utc\"\ncommand = [\"cat\", \"word\"]\n\
         [task.false]\ncommand = [\"sh\", \"-c\", \"echo sorry; exit 3\"]\n\
         [task.absent]\ncommand = [\"./absent\"]\n\
         [task.long]\ntimeout_secs = 1\ncommand = [\"sh\", \"-c\", \"echo $$ > pid; cat gate\"]\n"
    );
    let site = Site::new(&config);
    std::fs::write(site.path().join("word"), "from the folder").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(site.path().join("gate")).status().unwrap().success());
    let mut serving = site.serve(&[]);
    let run = |name: &str| site.json(&["task", "run", name, "--wait"])["text"].as_str().unwrap().to_owned();
    assert_eq!((run("ask").as_str(), run("daily").as_str()), ("200 OK hello", "from the folder"));
    let failure = |name: &str| site.failure(&["task", "run", name, "--wait"]).1;
    assert!(failure("gone").contains("410 Gone no more"));
    assert!(failure("false").contains("exit status: 3: sorry"));
    assert!(failure("absent").contains("cannot run `./absent`"));
    // A program that takes too long is ended with its children.
    assert!(failure("long").contains("stopped after 1 s"));
    let pid = std::fs::read_to_string(site.path().join("pid")).unwrap().trim().parse().unwrap();
    wait_until("the program has ended", || !runs(pid));
    let next = task(&site, "daily")["next_ms"].as_u64().unwrap();
    assert_eq!(next % 86_400_000, 3 * 3_600_000, "at three o'clock");
    // A reload adds and removes tasks.
    save(&site.path().join("server.toml"), &config.replace("task.daily", "task.nightly"));
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let ps = site.json(&["ps"]);
    let names: Vec<_> =
        ps["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["absent", "ask", "false", "gone", "long", "nightly"]);
    assert!(site.failure(&["task", "run", "daily"]).1.contains("has no task `daily`"));
}

#[test]
fn a_task_whose_worker_is_killed_has_failed() {
    let site = Site::new(&format!(
        "{HELLO}[task.wait]\ncommand = [\"sh\", \"-c\", \"echo $$ > pid; exec cat gate\"]\n"
    ));
    assert!(std::process::Command::new("mkfifo").arg(site.path().join("gate")).status().unwrap().success());
    let mut serving = site.serve(&[]);
    site.text(&["task", "run", "wait"]);
    let pid = || std::fs::read_to_string(site.path().join("pid")).unwrap_or_default().trim().parse().ok();
    wait_until("the program runs", || pid().is_some());
    let worker = site.json(&["ps"])["workers"][0]["pid"].as_u64().unwrap();
    let status = std::process::Command::new("kill").args(["-9", &worker.to_string()]).status().unwrap();
    assert!(status.success());
    let event = ended(&mut serving, "wait");
    assert_eq!(
        (event["ok"].as_bool(), event["text"].as_str()),
        (Some(false), Some("its worker ended before the task"))
    );
    wait_until("the program has ended too", || !runs(pid().unwrap()));
}
