//! The skeletons of Python applications: created, tested by their own tests, served, requested, edited; and one whose
//! environment is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Site;
use crate::skeletons::check_with;
use crate::support::{Serving, get, text};

/// Their names.
pub(crate) const SKELETONS: [&str; 6] = ["django", "fastapi", "flask", "pyramid", "quixote", "wsgi"];

/// Runs the cases of a skeleton in the environment of the tests, which has all frameworks.
fn check(name: &str, packages: &str) {
    let Some(site) = super::kinds::site(packages, &[]) else { return };
    let environment = environment_of(&site.python);
    check_with(name, &|| {
        let mut command = site.paster(&[]);
        let path = std::env::var_os("PATH").unwrap();
        let path = std::iter::once(environment.join("bin")).chain(std::env::split_paths(&path));
        command.env("VIRTUAL_ENV", &environment).env("PATH", std::env::join_paths(path).unwrap());
        command
    });
}

/// The directory of the environment of an interpreter.
fn environment_of(python: &Path) -> PathBuf {
    let command = "import sys; print(sys.prefix)";
    let output = Command::new(python).args(["-c", command]).output().unwrap();
    text(&output.stdout).trim().into()
}

#[test]
fn a_wsgi_application() {
    check("wsgi", "sys");
}

#[test]
fn a_flask_application() {
    check("flask", "flask");
}

#[test]
fn a_django_project() {
    check("django", "django");
}

#[test]
fn a_pyramid_application() {
    check("pyramid", "pyramid, paste.deploy");
}

#[test]
fn a_fastapi_application() {
    check("fastapi", "fastapi");
}

#[test]
fn a_quixote_application() {
    check("quixote", "quixote");
}

/// The packages come from files of the tests, as they would from the index.
#[test]
fn its_environment_is_made() {
    let Some(wheels) = std::env::var_os("PASTER_TEST_WHEELS").filter(|folder| Path::new(folder).is_dir())
    else {
        return eprintln!("skipped: PASTER_TEST_WHEELS does not name a directory with Bottle's wheel");
    };
    let Some(site) = Site::new(&[]) else { return };
    // A skeleton of the user's own that needs one small package.
    for (name, content) in [
        (
            "mine/skeleton.toml",
            "[skeleton]\nname = \"mine\"\nsummary = \"one\"\nnext = [\"paster serve {{target}}\"]\n[[post]]\ndo = \"python-environment\"\n",
        ),
        ("mine/files/requirements.txt", "bottle\n"),
        ("mine/files/app.py", "import bottle\n@bottle.get('/')\ndef page():\n    return bottle.__file__\n"),
    ] {
        site.write(name, content);
    }
    let create = |args: &[&str]| {
        let mut create = site.paster(&[&["create", "-t", "./mine"], args].concat());
        for tool in ["PIP", "UV"] {
            create.env(format!("{tool}_NO_INDEX",), "1").env(format!("{tool}_FIND_LINKS"), &wheels);
        }
        create.output().unwrap()
    };
    // Without a terminal nothing is installed, and the one command is printed.
    let output = create(&["first"]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    let command =
        said.lines().find(|line| line.contains("first/.venv")).unwrap_or_else(|| panic!("{said}")).trim();
    assert!(
        command.contains("install -r first/requirements.txt")
            || command.contains("-r first/requirements.txt"),
        "{said}"
    );
    assert!(!site.folder().join("first/.venv").exists());
    let shell = |words: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", words])
            .current_dir(site.folder())
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", &wheels);
        shell.env("UV_NO_INDEX", "1").env("UV_FIND_LINKS", &wheels).output().unwrap()
    };
    let output = shell(command);
    assert!(output.status.success(), "{command}: {output:?}");
    let mut serving = Serving::spawn(site.paster(&["serve", "first", "--json", "--listen", "127.0.0.1:0"]));
    let place = get(&serving, "/");
    assert!(place.contains("/first/.venv/") && serving.stderr().contains("as bottle"), "{place}");
    assert_eq!(serving.stop(), Some(0));
    // With the flag it is made at once.
    let output = create(&["second one", "--install", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["post"], serde_json::json!(["python-environment"]), "{result}");
    let serving = Serving::spawn(site.paster(&["serve", "second one", "--json", "--listen", "127.0.0.1:0"]));
    assert!(get(&serving, "/").contains("/second one/.venv/"));
    // If it cannot be made, the project is there, and the command is shown.
    site.write("mine/files/requirements.txt", "no-such-package-anywhere\n");
    let output = create(&["third", "--install"]);
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && site.folder().join("third/app.py").exists(), "{said}");
    assert!(
        said.contains("cannot create the environment `third/.venv`")
            && said.contains("-r third/requirements.txt`"),
        "{said}"
    );
    let output = create(&["fourth", "--no-install"]);
    assert!(output.status.success() && text(&output.stdout).contains("fourth/.venv"), "{output:?}");
}
