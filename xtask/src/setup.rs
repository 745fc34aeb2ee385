//! Installs what the tests need besides Rust: Node.js, a C compiler, Chromium, an S3 service, and a Python with ipykernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{jupyter, root, target};

/// Programs that the tests run: their possible names, Debian's packages for them, and their purpose.
const PROGRAMS: &[(&[&str], &[&str], &str)] = &[
    (&["cc"], &["gcc", "libc6-dev"], "builds the plugin written in C"),
    (&["make"], &["make"], "builds the C skeleton"),
    (&["git"], &["git"], "skeletons start a repository"),
    (&["npm"], &["nodejs", "npm"], "builds the notebook's pages"),
    (&["python3"], &["python3", "python3-venv", "python3-pip"], "runs kernels"),
    (&["curl"], &["curl"], "is a client over HTTPS"),
    (&["openssl"], &["openssl"], "is a client over TLS"),
    (&["uwsgi"], &["uwsgi", "uwsgi-plugin-python3"], "is an upstream over HTTP, SCGI and FastCGI"),
    (&["php-fpm", "php-fpm8.2", "php-fpm8.4"], &["php-fpm"], "is an upstream over FastCGI"),
    (&["nginx"], &["nginx-light"], "is an upstream over HTTP, and a web server in front"),
    // Not `apache2`, which would start a server itself.
    (&["apache2"], &["apache2-bin"], "is a web server in front"),
    (&["lighttpd"], &["lighttpd"], "is a web server in front"),
    (&["systemd-socket-activate"], &["systemd"], "passes sockets as systemd does, and reads the unit"),
    (&["puma"], &["puma"], "serves Ruby's Rack"),
    (&["go"], &["golang-go"], "builds a Go server"),
    (&["redis-server"], &["redis-server"], "stores sessions and counts requests"),
    // Debian's programs of PostgreSQL are not on the path.
    (&["initdb", "pg_lsclusters"], &["postgresql"], "keeps sessions"),
    (&["script"], &["bsdutils"], "gives the live view a terminal"),
    // Debian's package starts its own directory server, which the tests do not use.
    (&["slapd"], &["slapd"], "is a user directory"),
    (&["bwrap"], &["bubblewrap"], "isolates the notebook's kernels"),
    (&["chromium", "chromium-browser", "google-chrome"], &["chromium"], "opens the notebook's pages"),
];

/// The paths of what was set up.
pub(crate) struct Ready {
    /// A Python with ipykernel and matplotlib.
    pub(crate) python: PathBuf,
    /// Chromium or Chrome.
    pub(crate) chromium: PathBuf,
    /// A directory with the wheel of a small package, which the tests install.
    pub(crate) wheels: PathBuf,
    /// A directory with Jupyter's programs.
    pub(crate) jupyter: PathBuf,
    /// A directory with npm packages that the tests run.
    pub(crate) modules: PathBuf,
    /// A language server of TOML, which reads the schema of configs.
    pub(crate) taplo: PathBuf,
    /// A service of objects with the interface of Amazon S3.
    pub(crate) s3: PathBuf,
}

/// Installs everything.
pub(crate) fn everything() -> Result<Ready> {
    programs()?;
    environments()
}

/// Installs the programs.
pub(crate) fn programs() -> Result<()> {
    packages(PROGRAMS)
}

/// Installs what belongs to the tests only, into the target directory. The programs are installed already.
pub(crate) fn environments() -> Result<Ready> {
    let chromium = PROGRAMS[PROGRAMS.len() - 1].0.iter().find_map(|name| which(name));
    let python = venv()?;
    let wheels = wheels(&python)?;
    let jupyter = jupyter::programs()?;
    let taplo = npm_program("taplo", "@taplo/cli@0.7.0")?;
    let s3 = npm_program("s3rver", "s3rver@3.7.1")?;
    let chromium = chromium.context("there is no Chromium after its installation")?;
    Ok(Ready { python, chromium, wheels, jupyter, modules: modules()?, taplo, s3 })
}

