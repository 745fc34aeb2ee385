//! `paster serve DIRECTORY`: what a directory is taken for.

mod explain;
mod programs;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Serving, folder, get, paster, text};

/// The config for a directory with these files, or the error; and what is said about it.
fn look(files: &[(&str, &str)], args: &[&str]) -> (Result<Value, String>, String) {
    let place = folder(files);
    look_at(place.path(), args)
}

fn look_at(place: &Path, args: &[&str]) -> (Result<Value, String>, String) {
    let mut command = paster();
    command.args(["config", "show", ".", "--json"]).args(args).current_dir(place);
    let output = command.output().unwrap();
    let said = text(&output.stderr).to_owned();
    match output.status.success() {
        true => (Ok(serde_json::from_slice(&output.stdout).unwrap()), said),
        false => (Err(format!("{}\n{said}", output.status.code().unwrap())), said),
    }
}

const FLASK: &str = "import flask\napp = flask.Flask(__name__)\n";
const FASTAPI: &str = "from fastapi import FastAPI as F\napp: F = F(title='x')\n";
const MANAGE: &str = "import os\nif __name__ == '__main__':\n    os.environ.setdefault(\n        'DJANGO_SETTINGS_MODULE', \"shop.settings\")\n";
const INI: &str = "[app:main]\nuse = egg:shop\n[server:main]\nuse = egg:waitress\n";
const PLUGIN: &str =
    "[package]\nname = \"shop\"\n[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\npaster-sdk = \"0.1\"\n";

/// Each directory is taken for this kind, with this option in the table of the app.
#[test]
fn each_rule() {
    for (kind, key, value, files) in [
        ("django", "publish_dir", ".", &[("manage.py", MANAGE), ("shop/settings.py", "")][..]),
        // One directory below; the settings are a package.
        (
            "django",
            "publish_dir",
            "web",
            &[("web/manage.py", MANAGE), ("web/shop/settings/__init__.py", ""), ("README", "")],
        ),
        // The settings come from an installed package.
        ("django", "publish_dir", ".", &[("manage.py", MANAGE), ("requirements.txt", "Django>=5\n")]),
        (
            "django",
            "publish_dir",
            ".",
            &[("manage.py", "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'shop'\n"), ("shop.py", "")],
        ),
        // Its `wsgi.py` and a front end are no rivals.
        (
            "django",
            "publish_dir",
            ".",
            &[
                ("manage.py", MANAGE),
                ("shop/settings.py", ""),
                (
                    "shop/wsgi.py",
                    "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
                ),
                ("package.json", "{\"scripts\": {\"build\": \"vite build\"}}"),
                ("index.html", ""),
            ],
        ),
        ("flask", "publish_dir", ".", &[("app.py", FLASK)]),
        (
            "flask",
            "publish_dir",
            ".",
            &[(
                "src/shop/__init__.py",
                "from flask import Flask\ndef create_app(config=None):\n    return Flask('x')\n",
            )],
        ),
        // `django-stubs` is not Django, and a `manage.py` of another kind is not a project.
        (
            "flask",
            "publish_dir",
            ".",
            &[
                ("app.py", FLASK),
                ("requirements.txt", "flask\ndjango-stubs\n"),
                ("manage.py", "import click\n"),
            ],
        ),
        // An object made by a function of the application, in the usual file; the framework is in the package.
        (
            "flask",
            "publish_dir",
            ".",
            &[
                ("wsgi.py", "from shop import create_app\napp = create_app()\n"),
                ("shop/__init__.py", "from flask import Flask\ndef create_app():\n    return Flask('x')\n"),
            ],
        ),
        ("fastapi", "publish_dir", ".", &[("app/main.py", FASTAPI), ("app/__init__.py", "")]),
        (
            "starlette",
            "publish_dir",
            ".",
            &[(
                "main.py",
                "from starlette.applications import Starlette\nclass Site(Starlette):\n    pass\napp = Site()\n",
            )],
        ),
        ("bottle", "publish_dir", ".", &[("main.py", "import bottle\n@bottle.get('/')\ndef page(): pass\n")]),
        ("cherrypy", "publish_dir", ".", &[("main.py", "import cherrypy\ncherrypy.tree.mount(object())\n")]),
        ("quixote", "publish_dir", ".", &[("main.py", "import quixote\ndef create_publisher(): pass\n")]),
        (
            "pyramid",
            "publish_dir",
            ".",
            &[("development.ini", INI), ("pyproject.toml", "[project]\ndependencies = [\"pyramid >= 2\"]\n")],
        ),
        (
            "pyramid",
            "publish_dir",
            ".",
            &[("development.ini", INI), ("setup.py", "requires = ['plaster', 'pyramid']\n")],
        ),
        ("wsgi", "application", "config:site.ini", &[("site.ini", INI)]),
        (
            "wsgi",
            "application",
            "wsgi:application",
            &[("wsgi.py", "def application(environ, start_response): pass\n")],
        ),
        ("wsgi", "application", "shop.wsgi", &[("shop.wsgi", "application = 1\n")]),
        ("asgi", "application", "asgi:app", &[("asgi.py", "async def app(scope, receive, send): pass\n")]),
        (
            "asgi",
            "application",
            "main:app",
            &[("main.py", "from litestar import Litestar\napp = Litestar([])\n")],
        ),
        (
            "wsgi",
            "application",
            "shop.site:main",
            &[("Procfile", "web: gunicorn shop.site:main\nworker: x\n")],
        ),
        ("plugin", "crate", ".", &[("Cargo.toml", PLUGIN)]),
        (
            "plugin",
            "crate",
            "crates/shop",
            &[
                ("Cargo.toml", "[workspace]\n"),
                ("crates/shop/Cargo.toml", PLUGIN),
                ("crates/other/Cargo.toml", "[package]\nname = \"other\"\n"),
            ],
        ),
        ("static", "publish_dir", ".", &[("index.html", "")]),
        ("static", "publish_dir", "public", &[("public/index.html", ""), ("README.md", "")]),
        (
            "static",
            "publish_dir",
            "dist",
            &[
                ("package.json", "{\"scripts\": {\"build\": \"vite build\"}}"),
                ("index.html", ""),
                ("dist/index.html", ""),
            ],
        ),
        ("notebook", "settings", "", &[("lessons/one.ipynb", "{}")]),
        // A page beside notebooks, and beside a module without an application.
        ("static", "publish_dir", ".", &[("index.html", ""), ("a.ipynb", "{}"), ("tool.py", "print('x')\n")]),
    ] {
        let (config, said) = look(files, &[]);
        let config = config.unwrap_or_else(|error| panic!("{kind} {files:?}: {error}"));
        let app = &config["app"]["main"];
        assert_eq!(app["use"], kind, "{files:?}: {said}");
        let shown = app[key].as_str().unwrap_or_default();
        assert_eq!(shown, value, "{kind} {files:?}: {app}");
        assert!(said.starts_with("serving `.` as ") && said.lines().count() == 1, "{said}");
        assert_eq!(config["server"]["main"]["app"], "main");
    }
}

