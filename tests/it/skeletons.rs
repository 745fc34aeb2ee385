//! Every built-in skeleton, by its own tests: created, built, checked, served, requested, changed.

use std::path::Path;
use std::process::Command;

use paster::scaffold::{Case, Skeleton, built_in_names};
use serde_json::Value;

use crate::support::{folder, paster, root};

/// Runs the cases of one skeleton.
fn check(name: &str) {
    let skeleton = Skeleton::open(name).unwrap();
    assert_eq!(skeleton.manifest.about.name, name);
    assert!(skeleton.files.iter().any(|file| file.path.starts_with("README.md")), "{name} has no README");
    for case in &skeleton.manifest.tests {
        run(name, case);
    }
}

fn run(name: &str, case: &Case) {
    let place = folder(&[]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let project = case.vars.get("project").map_or_else(|| name.to_owned(), text);
    let answers = case.vars.iter().filter(|(key, _)| *key != "project");
    let mut create = paster();
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
    for argv in &case.build {
        build(&target, argv);
    }
    if case.check {
        succeeds(paster().args(["check", "server.toml"]).current_dir(&target));
    }
}

fn build(folder: &Path, argv: &[String]) {
    let (program, args) = argv.split_first().unwrap();
    let mut command = Command::new(program);
    // One folder for all: each skeleton's dependencies are built once.
    command.args(args).current_dir(folder).env("CARGO_TARGET_DIR", root().join("target/skeletons"));
    succeeds(&mut command);
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
}

#[test]
fn each_has_a_test_here() {
    let here = ["axum", "static"];
    assert_eq!(built_in_names().collect::<Vec<_>>(), here);
}

#[test]
fn statics() {
    check("static");
}
