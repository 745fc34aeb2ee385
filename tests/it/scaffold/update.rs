//! `paster update` and `paster undo`.

use serde_json::Value;

use super::{read, refused, run, skeleton, succeeds, tree, write, write_skeleton};

const LINES: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n";

#[test]
fn both_changes_are_merged_and_taken_back() {
    let vars = "[vars.heading]\nask = \"Title\"\ndefault = \"{{title project}}\"\n";
    let place = skeleton(
        vars,
        &[
            ("files/text.txt", LINES),
            ("files/same.txt", "old\n"),
            ("files/gone.txt", "gone\n"),
            ("files/kept.txt", "kept\n"),
            ("files/mine.txt", "first\n"),
            ("files/title.txt.hbs", "{{heading}}\n"),
        ],
    );
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s", "heading=Mine"]);
    let app = here.join("app");
    let lock = read(&app, ".paster/skeleton.lock");
    assert!(lock.contains("version = \"1.0.0\"") && lock.contains("heading = \"Mine\""), "{lock}");
    assert_eq!(succeeds(here, &["update", "app", "--check"]), "`app` is up to date: made 1.0.0\n");

    write(&app, "text.txt", &LINES.replace("one", "ONE"));
    std::fs::remove_file(app.join("mine.txt")).unwrap();
    write(&app, "kept.txt", "kept, and changed\n");
    write(&app, "own.txt", "nobody else's\n");
    write_skeleton(
        here,
        "1.1.0",
        &format!("{vars}[vars.more]\ndefault = \"x\"\n"),
        &[
            ("files/text.txt", &LINES.replace("seven", "SEVEN")),
            ("files/same.txt", "new\n"),
            ("files/mine.txt", "second\n"),
            ("files/title.txt.hbs", "<{{heading}} {{more}}>\n"),
            ("files/deep/new.txt", "new\n"),
        ],
    );
    let before = tree(&app);
    let (code, out, _) = run(here, &["update", "app", "--check"]);
    assert_eq!(code, 1, "{out}");
    insta::assert_snapshot!(out, @r"
    would update `app`: made 1.0.0 -> 1.1.0
      create    deep/new.txt
      delete    gone.txt
      keep      kept.txt  (the skeleton removed it; you changed it, so it is kept)
      update    same.txt
      merge     text.txt
      update    title.txt
    ");
    let diff = succeeds(here, &["update", "app", "--diff"]);
    assert!(diff.contains("--- a/gone.txt\n+++ /dev/null") && diff.contains("-seven\n+SEVEN\n"), "{diff}");
    assert_eq!(succeeds(here, &["update", "app", "--dry-run"]), out);
    let json: Value =
        serde_json::from_str(&succeeds(here, &["update", "app", "--dry-run", "--json"])).unwrap();
    assert_eq!((&json["current"], &json["skeletons"][0]["to"]["version"]), (&false.into(), &"1.1.0".into()));
    assert!(tree(&app) == before, "nothing was written");

    let out = succeeds(here, &["update", "app"]);
    assert!(out.starts_with("updated `app`: made 1.0.0 -> 1.1.0\n"), "{out}");
    assert_eq!(read(&app, "text.txt"), LINES.replace("one", "ONE").replace("seven", "SEVEN"));
    assert_eq!((read(&app, "same.txt"), read(&app, "title.txt")), ("new\n".into(), "<Mine x>\n".into()));
    assert_eq!(read(&app, "own.txt"), "nobody else's\n");
    assert!(!app.join("mine.txt").exists(), "what the user removed stays removed");
    assert!(!app.join("gone.txt").exists() && app.join("kept.txt").exists());
    assert_eq!(succeeds(here, &["update", "app"]), "`app` is up to date: made 1.1.0\n");

    let undone = succeeds(&app, &["undo"]);
    assert!(undone.starts_with("undid `paster update` in `.`\n"), "{undone}");
    let plain = |tree: Vec<(String, Vec<u8>)>| -> Vec<_> {
        tree.into_iter().filter(|(path, _)| path != ".paster/undo.tar.gz").collect()
    };
    assert_eq!(plain(tree(&app)), plain(before), "as before, but for the record");
    refused(&app, &["undo"], 1, &["there is nothing to undo"]);
}

#[test]
fn conflicts_are_marked_and_must_be_resolved() {
    let place = skeleton("", &[("files/text.txt", LINES)]);
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s"]);
    let app = here.join("app");
    write(&app, "text.txt", &LINES.replace("four", "mine"));
    std::fs::set_permissions(app.join("text.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    write_skeleton(here, "2.0.0", "", &[("files/text.txt", &LINES.replace("four", "theirs"))]);
    let (code, out, _) = run(here, &["update", "app"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("  conflict  text.txt\n") && out.contains("paster undo"), "{out}");
    assert_eq!(
        read(&app, "text.txt"),
        LINES.replace("four", "<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> made 2.0.0")
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(app.join("text.txt")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    write_skeleton(here, "2.1.0", "", &[("files/text.txt", &LINES.replace("four", "newer"))]);
    refused(here, &["update", "app"], 1, &["`app/text.txt` still has conflict markers", "paster undo"]);
    // A resolved file is the user's: undoing keeps it.
    write(&app, "text.txt", &LINES.replace("four", "both"));
    let out = succeeds(here, &["undo", "app"]);
    assert!(out.contains("keep     text.txt  (changed since then)"), "{out}");
    assert_eq!(read(&app, "text.txt"), LINES.replace("four", "both"));
    assert!(read(&app, ".paster/skeleton.lock").contains("1.0.0"));
}

#[test]
fn moved_files_take_the_changes_of_the_user_with_them() {
    let place = skeleton(
        "[vars.package]\nvalue = \"{{snake project}}\"\n",
        &[("files/{{package}}/a.txt", LINES), ("files/old.ini", LINES)],
    );
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s"]);
    let app = here.join("app");
    write(&app, "app/a.txt", &LINES.replace("two", "mine"));
    write(&app, "old.ini", &LINES.replace("two", "mine"));
    let manifest = "[vars.package]\nvalue = \"{{snake project}}\"\n[[migrate]]\nfrom = \"<2\"\nrename = { \"files/old.ini\" = \"files/new.toml\" }\n";
    write_skeleton(
        here,
        "2.0.0",
        manifest,
        &[("files/{{package}}/a.txt", LINES), ("files/new.toml", &LINES.replace("six", "theirs"))],
    );
    let out = succeeds(here, &["update", "app", "package=other"]);
    assert!(
        out.contains("move      old.ini -> new.toml") && out.contains("move      app/a.txt -> other/a.txt"),
        "{out}"
    );
    assert_eq!(read(&app, "new.toml"), LINES.replace("two", "mine").replace("six", "theirs"));
    assert_eq!(read(&app, "other/a.txt"), LINES.replace("two", "mine"));
    assert!(!app.join("old.ini").exists() && !app.join("app").exists(), "{:?}", tree(&app));
    succeeds(here, &["undo", "app"]);
    assert_eq!(read(&app, "old.ini"), LINES.replace("two", "mine"));
    assert!(!app.join("new.toml").exists() && app.join("app/a.txt").exists());
}

#[test]
fn secrets_are_not_kept() {
    let vars = "[vars.password]\ntype = \"secret\"\nask = \"Password\"\n[vars.folder]\ndefault = \"/on/this/machine\"\nlocal = true\n";
    let place =
        skeleton(vars, &[("files/.env.hbs", "P={{shell_str password}}\n"), ("files/a.hbs", "{{folder}}\n")]);
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s", "password=hush-hush"]);
    let app = here.join("app");
    assert_eq!(read(&app, ".env"), "P=hush-hush\n");
    for (path, bytes) in tree(&app.join(".paster")) {
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if path == "skeleton.base" {
            let output = std::process::Command::new("tar")
                .args(["-xzOf"])
                .arg(app.join(".paster").join(path))
                .output()
                .unwrap();
            text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("always"), "{text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }
    let lock = read(&app, ".paster/skeleton.lock");
    assert!(!lock.contains("folder ="), "what belongs to this machine is not kept: {lock}");
    write_skeleton(
        here,
        "1.1.0",
        vars,
        &[("files/.env.hbs", "Q={{shell_str password}}\n"), ("files/a.hbs", "{{folder}}\n")],
    );
    refused(here, &["update", "app"], 2, &["`password` has no value"]);
    succeeds(here, &["update", "app", "password=other"]);
    assert_eq!(read(&app, ".env"), "P=hush-hush\n", "a file with a secret stays");
}

#[test]
fn a_created_project_is_taken_back() {
    let place = skeleton("", &[("files/deep/er/a.txt", "a\n"), ("files/b.txt", "b\n")]);
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s"]);
    write(&here.join("app"), "b.txt", "mine\n");
    let plan = succeeds(here, &["undo", "app", "--dry-run"]);
    assert!(
        plan.starts_with("would undo `paster create` in `app`\n") && plan.contains("remove   deep/er/a.txt"),
        "{plan}"
    );
    assert!(here.join("app/deep/er/a.txt").exists());
    let json: Value = serde_json::from_str(&succeeds(here, &["undo", "app", "--json"])).unwrap();
    assert_eq!(json["undone"], "create");
    assert_eq!(
        tree(&here.join("app")),
        [("b.txt".to_owned(), b"mine\n".to_vec())],
        "only what the user changed stays"
    );
}

#[test]
fn damage_is_told() {
    let place = skeleton("", &[]);
    let here = place.path();
    refused(here, &["update", "s"], 2, &["was not created by paster"]);
    succeeds(here, &["create", "app", "-t", "./s"]);
    let app = here.join("app");
    write_skeleton(here, "1.1.0", "", &[("files/always.txt", "new\n")]);
    let lock = read(&app, ".paster/skeleton.lock");
    let check = |text: &str, words: &[&str]| {
        write(&app, ".paster/skeleton.lock", text);
        refused(here, &["update", "app"], 1, words);
    };
    check("format = ", &["is damaged"]);
    check(&lock.replace("format = 1", "format = 2"), &["newer paster"]);
    check(&lock.replace("path = \"always.txt\"", "path = \"../always.txt\""), &["leads out of its folder"]);
    check(&lock.replace("path = \"always.txt\"", "path = \".paster/x\""), &["belongs to paster"]);
    write(&app, ".paster/skeleton.lock", &lock);
    // Version control brought another state.
    let base = std::fs::read(app.join(".paster/skeleton.base")).unwrap();
    std::fs::write(app.join(".paster/skeleton.base"), [&base[..], b"x"].concat()).unwrap();
    refused(here, &["undo", "app"], 1, &["`app/.paster/skeleton.base` was changed since `paster create`"]);
    std::fs::remove_file(app.join(".paster/skeleton.base")).unwrap();
    refused(here, &["update", "app"], 1, &["does not match", "version control"]);
}

#[test]
fn files_that_the_user_renamed_are_followed() {
    let python = LINES.replace("one", "import os");
    let place = skeleton(
        "",
        &[("files/app.py", &python), ("files/text.txt", LINES), ("files/data.bin", "x\ny\nz\n")],
    );
    let here = place.path();
    succeeds(here, &["create", "app", "-t", "./s"]);
    let app = here.join("app");
    std::fs::create_dir(app.join("src")).unwrap();
    std::fs::rename(app.join("app.py"), app.join("src/main.py")).unwrap();
    // Renamed and changed.
    std::fs::remove_file(app.join("text.txt")).unwrap();
    write(&app, "notes.txt", &LINES.replace("two", "TWO"));
    std::fs::remove_file(app.join("data.bin")).unwrap();
    write(&app, "other.bin", "nothing of it\n");
    // In folders that are not the user's, nothing is looked for.
    write(&app, "node_modules/data.bin", "x\ny\nz\n");
    assert!(
        succeeds(here, &["update", "app", "--check"]).contains("up to date"),
        "nothing to do without a change"
    );
    write_skeleton(
        here,
        "1.1.0",
        "",
        &[
            ("files/app.py", &python.replace("seven", "SEVEN")),
            ("files/text.txt", &LINES.replace("seven", "SEVEN")),
            ("files/data.bin", "x\ny\nZ\n"),
        ],
    );
    let (code, out, _) = run(here, &["update", "app", "--check"]);
    assert_eq!(code, 1, "{out}");
    insta::assert_snapshot!(out, @r"
    would update `app`: made 1.0.0 -> 1.1.0
      merge     notes.txt  (you renamed `text.txt`)
      update    src/main.py  (you renamed `app.py`)
    ");
    succeeds(here, &["update", "app"]);
    assert_eq!(read(&app, "src/main.py"), python.replace("seven", "SEVEN"));
    assert_eq!(read(&app, "notes.txt"), LINES.replace("two", "TWO").replace("seven", "SEVEN"));
    assert!(!app.join("app.py").exists() && !app.join("text.txt").exists() && !app.join("data.bin").exists());
    assert_eq!(read(&app, "node_modules/data.bin"), "x\ny\nz\n");
    assert!(succeeds(here, &["update", "app"]).contains("up to date"));

    // It is found again the next time, and the update can be taken back.
    write_skeleton(
        here,
        "1.2.0",
        "",
        &[
            ("files/app.py", &python.replace("seven", "8")),
            ("files/text.txt", LINES),
            ("files/data.bin", "z\n"),
        ],
    );
    succeeds(here, &["update", "app"]);
    assert_eq!(read(&app, "src/main.py"), python.replace("seven", "8"));
    succeeds(here, &["undo", "app"]);
    assert_eq!(read(&app, "src/main.py"), python.replace("seven", "SEVEN"));
}
