//! The exact output of commands: `tests/cmd/*.trycmd`, and the help of every command: `tests/cmd/help.md`.

use crate::support::root;

#[test]
fn transcripts_are_true() {
    trycmd::TestCases::new()
        .register_bin("paster", std::path::Path::new(env!("CARGO_BIN_EXE_paster")))
        .env("COLUMNS", "100")
        .case(root().join("tests/cmd/*.trycmd"))
        .case(root().join("tests/cmd/*.md"));
}

/// `docs/kinds.md` must be the output of `paster list --markdown` with all kinds. To fix this test, write that
/// output to it.
#[test]
#[cfg_attr(not(feature = "full"), ignore = "the page has the kinds of the feature `full`")]
fn the_reference_of_kinds_is_fresh() {
    let output = crate::support::paster().args(["list", "--markdown"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = std::fs::read_to_string(root().join("docs/kinds.md")).unwrap();
    assert!(printed == kept, "run `cargo run --features full -- list --markdown > docs/kinds.md`");
}

/// `docs/cli.md` must be the output of `paster __man --markdown` with all features.
#[test]
#[cfg_attr(not(feature = "full"), ignore = "the page has the commands of the feature `full`")]
fn the_reference_of_commands_is_fresh() {
    let output = crate::support::paster().args(["__man", "--markdown"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    assert!(printed == kept, "run `cargo run --features full -- __man --markdown > docs/cli.md`");
}
