//! The keys of cookies: from the config, or made once and kept in the user's state directory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::seal::{is_strong, random};
use crate::config::{Table, item};
use crate::error::{Errors, Result};

/// The secrets that the option `keys` names, or one that is kept for this table.
/// # Errors
/// Keys that are too short; a state directory that cannot be used.
pub(in crate::middleware) fn read(keys: &[String], table: &Table, checking: bool) -> Result<Vec<Vec<u8>>> {
    let weak = keys.iter().enumerate().filter(|(_, key)| !is_strong(key.trim().as_bytes()));
    let errors = weak.map(|(index, _)| {
        let error = table.error(item("keys", index), "the key is shorter than 32 characters");
        error.help("write a random one with `openssl rand -hex 32`, and keep it in a file: `keys = \"${file:session.key}\"`")
    });
    Errors::check(errors.collect())?;
    if !keys.is_empty() {
        return Ok(keys.iter().map(|key| key.trim().as_bytes().to_vec()).collect());
    }
    if checking {
        return Ok(vec![random::<32>()?.to_vec()]); // nothing may be written
    }
    kept(table).map(|key| vec![key]).map_err(|cause| {
        let error =
            table.error("keys", "cannot store a key for cookies in the state directory").because(cause);
        error.help("set `keys` to a secret of at least 32 characters").into()
    })
}

/// The key that is kept for this table of this config. The first worker makes it.
fn kept(table: &Table) -> io::Result<Vec<u8>> {
    let folder = state_dir().ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME is set"))?;
    let owner = format!("{}\n{}", table.base(&"use".into()).display(), table.path());
    let digest: String = Sha256::digest(owner).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let file = folder.join(format!("cookie-{digest}.key"));
    if let Some(key) = existing(&file)? {
        return Ok(key);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let key = random::<32>().map_err(io::Error::other)?;
    let mut new = tempfile::NamedTempFile::new_in(&folder)?;
    new.write_all(&key)?;
    new.as_file().sync_all()?;
    match new.persist_noclobber(&file) {
        Ok(_) => Ok(key.to_vec()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            existing(&file)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        Err(error) => Err(error.error),
    }
}

fn existing(file: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(key) if is_strong(&key) => Ok(Some(key)),
        Ok(_) => Err(io::Error::other(format!("`{}` is not a key: delete it", file.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("`{}`: {error}", file.display()))),
    }
}

/// Where programs keep what must survive a restart: systemd's `StateDirectory`, or the user's state directory.
fn state_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(given) = set("STATE_DIRECTORY") {
        return std::env::split_paths(&given).next();
    }
    let states = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(states.join("paster"))
}
