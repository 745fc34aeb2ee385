//! The processes of Python applications: who runs them, what takes them along, and what does not.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use super::{Site, checks};
use crate::support::{Connection, Serving, get, runs, text, wait_until};

const APP: &str = "application = \"checks:application\"\n";

fn pid(serving: &Serving) -> u32 {
    get(serving, "/pid").parse().unwrap()
}

/// A request that is answered when `file` exists.
fn waiting(serving: &Serving, file: &std::path::Path) -> TcpStream {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(crate::support::patience())).unwrap();
    let head = format!("GET /waits?{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", file.display());
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

#[test]
fn workers_share_the_processes_and_environ_tells_the_truth() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let more = "[process]\nworkers = 2\n";
    let mut serving = site.serve_with(&format!("{APP}workers = 2\nthreads = 1\n"), more, &[]);
    let pids: BTreeSet<u32> = (0..200).map(|_| pid(&serving)).collect();
    assert_eq!(pids.len(), 2, "two workers and two processes: {pids:?}");
    let environ = get(&serving, "/env");
    assert!(
        environ.contains("wsgi.multithread=False") && environ.contains("wsgi.multiprocess=True"),
        "{environ}"
    );
    assert_eq!(get(&serving, "/thread"), "wsgi-0");
    assert_eq!(serving.stop(), Some(0));
    wait_until("they end", || !pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn without_a_config() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let venv = site.folder().join(".venv");
    let made = Command::new(&site.python).args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    let mut serving = Serving::spawn(site.paster(&[
        "serve",
        "--json",
        "--app",
        "wsgi:checks:application",
        "--listen",
        "127.0.0.1:0",
    ]));
    assert_eq!(get(&serving, "/hello"), "hello\n");
    // The environment beside it is that of a shell that has activated it.
    let variables = get(&serving, "/variables");
    assert!(variables.contains(&format!("VIRTUAL_ENV={}", venv.display())), "{variables}");
    assert!(variables.contains(&format!("PATH={}", venv.join("bin").display())), "{variables}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn applications_are_named_in_many_ways() {
    let files = [
        ("checks.py", &*checks()),
        ("site.wsgi", "from checks import create\napplication = create('from a file')\n"),
        ("package/__init__.py", ""),
        ("package/wsgi.py", "from checks import create\napplication = create('a module')\n"),
        (
            "package/web.py",
            "from checks import create\nclass holder:\n    app = create('an attribute')\napp = holder.app\n",
        ),
    ];
    let Some(site) = Site::new(&files) else { return };
    for (name, expected) in [
        ("checks:create('made', size=3)", "made 3"),
        ("site.wsgi", "from a file 1"),
        ("package.wsgi", "a module 1"),
        ("package.wsgi:application", "a module 1"),
        ("package.web", "an attribute 1"),
        ("package.web:holder.app", "an attribute 1"),
    ] {
        site.write("server.toml", &site.config(&format!("application = \"{name}\""), ""));
        let output = site.paster(&["request", "GET", "/"]).output().unwrap();
        let printed = text(&output.stdout);
        assert!(printed.contains(expected), "{name}: {printed}{}", text(&output.stderr));
    }
}

#[test]
fn check_loads_the_application_and_tells_what_is_wrong() {
    let files = [
        ("checks.py", &*checks()),
        ("bad.py", "def load():\n    import nothing_like_it\nload()\n"),
        ("wrong.py", "x = = 1\n"),
    ];
    let Some(site) = Site::new(&files) else { return };
    let check = |app: &str| {
        site.write("server.toml", &site.config(app, ""));
        let output = site.paster(&["check"]).output().unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, told) = check(APP);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("`[app.main]` runs on Python 3."), "{told}");
    for (app, words) in [
        (
            "application = \"bad:app\"",
            &["No module named 'nothing_like_it'", "bad.py\", line 2, in load", "server.toml:7:15"][..],
        ),
        ("application = \"wrong:app\"", &["SyntaxError", "wrong.py\", line 1"]),
        ("application = \"nowhere:app\"", &["there is no module `nowhere`"]),
        ("application = \"checks:absent\"", &["`checks` has no `absent`; it has `"]),
        ("application = \"checks:TEXT\"", &["the application is not callable"]),
        ("application = \"checks:create(open('x'))\"", &["must be literals"]),
        ("application = \"absent.wsgi\"", &["there is no file", "and no module `absent.wsgi`"]),
        ("application = \"\"", &["`application` is empty"]),
        (&format!("{APP}working_dir = \"nowhere\""), &["is not a directory"]),
        (&format!("{APP}env = {{ \"A=B\" = \"c\" }}"), &["is not a variable name"]),
        (&format!("{APP}thread = 3"), &["unknown key `thread`", "did you mean `threads`?"]),
    ] {
        let (code, told) = check(app);
        assert_eq!(code, Some(78), "{app}: {told}");
        for words in words {
            assert!(told.contains(words), "{app}: {words}\n{told}");
        }
    }
    site.write("server.toml", &site.config(APP, "").replace("python = ", "python = \"/nowhere\" # "));
    let output = site.paster(&["check"]).output().unwrap();
    assert!(text(&output.stderr).contains("`/nowhere` is neither an interpreter nor a virtual environment"));
}

