//! `paster config fmt`: config files in the standard layout.

use std::path::{Path, PathBuf};

use crate::config::formatted;
use crate::error::{Error, Result, Source};
use crate::ops::replace_file::replace;

/// A config file, and what it looks like in the standard layout.
#[derive(Debug)]
pub struct FormattedFile {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Its text.
    pub before: String,
    /// The text in the standard layout.
    pub after: String,
}

impl FormattedFile {
    /// Reads the file, or `server.toml` in a directory.
    /// # Errors
    /// If it cannot be read, or is not TOML.
    pub fn read(file: &Path) -> Result<FormattedFile> {
        let file = if file.is_dir() { file.join("server.toml") } else { file.to_owned() };
        let before = std::fs::read_to_string(&file)
            .map_err(|cause| Error::config(format!("cannot read `{}`", file.display())).because(cause))?;
        let after = formatted(Source::File(file.clone()), &before)?;
        Ok(FormattedFile { file, before, after })
    }

    /// Whether it is not in the standard layout yet.
    pub fn differs(&self) -> bool {
        self.before != self.after
    }

    /// The changes as a unified diff.
    pub fn diff(&self) -> String {
        let name = self.file.display().to_string();
        let diff = similar::TextDiff::from_lines(&self.before, &self.after);
        diff.unified_diff().header(&name, &name).to_string()
    }

    /// Writes the file. A symbolic link stays, and its target is replaced.
    /// # Errors
    /// If it cannot be replaced.
    pub fn write(&self) -> Result<()> {
        let target = self.file.canonicalize().unwrap_or_else(|_| self.file.clone());
        let failed = |cause| Error::new(format!("cannot write `{}`", self.file.display())).because(cause);
        Ok(replace(&target, &self.after).map_err(failed)?)
    }
}
