//! A store of files: one per value, named by the SHA-256 of its key. Any number of processes may use it together.
//!
//! A file has the version and the time at which it expires (milliseconds since 1970), both little-endian, and the value. A
//! writer holds the lock of one of 256 subdirectories, and renames a new file over the old one, so readers need no lock.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::time::{blocking, from_millis, to_millis};
use crate::store::{Store, StoreError, StoreFuture, Stored};

/// Bytes before the value.
const HEADER: usize = 16;
/// The file of a subdirectory that writers lock.
const LOCK: &str = "lock";
/// The beginning of the names of files that are being written.
const NEW: &str = "new-";
/// Files that are being written are removed after this many seconds: their writer was killed.
const ABANDONED_SECS: u64 = 600;

/// A folder of values.
#[derive(Clone)]
pub(super) struct Folder(Arc<FolderState>);

struct FolderState {
    path: PathBuf,
    max_values: u64,
    /// How many values there were at the last sweep, and have been added since by this process.
    values: AtomicU64,
    what: &'static str,
}

/// The file of a key.
struct KeyFile {
    folder: PathBuf,
    file: PathBuf,
}

impl Folder {
    /// The store in the folder `path`, which is made when it is needed. `what` describes it.
    pub(super) fn new(path: &Path, max_values: u64, what: &'static str) -> Folder {
        let values = AtomicU64::new(0);
        Folder(Arc::new(FolderState { path: path.to_owned(), max_values, values, what }))
    }

    fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&FolderState) -> io::Result<Result<T, StoreError>> + Send + 'static,
    ) -> StoreFuture<T> {
        let state = self.0.clone();
        Box::pin(blocking(move || {
            let failed = |error: io::Error| {
                let path = state.path.display();
                Err(StoreError::Unavailable(format!("cannot use the folder `{path}`: {error}")))
            };
            operation(&state).unwrap_or_else(failed)
        }))
    }
}

impl Store for Folder {
    fn load(&self, key: &str) -> StoreFuture<Option<Stored>> {
        let name = name(key);
        self.run(move |state| Ok(Ok(read(&state.place(&name).file)?)))
    }

    fn save(
        &self,
        key: &str,
        value: Vec<u8>,
        expires: SystemTime,
        over: Option<u64>,
    ) -> StoreFuture<Option<u64>> {
        let name = name(key);
        self.run(move |state| {
            let place = state.place(&name);
            let _lock = place.lock()?;
            let old = read(&place.file)?.map(|stored| stored.version);
            if old != over {
                return Ok(Ok(None));
            }
            if old.is_none() && state.values.fetch_add(1, Ordering::Relaxed) >= state.max_values {
                state.values.fetch_sub(1, Ordering::Relaxed);
                return Ok(Err(StoreError::Full));
            }
            let version = old.unwrap_or(0) + 1;
            let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(&place.folder)?;
            file.write_all(&version.to_le_bytes())?;
            file.write_all(&to_millis(expires).to_le_bytes())?;
            file.write_all(&value)?;
            file.persist(&place.file)?;
            Ok(Ok(Some(version)))
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<()> {
        let name = name(key);
        self.run(move |state| {
            let place = state.place(&name);
            if !place.folder.exists() {
                return Ok(Ok(()));
            }
            let _lock = place.lock()?;
            match fs::remove_file(&place.file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Ok(())),
            }
        })
    }

    fn sweep(&self) -> StoreFuture<u64> {
        self.run(|state| {
            let (mut deleted, mut left) = (0, 0);
            for folder in fs::read_dir(&state.path).into_iter().flatten().flatten() {
                if !folder.file_type()?.is_dir() {
                    continue;
                }
                let swept = sweep(&folder.path())?;
                deleted += swept.0;
                left += swept.1;
            }
            state.values.store(left, Ordering::Relaxed);
            Ok(Ok(deleted))
        })
    }

    fn probe(&self) -> StoreFuture<String> {
        self.run(|state| {
            // The first value creates the folder.
            let there = state.path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
            if !fs::metadata(there)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::access(there, access)?;
            Ok(Ok(state.what.to_owned()))
        })
    }
}

impl FolderState {
    fn place(&self, name: &str) -> KeyFile {
        let folder = self.path.join(&name[..2]);
        KeyFile { file: folder.join(&name[2..]), folder }
    }
}

impl KeyFile {
    /// Waits for the lock of the subdirectory. It is given back when the file is dropped.
    fn lock(&self) -> io::Result<File> {
        let open = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).open(self.folder.join(LOCK))
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                open()?
            }
            opened => opened?,
        };
        file.lock()?;
        Ok(file)
    }
}

/// Deletes what has expired in a subdirectory: how many were deleted, and how many are left.
fn sweep(folder: &Path) -> io::Result<(u64, u64)> {
    let (mut deleted, mut left) = (0, 0);
    for entry in fs::read_dir(folder)?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name == LOCK {
            continue;
        }
        if name.starts_with(NEW) {
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            if age.as_secs() > ABANDONED_SECS {
                let _ = fs::remove_file(&path); // another worker may do the same
            }
            continue;
        }
        if read(&path)?.is_some() {
            left += 1;
            continue;
        }
        let place = KeyFile { folder: folder.to_owned(), file: path };
        let _lock = place.lock()?;
        // It may have been written again meanwhile.
        if read(&place.file)?.is_none() && fs::remove_file(&place.file).is_ok() {
            deleted += 1;
        }
    }
    Ok((deleted, left))
}

/// The value in a file, if there is one that has not expired.
fn read(file: &Path) -> io::Result<Option<Stored>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Some((header, value)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let (version, expires) = header.split_at(8);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let expires = from_millis(number(expires));
    let stored = Stored { value: value.to_vec(), version: number(version), expires };
    Ok(Some(stored).filter(|stored| stored.expires > SystemTime::now()))
}

/// The name of the file of a key.
fn name(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}