#[test]
fn a_start_that_takes_too_long_is_reported() {
    let Some(site) = Site::new(&[("slow.py", "import time\ntime.sleep(1000)\n")]) else { return };
    site.write("server.toml", &site.config("application = \"slow:app\"\nstart_secs = 1\nqueue_secs = 1", ""));
    let mut serving = Serving::launch(site.paster(&["serve", "--json"]));
    let failed = serving.wait_for("failed");
    assert!(failed.to_string().contains("it was not loaded within 1 s"), "{failed}");
    assert_ne!(serving.end(), Some(0));
}

#[test]
fn a_process_that_is_killed_takes_only_its_requests_along() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}workers = 2\nthreads = 2\nenv = {{ SITE = \"checks\" }}\n"));
    assert!(get(&serving, "/variables").contains("SITE=checks\n"));
    let file = site.folder().join("go");
    let kills = std::env::var("PASTER_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(5);
    for _ in 0..kills {
        let pids: Vec<u32> = (0..50).map(|_| pid(&serving)).collect::<BTreeSet<_>>().into_iter().collect();
        // One for each process, if both get there in time; a thread of each stays free.
        let requests: Vec<_> = (0..2).map(|_| waiting(&serving, &file)).collect();
        let killed = pids[0];
        assert!(Command::new("kill").args(["-KILL", &killed.to_string()]).status().unwrap().success());
        let exit = serving.wait_for("app_exit");
        assert_eq!(exit["app"], "main", "{exit}");
        // The others are answered while it restarts.
        assert_eq!(get(&serving, "/hello"), "hello\n");
        std::fs::write(&file, "").unwrap();
        for answer in requests.into_iter().map(answer) {
            let lost = answer.starts_with("HTTP/1.1 502 ")
                && answer.contains("its process ended during the request");
            let answered = answer.starts_with("HTTP/1.1 200 ") && answer.contains("waited\n");
            assert!(answered || lost, "{answer}");
        }
        std::fs::remove_file(&file).unwrap();
        wait_until("another one serves", || {
            pid(&serving) != killed && (0..50).map(|_| pid(&serving)).collect::<BTreeSet<_>>().len() == 2
        });
    }
}

#[test]
fn a_crash_in_a_library_takes_no_neighbour_along() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let more = "[server.other]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"other\"\n\
                [app.other]\nuse = \"respond\"\nbody = \"other\"\n";
    let mut serving = site.serve_with(APP, more, &[]);
    let worker = serving.children();
    let other = serving.urls["other"].trim_start_matches("http://").to_owned();
    let mut kept = Connection::open(&other);
    assert_eq!(kept.get("/").1, "other");
    for _ in 0..3 {
        let (head, body) = Connection::open(serving.address()).get("/segfault");
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}{body}");
        let exit = serving.wait_for("app_exit");
        assert!(exit["status"].as_str().unwrap().contains("SIGSEGV"), "{exit}");
        assert_eq!(kept.get("/").1, "other", "on the same connection");
        assert_eq!(get(&serving, "/hello"), "hello\n");
    }
    wait_until("the log tells where", || serving.stderr().contains("Fatal Python error: Segmentation fault"));
    assert!(
        serving.children().contains(&worker[0]) || worker.iter().any(|pid| serving.children().contains(pid))
    );
}

