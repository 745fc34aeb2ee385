//! Responses in a directory, which all workers share and which outlives them.
//!
//! `ab/abcd…/` has the responses to one URL, by its hash. Each has a head (`VARIANT.head`, JSON) and a body
//! (`RANDOM.body`), which the head names. Files are written under another name and then renamed, and never changed,
//! so a reader sees a whole response or none. The time of a head is when the response was last used. The worker
//! that holds the lock of `sweep.lock` deletes what exceeds the limits.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::entry::{CacheEntry, CacheKey, MOST_VARIANTS, StoredBody};
use super::head::{EntryHead, read, read_head};
use super::store::{Limits, StoreUsage};
use crate::caches::Purge;

/// A head is touched again after this time of use.
const TOUCH: Duration = Duration::from_secs(60);
/// What no head names is deleted after this time: a response that is being received takes less.
const ORPHAN: Duration = Duration::from_secs(3600);

pub(super) struct DiskStore {
    dir: PathBuf,
    limits: Limits,
    /// Bytes and entries written since the last sweep.
    written: AtomicU64,
    added: AtomicU64,
    /// Holds the lock while this worker sweeps.
    lock: Mutex<Option<File>>,
    usage: Mutex<StoreUsage>,
}

impl DiskStore {
    /// The store in a directory, which must exist.
    /// # Errors
    /// If files cannot be created in it.
    pub(super) fn open(dir: &Path, limits: Limits) -> io::Result<DiskStore> {
        let (written, added) = (AtomicU64::new(u64::MAX / 2), AtomicU64::default());
        let store = DiskStore {
            dir: dir.to_owned(),
            limits,
            written,
            added,
            lock: Mutex::default(),
            usage: Mutex::default(),
        };
        store.file()?;
        Ok(store)
    }

    /// A file without a name.
    pub(super) fn file(&self) -> io::Result<File> {
        // It gets a name by a link, so the file system must be this one.
        tempfile::tempfile_in(&self.dir)
    }

    fn url_dir(&self, key: &CacheKey) -> PathBuf {
        let hash = key.hash();
        self.dir.join(&hash[..2]).join(&hash)
    }

    /// See [`CacheStore::find`](super::store::CacheStore::find).
    pub(super) fn find(&self, key: &CacheKey, request: &HeaderMap) -> io::Result<Option<CacheEntry>> {
        let mut found: Option<(PathBuf, CacheEntry)> = None;
        for path in heads(&self.url_dir(key))? {
            let Some(entry) = read(&path)? else { continue };
            let newer = found.as_ref().is_none_or(|(_, other)| other.received < entry.received);
            if newer && entry.key == *key && entry.is_selected(request) {
                found = Some((path, entry));
            }
        }
        Ok(found.map(|(path, entry)| {
            touch(&path);
            entry
        }))
    }

    /// See [`CacheStore::put`](super::store::CacheStore::put).
    pub(super) fn put(&self, entry: &CacheEntry) -> io::Result<()> {
        let dir = self.url_dir(&entry.key);
        fs::create_dir_all(&dir)?;
        let head_path = dir.join(format!("{}.head", entry.variant()));
        let before = read_head(&head_path)?;
        let (body, length, is_new) = match (&entry.body, &before) {
            (StoredBody::File(_, length), Some(before)) if same_body(entry, &dir.join(&before.body)) => {
                (before.body.clone(), *length, false) // it was validated
            }
            (StoredBody::File(file, length), _) => (DiskStore::name(&dir, file)?, *length, true),
            (StoredBody::Memory(bytes), _) => {
                let mut file = self.file()?;
                file.write_all(bytes)?;
                (DiskStore::name(&dir, &file)?, bytes.len() as u64, true)
            }
            (StoredBody::Growing(_), _) => return Ok(()), // not complete
        };
        let head = EntryHead::of(entry, body, length);
        let mut new = NamedTempFile::new_in(&dir)?;
        serde_json::to_writer(&mut new, &head)?;
        new.persist(&head_path)?;
        if let Some(before) = before.filter(|_| is_new) {
            gone_is_fine(fs::remove_file(dir.join(before.body)))?;
        }
        let variants = heads(&dir)?;
        if variants.len() > MOST_VARIANTS
            && let Some(oldest) = variants.iter().min_by_key(|path| modified(path))
        {
            remove(oldest)?;
        }
        if is_new {
            self.added.fetch_add(1, Relaxed);
            self.written.fetch_add(entry.size(), Relaxed);
        }
        if self.written.load(Relaxed) > self.limits.bytes / 16
            || self.added.load(Relaxed) > self.limits.entries / 16
        {
            self.sweep()?;
        }
        Ok(())
    }

    /// Gives a name to a file; returns it.
    fn name(dir: &Path, file: &File) -> io::Result<String> {
        use std::os::fd::AsRawFd;
        let name = format!("{}.body", uuid::Uuid::new_v4().simple());
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = rustix::fs::AtFlags::SYMLINK_FOLLOW;
        if rustix::fs::linkat(rustix::fs::CWD, source, rustix::fs::CWD, dir.join(&name), flags).is_err() {
            // Not every file system can do this.
            let mut copy = NamedTempFile::new_in(dir)?;
            (&*file).seek(SeekFrom::Start(0))?;
            io::copy(&mut &*file, &mut copy)?;
            copy.persist(dir.join(&name))?;
        }
        Ok(name)
    }

