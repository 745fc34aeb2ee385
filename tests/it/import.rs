//! `paster config import`: each folder of `tests/fixtures/import` is a config in the style of a public project. Its result is
//! in `expected.toml`, passes `paster check`, and serves what `requests` says.
//!
//! `BLESS=1 cargo test --test it import` writes `expected.toml`: check what it wrote.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{Connection, Serving, folder, paster, root, text};

fn fixtures() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("tests/fixtures/import")).unwrap();
    let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// A copy of a fixture, with a certificate where it has an empty one.
fn copy_of(fixture: &Path) -> tempfile::TempDir {
    let place = folder(&[]);
    copy(fixture, place.path());
    if place.path().join("cert.pem").exists() {
        let made = rcgen::generate_simple_self_signed(vec!["shop.example.org".to_owned()]).unwrap();
        std::fs::write(place.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(place.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }
    place
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            let is_program = ["program", "migrate"].iter().any(|name| target.ends_with(name));
            let mode = if is_program { 0o755 } else { 0o600 };
            std::fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

/// Runs a command in `place`, with the Python of the tests.
fn run(place: &Path, args: &[&str]) -> Output {
    let mut command = paster();
    if let Some(python) = std::env::var_os("PASTER_TEST_PYTHON") {
        command.env("VIRTUAL_ENV", Path::new(&python).ancestors().nth(2).unwrap());
    }
    command.args(args).current_dir(place).output().unwrap()
}

#[test]
fn every_config_gives_one_that_passes_the_check() {
    let mut wrong = Vec::new();
    let all = fixtures();
    assert!(all.len() >= 20, "only {} configs", all.len());
    for fixture in all {
        let name = fixture.file_name().unwrap().to_str().unwrap().to_owned();
        let place = copy_of(&fixture);
        let words = std::fs::read_to_string(fixture.join("input")).unwrap();
        let words: Vec<_> = ["config", "import"].into_iter().chain(words.split_whitespace()).collect();
        let output = run(place.path(), &words);
        let (result, notes) = (text(&output.stdout), text(&output.stderr));
        let is_complete = !result.contains("# Not converted:");
        let code = if is_complete { Some(0) } else { Some(3) };
        if output.status.code() != code || notes.is_empty() != is_complete {
            wrong.push(format!("--- {name}: {:?}\n{notes}\n{result}", output.status));
            continue;
        }
        let expected = fixture.join("expected.toml");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, result).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != result {
            wrong.push(format!("--- {name}: not as in expected.toml\n{result}"));
        }
        std::fs::write(place.path().join("server.toml"), result).unwrap();
        let check = run(place.path(), &["check"]);
        if !check.status.success() {
            wrong.push(format!("--- {name}: {}", text(&check.stderr)));
        }
        // It is laid out as `config fmt` does.
        let formatted = run(place.path(), &["config", "fmt", "--check", "--diff"]);
        if !formatted.status.success() {
            wrong.push(format!("--- {name}: {}", text(&formatted.stdout)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `requests` has lines `PATH STATUS TEXT`: the text is in the head or in the body.
#[test]
fn the_result_serves() {
    for fixture in fixtures() {
        let Ok(requests) = std::fs::read_to_string(fixture.join("requests")) else { continue };
        let place = copy_of(&fixture);
        std::fs::copy(fixture.join("expected.toml"), place.path().join("server.toml")).unwrap();
        let serving = Serving::start(place.path(), &["--listen", "127.0.0.1:0"]);
        for line in requests.lines() {
            let (path, rest) = line.split_once(' ').unwrap();
            let (status, part) = rest.split_once(' ').unwrap_or((rest, ""));
            let (head, body) = Connection::open(serving.address()).get(path);
            let about = format!("{}: {line}\n{head}{body}", fixture.display());
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{about}");
            assert!(head.contains(part) || body.contains(part), "{about}");
        }
    }
}

#[test]
fn what_cannot_be_imported() {
    let check = |name: &str, content: &str, args: &[&str], code: i32, parts: &[&str]| {
        let place = folder(&[(name, content)]);
        let output = run(place.path(), &[&["config", "import"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        for part in parts {
            assert!(text(&output.stderr).contains(part), "{part}: {}", text(&output.stderr));
        }
    };
    check("x.txt", "hello", &["x.txt"], 2, &["cannot tell what this file belongs to", "`nginx`", "--from"]);
    check("x.txt", "", &["missing"], 2, &["cannot read `missing`"]);
    check("x.txt", "", &[], 2, &["there is nothing to import", "paster config import site.ini"]);
    check(
        "x",
        "",
        &["--from", "gunicorn", "--", "--no-such-option"],
        2,
        &["unknown option `--no-such-option`"],
    );
    check("x", "", &["--from", "gunicorn", "--", "--bind"], 2, &["`--bind` has no value"]);
    check(
        "a.conf",
        "server {\n    listen 80;\n    root public\n}\n",
        &["a.conf", "--from", "nginx"],
        78,
        &["`root` is not ended by `;`", "a.conf:3:5"],
    );
    check(
        "a.conf",
        "server {\n  location / {\n}\n",
        &["a.conf", "--from", "nginx"],
        78,
        &["the block of `server` is not closed", "a.conf:1:1"],
    );
    check(
        "Caddyfile",
        ":80 {\n\trespond \"x\n",
        &["Caddyfile"],
        78,
        &["a quote is not closed", "Caddyfile:2:2"],
    );
    check(
        "site.ini",
        "[app:main\n",
        &["site.ini", "--from", "paste"],
        78,
        &["the header is not closed", "site.ini:1:1"],
    );
    check(
        "site.ini",
        "[app:one]\nuse = x\n[app:other]\nuse = x\n",
        &["site.ini"],
        78,
        &["has no application `main`", "[pipeline:main]"],
    );
    check("site.ini", "[pipeline:main]\npipeline = main\n", &["site.ini"], 78, &["refers to itself"]);
    check("gunicorn.conf.py", "bind = (\n", &["gunicorn.conf.py"], 78, &["it is not valid Python"]);
    check("Procfile", "# nothing\n", &["Procfile"], 78, &["has no line `name: command`"]);
}

/// A Python file is read, not run.
#[test]
fn python_is_not_run() {
    let place = folder(&[("gunicorn.conf.py", "open('touched', 'w')\nbind = '127.0.0.1:8000'\n")]);
    let output = run(place.path(), &["config", "import", "gunicorn.conf.py"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(!place.path().join("touched").exists());
    assert!(
        text(&output.stderr).contains("gunicorn.conf.py:1: not converted: `open('touched', 'w')`"),
        "{output:?}"
    );
}
