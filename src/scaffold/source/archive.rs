//! Skeletons in archives: `.tar.gz`, `.tgz`, `.tar` and `.zip`. Nothing is unpacked to the disk.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::tree::SkeletonTree;

/// The endings of archives.
const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar", ".zip"];

/// Whether `name` is the name of an archive.
pub(super) fn is_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Reads the archive at `path`.
/// # Errors
/// One that cannot be read, or that contains links, special files, or paths that lead out of it.
pub(super) fn read(path: &Path) -> Result<SkeletonTree> {
    let file = File::open(path)?;
    let name = path.to_string_lossy().to_ascii_lowercase();
    if name.ends_with(".zip") {
        zip(file)
    } else if name.ends_with(".tar") {
        tar(file)
    } else {
        tar(MultiGzDecoder::new(file))
    }
}

/// Reads a tar archive.
/// # Errors
/// As [`read`].
pub(super) fn tar(reader: impl Read) -> Result<SkeletonTree> {
    let mut tree = SkeletonTree::default();
    for entry in ::tar::Archive::new(reader).entries()? {
        let mut entry = entry?;
        let path = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned).map_err(Error::other)?;
        let executable = entry.header().mode()? & 0o100 != 0;
        match entry.header().entry_type() {
            ::tar::EntryType::Directory | ::tar::EntryType::XGlobalHeader => {}
            ::tar::EntryType::Regular | ::tar::EntryType::Continuous => {
                tree.read(relative(&path), executable, &mut entry).map_err(|error| at(&path, &error))?;
            }
            _ => return Err(at(&path, &not_plain())),
        }
    }
    Ok(tree)
}

fn zip(file: File) -> Result<SkeletonTree> {
    let mut tree = SkeletonTree::default();
    let mut archive = ::zip::ZipArchive::new(file)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let path = entry.name()?.into_owned();
        if entry.is_dir() {
            continue;
        }
        // The type of the file on Unix, if the archive was made there.
        let mode = entry.unix_mode().unwrap_or(0o100_644);
        if !matches!(mode & 0o170_000, 0 | 0o100_000) {
            return Err(at(&path, &not_plain()));
        }
        tree.read(relative(&path), mode & 0o100 != 0, &mut entry).map_err(|error| at(&path, &error))?;
    }
    Ok(tree)
}

/// `./skeleton.toml` is the same as `skeleton.toml`.
fn relative(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

fn not_plain() -> Error {
    Error::other("not a plain file: skeletons can contain only plain files and folders")
}

fn at(path: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("`{}`: {error}", path.escape_debug()))
}
