//! Where control sockets lie: a folder that only its user can enter.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The folder of this user's control sockets, made when it is absent: `$XDG_RUNTIME_DIR/paster`, else
/// `/tmp/paster-UID`.
/// # Errors
/// When it cannot be made, or is not ours alone.
pub(crate) fn folder() -> Result<PathBuf> {
    let us = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Another user's (after `sudo`) is not ours to write to.
    let ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
    };
    let folder = match runtime.filter(ours) {
        Some(runtime) => runtime.join("paster"),
        None => std::env::temp_dir().join(format!("paster-{us}")),
    };
    let failed = |cause: std::io::Error| {
        Error::new(format!("cannot make the folder of control sockets `{}`", folder.display())).because(cause)
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error).into()),
    }
    let meta = fs::symlink_metadata(&folder).map_err(failed)?;
    if !meta.is_dir() || meta.uid() != us || meta.mode() & 0o077 != 0 {
        let error = Error::new(format!("`{}` is not a folder of this user alone", folder.display()));
        return Err(error.help("remove it, or set XDG_RUNTIME_DIR to a folder of yours").into());
    }
    Ok(folder)
}

/// The socket of the supervisor with this process id.
pub(crate) fn socket(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("{pid}.sock"))
}

/// All sockets in `folder`; those that a killed supervisor left behind are removed.
pub(crate) fn sockets(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(pid) = name.strip_suffix(".sock").and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_file(&path); // somebody else may be as quick
            continue;
        }
        found.push(path);
    }
    found
}