/// Each directory is refused with these words.
#[test]
fn what_is_not_recognized_or_ambiguous() {
    let two = "from flask import Flask\n";
    for (words, files) in [
        (
            &[
                "`.` can be served as `flask` or `fastapi`",
                "`paster serve . --as flask`",
                "`paster serve . --as fastapi`",
            ][..],
            &[("app.py", FLASK), ("main.py", FASTAPI)][..],
        ),
        (
            &["can be served as `django` or `plugin`"],
            &[("manage.py", MANAGE), ("shop/settings.py", ""), ("Cargo.toml", PLUGIN)],
        ),
        (
            &["several Django projects: `one`, `two`"],
            &[
                ("one/manage.py", MANAGE),
                ("two/manage.py", MANAGE),
                ("one/shop/settings.py", ""),
                ("two/shop/settings.py", ""),
            ],
        ),
        (&["several crates are plugins: a, b"], &[("a/Cargo.toml", PLUGIN), ("b/Cargo.toml", PLUGIN)]),
        (&["several files have an application: `one.ini`, `two.ini`"], &[("one.ini", INI), ("two.ini", INI)]),
        // Half of the signs.
        (
            &["cannot tell what application `.` contains", "it contains `manage.py`", "--app static:.`"],
            &[("manage.py", MANAGE)],
        ),
        (&["cannot tell"], &[("requirements.txt", "django\nflask\nfastapi\n"), ("app.py", two)]),
        (
            &["cannot tell"],
            &[("Cargo.toml", "[package]\nname = \"x\"\n[dependencies]\npaster-sdk = \"1\"\n")],
        ),
        (&["cannot tell"], &[("setup.cfg", "[app:main]\n"), ("tox.ini", "[testenv]\n")]),
        // Not what the application is made of.
        (
            &["cannot tell"],
            &[("tests/app.py", FLASK), ("node_modules/x/app.py", FLASK), (".venv/app.py", FLASK)],
        ),
        (&["cannot tell"], &[("a/b/c/d/app.py", FLASK)]),
        (&["cannot tell"], &[("tool.py", "import typer\napp = typer.Typer()\n")]),
        (
            &["cannot tell"],
            &[("app.py", "if __name__ == '__main__':\n    import flask\n    app = flask.Flask('x')\n")],
        ),
        // A source of a build.
        (
            &["cannot tell", "`npm run build`"],
            &[("package.json", "{\"scripts\": {\"build\": \"vite build\"}}"), ("index.html", "")],
        ),
        (&["cannot tell", "the directory is empty"], &[]),
        (&["PHP"], &[("public/index.php", ""), ("composer.json", "{}"), ("artisan", "")]),
    ] {
        let (config, _) = look(files, &[]);
        let error = match config {
            Err(error) => error,
            Ok(config) => {
                assert_eq!(words, ["PHP"], "{files:?}: {config}"); // php-fpm runs here
                let app = &config["app"]["main"];
                assert_eq!((&app["use"], &app["root"]), (&"fastcgi".into(), &"public".into()));
                assert_eq!(app["fallback"], "/index.php");
                continue;
            }
        };
        let code = if error.contains("can be served as") { "2\n" } else { "78\n" };
        assert!(error.starts_with(code), "{error}");
        for words in words {
            assert!(error.contains(words), "{files:?}: expected {words}\n{error}");
        }
    }
}

