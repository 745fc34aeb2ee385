//! The folder of one of several servers that share a database and an object store. Each folder has all files. The database records
//! the newest version of each file, and the content of a file is an object.
//!
//! The notebook writes a file to the object store and the database first, and then to the folder (`publish`). Before a request is
//! answered or a notebook is opened, the changes of other servers are copied to the folder (`pull`). A scan in the background finds
//! and publishes the changes of kernels and other programs (`scan`). Unpublished contents are never overwritten: they become a copy
//! beside the file.
//!
//! Each file has a lock, so that the processes of the machine change it one after the other. No process waits for the object store
//! while it holds a lock.

mod pull;
mod records;
mod scan;

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::records::{FolderRecord, FolderRecords};
use super::{ObjectKey, hexadecimal};
use crate::files::{Facts, FileError, RelativePath};
use crate::store::{FolderEntry, Store, StoreError};

/// Number of locks. Two files may share one.
const LOCKS: u64 = 64;

/// A folder with the same content on several servers. Cheap to clone.
#[derive(Clone)]
pub struct Replica(Arc<ReplicaInner>);

struct ReplicaInner {
    store: Store,
    records: FolderRecords,
    /// The folder of the locks.
    locks: PathBuf,
    /// All changes up to this one are in the folder.
    synced: AtomicI64,
    /// One pull at a time. Contains the newest failure.
    pulling: Arc<Mutex<Option<(Instant, StoreError)>>>,
    /// Writes objects for threads that wait for them.
    runtime: Option<Runtime>,
}

impl Drop for ReplicaInner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// While it lives, no changes of other servers are copied.
pub(crate) struct PausedPull(
    #[allow(dead_code, reason = "it is released when it is dropped")]
    OwnedMutexGuard<Option<(Instant, StoreError)>>,
);

/// A content that was written to the object store and that no file has yet.
pub(crate) struct UploadedContent {
    path: String,
    object: String,
    hash: String,
    bytes: u64,
}

/// Which version of a file may be replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replaced {
    /// Any.
    Anything,
    /// None: there must be no file.
    Nothing,
    /// The one that the folder has or had.
    Known,
}

/// A published content.
pub(crate) struct Published {
    path: String,
    sequence: i64,
    hash: String,
}

