//! Skeletons that mean harm: each is refused with a clear error, and nothing is written. What concerns names and links of
//! folders is in `create.rs`.

use std::process::Command;

use super::{read, refused, skeleton, succeeds, write};

/// Manifest, files, what the error says.
type Refused = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const REFUSED: [Refused; 15] = [
    // Programs run only with trust.
    ("[[post]]\ndo = \"run\"\nargv = [\"touch\", \"{{project}} ran\"]\n", &[], "it runs: touch 'new ran'"),
    (
        "[[post]]\ndo = \"run\"\nargv = [\"sh\", \"-c\", \"echo \\u001b[2K\"]\n",
        &[],
        "it runs: sh -c 'echo \\u{1b}[2K'",
    ),
    // Endless loops.
    ("", &[("files/a.hbs", "{{> a}}"), ("partials/a.hbs", "x{{> a}}")], "includes itself"),
    (
        "",
        &[("files/a.hbs", "{{> a}}"), ("partials/a.hbs", "{{> b}}"), ("partials/b.hbs", "{{> a}}")],
        "includes itself",
    ),
    ("", &[("files/a.hbs", "{{#*inline \"a\"}}{{> a}}{{/inline}}{{> a}}")], "uses a decorator"),
    ("", &[("files/a.hbs", "{{#> a}}x{{/a}}")], "uses a partial as a block"),
    ("", &[("files/a.hbs", "{{> (lookup this 'project')}}")], "whose name is computed"),
    ("", &[("files/a.hbs", "{{> ../../../etc/passwd}}")], "which is not in `partials`"),
    // What belongs to paster and git.
    ("", &[("files/.paster/skeleton.lock", "x")], "belongs to paster"),
    ("", &[("files/.PASTER/x", "x")], "belongs to paster"),
    ("", &[("files/.git/config", "x")], "belongs to git"),
    // Modes that give a file the rights of its owner.
    ("[[post]]\ndo = \"chmod\"\npath = \"always.txt\"\nmode = \"4755\"\n", &[], "not permission bits"),
    // Answers cannot be code.
    ("[vars.a]\npattern = \"(a+)+\\\\1\"\n", &[], "not a regular expression"),
    ("[vars.__proto__]\n", &[("files/a.hbs", "{{__proto__}}")], "is not a valid variable name"),
    (
        "",
        &[("files/a.hbs", "{{lookup user 'constructor'}}{{constructor.name}}")],
        "a key or variable does not exist",
    ),
];

#[test]
fn harmful_skeletons_are_refused() {
    for (manifest, files, word) in REFUSED {
        let place = skeleton(manifest, files);
        let (code, _, err) = super::run(place.path(), &["create", "new", "-t", "./s"]);
        assert!(code == 1 || code == 2, "{word}: {code} {err}");
        assert!(err.contains(word), "`{word}` is missing in\n{err}");
        assert!(!place.path().join("new").exists(), "{word}: something was written");
    }
}

#[test]
fn a_giant_expansion_ends_early() {
    // Each value is eight times the one before it: the last one would have 8 GiB.
    let mut manifest = format!("[vars.a0]\ndefault = \"{}\"\n", "x".repeat(512));
    for level in 1..=8 {
        let before = format!("{{{{a{}}}}}", level - 1).repeat(8);
        manifest += &format!("[vars.a{level}]\nvalue = \"{before}\"\n");
    }
    let place = skeleton(&manifest, &[("files/big.hbs", "{{a8}}")]);
    refused(place.path(), &["create", "new", "-t", "./s"], 1, &["the result is larger than 32 MiB"]);
    // Files that are each within the limit, but not together.
    let files: Vec<_> = (0..20).map(|number| format!("files/{number}.hbs")).collect();
    let files: Vec<_> = files.iter().map(|path| (path.as_str(), "{{a5}}")).collect();
    let manifest = manifest.split("[vars.a6]").next().unwrap();
    let place = skeleton(manifest, &files);
    refused(place.path(), &["create", "new", "-t", "./s"], 1, &["are larger than 256 MiB"]);
}

#[test]
fn programs_run_with_trust_and_are_shown_first() {
    let manifest = "[[post]]\ndo = \"run\"\nargv = [\"sh\", \"-c\", \"echo done; pwd > ran\"]\n";
    let place = skeleton(manifest, &[]);
    let here = place.path();
    let plan = succeeds(here, &["create", "new", "-t", "./s", "--trust", "--dry-run"]);
    assert!(plan.contains("would run: sh -c 'echo done; pwd > ran'") && !here.join("new").exists(), "{plan}");
    let (code, out, err) = super::run(here, &["create", "new", "-t", "./s", "--trust"]);
    assert_eq!((code, err.as_str()), (0, "will run: sh -c 'echo done; pwd > ran'\ndone\n"), "{out}");
    assert!(read(here, "new/ran").trim_end().ends_with("/new"));
    write(
        &here.join("s"),
        "skeleton.toml",
        "[skeleton]\nname = \"made\"\nsummary = \"x\"\n[[post]]\ndo = \"run\"\nargv = [\"false\"]\n",
    );
    let (code, _, err) = super::run(here, &["create", "two", "-t", "./s", "--trust"]);
    assert!(code == 1 && err.contains("`false` failed; the files were written"), "{err}");
    // An update runs nothing.
    write(&here.join("s"), "files/always.txt", "new\n");
    succeeds(here, &["update", "new"]);
}

