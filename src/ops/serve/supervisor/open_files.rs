//! Files that the supervisor opens for workers that run as another user: keys, passwords, pages and logs in
//! the config.
//!
//! A worker asks for a file that it may not open itself. It gets only what the config names for that purpose,
//! and only if no user but root (and the supervisor's own user) can change a directory on the path. Otherwise
//! the user of an application could put a symbolic link there and get any file.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use parking_lot::Mutex;

use crate::config::{Config, KeyPath, NamedPath, PathAccess, Purpose, Table};
use crate::error::Error;
use crate::ops::schema;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::log::sink::open as open_log;

/// Maximum number of symbolic links on the way to a file, as in the kernel.
const MOST_LINKS: usize = 40;

/// The files that may be opened for workers.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<BTreeSet<(PathBuf, Purpose)>>);

impl OpenFiles {
    /// Allows the files that `config` names.
    pub(super) fn allow(&self, config: &Config) {
        let named = named(config).into_iter().filter_map(|(_, named)| Some((named.path, named.purpose?)));
        self.0.lock().extend(named);
    }

    /// Opens a file for a worker with that user and group. May block.
    /// # Errors
    /// When it cannot be opened, or no config names it.
    pub(super) fn open(&self, path: &Path, purpose: Purpose, owner: (u32, u32)) -> io::Result<File> {
        let known = self.0.lock();
        let allowed = known.contains(&(path.to_owned(), purpose));
        drop(known);
        match allowed {
            true => open(path, purpose, owner),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

/// Opens a file that no other user can have replaced. A new log belongs to `owner`.
/// # Errors
/// When another user could change a directory on the path.
pub(super) fn open(path: &Path, purpose: Purpose, owner: (u32, u32)) -> io::Result<File> {
    if !is_protected(path)? {
        let message = "a user other than root can change a directory on its path";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    match purpose {
        Purpose::Read => File::open(path),
        Purpose::Append => open_log(path, Some(owner)),
    }
}

/// Whether only root and this process's own user can change the target of `path`.
fn is_protected(path: &Path) -> io::Result<bool> {
    let us = rustix::process::geteuid().as_raw();
    let is_ours = |meta: &Metadata| [0, us].contains(&meta.uid());
    let names = |path: &Path| -> Vec<OsString> {
        let parts =
            path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut at, mut left) = (PathBuf::from("/"), VecDeque::from(names(path)));
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            at.pop(); // the path so far contains no links
            continue;
        }
        let folder = fs::metadata(&at)?;
        let next = at.join(&name);
        let entry = match fs::symlink_metadata(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && left.is_empty() => None,
            found => Some(found?),
        };
        let shared = folder.mode() & 0o002 != 0 || (folder.mode() & 0o020 != 0 && folder.gid() != 0);
        // In a sticky directory such as /tmp, users cannot replace the files of others.
        let kept = folder.mode() & 0o1000 != 0 && entry.as_ref().is_some_and(is_ours);
        if !is_ours(&folder) || (shared && !kept) {
            return Ok(false);
        }
        match entry {
            Some(entry) if entry.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::from(rustix::io::Errno::LOOP));
                }
                let target = fs::read_link(&next)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                names(&target).into_iter().rev().for_each(|name| left.push_front(name));
            }
            Some(_) => at = next,
            None => return Ok(true),
        }
    }
    Ok(true)
}

/// The paths in the tables of `config`, each with its table.
fn named(config: &Config) -> Vec<(Table, NamedPath)> {
    let of_table = |(table, schema): (Table, schemars::Schema)| {
        let paths = table.paths(schema.as_value());
        paths.into_iter().map(move |named| (table.clone(), named))
    };
    schema::tables(config).into_iter().flat_map(of_table).collect()
}

/// Files of `config` that workers with these credentials could not open: errors for files that are opened at
/// the start, notes for the rest.
pub(crate) fn check(config: &Config, credentials: &Credentials) -> (Vec<Error>, Vec<String>) {
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    let Some(user) = credentials.user().filter(|_| credentials.owner().is_some_and(|(user, _)| user != 0))
    else {
        return (errors, notes);
    };
    for (table, NamedPath { key, path, access, purpose }) in named(config) {
        let of_supervisor =
            table.path() == KeyPath::from("process") || crate::ops::build::runs_library(&table);
        if of_supervisor && purpose.is_none() {
            continue; // the supervisor writes the pid file and copies libraries
        }
        let opened = purpose.is_some() && is_protected(&path).unwrap_or(false);
        let wanted = if access == PathAccess::Write { Purpose::Append } else { Purpose::Read };
        if opened || credentials.may_open(&path, wanted).unwrap_or(true) {
            continue; // missing files are reported elsewhere
        }
        let shown = path.display();
        match purpose {
            Some(_) => {
                let error = table.error(&key, format!("the user `{user}` may not open `{shown}`"));
                errors.push(error.help(
                    "give that user access, or move it to a directory that only root can change, so that paster opens it as root",
                ));
            }
            None => {
                let what = if access == PathAccess::Write { "write to" } else { "read" };
                notes.push(format!(
                    "the user `{user}` may not {what} `{shown}` (`{key}` of `[{}]`)",
                    table.path()
                ));
            }
        }
    }
    (errors, notes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_path_that_others_can_change_is_not_protected() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let check =
            |name: &str, expected: bool| assert_eq!(is_protected(&at(name)).unwrap(), expected, "{name}");
        for name in ["own", "open", "sticky"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("key"), "key").unwrap();
        }
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(at("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
        check("own/key", true);
        check("own/new", true);
        check("own/../own/key", true);
        check("open/key", false);
        check("sticky/key", true);
        // Another user may create it first.
        check("sticky/new", false);
        symlink(at("own/key"), at("own/link")).unwrap();
        symlink("../own", at("sticky/relative")).unwrap();
        symlink(at("open/key"), at("own/out")).unwrap();
        symlink("loop", at("own/loop")).unwrap();
        check("own/link", true);
        check("sticky/relative/key", true);
        check("own/out", false);
        assert!(is_protected(&at("own/loop")).is_err());
        if rustix::process::geteuid().is_root() {
            chown(at("own"), Some(65534), None).unwrap();
            check("own/key", false);
        }
    }
}
