//! Files with secrets that every user of the machine may read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::ops::schema::tables;

/// Options that name files with keys and passwords.
const OPTIONS: [&str; 5] = ["key_file", "htpasswd", "htdigest", "env_files", "secret_file"];
/// The permissions of all other users.
const OTHERS: u32 = 0o007;

/// A file with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OpenSecret {
    pub(super) path: PathBuf,
    /// Its permission bits.
    mode: u32,
}

impl OpenSecret {
    pub(super) fn note(&self) -> String {
        let OpenSecret { path, mode } = self;
        format!(
            "every user can read the secrets in `{}` (mode {mode:03o}): `paster check --fix` changes that",
            path.display()
        )
    }

    /// Removes the permissions of other users.
    /// # Errors
    /// If the file belongs to another user.
    pub(super) fn fix(&self) -> std::io::Result<()> {
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(self.mode & !OTHERS))
    }
}

/// The secret files of `config` that other users may read or write.
pub(super) fn open_secrets(config: &Config) -> Vec<OpenSecret> {
    let named = tables(config).into_iter().flat_map(|(table, schema)| {
        let secret =
            |key: &crate::config::KeyPath| key.names().last().is_some_and(|name| OPTIONS.contains(&name));
        let paths = table.paths(schema.as_value()).into_iter();
        paths.filter(|named| secret(&named.key)).map(|named| named.path).collect::<Vec<_>>()
    });
    // What `${file:…}` names.
    let referred =
        config.files().iter().filter(|file| file.extension().is_none_or(|end| end != "toml")).cloned();
    let mut found: Vec<OpenSecret> = named.chain(referred).filter_map(|path| look(&path)).collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found.dedup();
    found
}

fn look(path: &Path) -> Option<OpenSecret> {
    let mode = path.metadata().ok().filter(|found| found.is_file())?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then(|| OpenSecret { path: path.to_owned(), mode })
}
