//! The packages of `cargo xtask dist`: a user without a checkout unpacks the archive, creates a notebook and an application,
//! and serves them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{
    Connection, Serving, cargo, folder, paster, plugin, root, save, text, wait_until, wait_until_built,
};

/// An unpacked archive, and the user who has it.
struct Installation {
    place: tempfile::TempDir,
    prefix: PathBuf,
}

impl Installation {
    /// Packs the files of this build and unpacks the archive.
    fn new() -> Installation {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["home", "packages", "opt"] {
            std::fs::create_dir(place.path().join(name)).unwrap();
        }
        plugin("notebook");
        plugin("paster-python");
        let built = Path::new(env!("CARGO_BIN_EXE_paster")).parent().unwrap();
        pack(built, &place.path().join("packages"));
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(package(&place, ".tar.gz")).arg("-C").arg(place.path().join("opt"));
        succeeds(&mut tar);
        let prefix = std::fs::read_dir(place.path().join("opt")).unwrap().next().unwrap().unwrap().path();
        Installation { place, prefix }
    }

    /// A command of the unpacked program. The user has Rust, and what the tests have already compiled.
    fn command(&self) -> Command {
        let mut command = Command::new(self.prefix.join("bin/paster"));
        command.env_clear().current_dir(self.place.path().join("home"));
        command.env("HOME", self.place.path().join("home"));
        let tests = paster();
        let kept = ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"];
        command.envs(
            tests
                .get_envs()
                .filter_map(|(name, value)| kept.iter().any(|kept| name == *kept).then_some((name, value?))),
        );
        for (name, usual) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if std::env::var_os(name).is_none() {
                command.env(name, Path::new(&std::env::var_os("HOME").unwrap()).join(usual));
            }
        }
        command
    }

    fn create(&self, name: &str, template: &str) -> PathBuf {
        succeeds(self.command().args(["create", name, "--template", template, "--defaults"]));
        self.place.path().join("home").join(name)
    }

    fn serve(&self, project: &Path, options: &[&str]) -> Serving {
        let mut serve = self.command();
        serve.args(["serve", "--json", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]).args(options);
        serve.current_dir(project);
        Serving::spawn(serve)
    }
}

/// Makes the packages of the files in `built`.
fn pack(built: &Path, out: &Path) {
    let mut dist = cargo();
    dist.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--from"]).arg(built);
    succeeds(dist.arg("--out").arg(out).env("SOURCE_DATE_EPOCH", "1700000000"));
}

fn package(place: &tempfile::TempDir, ending: &str) -> PathBuf {
    let files = std::fs::read_dir(place.path().join("packages")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    files.find(|file| file.to_str().unwrap().ends_with(ending)).unwrap()
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    output
}

#[test]
fn a_user_unpacks_the_archive_and_serves() {
    let installation = Installation::new();
    let prefix = &installation.prefix;
    for file in [
        "share/man/man1/paster.1",
        "share/man/man1/paster-serve.1",
        "share/bash-completion/completions/paster",
        "share/zsh/site-functions/_paster",
        "share/fish/vendor_completions.d/paster.fish",
        "share/doc/paster/LICENSE-MIT",
        "lib/systemd/system/paster@.service",
    ] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    let licences = std::fs::read_to_string(prefix.join("share/doc/paster/THIRD-PARTY-LICENSES")).unwrap();
    for name in ["\nhyper 1.", "\nzeromq 0.", "\nnpm: katex 0."] {
        assert!(licences.contains(name), "{name}");
    }
    entries_are_the_same_everywhere(&package(&installation.place, ".tar.gz"));
    bill_and_checksums(&installation.place);
    debian_package(&installation.place);
    wheel(&installation.place);
    notebook(&installation);
    let project = installation.create("journal", "axum");
    application(&installation, &project);
    another_sdk(&installation, &project);
}

/// Sorted, of root, with the time that was asked for.
fn entries_are_the_same_everywhere(archive: &Path) {
    let mut tar = Command::new("tar");
    let listed = succeeds(tar.args(["--utc", "--numeric-owner", "-tvf"]).arg(archive));
    let mut names = Vec::new();
    for line in text(&listed.stdout).lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[1], words[3], words[4]), ("0/0", "2023-11-14", "22:13"), "{line}");
        let modes =
            ["drwxr-xr-x", if words[5].ends_with("bin/paster") { "-rwxr-xr-x" } else { "-rw-r--r--" }];
        assert!(modes.contains(&words[0]), "{line}");
        names.push(words[5].replace('/', "\0")); // a directory is before what is in it
    }
    assert!(names.is_sorted(), "{names:?}");
}

