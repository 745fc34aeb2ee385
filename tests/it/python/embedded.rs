//! Python applications in paster's workers: `mode = "embedded"`.

use std::collections::BTreeSet;
use std::process::Command;

use super::{Site, checks, pythons};
use crate::support::{Connection, Serving, get, runs, text, wait_until};

const APP: &str = "application = \"checks:application\"\nmode = \"embedded\"\n";

fn pid(serving: &Serving) -> u32 {
    get(serving, "/pid").parse().unwrap()
}

#[test]
fn the_application_runs_in_the_workers_with_its_environment() {
    let Some(site) = Site::new(&[("app/checks.py", &format!("print('loaded')\n{}", checks()))]) else {
        return;
    };
    let venv = site.folder().join(".venv");
    let made = Command::new(&site.python).args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    let app = format!("{APP}working_dir = \"app\"\nthreads = 1\nenv = {{ SITE = \"checks\" }}\n");
    let more = "[process]\nworkers = 2\n";
    let config = site.config(&app, more).replace(&format!("{:?}", site.python), "\".venv\"");
    site.write("server.toml", &config);
    let mut serving = Serving::spawn(site.paster(&["serve", "--json"]));
    let workers: BTreeSet<u32> = serving.children().into_iter().collect();
    wait_until("both workers have answered", || {
        let pids: BTreeSet<u32> = (0..50).map(|_| pid(&serving)).collect();
        pids.is_subset(&workers) && pids.len() == 2
    });
    let environ = get(&serving, "/env");
    for words in ["wsgi.multithread=False", "wsgi.multiprocess=True", "type=dict"] {
        assert!(environ.contains(words), "{environ}");
    }
    assert!(!environ.contains("SITE="), "{environ}");
    let variables = get(&serving, "/variables");
    for words in ["SITE=checks\n", &format!("VIRTUAL_ENV={}\n", venv.display())] {
        assert!(variables.contains(words), "{variables}");
    }
    let place = get(&serving, "/place");
    let wanted = format!("{} {}", venv.display(), site.folder().join("app").display());
    assert!(place.starts_with(&wanted), "{place}, not {wanted}");
    wait_until("what it prints is in the log", || serving.stderr().contains("loaded"));
    assert_eq!(serving.stop(), Some(0));
    assert!(serving.stderr().contains("called at the end of the interpreter"), "{}", serving.stderr());
}

#[test]
fn every_version_runs_the_same_library() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    for python in pythons() {
        let path = site.python.display().to_string();
        site.write("server.toml", &site.config(APP, "").replace(&path, &python.display().to_string()));
        let checked = site.paster(&["check"]).output().unwrap();
        if text(&checked.stderr).contains("has no shared library") {
            eprintln!("skipped: {} has no libpython", python.display());
            continue;
        }
        let serving = Serving::spawn(site.paster(&["serve", "--json"]));
        let version = Command::new(&python).args(["-c", "import sys; print(sys.version)"]).output().unwrap();
        assert_eq!(get(&serving, "/version"), text(&version.stdout).trim());
    }
}

#[test]
fn what_cannot_be_embedded_is_told() {
    let Some(site) = Site::new(&[("checks.py", &checks()), ("other/checks.py", &checks())]) else { return };
    let check = |config: &str| {
        site.write("server.toml", config);
        let output = site.paster(&["check"]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stdout));
        text(&output.stderr).to_owned()
    };
    for option in ["workers = 2", "max_requests = 5", "max_growth_mib = 5", "stuck_secs = 5"] {
        let told = check(&site.config(&format!("{APP}{option}\n"), ""));
        let name = option.split(' ').next().unwrap();
        assert!(told.contains(&format!("`{name}` is for `mode = \"process\"`")), "{told}");
    }
    // An interpreter without a shared library, as far as it says.
    let ask = ["-c", "import sys; print(sys.version.split()[0])"];
    let output = Command::new(&site.python).args(ask).output().unwrap();
    let version = text(&output.stdout);
    site.write("static/bin/python3", &format!("#!/bin/sh\necho {version}"));
    let program = site.folder().join("static/bin/python3");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let python = site.python.display().to_string();
    let told = check(&site.config(APP, "").replace(&python, &program.display().to_string()));
    assert!(told.contains("has no shared library") && told.contains("libpython3."), "{told}");
    // Two applications that need different interpreters.
    let other = format!("[app.other]\nuse = \"wsgi\"\npython = \"{python}\"\n{APP}working_dir = \"other\"\n");
    site.write("server.toml", &site.config(APP, &other));
    let mut serving = Serving::launch(site.paster(&["serve", "--json"]));
    let failed = serving.wait_for("failed").to_string();
    assert!(
        failed.contains("differ in `working_dir`") && failed.contains("`mode = \\\"process\\\"`"),
        "{failed}"
    );
    assert_eq!(serving.end(), Some(78));
}

#[test]
fn several_applications_share_the_interpreter() {
    let Some(site) =
        Site::new(&[("checks.py", &checks()), ("asgi_checks.py", &super::asgi::fixture("asgi_checks.py"))])
    else {
        return;
    };
    let python = site.python.display();
    let more = format!(
        "[app.other]\nuse = \"asgi\"\nmode = \"embedded\"\npython = \"{python}\"\napplication = \"asgi_checks:application\"\n\
         [app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/\" = \"main\"\n\"/other\" = \"other\"\n"
    );
    let mut serving = site.serve_with(APP, &more, &["--app", "site"]);
    assert_eq!(get(&serving, "/hello"), "hello\n");
    assert_eq!(get(&serving, "/other/hello"), "hello\n");
    assert_eq!(get(&serving, "/pid"), get(&serving, "/other/pid"));
    assert_eq!(serving.stop(), Some(0));
    wait_until("it is shut down", || serving.stderr().contains("the application was shut down"));
}

#[test]
fn a_reload_starts_new_workers_and_loses_no_request() {
    let Some(site) = Site::new(&[("web.py", &super::reload::says("word"))]) else { return };
    let app = "application = \"web:app\"\nmode = \"embedded\"\n";
    let mut serving = site.serve_with(app, "", &["--reload"]);
    let load = super::reload::Load::start(&serving);
    let before = get(&serving, "/");
    for number in 0..3 {
        site.write("web.py", &format!("{}# {number}\n", super::reload::says("word")));
        serving.wait_for("reloaded");
    }
    assert_ne!(get(&serving, "/"), before, "another process");
    // An error keeps the old one, and tells why.
    site.write("web.py", "import missing_here\n");
    let failed = serving.wait_for("reload_failed").to_string();
    assert!(failed.contains("Traceback") && failed.contains("No module named 'missing_here'"), "{failed}");
    assert!(get(&serving, "/").starts_with("word "));
    site.write("web.py", &super::reload::says("word"));
    serving.wait_for("reloaded");
    load.stop();
}

#[test]
fn a_worker_that_dies_is_replaced() {
    let Some(site) = Site::new(&[("checks.py", &checks())]) else { return };
    let serving = site.serve(APP);
    let before = pid(&serving);
    let crashed = Connection::try_get(serving.address(), "/segfault");
    assert!(crashed.is_none(), "{crashed:?}");
    wait_until("another one serves", || {
        Connection::try_get(serving.address(), "/pid").is_some_and(|body| body != before.to_string())
    });
    assert!(!runs(before));
}