#[test]
fn as_chooses() {
    let both = [("app.py", FLASK), ("main.py", FASTAPI), ("index.html", "")];
    for kind in ["flask", "fastapi", "static"] {
        let (config, said) = look(&both, &["--as", kind]);
        assert_eq!(config.unwrap()["app"]["main"]["use"], kind, "{said}");
    }
    let (config, said) = look(&[("app.py", FLASK), ("index.html", "")], &[]);
    assert_eq!(config.unwrap()["app"]["main"]["use"], "flask");
    assert!(
        said.contains("`app.py` has the application `app`") && said.contains("another kind: static"),
        "{said}"
    );
    let error = look(&both, &["--as", "flaks"]).0.unwrap_err();
    assert!(error.contains("is not served as `flaks`") && error.contains("did you mean `flask`?"), "{error}");
    let error = look(&[], &["--as", "static"]).0.unwrap_err();
    assert!(error.contains("there is no `index.html`"), "{error}");
    let place = folder(&[("server.toml", "")]);
    let output =
        paster().args(["check", "server.toml", "--as", "static"]).current_dir(&place).output().unwrap();
    assert!(text(&output.stderr).contains("is for a directory, and `server.toml` is a file"), "{output:?}");
}

#[test]
fn a_directory_with_a_config_is_served_by_it() {
    let config = "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\nbody = \"by the config\"\n";
    let place = folder(&[("server.toml", config), ("index.html", "the page")]);
    let listen = ["--listen", "127.0.0.1:0"];
    let serving = Serving::start(place.path(), &[&["."][..], &listen].concat());
    assert_eq!(get(&serving, "/"), "by the config");
    let serving = Serving::start(place.path(), &[&[".", "--as", "static"][..], &listen].concat());
    assert_eq!(get(&serving, "/"), "the page");
}

/// What `config show` prints works when it is saved in the directory; other commands find the server by the directory.
#[test]
fn the_config_can_be_saved() {
    let place = folder(&[("site/public/index.html", "the page"), ("site/public/a.txt", "a file")]);
    let serving = Serving::start(place.path(), &["site", "--listen", "127.0.0.1:0"]);
    assert_eq!(get(&serving, "/"), "the page");
    assert!(
        serving.stderr().contains("serving `site` as static: `public/index.html` is a page"),
        "{}",
        serving.stderr()
    );
    let run = |args: &[&str]| {
        let output = paster().args(args).current_dir(&place).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        text(&output.stdout).to_owned()
    };
    assert!(run(&["check", "site"]).contains("ok: 1 server, 1 app"));
    assert!(run(&["request", "GET", "/a.txt", "site"]).ends_with("\r\n\r\na file"));
    assert!(run(&["ps", "site", "--json"]).contains(&format!("{}", serving.pid())));
    drop(serving);
    std::fs::write(place.path().join("site/server.toml"), run(&["config", "show", "site"])).unwrap();
    let serving = Serving::start(place.path(), &["site", "--listen", "127.0.0.1:0"]);
    assert_eq!(get(&serving, "/a.txt"), "a file");
}

/// Strange entries are passed over, and many files cost no time.
#[test]
fn strange_directories() {
    let place = folder(&[("public/index.html", "")]);
    let at = |name: &str| place.path().join(name);
    std::os::unix::fs::symlink(".", at("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("app.py")).unwrap();
    assert!(
        Command::new("mkfifo")
            .args([at("manage.py"), at("Cargo.toml"), at("package.json")])
            .status()
            .unwrap()
            .success()
    );
    std::fs::create_dir(at("many")).unwrap();
    for number in 0..20_000 {
        std::fs::File::create(at(&format!("many/{number}"))).unwrap();
    }
    let (config, said) = look_at(place.path(), &[]);
    assert_eq!(
        config.unwrap_or_else(|error| panic!("{error}"))["app"]["main"]["publish_dir"],
        "public",
        "{said}"
    );
    std::fs::write(at("main.py"), "def broken(:\n").unwrap();
    let (config, said) = look_at(place.path(), &[]);
    assert_eq!(
        config.unwrap_or_else(|error| panic!("{error}"))["app"]["main"]["publish_dir"],
        "public",
        "{said}"
    );
}