    /// See [`CacheStore::purge`](super::store::CacheStore::purge).
    pub(super) fn purge(&self, purge: &Purge) -> io::Result<u64> {
        let mut count = 0;
        let found = match purge {
            Purge::Url { app, url } => {
                heads(&self.url_dir(&CacheKey { app: app.as_str().into(), url: url.as_str().into() }))?
            }
            _ => self.all_heads()?,
        };
        for path in found {
            let Some(head) = read_head(&path)? else { continue };
            if purge.matches(&head.app, &head.url, &head.tags) && remove(&path)? {
                count += 1;
            }
        }
        Ok(count)
    }

    /// See [`CacheStore::list`](super::store::CacheStore::list).
    pub(super) fn list(&self, app: &str, most: usize) -> io::Result<Vec<CacheEntry>> {
        let mut own = Vec::new();
        for path in self.all_heads()? {
            let Some(head) = read_head(&path)?.filter(|head| *head.app == *app) else { continue };
            own.push((head.url, path));
        }
        own.sort();
        let mut entries = Vec::new();
        for (_, path) in own.into_iter().take(most) {
            entries.extend(read(&path)?);
        }
        Ok(entries)
    }

    /// What the store holds, if this worker sweeps it.
    pub(super) fn usage(&self) -> Option<StoreUsage> {
        self.lock.lock().as_ref()?;
        let mut usage = *self.usage.lock();
        usage.bytes += self.written.load(Relaxed);
        usage.entries += self.added.load(Relaxed);
        Some(usage)
    }

    fn all_heads(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for dir in self.url_dirs()? {
            all.extend(heads(&dir)?);
        }
        Ok(all)
    }

    fn url_dirs(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = Vec::new();
        for hundred in children(&self.dir)? {
            let two = hundred.file_name().is_some_and(|name| name.len() == 2);
            all.extend(if two { children(&hundred)? } else { Vec::new() });
        }
        Ok(all)
    }

    /// Deletes the responses that were not used for the longest time until the store is below its limits, and files
    /// that no head names. Only one worker does it.
    fn sweep(&self) -> io::Result<()> {
        let mut lock = self.lock.lock();
        if lock.is_none() {
            let file = File::options().append(true).create(true).open(self.dir.join("sweep.lock"))?;
            if file.try_lock().is_err() {
                self.written.store(0, Relaxed);
                self.added.store(0, Relaxed);
                return Ok(()); // another worker does it
            }
            *lock = Some(file);
        }
        drop(lock);
        self.written.store(0, Relaxed);
        self.added.store(0, Relaxed);
        let mut usage = StoreUsage { evicted: self.usage.lock().evicted, ..StoreUsage::default() };
        let mut used = Vec::new();
        for dir in self.url_dirs()? {
            let mut named = Vec::new();
            for path in heads(&dir)? {
                let (Some(head), Some(time)) = (read_head(&path)?, modified(&path)) else {
                    gone_is_fine(fs::remove_file(&path))?; // it is damaged, or of another version
                    continue;
                };
                let size = head.length + fs::metadata(&path).map_or(0, |head| head.len());
                usage.bytes += size;
                usage.entries += 1;
                named.push(dir.join(&head.body));
                used.push((time, size, path));
            }
            remove_orphans(&dir, &named)?;
        }
        used.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
        while usage.is_above(&self.limits)
            && let Some((_, size, path)) = used.pop()
        {
            remove(&path)?;
            usage.bytes -= size;
            usage.entries -= 1;
            usage.evicted += 1;
        }
        *self.usage.lock() = usage;
        Ok(())
    }
}

/// Whether the entry's body is the file at `path`.
fn same_body(entry: &CacheEntry, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let StoredBody::File(file, _) = &entry.body else { return false };
    let (Ok(own), Ok(other)) = (file.metadata(), fs::metadata(path)) else { return false };
    (own.dev(), own.ino()) == (other.dev(), other.ino())
}

/// Deletes a response; `false` if it is gone already.
fn remove(head_path: &Path) -> io::Result<bool> {
    let body = read_head(head_path)?.map(|head| head_path.with_file_name(head.body));
    let removed = gone_is_fine(fs::remove_file(head_path))?;
    if let Some(body) = body {
        gone_is_fine(fs::remove_file(body))?;
    }
    if let Some(dir) = head_path.parent() {
        let _ = fs::remove_dir(dir); // other responses may be in it
    }
    Ok(removed)
}

fn remove_orphans(dir: &Path, named: &[PathBuf]) -> io::Result<()> {
    for path in children(dir)? {
        let old = modified(&path).and_then(|time| time.elapsed().ok()).is_some_and(|age| age > ORPHAN);
        if old && !named.contains(&path) && path.extension().is_none_or(|ending| ending != "head") {
            gone_is_fine(fs::remove_file(path))?;
        }
    }
    Ok(())
}

fn heads(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut heads = children(dir)?;
    heads.retain(|path| path.extension().is_some_and(|ending| ending == "head"));
    Ok(heads)
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Notes that a response is in use.
fn touch(path: &Path) {
    let Some(time) = modified(path) else { return };
    if time.elapsed().is_ok_and(|since| since > TOUCH)
        && let Ok(file) = File::options().append(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now()); // it only seems older
    }
}

/// `false` if the file is gone already: another worker was faster.
fn gone_is_fine(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