/// Installs the packages of missing programs.
pub(crate) fn packages(programs: &[(&[&str], &[&str], &str)]) -> Result<()> {
    let missing: Vec<_> =
        programs.iter().filter(|(names, ..)| !names.iter().any(|n| which(n).is_some())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|(_, packages, _)| packages.iter().copied()).collect();
    let reasons: Vec<String> =
        missing.iter().map(|(names, _, why)| format!("  {} ({why})", names[0])).collect();
    let root_user = which("id").is_some_and(|id| {
        Command::new(id).arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
    });
    let install = format!("apt-get install --yes {}", packages.join(" "));
    if which("apt-get").is_none() {
        bail!(
            "these programs are missing; install them with your system's packages:\n{}",
            reasons.join("\n")
        );
    }
    let sudo = !root_user;
    if sudo && which("sudo").is_none() {
        bail!("these programs are missing:\n{}\nas root: {install}", reasons.join("\n"));
    }
    eprintln!("installing: {}", packages.join(" "));
    let apt = |arguments: &[&str]| -> Result<()> {
        let mut command = if sudo { Command::new("sudo") } else { Command::new("apt-get") };
        if sudo {
            command.args(["-n", "apt-get"]);
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        checked(&mut command).with_context(|| format!("install it manually: {install}"))
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "--yes", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

/// A virtual environment with the packages of `tests/requirements.txt`, created once for each version of that
/// file.
fn venv() -> Result<PathBuf> {
    let folder = target().join("test-venv");
    let python = folder.join("bin/python");
    let requirements = root().join("tests/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).context("tests/requirements.txt")?;
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && python.exists() {
        return Ok(python);
    }
    eprintln!("installing the tests' Python packages into {}", folder.display());
    checked(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    checked(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements))?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}

/// The npm packages of `tests/fixtures/oidc`, installed once for each version of their list.
fn modules() -> Result<PathBuf> {
    let folder = target().join("test-node");
    let lists = ["package.json", "package-lock.json"];
    let read = |folder: &Path| lists.map(|name| std::fs::read(folder.join(name)).ok());
    let fixture = root().join("tests/fixtures/oidc");
    let modules = folder.join("node_modules");
    if read(&folder) == read(&fixture) && modules.join("oidc-provider").is_dir() {
        return Ok(modules);
    }
    eprintln!("installing the tests' npm packages into {}", folder.display());
    std::fs::create_dir_all(&folder)?;
    for name in lists {
        std::fs::copy(fixture.join(name), folder.join(name)).context("tests/fixtures/oidc")?;
    }
    checked(npm(&folder).args(["ci", "--no-audit", "--no-fund"]))?;
    Ok(modules)
}

/// A directory with the wheel of Bottle, which needs no other package.
fn wheels(python: &Path) -> Result<PathBuf> {
    let folder = target().join("test-wheels");
    let is_there = std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    if !is_there {
        let mut pip = Command::new(python);
        pip.args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "bottle",
            "--dest",
        ]);
        checked(pip.arg(&folder))?;
    }
    Ok(folder)
}

/// npm in a directory. By default, it waits five minutes for a registry that does not respond.
pub(crate) fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).env("npm_config_fetch_timeout", "90000").env("npm_config_fetch_retries", "6");
    npm
}

/// A program from npm.
fn npm_program(name: &str, package: &str) -> Result<PathBuf> {
    let folder = target().join(format!("test-{name}"));
    let program = folder.join("node_modules/.bin").join(name);
    if !program.exists() {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut npm = npm(&folder);
        npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(&folder).arg(package);
        checked(&mut npm)?;
    }
    Ok(program)
}

/// The first program with this name on `PATH`.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    places.map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a command. An error contains the command line.
pub(crate) fn checked(command: &mut Command) -> Result<()> {
    let words = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot run {words}"))?;
    if !status.success() {
        bail!("{words} ended with {status}");
    }
    Ok(())
}
