//! The trash: the hidden folder `.trash` of the served folder, with one folder for each deleted file or folder.

use super::{FileError, Files, RelativePath};

const TRASH: &str = ".trash";

impl Files {
    /// Where something with this name is in the trash. Clients cannot name this path, because it is hidden.
    /// # Errors
    /// If the folder cannot be made.
    pub fn trash_path(&self, id: &str, name: &str) -> Result<RelativePath, FileError> {
        let trash = RelativePath::default().join_hidden(TRASH)?;
        let folder = trash.join_hidden(id)?;
        for folder in [&trash, &folder] {
            match self.make_dir(folder) {
                Ok(()) | Err(FileError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        folder.join_hidden(name)
    }

    /// Makes a folder and the folders above it.
    /// # Errors
    /// [`FileError`].
    pub fn make_dirs(&self, path: &RelativePath) -> Result<(), FileError> {
        if self.facts(path).is_ok_and(|facts| facts.is_dir) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_dirs(&parent)?;
        }
        self.make_dir(path)
    }

    /// The size of everything at and below `path`, in bytes.
    pub fn disk_bytes(&self, path: &RelativePath) -> u64 {
        let mut bytes = 0;
        let mut folders = vec![self.absolute(path)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                // Does not follow links.
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                    Ok(meta) => bytes += meta.len(),
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    /// Deletes one entry of the trash with all that it contains.
    /// # Errors
    /// [`FileError::Io`].
    pub fn delete_trash(&self, id: &str) -> Result<(), FileError> {
        let folder = RelativePath::default().join_hidden(TRASH)?.join_hidden(id)?;
        if let Some(replica) = &self.replica {
            replica.removed(&folder)?;
        }
        match std::fs::remove_dir_all(self.absolute(&folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::Io { what: "delete", path: folder.to_string(), error })
            }
            _ => Ok(()),
        }
    }
}
