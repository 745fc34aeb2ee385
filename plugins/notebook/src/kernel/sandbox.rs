//! Keeps a kernel apart with bubblewrap: it sees the folder of its notebook, the programs of the system, and
//! nothing else.
//!
//! # Source
//! `bwrap(1)`; `env(1)` of GNU coreutils 8.31.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// What the system has that programs need. Other files in `/etc` may be secret.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/os-release",
    "/etc/ssl/certs",
];
/// What is needed to find other hosts.
const NETWORK: &[&str] = &["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services"];
/// Variables that kernels keep. Others may be secret.
const VARIABLES: &[&str] = &["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "OMP_NUM_THREADS"];

/// Where an app's kernel works. It is empty at first, and gone when the kernel ends.
const APP_FOLDER: &str = "/tmp/app";
/// Maximum size of what an app's kernel writes to each of its folders, in bytes.
const APP_FOLDER_BYTES: u64 = 64 << 20;

/// The files that a sandboxed kernel sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxFiles {
    /// The folder of its notebook and its home, which it may change.
    #[default]
    Writable,
    /// The folder of its notebook, which it may read. It has an empty home.
    ReadOnly,
    /// An empty folder.
    Nothing,
}

/// What a sandboxed kernel may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Whether it has the network of the machine.
    pub network: bool,
    /// The kernel's home, for the caches of programs. It is created if it does not exist.
    pub home: String,
    /// What else it may read.
    pub read_only: Vec<String>,
    /// The files of users that it sees.
    #[serde(default)]
    pub files: SandboxFiles,
}

/// Whether the sandbox works on this machine.
/// # Errors
/// Why not, for the person who set it up.
pub fn probe() -> Result<(), String> {
    let probe = Command::new("bwrap")
        .args([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-net",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "true",
        ])
        .stdin(Stdio::null())
        .output();
    match probe {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("bubblewrap failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("cannot run `bwrap`: {error}")),
    }
}

/// The command that runs `argv` in the sandbox, with `folder` as its only writable folder beside `private`, which
/// has its connection.
pub(super) fn wrap(
    sandbox: &Sandbox,
    argv: &[String],
    env: &[(String, String)],
    folder: &str,
    resource_dir: &str,
    private: &Path,
) -> Vec<String> {
    // An interrupt goes to the whole process group. It is for the kernel, not for bubblewrap.
    let mut command = texts(&["env", "--ignore-signal=INT", "bwrap", "--die-with-parent", "--clearenv"]);
    command.extend(texts(&[
        "--unshare-user",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]));
    if !sandbox.network {
        command.extend(texts(&["--unshare-net"]));
    }
    command.extend(texts(&["--proc", "/proc", "--dev", "/dev"]));
    let temporary = |path: &str| match sandbox.files {
        SandboxFiles::Writable => texts(&["--tmpfs", path]),
        _ => texts(&["--size", &APP_FOLDER_BYTES.to_string(), "--tmpfs", path]),
    };
    for path in ["/tmp", "/run", "/dev/shm"] {
        command.extend(temporary(path));
    }
    let network = if sandbox.network { NETWORK } else { &[] };
    let mut read_only = texts(SYSTEM);
    read_only.extend(texts(network));
    // A program in a home must not show that home, nor the folders of other users.
    let own = |prefix: &String| {
        [folder, &sandbox.home].iter().all(|path| !Path::new(path).starts_with(prefix))
            && std::env::var_os("HOME").is_none_or(|home| Path::new(&home) != Path::new(prefix))
    };
    read_only.extend(argv.first().into_iter().flat_map(|program| installed_in(program)).filter(own));
    read_only.extend((!resource_dir.is_empty()).then(|| resource_dir.to_owned()));
    read_only.extend(sandbox.read_only.iter().cloned());
    for path in read_only {
        command.extend(["--ro-bind-try".to_owned(), path.clone(), path]);
    }
    let private = private.to_string_lossy().into_owned();
    let (folder, home) = match sandbox.files {
        SandboxFiles::Writable => (folder, sandbox.home.as_str()),
        SandboxFiles::ReadOnly => (folder, APP_FOLDER),
        SandboxFiles::Nothing => (APP_FOLDER, APP_FOLDER),
    };
    let bind = |kind: &str, path: &str| [kind.to_owned(), path.to_owned(), path.to_owned()];
    match sandbox.files {
        SandboxFiles::Writable => command.extend([bind("--bind", folder), bind("--bind", home)].concat()),
        SandboxFiles::ReadOnly => command.extend(bind("--ro-bind", folder)),
        SandboxFiles::Nothing => {}
    }
    if sandbox.files != SandboxFiles::Writable {
        command.extend(texts(&["--dir", APP_FOLDER]));
    }
    command.extend(bind("--bind", &private));
    command.extend(["--chdir".to_owned(), folder.to_owned()]);
    let kept = VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let home = ("HOME".to_owned(), home.to_owned());
    for (name, value) in kept.chain([home]).chain(env.iter().cloned()) {
        command.extend(["--setenv".to_owned(), name, value]);
    }
    command.extend(texts(&["--", "env", "--default-signal=INT"]));
    command.extend(argv.iter().cloned());
    command
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The folders that a program is installed in: that of a virtual environment, and that of its Python.
fn installed_in(program: &str) -> Vec<String> {
    let Some(path) = find(program) else { return Vec::new() };
    let prefix = |path: &Path| {
        let prefix = path.parent().filter(|bin| bin.ends_with("bin"))?.parent()?;
        (prefix != Path::new("/")).then(|| prefix.to_string_lossy().into_owned())
    };
    // A virtual environment's interpreter is a link to another, perhaps over several links.
    let real = path.canonicalize().ok();
    let found = [prefix(&path), real.as_deref().and_then(prefix)];
    found.into_iter().flatten().filter(|prefix| prefix != "/usr").collect()
}

/// The path of a program, which may be a name in `PATH`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).ok();
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}