/// The notebook from the package: nothing is built.
fn notebook(installation: &Installation) {
    let project = installation.create("notes", "notebook");
    let config = project.join("server.toml");
    let old = std::fs::read_to_string(&config).unwrap();
    save(&config, &old.replace("[app.main.settings]", "[app.main.settings]\ntoken = \"long-secret\""));
    let mut serving = installation.serve(&project, &[]);
    let mut connection = Connection::open(serving.address());
    let mut ask = |line: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: token long-secret\r\n\r\n");
        connection.request(&head)
    };
    let (head, page) = ask("GET /notebooks/Welcome.ipynb");
    assert!(head.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{head}{page}");
    // The kernel host is a side process of the installed program.
    let started = ask("POST /api/kernels").1;
    let kernel: Value = serde_json::from_str(&started).unwrap();
    let kernel = format!("GET /api/kernels/{}", kernel["id"].as_str().unwrap_or_else(|| panic!("{started}")));
    wait_until("the kernel is idle", || ask(&kernel).1.contains("\"execution_state\":\"idle\""));
    assert_eq!(serving.stop(), Some(0));
}

/// An application that is built with the SDK that the program provides.
fn application(installation: &Installation, project: &Path) {
    let manifest = std::fs::read_to_string(project.join("Cargo.toml")).unwrap();
    let home = installation.place.path().join("home/.local/share/paster/sdk");
    assert!(manifest.contains(&format!("paster-sdk = {{ path = \"{}/", home.display())), "{manifest}");
    // The versions of the workspace, which are already on disk.
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let mut serving = installation.serve(project, &["--reload"]);
    let page = |serving: &Serving| Connection::open(serving.address()).get("/").1;
    assert!(page(&serving).contains("Nothing here yet"));
    let source = project.join("src/page.rs");
    let old = std::fs::read_to_string(&source).unwrap();
    save(&source, &old.replace("Nothing here yet", "Nothing at all yet"));
    wait_until_built("the edit shows", || page(&serving).contains("Nothing at all yet"));
    assert_eq!(serving.stop(), Some(0));
}

/// A project of another version still works, and `check` names the line to change.
fn another_sdk(installation: &Installation, project: &Path) {
    let manifest = project.join("Cargo.toml");
    let written = std::fs::read_to_string(&manifest).unwrap();
    let at = written.lines().position(|line| line.starts_with("paster-sdk")).unwrap();
    let line = written.lines().nth(at).unwrap();
    let place = format!("Cargo.toml:{}", at + 1);
    let check = |line_now: &str| {
        std::fs::write(&manifest, written.replace(line, line_now)).unwrap();
        let output = installation.command().arg("check").current_dir(project).output().unwrap();
        (output.status.code(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (code, said) = check(line);
    assert!(code == Some(0) && !said.contains("SDK"), "{said}");
    let old = folder(&[("paster-sdk/Cargo.toml", "[package]\nname = \"paster-sdk\"\nversion = \"0.0.9\"\n")]);
    for other in [
        format!("paster-sdk = {{ path = \"{}/paster-sdk\" }}", old.path().display()),
        "paster-sdk = \"0.0.9\"".into(),
    ] {
        let (code, said) = check(&other);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&place) && said.contains("uses version 0.0.9 of the SDK"), "{said}");
        assert!(said.contains(&format!("write `{line}`")), "{said}");
    }
    let (code, said) = check("paster-sdk = { path = \"/nonexistent/paster-sdk\" }");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("there is no SDK in `/nonexistent/paster-sdk`") && said.contains(&place), "{said}");
    assert!(said.contains(&format!("`{line}`")), "{said}");
    // The sources that the program provides are written again if they are gone.
    std::fs::remove_dir_all(installation.place.path().join("home/.local")).unwrap();
    let (code, said) = check(line);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(installation.serve(project, &["--reload"]).stop(), Some(0));
}

/// The checksums are right, the bill names what is linked, and packing again gives the same bytes.
fn bill_and_checksums(place: &tempfile::TempDir) {
    let packages = place.path().join("packages");
    succeeds(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&packages));
    let bill: Value = serde_json::from_slice(&std::fs::read(package(place, ".cdx.json")).unwrap()).unwrap();
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let components = bill["components"].as_array().unwrap();
    for (start, algorithm, digits) in
        [("pkg:cargo/hyper@1.", "SHA-256", 64), ("pkg:npm/katex@0.", "SHA-512", 128)]
    {
        let found = components.iter().find(|one| one["purl"].as_str().unwrap().starts_with(start)).unwrap();
        assert_eq!(found["hashes"][0]["alg"], algorithm, "{found:#}");
        assert_eq!(found["hashes"][0]["content"].as_str().unwrap().len(), digits, "{found:#}");
        assert_eq!(found["licenses"][0]["expression"], "MIT", "{found:#}");
        let needed = bill["dependencies"].as_array().unwrap().iter().any(|one| one["ref"] == found["purl"]);
        assert!(needed, "{found:#}");
    }
    // Test dependencies are not in it.
    assert!(
        !components
            .iter()
            .any(|one| ["proptest", "trycmd", "vitest"].iter().any(|name| one["name"] == *name))
    );
    let again = place.path().join("again");
    pack(Path::new(env!("CARGO_BIN_EXE_paster")).parent().unwrap(), &again);
    for file in std::fs::read_dir(&packages).unwrap().map(|file| file.unwrap().path()) {
        let other = again.join(file.file_name().unwrap());
        assert!(std::fs::read(&file).unwrap() == std::fs::read(other).unwrap(), "{} differs", file.display());
    }
    std::fs::remove_dir_all(again).unwrap();
}

