//! `paster skeleton`.

use serde_json::Value;

use super::{read, refused, run, skeleton, succeeds, write};
use crate::support::{folder, paster, root};

#[test]
fn a_new_skeleton_is_complete() {
    let place = folder(&[]);
    let here = place.path();
    let out = succeeds(here, &["skeleton", "new", "web"]);
    assert!(out.contains("paster skeleton test web") && out.contains("--template ./web"), "{out}");
    assert_eq!(
        succeeds(here, &["skeleton", "check", "--strict", "web"]),
        "`web` is a skeleton: 3 files, 2 tests; no findings\n"
    );
    assert_eq!(succeeds(here, &["skeleton", "test", "web"]), "`web`: 2 tests passed\n");
    // A test that fails says why.
    let manifest = read(here, "web/skeleton.toml");
    write(here, "web/skeleton.toml", &manifest.replace("<h1>Site</h1>", "<h1>Other</h1>"));
    refused(
        here,
        &["skeleton", "test", "web"],
        1,
        &["does not contain \"<h1>Other</h1>\"", "in test 1 of `web`"],
    );
    write(here, "web/skeleton.toml", &manifest.replace("\"README.md\", ", "\"LICENSE\", "));
    refused(here, &["skeleton", "test", "web"], 1, &["`LICENSE` is missing"]);
}

#[test]
fn findings_tell_authors_what_users_would_meet() {
    let manifest = "[vars.unused]\ndefault = \"x\"\n[vars.heading]\ndefault = \"x\"\n[vars.port]\ntype = \"int\"\ndefault = 1\n\
                    [vars.db]\nchoices = [\"none\", \"sqlite\"]\ndefault = \"none\"\n[[test]]\nvars = { project = \"a\" }\n";
    let files = [
        (
            "files/server.toml.hbs",
            "heading = \"{{heading}}\"\nport = {{port}}\nok = {{toml_str heading}}\ndb = \"{{db}}\"\n",
        ),
        ("partials/lonely.hbs", "x"),
    ];
    let place = skeleton(manifest, &files);
    let here = place.path();
    let (code, out, err) = run(here, &["skeleton", "check", "s"]);
    assert_eq!((code, out.as_str()), (0, "`made` is a skeleton: 2 files, 1 test; 5 findings\n"), "{err}");
    insta::assert_snapshot!(err, @r#"
    warning: s/files/server.toml.hbs: `heading` can be any text here: write `{{toml_str heading}}`
    warning: s/skeleton.toml: the variable `unused` is not used
    warning: s/skeleton.toml: the partial `lonely` is not used
    warning: s/skeleton.toml: the project has no README
    warning: s/skeleton.toml: no `[[test]]` has `db = "sqlite"`
    "#);
    assert_eq!(run(here, &["skeleton", "check", "--strict", "s"]).0, 1);
    let json: Value = serde_json::from_str(&succeeds(here, &["skeleton", "check", "--json", "s"])).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 5);
    write(&here.join("s"), "files/bad.hbs", "{{projct}}");
    refused(here, &["skeleton", "check", "s"], 1, &["unknown variable `projct`", "in test 1"]);
}

#[test]
fn built_in_skeletons_have_no_findings() {
    let names = std::fs::read_dir(root().join("skeletons")).unwrap().map(|entry| entry.unwrap().path());
    let added = std::fs::read_dir(root().join("skeletons/add")).unwrap().map(|entry| entry.unwrap().path());
    for path in names.filter(|path| !path.ends_with("add")).chain(added) {
        let output = paster().args(["skeleton", "check", "--strict"]).arg(&path).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {printed}", path.display());
    }
}

/// Those that are added: to a project, checked and served.
#[test]
fn built_in_additions_pass_their_tests() {
    for name in ["add/route", "add/middleware", "add/task", "add/python", "production"] {
        let output =
            paster().args(["skeleton", "test"]).arg(root().join("skeletons").join(name)).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