/// The lock of a file.
pub(crate) struct FileLock(#[allow(dead_code, reason = "it is unlocked when it is closed")] File);

impl Replica {
    /// The folder of this server; `None`: the server does not share a database, or there is no object store. `state_dir` is the
    /// server's own.
    /// # Errors
    /// If the files in `state_dir` cannot be used.
    pub fn open(store: &Store, state_dir: &Path) -> io::Result<Option<Replica>> {
        if !store.is_shared() || store.objects().is_none() {
            return Ok(None);
        }
        let locks = state_dir.join("file-locks");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&locks)?;
        let name = store.name_of_objects().map_err(io::Error::other)?;
        let records = FolderRecords::open(&state_dir.join("files.db"), &name).map_err(io::Error::other)?;
        // At the start, all files are looked at: another program may have deleted some.
        let synced = AtomicI64::new(0);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("notebook-objects").enable_all().build()?;
        let (store, pulling, runtime) = (store.clone(), Arc::default(), Some(runtime));
        Ok(Some(Replica(Arc::new(ReplicaInner { store, records, locks, synced, pulling, runtime }))))
    }

    /// Blocks until `operation` is done, on any thread.
    fn wait<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = std::sync::mpsc::channel();
        let runtime = self.0.runtime.as_ref().expect("it is taken when this ends");
        runtime.spawn(async move {
            let _ = reply.send(operation.await);
        });
        answer.recv().unwrap_or_else(|_| Err(StoreError::interrupted()))
    }

    /// Locks a file against the other processes and threads of this machine.
    pub(crate) fn lock(&self, path: &RelativePath) -> Result<FileLock, FileError> {
        let mut hasher = DefaultHasher::new();
        path.as_str().hash(&mut hasher);
        let lock = || -> io::Result<File> {
            let name = format!("{:02}", hasher.finish() % LOCKS);
            let file = File::options().create(true).append(true).open(self.0.locks.join(name))?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        };
        let failed = |error| FileError::Io { what: "lock", path: path.to_string(), error };
        lock().map(FileLock).map_err(failed)
    }

    /// Writes a content for `path` to the object store.
    pub(crate) fn upload(&self, path: &RelativePath, content: &[u8]) -> Result<UploadedContent, FileError> {
        let hash = hexadecimal(&Sha256::digest(content));
        let (store, content) = (self.0.store.clone(), bytes::Bytes::copy_from_slice(content));
        let (bytes, name) = (content.len() as u64, path.to_string());
        let put = async move {
            let owner = store.folder_owner(&name)?;
            store.put_object(&owner, content).await
        };
        let object = self.wait(put).map_err(|error| failed("write", path, error))?;
        Ok(UploadedContent { path: path.to_string(), object: object.to_string(), hash, bytes })
    }

    /// The same with the content of an open file.
    pub(crate) fn upload_file(&self, path: &RelativePath, file: &File) -> Result<UploadedContent, FileError> {
        let io = |error| FileError::Io { what: "read", path: path.to_string(), error };
        let (hash, bytes) = hash_of(file).map_err(io)?;
        let (store, file, name) = (self.0.store.clone(), file.try_clone().map_err(io)?, path.to_string());
        let put = async move {
            let owner = store.folder_owner(&name)?;
            store.put_object_file(&owner, file, bytes, hash).await
        };
        let object = self.wait(put).map_err(|error| failed("write", path, error))?;
        Ok(UploadedContent {
            path: path.to_string(),
            object: object.to_string(),
            hash: hexadecimal(&hash),
            bytes,
        })
    }

    /// Makes a content the newest version of its file. The caller has the lock, and then changes the file itself. `None`: another
    /// server has written the file, and `replaced` forbids to replace that.
    pub(crate) fn publish(
        &self,
        upload: UploadedContent,
        replaced: Replaced,
    ) -> Result<Option<Published>, FileError> {
        let UploadedContent { path, object, hash, bytes } = upload;
        let known = match replaced {
            Replaced::Anything => None,
            Replaced::Nothing => Some(0),
            Replaced::Known => {
                let record = self.0.records.get(&path).map_err(|error| failed_at("read", &path, error))?;
                Some(record.map_or(0, |record| record.sequence))
            }
        };
        let (store, name) = (self.0.store.clone(), path.clone());
        let publish = async move {
            let published = store.publish_file(&name, &object, bytes, known).await?;
            Ok(published.map(|(sequence, replaced)| {
                tokio::spawn(delete(store, replaced));
                sequence
            }))
        };
        let sequence = self.wait(publish).map_err(|error| failed_at("write", &path, error))?;
        Ok(sequence.map(|sequence| Published { path, sequence, hash }))
    }

    /// Notes that the file has what was published. If this fails, its content is compared later.
    pub(crate) fn note(&self, published: &Published, facts: &Facts) {
        self.note_as(&published.path, &FolderRecord::new(published.sequence, &published.hash, facts));
    }

    fn note_as(&self, path: &str, record: &FolderRecord) {
        if let Err(error) = self.0.records.set(path, record) {
            tracing::warn!(%error, path, "cannot record the version of a file in the folder");
        }
    }

    /// There is a new folder.
    pub(crate) fn made_folder(&self, path: &RelativePath, facts: &Facts) -> Result<(), FileError> {
        let (store, name) = (self.0.store.clone(), path.to_string());
        let publish = async move { store.publish_folder(&name).await };
        let sequence = self.wait(publish).map_err(|error| failed("make the folder", path, error))?;
        self.note_as(path.as_str(), &FolderRecord::new(sequence, "", facts));
        Ok(())
    }

    /// A file or folder was renamed; `facts` looks at the new paths.
    pub(crate) fn renamed(
        &self,
        from: &RelativePath,
        to: &RelativePath,
        facts: impl Fn(&str) -> Option<Facts>,
    ) -> Result<(), FileError> {
        let (store, old, new) = (self.0.store.clone(), from.to_string(), to.to_string());
        let moved = async move { store.move_entries(&old, &new).await };
        let moved = self.wait(moved).map_err(|error| failed("rename", from, error))?;
        self.renamed_here(from, to)?;
        for entry in moved {
            let Some(facts) = facts(&entry.path) else { continue };
            let new = record_of(&entry, &facts);
            // Otherwise, another server or a program has written it.
            let is_newest = |old: &FolderRecord| old.hash == new.hash && old.is_same(&facts);
            if self.0.records.get(&entry.path).is_ok_and(|old| old.as_ref().is_some_and(is_newest)) {
                self.note_as(&entry.path, &new);
            }
        }
        Ok(())
    }

    /// A file or folder was renamed in this folder alone. It still has the same versions.
    pub(crate) fn renamed_here(&self, from: &RelativePath, to: &RelativePath) -> Result<(), FileError> {
        let renamed = self.0.records.rename_below(from.as_str(), to.as_str());
        renamed.map_err(|error| failed("rename", from, error))
    }

    /// A file or folder was deleted.
    pub(crate) fn removed(&self, path: &RelativePath) -> Result<(), FileError> {
        let (store, name) = (self.0.store.clone(), path.to_string());
        self.wait(async move { store.remove_entries(&name).await })
            .map_err(|error| failed("delete", path, error))?;
        self.forget(path)
    }

    fn forget(&self, path: &RelativePath) -> Result<(), FileError> {
        self.0.records.remove_below(path.as_str()).map_err(|error| failed("delete", path, error))
    }
}

/// Deletes a replaced object. If that fails, the next collection deletes it.
async fn delete(store: Store, replaced: Option<ObjectKey>) {
    if let (Some(objects), Some(key)) = (store.objects(), replaced)
        && let Err(error) = objects.delete(&[key]).await
    {
        tracing::debug!(%error, "a replaced object is deleted later");
    }
}

/// What is known of a file that has the content of `entry`.
fn record_of(entry: &FolderEntry, facts: &Facts) -> FolderRecord {
    let hash = entry.object.split_once('-').map_or("", |(hash, _)| hash);
    FolderRecord::new(entry.sequence, hash, facts)
}

fn failed(what: &'static str, path: &RelativePath, error: StoreError) -> FileError {
    failed_at(what, path.as_str(), error)
}

fn failed_at(what: &'static str, path: &str, error: StoreError) -> FileError {
    FileError::Io { what, path: path.to_owned(), error: io::Error::other(error) }
}

/// SHA-256 of the content of a file, and its size.
fn hash_of(mut file: &File) -> io::Result<([u8; 32], u64)> {
    use io::{Read, Seek};
    file.rewind()?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut part = vec![0; 256 << 10];
    loop {
        match file.read(&mut part)? {
            0 => return Ok((hash.finalize().into(), bytes)),
            count => {
                hash.update(&part[..count]);
                bytes += count as u64;
            }
        }
    }
}
