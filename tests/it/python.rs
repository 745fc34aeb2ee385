//! Python applications: WSGI in processes of real interpreters.

mod asgi;
mod conformance;
mod debug_page;
mod embedded;
mod frameworks;
mod http2;
mod kinds;
mod load;
mod neighbours;
mod peers;
mod processes;
mod profile;
mod real;
mod reload;
mod rules;
mod sessions;
mod skeletons;

pub(crate) use self::skeletons::SKELETONS;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Serving, plugin};

/// The interpreter of the tests: that of `PASTER_TEST_PYTHON`, or `python3`. `None` if there is none.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("PASTER_TEST_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|file| file.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: there is no Python interpreter");
    }
    found
}

/// The interpreters of this machine that paster supports: the system's, and those of pyenv.
fn pythons() -> Vec<PathBuf> {
    let mut pythons: Vec<PathBuf> = vec!["/usr/bin/python3".into()];
    let versions = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv/versions"));
    for version in versions.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten() {
        let name = version.file_name().into_string().unwrap();
        let minor = name.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        if minor.is_some_and(|minor| minor >= 9) {
            pythons.push(version.path().join("bin/python3"));
        }
    }
    pythons.retain(|python| python.exists());
    pythons
}

/// An installation of paster that has the Python library, and a directory for a config.
struct Site {
    prefix: tempfile::TempDir,
    python: PathBuf,
}

impl Site {
    /// `None` without an interpreter.
    fn new(files: &[(&str, &str)]) -> Option<Site> {
        let python = python()?;
        let prefix = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let site = Site { prefix, python };
        for folder in ["bin", "lib/paster", "site"] {
            std::fs::create_dir_all(site.prefix.path().join(folder)).unwrap();
        }
        std::fs::hard_link(env!("CARGO_BIN_EXE_paster"), site.program()).unwrap();
        let library = site.prefix.path().join("lib/paster/libpaster_python.so");
        std::fs::copy(plugin("paster-python"), library).unwrap();
        for (name, text) in files {
            site.write(name, text);
        }
        Some(site)
    }

    fn program(&self) -> PathBuf {
        self.prefix.path().join("bin/paster")
    }

    /// The directory of the config.
    fn folder(&self) -> PathBuf {
        self.prefix.path().join("site")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        crate::support::save(&path, text);
    }

    /// The installed program, in the config's directory.
    fn paster(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).env("PASTER_CHECKOUT", "").env("HOME", self.prefix.path());
        command.env("XDG_STATE_HOME", self.prefix.path());
        command.args(args).current_dir(self.folder());
        command
    }

    /// Serves with a config that has these lines in `[app.main]`.
    fn serve(&self, app: &str) -> Serving {
        self.serve_with(app, "", &[])
    }

    fn serve_with(&self, app: &str, more: &str, args: &[&str]) -> Serving {
        self.write("server.toml", &self.config(app, more));
        Serving::spawn(self.paster(&[&["serve", "--json"], args].concat()))
    }

    fn config(&self, app: &str, more: &str) -> String {
        let python = self.python.display();
        format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"wsgi\"\n\
             python = \"{python}\"\n{app}\n{more}"
        )
    }
}

/// Both ways to run an application, as a line of its table.
const MODES: [&str; 2] = ["mode = \"process\"\n", "mode = \"embedded\"\n"];

/// The application of the checks.
fn checks() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python/checks.py");
    std::fs::read_to_string(path).unwrap()
}
