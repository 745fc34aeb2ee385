//! Directories with a program that serves requests: of Node.js, with a `Procfile`, of Go, with a Rack application.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{FLASK, MANAGE, look};
use crate::support::{Serving, folder, get, paster, runs, save, text, wait_until};

const NODE: &str = "require('http').createServer((request, response) => response.end(`node ${process.env.WORD} \
                    ${request.url}`)).listen(process.env.PORT)\n";
const START: &str = "{\"scripts\": {\"start\": \"node server.js\"}}";
const GO: &str = "package main\n\nimport (\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\thttp.HandleFunc(\"/\", \
                  func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, \"go \"+r.URL.Path) })\n\t\
                  panic(http.ListenAndServe(\"127.0.0.1:\"+os.Getenv(\"PORT\"), nil))\n}\n";
const RACK: &str = "run lambda { |env| [200, {}, [\"rack #{env['PATH_INFO']}\"]] }\n";

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !found {
        eprintln!("skipped: there is no `{name}`");
    }
    found
}

/// Serves the directory, and then the config that `config show` prints for it: both answer `/a` with `answer`.
fn check(place: &Path, args: &[&str], answer: &str) {
    let args = [&[".", "--listen", "127.0.0.1:0"], args].concat();
    let mut serving = Serving::start(place, &args);
    assert_eq!(get(&serving, "/a"), answer);
    assert_eq!(serving.stop(), Some(0));
    let output = paster().args(["config", "show", "."]).current_dir(place).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    save(&place.join("server.toml"), text(&output.stdout));
    let mut serving = Serving::start(place, &args);
    assert_eq!(get(&serving, "/a"), answer, "{}", text(&output.stdout));
    assert_eq!(serving.stop(), Some(0));
}

/// Each directory has a program with this command.
#[test]
fn each_rule() {
    let vite = "{\"scripts\": {\"start\": \"vite\", \"build\": \"vite build\"}}";
    for (command, files) in [
        (&["node", "server.js"][..], &[("package.json", START)][..]),
        (&["node", "server.js"], &[("package.json", START), ("index.html", ""), ("tool.py", "print(1)\n")]),
        (
            &["npm", "run", "start"],
            &[("package.json", "{\"scripts\": {\"start\": \"next start\", \"build\": \"next build\"}}")],
        ),
        (
            &["npm", "run", "start"],
            &[("package.json", "{\"scripts\": {\"start\": \"node .\", \"prestart\": \"tsc\"}}")],
        ),
        (
            &["npm", "run", "start"],
            &[(
                "package.json",
                "{\"scripts\": {\"start\": \"vite build && NODE_ENV=production node server.js\"}}",
            )],
        ),
        (
            &["pnpm", "run", "start"],
            &[("package.json", "{\"scripts\": {\"start\": \"next start\"}}"), ("pnpm-lock.yaml", "")],
        ),
        (
            &["yarn", "run", "start"],
            &[(
                "package.json",
                "{\"scripts\": {\"start\": \"next start\"}, \"packageManager\": \"yarn@4.1.0\"}",
            )],
        ),
        (&["node", "server.js"], &[("package.json", "{}"), ("server.js", NODE)]),
        (&["node", "lib/app.js"], &[("package.json", "{\"main\": \"lib/app\"}"), ("lib/app.js", NODE)]),
        // The author's own word.
        (
            &["node", "other.js", "--port", "{port}"],
            &[
                ("Procfile", "web: node other.js --port $PORT\n"),
                ("package.json", START),
                ("config.ru", RACK),
            ],
        ),
        (
            &["./run"],
            &[("Procfile", "web: ./run\n"), ("wsgi.py", "def application(environ, start_response): pass\n")],
        ),
        (&["go", "run", "."], &[("go.mod", "module site\n"), ("main.go", GO), ("package.json", START)]),
        (
            &["go", "run", "./cmd/site"],
            &[
                ("go.mod", "module site\n"),
                ("cmd/site/main.go", GO),
                ("cmd/site/more.go", "package main\n"),
                ("site.go", "package site\n"),
            ],
        ),
        (
            &["puma", "--bind", "tcp://{host}:{port}", "config.ru"],
            &[("config.ru", RACK), ("package.json", START)],
        ),
        (
            &["bundle", "exec", "puma", "--bind", "tcp://{host}:{port}", "config.ru"],
            &[("config.ru", RACK), ("Gemfile.lock", "GEM\n  specs:\n    puma (6.4.2)\n")],
        ),
        (
            &["bundle", "exec", "rackup", "--host", "{host}", "--port", "{port}", "config.ru"],
            &[("config.ru", RACK), ("Gemfile.lock", "GEM\n  specs:\n    puma_worker_killer (1.0)\n")],
        ),
    ] {
        let (config, said) = look(files, &[]);
        let config = config.unwrap_or_else(|error| panic!("{command:?} {files:?}: {error}"));
        let app = &config["app"]["main"];
        assert_eq!((&app["use"], &app["command"]), (&json!("program"), &json!(command)), "{files:?}: {said}");
        assert_eq!(app["working_dir"], ".");
        assert!(said.starts_with("serving `.` as ") && said.lines().count() == 1, "{said}");
    }
    // Not a program: a front end beside an application, and a development server of pages.
    for (kind, files) in [
        ("flask", &[("app.py", FLASK), ("package.json", START), ("Procfile", "web: python app.py\n")][..]),
        ("django", &[("manage.py", MANAGE), ("shop/settings.py", ""), ("package.json", START)]),
        ("wsgi", &[("Procfile", "web: gunicorn shop:app\n"), ("package.json", START)]),
        ("static", &[("package.json", vite), ("index.html", ""), ("dist/index.html", "")]),
        ("static", &[("package.json", "{\"devDependencies\": {\"sass\": \"1\"}}"), ("index.html", "")]),
        ("static", &[("package.json", "{\"scripts\": {\"start\": \"npx serve\"}}"), ("index.html", "")]),
    ] {
        let (config, said) = look(files, &[]);
        let config = config.unwrap_or_else(|error| panic!("{kind} {files:?}: {error}"));
        assert_eq!(config["app"]["main"]["use"], kind, "{files:?}: {said}");
    }
}