#[test]
fn the_processes_end_with_the_supervisor() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(APP);
    let process = pid(&serving);
    serving.kill();
    wait_until("it ends", || !runs(process));
}

#[test]
fn they_are_listed() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(APP);
    let process = pid(&serving);
    let output = site.paster(&["ps", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = listed.to_string();
    assert!(
        text.contains(&format!("\"pid\":{process}")) && text.contains("\"name\":\"process 0\""),
        "{text}"
    );
    drop(serving);
}

#[test]
fn what_they_print_is_in_the_log() {
    let Some(site) = Site::new(&[("checks.py", &format!("print('printed at the start')\n{}", checks()))])
    else {
        return;
    };
    let serving = site.serve(APP);
    wait_until("it is logged", || serving.stderr().contains("printed at the start"));
}

#[test]
fn a_process_is_replaced_after_enough_requests_and_none_is_lost() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}max_requests = 100\n"));
    let mut pids = BTreeSet::new();
    let mut connection = Connection::open(serving.address());
    // It tells once a second how many there were.
    wait_until("it was replaced twice", || {
        for _ in 0..20 {
            let (head, body) = connection.get("/pid");
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
            pids.insert(body);
        }
        pids.len() > 2
    });
    let replaced = serving.wait_for("app_replaced");
    assert!(replaced["reason"].as_str().unwrap().starts_with("it has served "), "{replaced}");
}

#[test]
fn a_process_that_grows_is_replaced() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}max_growth_mib = 100\n"));
    let before = pid(&serving);
    wait_until("it was measured", || get(&serving, "/uptime").parse::<f64>().unwrap() > 3.0);
    get(&serving, "/grow");
    let replaced = serving.wait_for("app_replaced");
    assert!(replaced["reason"].as_str().unwrap().starts_with("its memory has grown by "), "{replaced}");
    wait_until("another one serves", || pid(&serving) != before);
}

#[test]
fn a_process_that_hangs_is_replaced_and_the_log_tells_what_it_did() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}threads = 2\nstuck_secs = 2\n"));
    let before = pid(&serving);
    let stuck = waiting(&serving, &site.folder().join("never"));
    let replaced = serving.wait_for("app_replaced");
    assert!(replaced["reason"].as_str().unwrap().starts_with("it has been hanging for "), "{replaced}");
    wait_until("another one serves", || pid(&serving) != before);
    assert!(answer(stuck).starts_with("HTTP/1.1 502 "), "it is given up");
    wait_until("the log tells where", || {
        let log = serving.stderr();
        log.contains("most recent call first")
            && log.contains("checks.py\", line")
            && log.contains("in waits")
    });
    wait_until("it ends", || !runs(before));
}

#[test]
fn top_tells_what_each_thread_does() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}threads = 2\n"));
    let (file, first) = (site.folder().join("never"), pid(&serving));
    let waiting = waiting(&serving, &file);
    wait_until("it waits", || file.with_extension("begun").exists());
    let run = |arguments: &[&str]| site.paster(&[&["top", "--stacks"], arguments].concat()).output().unwrap();
    let output = run(&["main"]);
    let stacks = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(stacks.starts_with(&format!("process 0, pid {first}\n  Thread 0x")), "{stacks}");
    assert!(stacks.contains("checks.py\", line ") && stacks.contains(" in waits"), "{stacks}");
    let json: Value = serde_json::from_slice(&run(&["main", "--json"]).stdout).unwrap();
    let threads = json[0]["threads"].as_array().unwrap();
    let waits = |thread: &Value| {
        let frames = thread["frames"].as_array().unwrap();
        frames.iter().any(|frame| frame["function"] == "waits" && frame["line"].is_u64())
    };
    assert!(threads.iter().any(waits), "{json:#}");
    // A thread that keeps the interpreter to itself does not prevent an answer.
    assert_eq!(get(&serving, "/blocks"), "blocking\n");
    wait_until("the block is seen", || text(&run(&["main"]).stdout).contains("in block\n"));
    let output = run(&["wrong"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is neither an app nor a program `wrong`"));
    drop(waiting);
}

#[test]
fn a_process_that_hangs_without_a_request_is_replaced() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(&format!("{APP}stuck_secs = 3\n"));
    let before = pid(&serving);
    assert_eq!(get(&serving, "/blocks"), "blocking\n");
    let replaced = serving.wait_for("app_replaced");
    assert!(replaced["reason"].as_str().unwrap().starts_with("it has been hanging for "), "{replaced}");
    wait_until("another one serves", || pid(&serving) != before);
    wait_until("it ends", || !runs(before));
}

