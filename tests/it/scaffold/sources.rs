//! Where skeletons come from: git, archives, packages.

use std::process::Command;

use super::{git, read, refused, skeleton, succeeds, write};
use crate::support::{paster, root};

fn manifest(name: &str) -> String {
    format!("[skeleton]\nname = \"{name}\"\nsummary = \"For a test\"\n")
}

#[test]
fn a_git_repository_by_branch_tag_commit_and_folder() {
    let place = skeleton("", &[]);
    let here = place.path();
    let s = here.join("s");
    write(&s, "web/site/skeleton.toml", &manifest("site"));
    write(&s, "web/site/files/a.txt", "first\n");
    // A hook of the repository, and one of the template folder, must not run.
    let marker = here.join("ran");
    let hook = format!("#!/bin/sh\ntouch {}\n", marker.display());
    // Elsewhere in a repository, links do no harm.
    std::os::unix::fs::symlink("/etc/passwd", s.join("link")).unwrap();
    git(&s, &["init", "--quiet"]);
    write(&s, ".git/hooks/post-checkout", &hook);
    std::fs::set_permissions(
        s.join(".git/hooks/post-checkout"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    git(&s, &["add", "."]);
    git(&s, &["commit", "--quiet", "-m", "one"]);
    git(&s, &["tag", "v1"]);
    write(&s, "web/site/files/a.txt", "second\n");
    git(&s, &["commit", "--quiet", "-am", "two"]);
    git(&s, &["branch", "feature/x"]);
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(&s).output().unwrap();
    let commit = String::from_utf8(commit.stdout).unwrap().trim().to_owned();
    let url = format!("file://{}", s.display());

    let create = |name: &str, source: &str| {
        let out = succeeds(here, &["create", name, "-t", source]);
        assert!(out.starts_with(&format!("created `{name}`")), "{out}");
        read(&here.join(name), ".paster/skeleton.lock")
    };
    let lock = create("head", &format!("{url}#web/site"));
    assert!(lock.contains(&format!("revision = \"{commit}\"")), "{lock}");
    assert_eq!(read(here, "head/a.txt"), "second\n");
    create("tag", &format!("{url}#web/site@v1"));
    assert_eq!(read(here, "tag/a.txt"), "first\n");
    create("branch", &format!("{url}#web/site@feature/x"));
    create("commit", &format!("{url}#web/site@{}", &commit[..10]));
    create("top", &format!("git+{}", s.display()));
    assert_eq!(read(here, "top/always.txt"), "always\n");
    assert!(!marker.exists(), "a hook ran");

    // The default branch goes on, and the project follows.
    write(&s, "web/site/files/a.txt", "third\n");
    git(&s, &["commit", "--quiet", "-am", "three"]);
    succeeds(here, &["update", "head"]);
    assert_eq!(read(here, "head/a.txt"), "third\n");
    succeeds(here, &["update", "tag", "--check"]);
    succeeds(here, &["update", "tag", "--template", &format!("{url}#web/site")]);
    assert_eq!(read(here, "tag/a.txt"), "third\n");

    let none = format!("{url}#web/site@none");
    refused(here, &["create", "x", "-t", &none], 1, &["no branch, tag or commit `none`"]);
    refused(here, &["create", "x", "-t", &format!("{url}#nowhere")], 2, &["has no folder `nowhere`"]);
    let away = format!("file://{}/none.git", here.display());
    refused(here, &["create", "x", "-t", &away], 1, &["cannot fetch", "none.git"]);
    refused(here, &["create", "x", "-t", "ext::sh -c touch% ran.git"], 2, &["protocol is not supported"]);
    refused(here, &["create", "x", "-t", "--upload-pack=x.git"], 2, &[]);
    refused(here, &["create", "x", "-t=--upload-pack=x.git"], 2, &["not the address of a git repository"]);
}

#[test]
fn archives() {
    let place =
        skeleton("", &[("files/run.sh", "#!/bin/sh\n"), ("files/{{project}}.txt.hbs", "{{project}}\n")]);
    let here = place.path();
    std::fs::set_permissions(
        here.join("s/files/run.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(here).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("tar", &["czf", "whole.tar.gz", "s"]);
    run("tar", &["cf", "flat.tar", "-C", "s", "."]);
    let zip = "import sys, zipfile, os\nwith zipfile.ZipFile('s.zip', 'w', zipfile.ZIP_DEFLATED) as z:\n    for d, _, fs in os.walk('s'):\n        for f in fs: z.write(os.path.join(d, f), os.path.join('top', d, f))\n";
    run("python3", &["-c", zip]);
    for (name, source) in
        [("a", "whole.tar.gz"), ("b", "./flat.tar"), ("c", "s.zip#top/s"), ("d", "whole.tar.gz#s")]
    {
        succeeds(here, &["create", name, "-t", source]);
        assert_eq!(read(here, &format!("{name}/{name}.txt")), format!("{name}\n"));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(here.join(name).join("run.sh")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o100, 0o100, "{source}");
        succeeds(here, &["update", name, "--check"]);
    }
    std::fs::write(here.join("bad.tar.gz"), "not an archive").unwrap();
    refused(
        here,
        &["create", "x", "-t", "bad.tar.gz"],
        1,
        &["cannot read the skeleton in the archive `bad.tar.gz`"],
    );
    refused(here, &["create", "x", "-t", "s.zip#none"], 2, &["is not a skeleton"]);
}

/// A package, from a registry that is a folder.
#[test]
fn a_package_from_the_registry_of_cargo() {
    let place = skeleton("", &[]);
    let here = place.path();
    let package = here.join("vendor/web-skeletons");
    write(
        &package,
        "Cargo.toml",
        "[package]\nname = \"web-skeletons\"\nversion = \"1.2.3\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n",
    );
    write(&package, "lib.rs", "compile_error!(\"nothing of a package is built\");\n");
    write(&package, "skeletons/site/skeleton.toml", &manifest("site"));
    write(&package, "skeletons/site/files/a.txt", "from a package\n");
    write(
        &package,
        ".cargo-checksum.json",
        "{\"files\":{},\"package\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
    );
    let config = format!(
        "[source.crates-io]\nreplace-with = \"folder\"\n[source.folder]\ndirectory = \"{}\"\n",
        here.join("vendor").display()
    );
    write(here, "cargo/config.toml", &config);
    let create = |name: &str, source: &str| {
        let mut command = paster();
        command.args(["create", name, "-t", source]).current_dir(here).env("CARGO_HOME", here.join("cargo"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(create("a", "crate:web-skeletons#site@1.2"), (Some(0), String::new()));
    assert_eq!(read(here, "a/a.txt"), "from a package\n");
    assert!(read(here, "a/.paster/skeleton.lock").contains("revision = \"1.2.3\""));
    let (code, error) = create("b", "crate:web-skeletons#site@9");
    assert!(code == Some(1) && error.contains("cargo cannot get the package `web-skeletons`"), "{error}");
    assert_eq!(create("b", "crate:web skeletons").0, Some(2));
    assert_eq!(create("b", "crate:web-skeletons@\"; x = 1").0, Some(2));
    assert!(!here.join("b").exists());
    assert!(root().join("skeletons").is_dir());
}