#[test]
fn what_is_no_server() {
    let tool = "{\"main\": \"index.js\", \"scripts\": {\"test\": \"jest\"}, \"devDependencies\": {\"eslint\": \"9\"}}";
    let app = "{\"scripts\": {\"start\": \"cross-env PORT=3 react-scripts start\", \"build\": \"react-scripts build\"}}";
    for (words, files) in [
        ("no start script", &[("package.json", tool), ("index.js", "module.exports = 1\n")][..]),
        ("`npm run build`", &[("package.json", app), ("public/index.html", "")]),
        ("cannot tell", &[("package.json", "{\"scripts\": {\"start\": \"electron .\"}}")]),
        ("no line `web`", &[("Procfile", "worker: node worker.js\nrelease: x\n")]),
        ("must read the variable `PORT`", &[("go.mod", "module tool\n"), ("main.go", "package main\n")]),
        ("cannot tell", &[("Gemfile", "gem 'puma'\n"), ("Gemfile.lock", "")]),
        (
            "several Go programs: ./cmd/a, ./cmd/b",
            &[("go.mod", "module site\n"), ("cmd/a/main.go", GO), ("cmd/b/main.go", GO)],
        ),
        ("can be served as `rack` or `go`", &[("config.ru", RACK), ("go.mod", ""), ("main.go", GO)]),
    ] {
        let error = look(files, &[]).0.expect_err(words);
        assert!(error.contains(words), "{files:?}: expected {words}\n{error}");
    }
    for (kind, words) in [
        ("node", "no `package.json` with a start script"),
        ("procfile", "no `Procfile` with a line `web`"),
        ("go", "no `package main`"),
        ("rack", "no `config.ru`"),
    ] {
        let error = look(&[("notes.txt", "")], &["--as", kind]).0.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn programs_of_node() {
    if !has_program("node") {
        return;
    }
    let site = folder(&[("package.json", START), ("server.js", NODE)]);
    check(site.path(), &[], "node undefined /a");
    if has_program("npm") {
        let start = "{\"scripts\": {\"start\": \"WORD=by-npm node server.js\"}}";
        let site = folder(&[("package.json", start), ("server.js", NODE)]);
        check(site.path(), &[], "node by-npm /a");
    }
}

/// `release` ends before the others start, which get the variables of `.env`; a shell runs what needs one.
#[test]
fn programs_of_a_procfile() {
    if !has_program("node") {
        return;
    }
    let procfile = "# the site\nweb: node server.js\nrelease: echo \"${WORD:-none}\" > released\nmain: cp released \
                    copied && echo $$ > pid && exec sleep 1000\nbroken\n";
    let site = folder(&[("Procfile", procfile), ("server.js", NODE), (".env", "WORD=secret-word\n")]);
    let at = |name: &str| site.path().join(name);
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap_or_default();
    check(site.path(), &[], "node secret-word /a");
    for name in ["server.toml", "released", "copied", "pid"] {
        std::fs::remove_file(at(name)).unwrap();
    }
    let mut serving = Serving::start(site.path(), &[".", "--listen", "127.0.0.1:0"]);
    let said = serving.stderr();
    assert!(said.contains("as procfile: `Procfile` has a line `web`, and line 5 is skipped"), "{said}");
    assert!(!said.contains("secret-word"), "{said}");
    wait_until("the other program runs", || read("pid").ends_with('\n'));
    assert_eq!((read("released"), read("copied")), ("secret-word\n".to_owned(), read("released")));
    let pid = read("pid").trim().parse().unwrap();
    assert!(runs(pid));
    assert_eq!(serving.stop(), Some(0));
    wait_until("the other program ends", || !runs(pid));
}

#[test]
fn a_program_in_go() {
    if !has_program("go") {
        return;
    }
    let site = folder(&[("go.mod", "module site\n\ngo 1.18\n"), ("cmd/site/main.go", GO)]);
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache");
    let mut build = Command::new("go");
    build.args(["build", "-o", "/dev/null", "./cmd/site"]).current_dir(&site).env("GOCACHE", cache);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(site.path(), &["-D", &format!("app.main.env.GOCACHE={cache}")], "go /a");
}

#[test]
fn a_rack_application() {
    if has_program("puma") {
        let site = folder(&[("config.ru", RACK)]);
        check(site.path(), &[], "rack /a");
    }
}
