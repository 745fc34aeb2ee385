//! `paster create`: what it writes, refuses, asks and undoes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use paster::scaffold::{Manifest, ProvidedAnswers, resolve};
use serde_json::Value;

use crate::support::{folder, paster, root, wait_until};

/// Exit code, standard output, standard error of `paster create ARGS` in `folder`.
fn create(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = paster().arg("create").args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Creates a project and expects success.
fn created(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = create(folder, args);
    assert_eq!(code, 0, "{err}");
    out
}

/// Expects the exit code `code`, each of `words` in the message, and nothing new in `folder`.
fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = tree(folder);
    let (found, _, err) = create(folder, args);
    assert_eq!(found, code, "{args:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: `{word}` is missing in\n{err}");
    }
    assert_eq!(tree(folder), before, "{args:?}");
}

/// Every path below `folder` with its content; symlinks with their targets. What a project remembers is left out.
fn tree(folder: &Path) -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if name.ends_with(".paster") {
                continue;
            }
            if path.is_symlink() {
                found.push((name, std::fs::read_link(&path).unwrap().display().to_string()));
            } else if path.is_dir() {
                found.push((name, "folder".into()));
                walk(root, &path, found);
            } else {
                found.push((name, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// A skeleton `s` in a folder, from its manifest's body and its files.
fn skeleton(manifest: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let manifest = format!("[skeleton]\nname = \"made\"\nsummary = \"For a test\"\n{manifest}");
    let mut all = vec![("s/skeleton.toml", manifest.as_str()), ("s/files/always.txt", "always\n")];
    let named: Vec<_> = files.iter().map(|(path, content)| (format!("s/files/{path}"), *content)).collect();
    all.extend(named.iter().map(|(path, content)| (path.as_str(), *content)));
    folder(&all)
}

fn read(folder: &Path, path: &str) -> String {
    std::fs::read_to_string(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn without_a_name_the_folder_is_named_after_the_skeleton() {
    let place = folder(&[]);
    let out = created(place.path(), &["--template", "static"]);
    assert!(out.starts_with("created `static` from the skeleton `static`: 5 files\n"), "{out}");
    assert!(read(place.path(), "static/server.toml").contains("127.0.0.1:8080"));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "no temporary folder stays");
}

#[test]
fn names_and_answers_stand_in_any_order() {
    let place = folder(&[("a.toml", "heading = \"From a file\"\nport = 1"), ("a.json", "{\"port\": 2}")]);
    created(place.path(), &["port=9000", "deep/er/site", "-t", "static", "--answers", "a.toml"]);
    let config = read(place.path(), "deep/er/site/server.toml");
    assert!(config.contains("127.0.0.1:9000"), "arguments win over the file: {config}");
    assert!(read(place.path(), "deep/er/site/public/index.html").contains("<h1>From a file</h1>"));
    created(place.path(), &["two", "-t", "static", "--answers", "a.json", "heading=a=b"]);
    assert!(read(place.path(), "two/server.toml").contains("127.0.0.1:2\""));
    assert!(read(place.path(), "two/public/index.html").contains("<h1>a=b</h1>"));
}

#[test]
fn faults_of_the_command_line_are_2_and_name_the_nearest() {
    let place =
        folder(&[("file", ""), ("a.toml", "prot = 1"), ("b.toml", "port = \"x\""), ("c.toml", "port = ")]);
    let check = |args: &[&str], words: &[&str]| refused(place.path(), args, 2, words);
    check(&["x", "-t", "statik"], &["unknown skeleton `statik`", "did you mean `static`?"]);
    check(&["x"], &["no skeleton given", "`axum`, "]);
    check(&["x", "-t", "./nowhere"], &["there is no folder `./nowhere`"]);
    check(&["x", "-t", "file"], &["`file` is a file"]);
    check(&["x", "-t", "."], &["`.` is not a skeleton: it has no `skeleton.toml`"]);
    check(&["x", "-t", "svn::https://example.org/x"], &["protocol is not supported"]);
    check(&["x", "-t", "static", "prot=1"], &["no variable `prot`", "did you mean `port`?"]);
    check(&["x", "-t", "static", "project=1"], &["`project` is set by paster itself"]);
    check(&["x", "-t", "static", "--answers", "a.toml"], &["no variable `prot` in `a.toml`"]);
    check(&["x", "-t", "static", "--answers", "b.toml"], &["`port` must be a whole number (in `b.toml`)"]);
    check(&["x", "-t", "static", "--answers", "c.toml"], &["cannot read the answers in `c.toml`"]);
    check(&["x", "-t", "static", "--answers", "none.toml"], &["cannot read the answers in `none.toml`"]);
    check(&["x", "-t", "static", "port=70000"], &["`port` must be from 0 to 65535, not 70000"]);
    check(&["x", "y", "-t", "static"], &["unexpected `y`"]);
    check(&["x/..", "-t", "static"], &["does not end with a name"]);
    check(&["/", "-t", "static"], &["does not end with a name"]);
    check(&["", "-t", "static"], &["the name is empty"]);
    check(&["a:b", "-t", "static"], &["`a:b` cannot name a project", "`a-b` would work"]);
    check(&["nul", "-t", "static"], &["device on Windows"]);
    check(&["test", "-t", "axum"], &["cannot be `test`", "add `crate_name=test-app`"]);
    check(&["2048", "-t", "axum"], &["starts with a digit", "add `crate_name=app-2048`"]);
    check(&["x", "-t", "axum", "crate_name=async"], &["Rust keyword"]);
}

#[test]
fn what_is_missing_is_named_at_once() {
    let vars = r#"
        [vars.owner]
        ask = "Who owns it"
        [vars.password]
        type = "secret"
        [vars.db]
        default = "none"
        choices = ["none", "sqlite"]
        [vars.file]
        ask = "Which file"
        when = "db != 'none'"
    "#;
    let place = skeleton(vars, &[("x.txt.hbs", "{{owner}} {{password}} {{db}} [{{file}}]")]);
    let words = &["`owner`, `password` have no value", "`owner` is: Who owns it", "owner=… password=…"];
    refused(place.path(), &["x", "-t", "./s"], 2, words);
    refused(place.path(), &["x", "-t", "./s", "--defaults"], 2, words);
    refused(place.path(), &["x", "-t", "./s", "--dry-run"], 2, words);
    refused(
        place.path(),
        &["x", "-t", "./s", "db=sqlite"],
        2,
        &["`owner`, `password`, `file` have no value"],
    );
    refused(
        place.path(),
        &["x", "-t", "./s", "file=y"],
        2,
        &["`file` is not used here: it applies only if db != 'none'"],
    );
    refused(
        place.path(),
        &["x", "-t", "./s", "db=sqlit"],
        2,
        &["must be one of `none`, `sqlite`", "mean `sqlite`?"],
    );
    let out = created(place.path(), &["x", "-t", "./s", "owner=Ada", "password=hush", "--json"]);
    assert!(!out.contains("hush"), "{out}");
    assert_eq!(read(place.path(), "x/x.txt"), "Ada hush none []");
}

#[test]
fn a_folder_in_use_is_never_overwritten_silently() {
    let place = folder(&[("site/server.toml", "mine\n"), ("site/public/index.html", "my page\n")]);
    let target = place.path();
    refused(target, &["site", "-t", "static"], 1, &["`site` is not empty", "`--diff`", "`--force`"]);
    let before = tree(target);
    let diff = created(target, &["site", "-t", "static", "--diff"]);
    assert!(diff.contains("--- a/server.toml\n+++ b/server.toml\n@@ -1 +1,"), "{diff}");
    assert!(diff.contains("-mine\n") && diff.contains("--- /dev/null\n+++ b/README.md"), "{diff}");
    assert!(!diff.contains("index.html"), "written once, then the user's: {diff}");
    let plan = created(target, &["site", "-t", "static", "--dry-run"]);
    assert!(plan.contains("writing into it needs `--force`") && plan.contains("overwrite"), "{plan}");
    assert_eq!(tree(target), before);

    std::fs::set_permissions(target.join("site/server.toml"), std::fs::Permissions::from_mode(0o600))
        .unwrap();
    let out = created(target, &["site", "-t", "static", "--force"]);
    assert!(out.contains("the old `server.toml` is now `server.toml.bak`"), "{out}");
    assert_eq!(read(target, "site/server.toml.bak"), "mine\n");
    assert_eq!(read(target, "site/public/index.html"), "my page\n");
    let mode = std::fs::metadata(target.join("site/server.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "what only its owner may read stays so");
    let again = created(target, &["site", "-t", "static"]);
    assert!(again.contains("is up to date with the skeleton"), "{again}");
    created(target, &["site", "-t", "static", "--force", "port=1"]);
    assert_eq!(read(target, "site/server.toml.bak"), "mine\n", "an older backup stays");
    assert!(read(target, "site/server.toml.bak1").contains(":8080"));
    assert!(!tree(target).iter().any(|(path, _)| path.contains(".paster-")), "no temporary file stays");
}

#[test]
fn an_empty_folder_and_a_fresh_clone_are_taken() {
    let place = folder(&[("clone/.git/HEAD", "ref: refs/heads/main\n")]);
    std::fs::create_dir(place.path().join("empty")).unwrap();
    created(place.path(), &["empty", "-t", "static"]);
    created(place.path(), &["clone", "-t", "static"]);
    assert!(place.path().join("clone/server.toml").exists());
    let here = place.path().join("here");
    std::fs::create_dir(&here).unwrap();
    created(&here, &[".", "-t", "static"]);
    assert!(read(&here, "public/index.html").contains("<h1>Here</h1>"));
}

#[test]
fn what_is_in_the_way_is_refused_also_by_force() {
    let place = folder(&[("a", "a file"), ("b/public", "a file"), ("outside/keep", "kept")]);
    let target = place.path();
    std::fs::create_dir_all(target.join("c/server.toml")).unwrap();
    std::fs::create_dir(target.join("d")).unwrap();
    symlink("../outside", target.join("d/public")).unwrap();
    std::fs::create_dir(target.join("e")).unwrap();
    symlink("../outside/keep", target.join("e/server.toml")).unwrap();
    symlink("nowhere", target.join("f")).unwrap();
    refused(target, &["a", "-t", "static", "--force"], 1, &["`a` is a file, not a folder"]);
    refused(target, &["a/b", "-t", "static", "--force"], 1, &["a/b"]);
    refused(target, &["b", "-t", "static", "--force"], 1, &["`public` is not a folder"]);
    refused(target, &["c", "-t", "static", "--force"], 1, &["`server.toml` is not a plain file"]);
    refused(target, &["d", "-t", "static", "--force"], 1, &["`public` is a symlink"]);
    refused(target, &["e", "-t", "static", "--force"], 1, &["`server.toml` is a symlink"]);
    refused(target, &["f", "-t", "static", "--force"], 1, &["`f` is a broken symlink"]);
}

/// Runs `paster create` with files limited to 1,024 bytes, like a disk that fills up in the middle of a file.
fn create_limited(folder: &Path, args: &str, survive: bool) -> std::process::Output {
    let trap = if survive { "trap '' XFSZ;" } else { "" };
    let program = paster();
    let script = format!("{trap} ulimit -c 0; ulimit -f 1; exec \"$0\" create {args}");
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).arg(program.get_program()).current_dir(folder).output().unwrap()
}

#[test]
fn a_full_disk_leaves_nothing() {
    let big = "x".repeat(3000);
    let place = skeleton("", &[("always.txt", "new\n"), ("b/c/d.txt", "d"), ("z/big.txt", &big)]);
    let target = place.path();
    let before = tree(target);
    let output = create_limited(target, "p/q/new -t ./s", true);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("nothing was written") && err.contains("File too large"), "{err}");
    assert_eq!(tree(target), before);

    std::fs::create_dir_all(target.join("old/b")).unwrap();
    std::fs::write(target.join("old/always.txt"), "mine\n").unwrap();
    let before = tree(target);
    let output = create_limited(target, "old -t ./s --force", true);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("nothing was changed") && err.contains("`z/big.txt`: File too large"), "{err}");
    assert_eq!(tree(target), before);
}

#[test]
fn killed_in_the_middle_there_is_no_half_project() {
    let big = "x".repeat(3000);
    let place = skeleton("", &[("always.txt", "new\n"), ("z/big.txt", &big)]);
    let output = create_limited(place.path(), "new -t ./s", false);
    assert_eq!(output.status.code(), None, "ended by a signal");
    assert!(!place.path().join("new").exists());
    std::fs::create_dir(place.path().join("old")).unwrap();
    std::fs::write(place.path().join("old/always.txt"), "mine\n").unwrap();
    let output = create_limited(place.path(), "old -t ./s --force", false);
    assert_eq!(output.status.code(), None, "ended by a signal");
    assert_eq!(read(place.path(), "old/always.txt"), "mine\n");
    assert!(!place.path().join("old/z/big.txt").exists());
}

#[test]
fn files_follow_conditions_names_and_modes() {
    let manifest = r#"
        [vars.package]
        value = "{{snake project}}"
        pattern = "[a-z_][a-z0-9_]*"
        [vars.db]
        choices = { none = "no database", sqlite = "SQLite" }
        default = "none"
        [vars.parts]
        type = "list"
        default = ["a", "b"]
        choices = ["a", "b", "c"]
        [[file]]
        path = "files/{{package}}/models.py.hbs"
        when = "db != 'none' and 'a' in parts"
        [[post]]
        do = "chmod"
        path = "{{package}}/private"
        mode = "600"
    "#;
    let place = skeleton(
        manifest,
        &[
            ("{{package}}/models.py.hbs", "DB = {{py_str db}}\n"),
            ("{{package}}/private", "secret"),
            ("{{#if (in 'c' parts)}}c{{/if}}/in-c.txt", "c"),
            ("verbatim.txt", "{{not rendered}}"),
            ("run.sh", "#!/bin/sh\n"),
            (".hidden/.env.hbs", "P={{shell_str project}}"),
        ],
    );
    let run = place.path().join("s/files/run.sh");
    std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(place.path().join("s/files/bytes.bin"), b"\x00\xff\r\n{{project}}").unwrap();
    created(place.path(), &["My App", "-t", "./s"]);
    let paths = |name: &str| -> Vec<String> {
        tree(&place.path().join(name)).into_iter().map(|(path, _)| path).collect()
    };
    let first = [
        ".hidden",
        ".hidden/.env",
        "always.txt",
        "bytes.bin",
        "my_app",
        "my_app/private",
        "run.sh",
        "verbatim.txt",
    ];
    assert_eq!(paths("My App"), first);
    let mode =
        |path: &str| std::fs::metadata(place.path().join("My App").join(path)).unwrap().permissions().mode();
    assert_eq!((mode("run.sh") & 0o100, mode("always.txt") & 0o111), (0o100, 0));
    assert_eq!(mode("my_app/private") & 0o777, 0o600);
    assert_eq!(read(place.path(), "My App/.hidden/.env"), "P='My App'");
    assert_eq!(read(place.path(), "My App/verbatim.txt"), "{{not rendered}}");
    assert_eq!(std::fs::read(place.path().join("My App/bytes.bin")).unwrap(), b"\x00\xff\r\n{{project}}");
    created(place.path(), &["two", "-t", "./s", "db=sqlite", "parts=a,c", "package=pkg"]);
    assert_eq!(read(place.path(), "two/pkg/models.py"), "DB = \"sqlite\"\n");
    assert!(place.path().join("two/c/in-c.txt").exists());
    refused(
        place.path(),
        &["three", "-t", "./s", "package=9"],
        2,
        &["`package` must match `[a-z_][a-z0-9_]*`"],
    );
    refused(
        place.path(),
        &["three", "-t", "./s", "parts=a,d"],
        2,
        &["must be one of `a`, `b`, `c`, not `d`"],
    );
}

/// Lessons from other scaffolders (CVE-2025-55201, CVE-2026-23968, CVE-2026-23986, CVE-2026-34726,
/// CVE-2022-24065): a skeleton reads and writes nothing outside, whatever its names, links and answers are.
#[test]
fn a_skeleton_cannot_reach_outside() {
    let evil = |name: &str, answer: &str, word: &str| {
        let place = skeleton("[vars.name]\ndefault = \"x\"\n", &[(name, "evil")]);
        let answer = format!("name={answer}");
        refused(place.path(), &["new", "-t", "./s", &answer], 1, &[word]);
    };
    evil("{{name}}", "..", "leads out of its folder");
    evil("{{name}}/x", "../..", "contains a path separator");
    evil("a{{name}}", "/etc/passwd", "contains a path separator");
    evil("{{name}}", "/etc/passwd", "contains a path separator");
    evil("{{name}}", "..\\x", "contains a path separator");
    evil("{{name}}", "c:x", "Windows does not allow");
    evil("{{name}}.txt", "nul", "device on Windows");
    evil("{{name}}/config", ".git", "belongs to git");
    evil("{{name}}.txt", "ALWAYS", "are the same name");
    evil("{{name}}/x", "always.txt", "are the same name");
    evil("x{{target.parent}}", "x", "unknown variable `target.parent`");
    evil("{{#if (eq name 'up')}}../up{{/if}}", "up", "contains a path separator");

    // A link in the skeleton, to a file or a folder, or in place of one of its parts.
    let link = |at: &str, to: &str| {
        let place = skeleton("", &[]);
        let at = place.path().join("s").join(at);
        if at.is_dir() {
            std::fs::remove_dir_all(&at).unwrap();
        } else if at.exists() {
            std::fs::remove_file(&at).unwrap();
        }
        symlink(to, at).unwrap();
        refused(place.path(), &["new", "-t", "./s"], 1, &["cannot read"]);
    };
    link("files/leak.txt", "/etc/hostname");
    link("files/leak", "/etc");
    link("files/inner", "always.txt");
    link("files", "/etc");
    link("skeleton.toml", "/etc/hostname");

    // A name that a program could take as an option. git runs in the folder, without the name as an argument.
    let place = skeleton("[[post]]\ndo = \"git-init\"\n", &[]);
    created(place.path(), &["-t", "./s", "--", "--upload-pack"]);
    assert!(place.path().join("--upload-pack/always.txt").exists());
}

#[test]
fn faults_of_a_skeleton_have_their_place() {
    let check = |manifest: &str, words: &[&str]| {
        let place = skeleton(manifest, &[]);
        refused(place.path(), &["new", "-t", "./s"], 1, words);
    };
    check("extends = \"base\"\n", &["`extends` must be a list of skeletons", "skeleton.toml:4:"]);
    check(
        "[[file]]\npath = \"files/always.txt\"\nmerge = \"tml\"\n",
        &["unknown variant `tml`", "skeleton.toml:6:"],
    );
    check(
        "[[file]]\npath = \"files/always.txt\"\nreplace = [\"a\"]\n",
        &["`replace` contains keys", "skeleton.toml:6:"],
    );
    check("[[post]]\ndo = \"run\"\n", &["`run` needs the program", "skeleton.toml:5:"]);
    check("[[test]]\ngolden = \"x\"\n", &["`golden` (comparing the whole tree) is not supported"]);
    check("[[post]]\ndo = \"format\"\n", &["unknown variant `format`", "skeleton.toml:5:"]);
    check("[[migrate]]\nfrom = \"<1\"\nrename = {}\n", &["`[[migrate]]` needs a `version`"]);
    check(
        "[vars.port]\ntipe = \"int\"\n",
        &["unknown field `tipe`", "did you mean `type`?", "skeleton.toml:5:"],
    );
    check(
        "[vars.port]\ntype = \"int\"\ndefault = \"x\"\n",
        &["`port` must be a whole number", "skeleton.toml:6:"],
    );
    check("[vars.a]\nwhen = \"b == 1\"\n[vars.b]\n", &["uses `b`, which is not a variable defined above"]);
    check("[vars.a]\nwhen = \"a ==\"\n", &["the condition is not valid: expected a value at the end"]);
    check("[vars.a]\npattern = \"(\"\n", &["not a regular expression"]);
    check("[vars.year]\n", &["`year` is taken"]);
    check("[vars.snake]\n", &["`snake` is taken"]);
    check("[vars.a-b]\n", &["`a-b` is not a valid variable name"]);
    check("paster = \">=99\"\n", &["needs paster >=99"]);
    check(
        "[[file]]\npath = \"files/none.txt\"\n",
        &["`files/none.txt`, which the skeleton does not contain"],
    );
    check("[vars.a]\ndefault = \"{{b}}\"\n", &["unknown variable `b`"]);
    check("[vars\n", &["invalid TOML", "skeleton.toml:4:"]);
    let place = skeleton("", &[("bad.txt.hbs", "line\n  {{projct}}\n"), ("worse.hbs", "{{#if x}}")]);
    let words =
        &["s/files/bad.txt.hbs:2:", "unknown variable `projct`", "mean `project`?", "s/files/worse.hbs:1:"];
    refused(place.path(), &["new", "-t", "./s"], 1, words);
}

#[test]
fn git_init_makes_a_repository_unless_there_is_one() {
    let place = skeleton("[[post]]\ndo = \"git-init\"\n", &[]);
    let out: Value = serde_json::from_str(&created(place.path(), &["new", "-t", "./s", "--json"])).unwrap();
    assert_eq!(out["post"], serde_json::json!(["git-init"]), "{out}");
    assert!(place.path().join("new/.git/HEAD").exists());
    let inner = created(&place.path().join("new"), &["inner", "-t", "../s"]);
    assert!(inner.contains("no git repository: the directory is already in a repository"), "{inner}");
    assert!(!place.path().join("new/inner/.git").exists());
}

#[test]
fn results_are_json_too() {
    let place = folder(&[]);
    let json = |args: &[&str]| -> Value { serde_json::from_str(&created(place.path(), args)).unwrap() };
    let list = json(&["--list-templates", "--json"]);
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|about| about["name"].as_str().unwrap()).collect();
    let mut folders: Vec<_> = std::fs::read_dir(root().join("skeletons"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "add") // what can only be added
        .collect();
    folders.sort();
    assert_eq!(names, folders);
    let vars = json(&["-t", "static", "--list-variables", "--json"]);
    assert_eq!((&vars[1]["name"], &vars[1]["range"][1]), (&"port".into(), &65535.into()));
    let plan = json(&["site", "-t", "static", "--dry-run", "--json"]);
    assert_eq!((&plan["dry_run"], &plan["files"][0]["action"]), (&true.into(), &"create".into()));
    assert!(!place.path().join("site").exists());
    let done = json(&["site", "-t", "static", "port=0", "--json"]);
    assert_eq!(done["answers"]["port"], serde_json::json!({"value": 0, "from": "argument"}));
    assert_eq!(json(&["site", "-t", "static", "port=0", "--json"])["files"][0]["action"], "same");
    assert_eq!(json(&["site", "-t", "static", "--diff", "--json"])[0]["path"], "README.md");
}

#[test]
fn creating_takes_less_than_100_ms() {
    let (place, mut number) = (folder(&[]), 0);
    // On a busy machine this does not happen every time.
    wait_until("it takes less than 100 ms", || {
        number += 1;
        let start = std::time::Instant::now();
        created(place.path(), &[&format!("site{number}"), "-t", "static"]);
        start.elapsed().as_millis() < 100
    });
}

#[test]
fn who_breaks_off_a_question_is_asked_no_more() {
    let text =
        "[skeleton]\nname = \"a\"\nsummary = \"b\"\n[vars.one]\nask = \"One\"\n[vars.two]\nask = \"Two\"\n";
    let manifest = Manifest::parse("skeleton.toml", text).unwrap();
    let mut asked = Vec::new();
    let errors = resolve(&manifest, Default::default(), &ProvidedAnswers::default(), &mut |question| {
        asked.push(question.var.name.clone());
        Err(paster::error::Error::new("cancelled").into())
    })
    .unwrap_err();
    assert_eq!((asked, errors.to_string().as_str()), (vec!["one".to_owned()], "cancelled"));
}
