//! Every built-in skeleton, by its own tests: created, built, checked, served, requested, changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use paster::scaffold::{Case, Serve, Skeleton, built_in_names};
use serde_json::Value;

use crate::support::{
    Connection, Serving, folder, paster, root, wait_until_built, without_variables_of_cargo,
};

/// Runs the cases of one skeleton.
fn check(name: &str) {
    check_with(name, &paster);
}

/// The same, with a program in another environment.
pub(crate) fn check_with(name: &str, program: &dyn Fn() -> Command) {
    check_and_visit(name, program, &|_| ());
}

/// The same, and lets `visit` use what each case serves.
fn check_and_visit(name: &str, program: &dyn Fn() -> Command, visit: &dyn Fn(&Serving)) {
    let skeleton = Skeleton::open(name).unwrap();
    assert_eq!(skeleton.manifest.about.name, name);
    assert!(skeleton.files.iter().any(|file| file.path.starts_with("README.md")), "{name} has no README");
    for case in &skeleton.manifest.tests {
        run(name, case, program, visit);
    }
}

fn run(name: &str, case: &Case, program: &dyn Fn() -> Command, visit: &dyn Fn(&Serving)) {
    let place = folder(&[]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let project = case.vars.get("project").map_or_else(|| name.to_owned(), text);
    let answers = case.vars.iter().filter(|(key, _)| *key != "project");
    let mut create = program();
    create.current_dir(&place).args(["create", &project, "--template", name, "--defaults"]);
    create.args(answers.map(|(key, value)| format!("{key}={}", text(value))));
    succeeds(&mut create);
    let target = place.path().join(&project);
    for path in &case.exists {
        assert!(target.join(path).exists(), "{name}: {path} is missing");
    }
    for path in &case.absent {
        assert!(!target.join(path).exists(), "{name}: {path} should not be there");
    }
    if target.join("Cargo.toml").exists() {
        // The versions of the workspace, which are already on disk.
        std::fs::copy(root().join("Cargo.lock"), target.join("Cargo.lock")).unwrap();
    }
    for argv in &case.build {
        build(&target, argv, program);
    }
    if case.check {
        succeeds(program().args(["check", "server.toml"]).current_dir(&target));
    }
    if !case.serve.is_empty() {
        serve(name, case, &target, program, visit);
    }
}

/// Serves the result, sends the requests, then changes a file and waits for the expected response.
fn serve(name: &str, case: &Case, target: &Path, program: &dyn Fn() -> Command, visit: &dyn Fn(&Serving)) {
    let mut command = program();
    command.args(["serve", "server.toml", "--json", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]);
    // Watches even if nothing changes, because a development build is quicker.
    command.arg("--reload").current_dir(target).env("CARGO_TARGET_DIR", shared_target());
    command.env("XDG_STATE_HOME", target.join("state"));
    let mut serving = Serving::spawn(command);
    for request in &case.serve {
        if let Err(why) = answers(&serving, request) {
            panic!("{name}: {why}\n{}", serving.stderr());
        }
    }
    visit(&serving);
    if let Some(reload) = &case.reload {
        let file = target.join(&reload.file);
        let old = std::fs::read_to_string(&file).unwrap();
        assert!(old.contains(&reload.from), "{name}: {} has no `{}`", reload.file, reload.from);
        std::fs::write(&file, old.replace(&reload.from, &reload.to)).unwrap();
        if !reload.build.is_empty() {
            build(target, &reload.build, program);
        }
        // A page that is read on each request needs no new generation: only the response counts.
        wait_until_built(&format!("{name}: {}", reload.to), || answers(&serving, &reload.then).is_ok());
    }
    assert_eq!(serving.stop(), Some(0), "{name}");
}

/// Whether a request gets the expected response.
fn answers(serving: &Serving, request: &Serve) -> Result<(), String> {
    let (head, body) = Connection::open(serving.address()).get(&request.get);
    let status = head.split(' ').nth(1).unwrap_or_default();
    let as_expected = request.body.as_ref().is_none_or(|expected| body.contains(expected));
    if status == request.status.to_string() && as_expected {
        return Ok(());
    }
    Err(format!("GET {}: expected {} {:?}, got\n{head}\n{body}", request.get, request.status, request.body))
}

/// The tests' shared build folder: one plugin's builds of dependencies are used for the next one.
fn shared_target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn build(folder: &Path, argv: &[String], program: &dyn Fn() -> Command) {
    let (first, args) = argv.split_first().unwrap();
    let environment = program();
    let variables = environment.get_envs().filter_map(|(name, value)| Some((name, value?)));
    // The one on the path of that environment.
    let mut command = Command::new("env");
    without_variables_of_cargo(&mut command);
    command.envs(variables).arg(first);
    command.args(args).current_dir(folder).env("CARGO_TARGET_DIR", shared_target().join("paster"));
    // Built like `serve --reload` does, so that the builds can be shared.
    for (name, value) in [("DEBUG", "0"), ("BUILD_OVERRIDE_DEBUG", "0"), ("INCREMENTAL", "true")] {
        command.env(format!("CARGO_PROFILE_DEV_{name}"), value);
    }
    succeeds(&mut command);
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
}

#[test]
fn each_has_a_test_here() {
    let here = [
        "axum",
        "cgi",
        "fullstack",
        "hello-c",
        "middleware",
        "mount",
        "notebook",
        "production",
        "program-node",
        "proxy",
        "skeleton",
        "static",
        "tower",
    ];
    let mut all: Vec<_> = here.into_iter().chain(crate::python::SKELETONS).collect();
    all.sort_unstable();
    assert_eq!(built_in_names().collect::<Vec<_>>(), all);
}

#[test]
fn a_static_site() {
    check("static");
}

#[test]
fn a_cgi_program() {
    check("cgi");
}

#[test]
fn a_site_before_another_server() {
    check("proxy");
}

#[test]
fn a_tower_service() {
    check("tower");
}

#[test]
fn a_middleware_in_rust() {
    check("middleware");
}

#[test]
fn a_skeleton_of_skeletons() {
    // Its test runs `paster`.
    let bin = Path::new(env!("CARGO_BIN_EXE_paster")).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    check_with("skeleton", &|| {
        let mut program = paster();
        program.env("PATH", &path);
        program
    });
}

#[test]
fn two_apps_mounted() {
    check("mount");
}

#[test]
fn a_server_of_node() {
    check("program-node");
}

#[test]
fn a_plugin_in_c() {
    check("hello-c");
    let copy = std::fs::read(root().join("skeletons/hello-c/files/paster.h")).unwrap();
    let header = std::fs::read(root().join("plugins/paster-abi/include/paster.h")).unwrap();
    assert!(copy == header, "copy plugins/paster-abi/include/paster.h to skeletons/hello-c/files/");
}

#[test]
fn an_axum_application() {
    check("axum");
}

#[test]
fn an_application_with_accounts() {
    check_and_visit("fullstack", &paster, &|serving| {
        // The packages of the notebook's own tests.
        let modules = root().join("plugins/notebook/web");
        if !modules.join("node_modules/playwright-core").is_dir() {
            return eprintln!("skipped: `npm ci` in plugins/notebook/web installs what drives the browser");
        }
        let script = root().join("tests/fixtures/fullstack/visit.mjs");
        let mut node = Command::new("node");
        let output = node.arg(script).arg(modules).arg(serving.url()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && output.stdout.ends_with(b"visited\n"),
            "{printed}\n{}",
            serving.stderr()
        );
    });
}

/// A program without a checkout provides the SDK itself.
#[test]
fn an_axum_application_without_a_checkout() {
    let place = folder(&[]);
    let create = |name: &str| {
        let mut create = paster();
        create.current_dir(&place).args(["create", name, "--template", "axum", "--defaults"]);
        create.env("PASTER_CHECKOUT", "").env("XDG_DATA_HOME", place.path().join("data"));
        create
    };
    let output = create("board").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let copies = || {
        std::fs::read_dir(place.path().join("data/paster/sdk")).unwrap().map(|entry| entry.unwrap().path())
    };
    let copy = copies().next().unwrap();
    assert_eq!(copies().count(), 1, "nothing is left beside it");
    let sdk = copy.join("paster-sdk");
    assert!(String::from_utf8(output.stdout).unwrap().contains(&*sdk.to_string_lossy()));
    let manifest = std::fs::read_to_string(place.path().join("board/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("paster-sdk = {{ path = \"{}\" }}", sdk.display())), "{manifest}");

    // A second project finds it. If it was changed, it is written again.
    let written = || std::fs::metadata(sdk.join("src/lib.rs")).unwrap().modified().unwrap();
    let first = written();
    succeeds(&mut create("second"));
    assert_eq!(written(), first);
    std::fs::write(sdk.join("src/lib.rs"), "changed").unwrap();
    succeeds(&mut create("third"));
    assert_ne!(std::fs::read(sdk.join("src/lib.rs")).unwrap(), b"changed");
    assert_eq!(copies().count(), 1);

    let board = place.path().join("board");
    std::fs::copy(root().join("Cargo.lock"), board.join("Cargo.lock")).unwrap();
    build(&board, &["cargo", "build", "--quiet", "--offline"].map(str::to_owned), &paster);
    succeeds(paster().args(["check", "server.toml"]).current_dir(&board));

    // If nothing can be written, nothing is.
    let mut create = create("fourth");
    create.env("XDG_DATA_HOME", "/dev/null/data");
    let output = create.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("cannot write the sources of the SDK") && error.contains("XDG_DATA_HOME"),
        "{error}"
    );
    assert!(!place.path().join("fourth").exists());
    // Without a data folder, only the registry is left.
    create.env_remove("XDG_DATA_HOME").env_remove("HOME");
    succeeds(&mut create);
    let manifest = std::fs::read_to_string(place.path().join("fourth/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("paster-sdk = \"{}\"", env!("CARGO_PKG_VERSION"))), "{manifest}");
}

#[test]
fn a_notebook_server() {
    check("notebook");
}