/// Archives with entries that no honest program writes.
#[test]
fn harmful_archives_are_refused() {
    let script = r#"
import io, sys, tarfile, zipfile
M = b'[skeleton]\nname = "made"\nsummary = "x"\n'
def tar(name, *entries):
    with tarfile.open(name, 'w:gz') as t:
        for e in [('skeleton.toml', M, {}), ('files/a.txt', b'a', {})] + list(entries):
            i = tarfile.TarInfo(e[0]); i.size = len(e[1])
            for k, v in e[2].items(): setattr(i, k, v)
            t.addfile(i, io.BytesIO(e[1]))
tar('up.tar.gz', ('files/../../up.txt', b'x', {}))
tar('absolute.tar.gz', ('/tmp/absolute.txt', b'x', {}))
tar('symlink.tar.gz', ('files/link', b'', {'type': tarfile.SYMTYPE, 'linkname': '/etc/passwd'}))
tar('hardlink.tar.gz', ('files/link', b'', {'type': tarfile.LNKTYPE, 'linkname': 'files/a.txt'}))
tar('device.tar.gz', ('files/null', b'', {'type': tarfile.CHRTYPE, 'devmajor': 1, 'devminor': 3}))
tar('pipe.tar.gz', ('files/pipe', b'', {'type': tarfile.FIFOTYPE}))
tar('twice.tar.gz', ('files/a.txt', b'b', {}))
tar('git.tar.gz', ('files/.git/hooks/post-commit', b'x', {}))
tar('windows.tar.gz', ('files/nul.txt', b'x', {}))
tar('deep.tar.gz', ('files/' + 'd/' * 60 + 'x', b'x', {}))
with zipfile.ZipFile('bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z:
    z.writestr('skeleton.toml', M); z.writestr('files/zero.bin', bytes(300 << 20))
with zipfile.ZipFile('link.zip', 'w') as z:
    z.writestr('skeleton.toml', M)
    i = zipfile.ZipInfo('files/link'); i.create_system = 3; i.external_attr = 0o120777 << 16; z.writestr(i, '/etc/passwd')
with zipfile.ZipFile('slip.zip', 'w') as z:
    z.writestr('skeleton.toml', M); z.writestr('../slip.txt', b'x')
"#;
    let place = skeleton("", &[]);
    let here = place.path();
    let output = Command::new("python3").args(["-c", script]).current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (archive, word) in [
        ("up.tar.gz", "leads out of the skeleton"),
        ("absolute.tar.gz", "leads out of the skeleton"),
        ("symlink.tar.gz", "only plain files and folders"),
        ("hardlink.tar.gz", "only plain files and folders"),
        ("device.tar.gz", "only plain files and folders"),
        ("pipe.tar.gz", "only plain files and folders"),
        ("twice.tar.gz", "occurs twice"),
        ("git.tar.gz", "belongs to git"),
        ("windows.tar.gz", "device on Windows"),
        ("deep.tar.gz", "more than 50 levels"),
        ("bomb.zip", "larger than 256 MiB"),
        ("link.zip", "only plain files and folders"),
        ("slip.zip", "leads out of the skeleton"),
    ] {
        refused(here, &["create", "new", "-t", archive], 1, &[word]);
    }
}

/// Whatever a user answers, files stay valid: TOML, Rust, shell, Python.
#[test]
fn answers_stay_values() {
    let odd = [
        "\"; x = 1 #",
        "${HOME} $(id) `id`",
        "a\\nb\\",
        "'''\n\"\"\"\n[x]",
        "</script><b>",
        "{{project}}",
        "\u{202e}\u{7f}é",
    ];
    let files = [
        ("files/a.toml.hbs", "a = {{toml_str answer}}\n"),
        ("files/a.json.hbs", "{\"a\": {{json answer}}}\n"),
        ("files/a.py.hbs", "import sys\nsys.stdout.buffer.write({{py_str answer}}.encode())\n"),
        ("files/a.sh.hbs", "printf %s {{shell_str answer}}\n"),
        ("files/a.rs.hbs", "fn main() { print!(\"{}\", {{rust_str answer}}); }\n"),
    ];
    let place = skeleton("[vars.answer]\ndefault = \"\"\n", &files);
    let here = place.path();
    let mut rust = String::from("fn main() {\n");
    for (number, answer) in odd.iter().enumerate() {
        let name = format!("p{number}");
        succeeds(here, &["create", &name, "-t", "./s", &format!("answer={answer}")]);
        let project = here.join(&name);
        let toml: toml_edit::DocumentMut = read(&project, "a.toml").parse().unwrap();
        assert_eq!((toml["a"].as_str(), toml.len()), (Some(*answer), 1));
        let json: serde_json::Value = serde_json::from_str(&read(&project, "a.json")).unwrap();
        assert_eq!(json, serde_json::json!({"a": answer}));
        for (program, file) in [("python3", "a.py"), ("sh", "a.sh")] {
            let output = Command::new(program).arg(file).current_dir(&project).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), *answer, "{file}");
        }
        let source = read(&project, "a.rs");
        let call = source.split_once("{ ").unwrap().1.rsplit_once(" }").unwrap().0;
        rust += &format!("{call}\nprint!(\"\\0\");\n");
    }
    // One build for all of them.
    write(here, "all.rs", &(rust + "}\n"));
    let built = Command::new("rustc").args(["--edition=2024", "all.rs"]).current_dir(here).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let output = Command::new(here.join("all")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), odd);
}