#[test]
fn requests_that_a_dead_process_had_not_begun_go_to_another_one() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(&format!("{APP}threads = 1\n"));
    let (file, before) = (site.folder().join("never"), pid(&serving));
    let begun = waiting(&serving, &file);
    wait_until("it waits", || file.with_extension("begun").exists());
    let queued: Vec<_> = (0..10)
        .map(|number| {
            let mut stream = TcpStream::connect(serving.address()).unwrap();
            stream.set_read_timeout(Some(crate::support::patience())).unwrap();
            let head = format!(
                "POST /read HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {number}\r\n"
            );
            let body = "x".repeat(number);
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
            stream
        })
        .collect();
    wait_until("they are in flight", || {
        let output = site.paster(&["top", "--once", "--json"]).output().unwrap();
        text(&output.stdout).matches("/read").count() == 10
    });
    assert!(Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap().success());
    assert!(answer(begun).starts_with("HTTP/1.1 502 "));
    for (number, stream) in queued.into_iter().enumerate() {
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("{number} ")), "{answer}");
    }
    assert_ne!(pid(&serving), before);
}

#[test]
fn a_child_that_the_application_forks_has_no_socket_of_paster() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let mut serving = site.serve(APP);
    let file = site.folder().join("child");
    assert_eq!(get(&serving, &format!("/forks?{}", file.display())), "forked\n");
    wait_until("the child runs", || file.exists());
    let told = std::fs::read_to_string(&file).unwrap();
    let (child, descriptors) = told.split_once('\n').unwrap();
    assert!(!descriptors.contains("socket:"), "{descriptors}");
    assert_eq!(get(&serving, "/hello"), "hello\n");
    assert_eq!(serving.stop(), Some(0));
    let child = child.parse().unwrap();
    wait_until("the child ends with the process", || !runs(child));
}

#[test]
fn programs_run_in_the_environment() {
    let Some(site) = Site::new(&[("site/checks.py", &checks())]) else { return };
    site.write(
        "server.toml",
        &site.config(&format!("{APP}working_dir = \"site\"\nenv = {{ SITE = \"checks\" }}"), ""),
    );
    let output = site.paster(&["run", "main", "--", "sh", "-c", "echo $SITE; pwd; exit 3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("checks\n{}\n", site.folder().join("site").display()));
    let output = crate::support::piped(
        &mut site.paster(&["shell", "main"]),
        "print(application.__name__, len('four'))\n",
    );
    assert_eq!(text(&output.stdout), "application 4\n", "{}", text(&output.stderr));
    let more = "[app.other]\nuse = \"respond\"\nbody = \"a\"\n";
    site.write("server.toml", &site.config("application = \"nowhere:app\"", more));
    let output = site.paster(&["shell", "main"]).output().unwrap();
    assert!(text(&output.stderr).contains("there is no module `nowhere`"), "{}", text(&output.stderr));
    for (app, words) in [("other", "has no separate environment"), ("mian", "did you mean `main`?")] {
        let output = site.paster(&["run", app, "--", "true"]).output().unwrap();
        assert!(
            output.status.code() == Some(78) && text(&output.stderr).contains(words),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn they_run_as_the_user_of_the_config() {
    // The interpreter must be one that every user may execute.
    let python = std::path::Path::new("/usr/bin/python3");
    if !rustix::process::geteuid().is_root() || !python.exists() {
        eprintln!("skipped: needs root, and /usr/bin/python3");
        return;
    }
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let site = Site { python: python.to_owned(), ..site };
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(site.prefix.path(), open).unwrap();
    let serving = site.serve_with(APP, "[process]\nuser = \"nobody\"\n", &[]);
    assert_eq!(get(&serving, "/uid").split(' ').next(), Some("65534"));
}
