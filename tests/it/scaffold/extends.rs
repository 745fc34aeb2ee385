//! Skeletons that build on others, and tests of all combinations of answers.

use super::{read, refused, run, skeleton, succeeds, write};

/// Writes the skeleton `name` below `folder`.
fn write_other(folder: &std::path::Path, name: &str, manifest: &str, files: &[(&str, &str)]) {
    let head = format!("[skeleton]\nname = \"{name}\"\nsummary = \"For a test\"\nversion = \"1.0.0\"\n");
    write(folder, &format!("{name}/skeleton.toml"), &format!("{head}{manifest}"));
    for (path, content) in files {
        write(folder, &format!("{name}/{path}"), content);
    }
}

const BASE: &str = "next = [\"see {{target}}\"]\n[vars.heading]\ndefault = \"Base\"\n[vars.port]\ntype = \"int\"\ndefault = 8080\n\
                    [[file]]\npath = \"files/once.txt\"\nonce = true\n[[post]]\ndo = \"chmod\"\npath = \"run.sh\"\nmode = \"755\"\n";

#[test]
fn files_variables_and_steps_come_from_the_base() {
    let own = "extends = [\"../base\"]\n[vars.heading]\ndefault = \"Own\"\n[vars.more]\ndefault = \"{{heading}}!\"\n\
               [[file]]\npath = \"files/server.toml\"\nmerge = \"toml\"\n[[file]]\npath = \"files/.gitignore\"\nmerge = \"lines\"\n";
    let place = skeleton(
        own,
        &[
            ("files/server.toml", "[app.main]\nuse = \"static\"\n"),
            ("files/.gitignore", "/target\n"),
            ("files/README.md.hbs", "# {{heading}} {{more}}\n{{> foot}}"),
        ],
    );
    let here = place.path();
    write_other(
        here,
        "base",
        BASE,
        &[
            ("files/server.toml.hbs", "# {{heading}}\n[server.main]\nport = {{port}}\n"),
            ("files/.gitignore", "/data\n"),
            ("files/README.md", "base\n"),
            ("files/once.txt", "once\n"),
            ("files/run.sh", "#!/bin/sh\n"),
            ("partials/foot.hbs", "the foot\n"),
        ],
    );
    let out = succeeds(here, &["create", "app", "-t", "./s", "port=9000"]);
    assert!(out.contains("see app"), "{out}");
    let app = here.join("app");
    assert_eq!(read(&app, "README.md"), "# Own Own!\nthe foot\n", "its own file replaces that of the base");
    let config = read(&app, "server.toml");
    assert!(
        config.starts_with("# Own\n[server.main]\nport = 9000\n") && config.contains("[app.main]"),
        "{config}"
    );
    assert_eq!(read(&app, ".gitignore"), "/data\n/target\n");
    assert_eq!((read(&app, "once.txt"), read(&app, "always.txt")), ("once\n".into(), "always\n".into()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(app.join("run.sh")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o755);

    // An update of the base is an update of the project.
    assert!(succeeds(here, &["update", "app", "--check"]).contains("up to date"));
    write(here, "base/files/run.sh", "#!/bin/sh\nexit 0\n");
    assert_eq!(run(here, &["update", "app", "--check"]).0, 1);
    succeeds(here, &["update", "app"]);
    assert_eq!(read(&app, "run.sh"), "#!/bin/sh\nexit 0\n");
}

#[test]
fn a_built_in_skeleton_can_be_extended() {
    let place = skeleton("extends = [\"static\"]\n", &[("files/public/about.html", "<h1>About</h1>\n")]);
    let here = place.path();
    succeeds(here, &["skeleton", "check", "s"]);
    succeeds(here, &["create", "site", "-t", "./s", "heading=Hello"]);
    assert!(read(here, "site/public/index.html").contains("<h1>Hello</h1>"));
    assert!(here.join("site/public/about.html").exists() && here.join("site/server.toml").exists());
    succeeds(&here.join("site"), &["check"]);
}

#[test]
fn circles_and_paths_from_elsewhere_are_refused() {
    let place = skeleton("extends = [\"../other\"]\n", &[]);
    let here = place.path();
    write_other(here, "other", "extends = [\"../s\"]\n", &[("files/a", "a")]);
    refused(here, &["create", "app", "-t", "./s"], 1, &["in a circle"]);
    write_other(here, "other", "extends = \"static\"\n", &[]);
    refused(here, &["create", "app", "-t", "./s"], 1, &["`extends` must be a list", "other/skeleton.toml"]);
    write_other(here, "other", "extends = [\"statik\"]\n", &[]);
    refused(here, &["create", "app", "-t", "./s"], 2, &["statik"]);
    // An archive must not choose which files of this machine are read.
    write_other(here, "packed", "extends = [\"../base\"]\n", &[("files/a", "a")]);
    write_other(here, "base", "", &[("files/b", "b")]);
    let tar = std::process::Command::new("tar")
        .args(["-czf", "packed.tar.gz", "packed"])
        .current_dir(here)
        .status();
    assert!(tar.unwrap().success());
    refused(
        here,
        &["create", "app", "-t", "packed.tar.gz"],
        1,
        &["cannot extend `../base`", "in a directory"],
    );
    succeeds(here, &["create", "app", "-t", "./packed"]);
}

#[test]
fn a_matrix_tests_all_combinations() {
    let vars = "[vars.db]\ndefault = \"none\"\nchoices = [\"none\", \"sqlite\"]\n[vars.ci]\ntype = \"bool\"\ndefault = false\n\
                [[file]]\npath = \"files/db.txt\"\nwhen = \"db != 'none'\"\n[[file]]\npath = \"files/ci.txt\"\nwhen = \"ci\"\n";
    let files = [("files/db.txt", "db\n"), ("files/ci.txt", "ci\n"), ("files/README.md", "x\n")];
    let test =
        "[[test]]\nexists = [\"always.txt\"]\nmatrix = { db = [\"none\", \"sqlite\"], ci = [true, false] }\n";
    let place = skeleton(&format!("{vars}{test}"), &files);
    let here = place.path();
    assert_eq!(
        succeeds(here, &["skeleton", "check", "--strict", "s"]),
        "`made` is a skeleton: 4 files, 4 tests; no findings\n"
    );
    assert_eq!(succeeds(here, &["skeleton", "test", "s"]), "`s`: 4 tests passed\n");
    let manifest = read(here, "s/skeleton.toml");
    write(here, "s/skeleton.toml", &manifest.replace("\"always.txt\"", "\"db.txt\""));
    refused(here, &["skeleton", "test", "s"], 1, &["`db.txt` is missing", "in test 1"]);
    write(here, "s/skeleton.toml", &manifest.replace("ci = [true", "cj = [true"));
    refused(here, &["skeleton", "check", "s"], 1, &["unknown variable `cj`"]);
    write(here, "s/skeleton.toml", &manifest.replace("ci = [true, false]", "ci = true"));
    refused(here, &["skeleton", "check", "s"], 1, &["`ci` in `matrix` must be a list"]);
}