/// The Debian package has the same files, where Debian has them.
fn debian_package(place: &tempfile::TempDir) {
    if Command::new("dpkg-shlibdeps").arg("--version").output().is_err() {
        println!("skipped: no dpkg-shlibdeps");
        return;
    }
    let deb = package(place, ".deb");
    let field = |name: &str| {
        let output = succeeds(Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name));
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!((field("Package"), field("Version")), ("paster".into(), env!("CARGO_PKG_VERSION").into()));
    assert!(field("Depends").contains("libc6 (>= 2."), "{}", field("Depends"));
    let root = place.path().join("root");
    succeeds(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&root));
    for file in [
        "usr/lib/paster/libnotebook.so",
        "usr/lib/paster/libpaster_python.so",
        "usr/lib/systemd/system/paster@.service",
        "usr/share/man/man1/paster-serve.1.gz",
        "usr/share/zsh/vendor-completions/_paster",
        "usr/share/doc/paster/copyright",
        "usr/share/doc/paster/changelog.gz",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let version = succeeds(Command::new(root.join("usr/bin/paster")).arg("--version"));
    assert_eq!(text(&version.stdout).trim(), format!("paster {}", env!("CARGO_PKG_VERSION")));
}

/// The wheel in an empty environment: its command is there, with the libraries of the plugins, and a user creates an application and
/// serves it.
fn wheel(place: &tempfile::TempDir) {
    let Some(python) = std::env::var_os("PASTER_TEST_PYTHON").filter(|python| Path::new(python).is_file())
    else {
        return println!("skipped: PASTER_TEST_PYTHON does not name an interpreter");
    };
    let wheel = package(place, ".whl");
    let name = wheel.file_name().unwrap().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let platform =
        name.strip_prefix(&format!("paster-{version}-py3-none-")).and_then(|rest| rest.strip_suffix(".whl"));
    assert!(platform.is_some_and(|platform| platform.starts_with("manylinux_2_")), "{name}");
    let environment = place.path().join("environment");
    succeeds(Command::new(&python).args(["-m", "venv"]).arg(&environment));
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["--disable-pip-version-check", "install", "--no-index", "--no-cache-dir"]).arg(&wheel);
    succeeds(&mut pip);
    // pip has checked the hashes of RECORD; `pip show` reads the metadata.
    let shown = succeeds(Command::new(environment.join("bin/pip")).args(["show", "--files", "paster"]));
    let shown = text(&shown.stdout);
    for words in [
        "Name: paster",
        "paster/libnotebook.so",
        "bin/paster",
        "share/man/man1/paster-serve.1",
        "licenses/LICENSE-MIT",
    ] {
        assert!(shown.contains(words), "{words}\n{shown}");
    }
    assert!(environment.join("lib/paster/libpaster_python.so").is_file());
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(environment.join("bin").join(program));
        let path = std::env::var_os("PATH").unwrap();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", place.path().join("home"))
            .current_dir(place.path());
        command.args(args);
        command
    };
    for (program, args) in [("paster", &["--version"][..]), ("python", &["-m", "paster", "--version"])] {
        let said = succeeds(&mut run(program, args));
        assert_eq!(text(&said.stdout).trim(), format!("paster {version}"));
    }
    succeeds(&mut run("paster", &["create", "page", "--template", "wsgi", "--defaults"]));
    let listen = "server.main.listen=[\"127.0.0.1:0\"]";
    let mut serving = Serving::spawn(run("paster", &["serve", "page", "--json", "-D", listen]));
    assert!(
        Connection::open(serving.address()).get("/?name=Ada").1.contains("Hello, Ada!"),
        "{}",
        serving.stderr()
    );
    assert_eq!(serving.stop(), Some(0));
    succeeds(Command::new(environment.join("bin/pip")).args(["uninstall", "--yes", "paster"]));
    assert!(
        !environment.join("bin/paster").exists() && !environment.join("lib/paster/libnotebook.so").exists()
    );
}
