//! Replaces a file as a whole, so that no reader finds half of it.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces `target` by a new file with `text`. A new file has mode 0600, an existing one keeps its mode and, if allowed, its
/// owner.
pub(super) fn replace(target: &Path, text: &str) -> std::io::Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder: PathBuf = folder.unwrap_or(Path::new(".")).to_path_buf();
    let mut new = tempfile::NamedTempFile::new_in(&folder)?; // mode 0600
    match std::fs::metadata(target) {
        Ok(old) => {
            let _ = fchown(new.as_file(), Some(old.uid()), Some(old.gid())); // only root may do this
            new.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o777))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(target).map_err(|error| error.error)?;
    Ok(())
}
