//! `paster config fmt`.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::support::{folder, paster, piped, root, text};

const MESSY: &str = "# The site\n[server.main]\nuse='http'   # served\nlisten=[ '127.0.0.1:0' ,]\n\n\n\n[app.main]\nuse = \"respond\"\nbody=\"x\"\n";
const NEAT: &str = "# The site\n[server.main]\nuse = 'http'   # served\nlisten = ['127.0.0.1:0']\n\n[app.main]\nuse = \"respond\"\nbody = \"x\"\n";

fn run(place: &tempfile::TempDir, args: &[&str]) -> Output {
    paster().args(["config", "fmt"]).args(args).current_dir(place.path()).output().unwrap()
}

#[test]
fn formats_a_file_and_keeps_its_mode() {
    let place = folder(&[("server.toml", MESSY), ("other/server.toml", NEAT)]);
    let file = place.path().join("server.toml");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    for args in [&["--check"][..], &["--check", "other"]] {
        let output = run(&place, args);
        let is_neat = args.len() > 1;
        assert_eq!(output.status.code(), Some(i32::from(!is_neat)), "{output:?}");
        assert_eq!(text(&output.stderr), if is_neat { "" } else { "`server.toml` is not formatted\n" });
    }
    let output = run(&place, &["--diff"]);
    assert_eq!(output.status.code(), Some(0));
    let diff = text(&output.stdout);
    assert!(diff.contains("\n-listen=[ '127.0.0.1:0' ,]\n"), "{diff}");
    assert!(diff.contains("\n+listen = ['127.0.0.1:0']\n"), "{diff}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), MESSY);
    let output = run(&place, &[]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), "formatted `server.toml`\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), NEAT);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(text(&run(&place, &[]).stderr), "");
}

#[test]
fn standard_input_and_faults() {
    let output = piped(paster().args(["config", "fmt", "-"]), MESSY);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), NEAT));
    let output = piped(paster().args(["config", "fmt", "-", "--check"]), MESSY);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let place = folder(&[("server.toml", "a = \nb = 1\n"), ("good.toml", "a=1\n")]);
    let output = run(&place, &["server.toml", "good.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("server.toml:1:"), "{output:?}");
    // The others are formatted all the same.
    assert_eq!(std::fs::read_to_string(place.path().join("good.toml")).unwrap(), "a = 1\n");
    let output = run(&place, &["missing.toml"]);
    assert!(text(&output.stderr).contains("cannot read `missing.toml`"), "{output:?}");
}

/// The project's own configs are in this layout.
#[test]
fn the_examples_are_formatted() {
    let examples = std::fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let output = paster().args(["config", "fmt", "--check", "--diff"]).args(examples).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
}
