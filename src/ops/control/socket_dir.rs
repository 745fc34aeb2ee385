//! The directory of control sockets, which only its user can enter.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Error, Result};

/// The directory of this user's control sockets, created if needed: `$XDG_RUNTIME_DIR/paster`, otherwise
/// `/tmp/paster-UID`.
/// # Errors
/// When it cannot be created, or other users have access.
pub(crate) fn folder() -> Result<PathBuf> {
    let us = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Do not write to the directory of another user (after `sudo`).
    let ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
    };
    let folder = match runtime.filter(ours) {
        Some(runtime) => runtime.join("paster"),
        None => std::env::temp_dir().join(format!("paster-{us}")),
    };
    let failed = |cause: io::Error| {
        Error::new(format!("cannot create the directory of control sockets `{}`", folder.display()))
            .because(cause)
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error).into()),
    }
    let meta = fs::symlink_metadata(&folder).map_err(failed)?;
    if !meta.is_dir() || meta.uid() != us || meta.mode() & 0o077 != 0 {
        let error = Error::new(format!("`{}` is accessible to other users", folder.display()));
        return Err(error
            .help("remove it, or set XDG_RUNTIME_DIR to a directory that only you can access")
            .into());
    }
    Ok(folder)
}

/// A socket's place in the directory, with a lock that is held as long as the value lives. The lock lets other processes
/// distinguish a running server from a killed one, even in another PID namespace, where process ids differ.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The path of the socket.
    pub(crate) socket: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock_path); // it may be gone already
    }
}

/// Claims a place for the supervisor with this process id. A server in another PID namespace may have the
/// same id.
/// # Errors
/// When nothing can be created in `folder`.
pub(crate) fn claim(folder: &Path, pid: u32) -> io::Result<Claim> {
    for number in 0.. {
        let name = if number == 0 { pid.to_string() } else { format!("{pid}-{number}") };
        let (socket, lock_path) = paths(folder, &name);
        if let Some(_lock) = hold(&lock_path, true)?
            && !listens(&socket)
        {
            return Ok(Claim { socket, lock_path, _lock });
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// All sockets in `folder`; removes those of killed supervisors.
pub(crate) fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_ours = |path: PathBuf| {
        let ending = path.extension()?.to_str()?;
        ["sock", "lock"].contains(&ending).then(|| path.file_stem()?.to_str().map(str::to_owned))?
    };
    let names: BTreeSet<String> = entries.filter_map(of_ours).collect();
    let alive = |name: &String| {
        let (socket, lock) = paths(folder, name);
        let left = match hold(&lock, false) {
            Ok(held) => held.is_some(),
            // No lock file: the socket of an older paster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => !listens(&socket),
            Err(_) => false,
        };
        if left {
            // Another process may do the same. Remove the lock last, because it reserves the place.
            let _ = fs::remove_file(&socket);
            let _ = fs::remove_file(&lock);
        }
        (!left && socket.exists()).then_some(socket)
    };
    names.iter().filter_map(alive).collect()
}

/// The paths of a socket and its lock.
fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.sock")), folder.join(format!("{name}.lock")))
}

/// Locks the file; `None` if another process holds the lock.
fn hold(path: &Path, create: bool) -> io::Result<Option<File>> {
    loop {
        let file = File::options().write(true).create(create).truncate(false).mode(0o600).open(path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // The previous owner may have removed the file in the meantime: a lock on a removed file protects
        // nothing.
        let own = file.metadata()?;
        if fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino())) {
            return Ok(Some(file));
        }
        if !create {
            return Ok(None);
        }
    }
}

fn listens(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_keeps_a_place_and_not_a_process_id() {
        let folder = tempfile::tempdir().unwrap();
        // No process has these ids here: they stand for servers in another PID namespace.
        let first = claim(folder.path(), u32::MAX).unwrap();
        let second = claim(folder.path(), u32::MAX).unwrap();
        assert_ne!(first.socket, second.socket);
        for claim in [&first, &second] {
            fs::write(&claim.socket, "").unwrap();
        }
        let (path, left) = (first.socket.clone(), folder.path().join("1.sock"));
        // Process 1 exists, but it is not a server of this user.
        fs::write(&left, "").unwrap();
        fs::write(left.with_extension("lock"), "").unwrap();
        assert_eq!(sockets(folder.path()), [path.clone(), second.socket.clone()]);
        assert!(!left.exists());
        drop(first);
        assert_eq!(sockets(folder.path()), std::slice::from_ref(&second.socket));
        assert!(!path.exists());
    }
}
