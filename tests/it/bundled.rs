//! Plugins that come with paster are found by name: in `lib/paster` of an installation, or in the source directory.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{Connection, Serving, folder, paster, plugin};

const CONFIG: &str =
    "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"notebook\"\n";

/// An installation in a folder of its own, and its program: a link, because a program that has just been written may be
/// open for writing in a child of another test.
fn installed() -> (tempfile::TempDir, PathBuf) {
    let prefix = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = prefix.path().join("bin/paster");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    std::fs::create_dir_all(prefix.path().join("lib/paster")).unwrap();
    std::fs::hard_link(env!("CARGO_BIN_EXE_paster"), &program).unwrap();
    std::fs::write(prefix.path().join("server.toml"), CONFIG).unwrap();
    (prefix, program)
}

/// A command of that program, which has no source directory.
fn command(program: &PathBuf) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap();
    command.env_clear().env("PATH", path).env("PASTER_CHECKOUT", "");
    command
}

#[test]
fn an_installed_program_finds_the_library_beside_it() {
    let (prefix, program) = installed();
    std::fs::copy(plugin("hello"), prefix.path().join("lib/paster/libnotebook.so")).unwrap();
    let mut serve = command(&program);
    serve.args(["serve", "--json"]).current_dir(&prefix).env("XDG_STATE_HOME", prefix.path());
    let mut serving = Serving::spawn(serve);
    assert_eq!(Connection::open(serving.address()).get("/").1, "Hello, world!");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_plugin_that_is_not_installed_is_an_error_with_its_place() {
    let (prefix, program) = installed();
    let output = command(&program).arg("check").current_dir(&prefix).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("the plugin `notebook` is not installed"), "{text}");
    assert!(text.contains("server.toml:5:7") && text.contains("lib/paster/libnotebook.so"), "{text}");
}

#[test]
fn in_the_source_directory_it_is_a_crate_that_cargo_builds() {
    let folder = folder(&[("server.toml", &CONFIG.replace("notebook\"\n", "notebook\"\nwrong = 1\n"))]);
    let output = paster().arg("check").current_dir(&folder).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("unknown key `wrong`") && text.contains("profile"), "{text}");
    // Whether another test has built the notebook or not, and its settings are known: they are right.
    let config = format!("{CONFIG}settings.data_dir = \".\"\n");
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let output = paster().arg("check").current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
