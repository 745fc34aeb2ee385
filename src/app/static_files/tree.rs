//! Opens files beneath a directory, so that no name leads outside.
//!
//! The kernel resolves names by `openat2` with `RESOLVE_BENEATH`: no `..`, no absolute names, no symbolic
//! links. Without `openat2` (before Linux 5.6, or refused by a sandbox) each component is opened in turn
//! without following links, which has the same effect.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use parking_lot::RwLock;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// How long an opened root is used before its path is looked up again. A build that replaces the directory is
/// noticed after this time.
pub(super) const TRUST: Duration = Duration::from_secs(1);

/// A directory whose files are served.
#[derive(Debug)]
pub(super) struct ServedTree {
    path: PathBuf,
    root: RwLock<(Instant, Arc<OwnedFd>)>,
    trust: Duration,
    /// Set if `openat2` turns out to be missing.
    walk: AtomicBool,
}

/// What a name refers to.
#[derive(Debug)]
pub(super) enum FoundFile {
    /// A regular file.
    File(OpenFile),
    /// A directory.
    Directory(OwnedFd),
    /// Nothing, or something that is not served: a link, a device, a pipe.
    Nothing,
    /// Something that this process may not read.
    Forbidden,
}

/// A regular file, open for reading.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    /// The file.
    pub(super) file: Arc<File>,
    /// Its version when it was opened.
    pub(super) version: ContentVersion,
}

/// Distinguishes versions of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ContentVersion {
    device: u64,
    inode: u64,
    /// Length in bytes.
    pub(super) size: u64,
    /// `mtime`: archives and builds set it freely.
    modified: Time,
    /// `ctime`: the kernel sets it at each change, even if the file gets the size and `mtime` of its
    /// predecessor.
    changed: Time,
}

/// Seconds since the epoch, and nanoseconds.
type Time = (i64, u32);

impl ContentVersion {
    fn of(stat: &rustix::fs::Stat) -> ContentVersion {
        ContentVersion {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// When the content was modified, for clients. `None` for a meaningless time: 0 and 1, which Nix, OSTree
    /// and other reproducible images set, and one in the future (RFC 9110, section 8.8.2.1).
    pub(super) fn modified(&self) -> Option<SystemTime> {
        known(self.modified.0)?;
        time(self.modified).filter(|time| *time <= SystemTime::now())
    }

    /// Whether this was modified at the same time as `other` or later.
    pub(super) fn is_as_new_as(&self, other: &ContentVersion) -> bool {
        self.modified >= other.modified
    }

    /// Whether the last change is so recent that another one may leave the same time: the kernel's clock for
    /// files ticks every few milliseconds.
    pub(super) fn is_hot(&self) -> bool {
        let now = SystemTime::now();
        let is_young = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age < TICK);
        [self.modified, self.changed].into_iter().filter_map(time).any(is_young)
    }

    /// A strong entity tag for a file that is not read. Hashed, so that it does not reveal the inode number.
    ///
    /// `ctime` and inode differ between machines that serve copies of the same files, so a client fetches
    /// such a file again when it reaches another machine. Size and `mtime` alone would be the same
    /// everywhere, but also for two contents of the same size from builds that set all times to the same
    /// value, which a strong tag does not allow. Small files have a tag of their content instead
    /// ([`content_etag`]), which is the same everywhere.
    pub(super) fn etag(&self) -> HeaderValue {
        let mut hasher = DefaultHasher::new();
        (self.inode, self.size, self.modified, self.changed).hash(&mut hasher);
        tag(self.size, &format!("{:x}", hasher.finish()))
    }
}

/// How far apart two changes must be to have different times.
const TICK: Duration = Duration::from_millis(50);

/// A strong entity tag for content in memory: it is the same on every machine, as long as the content is the
/// same.
pub(super) fn content_etag(content: &[u8]) -> HeaderValue {
    let hash: String = Sha256::digest(content)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    tag(content.len() as u64, &hash)
}

fn tag(size: u64, hash: &str) -> HeaderValue {
    let tag = format!("\"{size:x}-{hash}\"");
    HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The seconds of a meaningful `mtime`: not 0 or 1, and in a year that a date can have.
pub(super) fn known(seconds: i64) -> Option<u64> {
    const YEAR_10000: u64 = 253_402_300_800;
    u64::try_from(seconds).ok().filter(|seconds| (2..YEAR_10000).contains(seconds))
}

fn time((seconds, nanos): Time) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, nanos);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

impl ServedTree {
    /// Opens the directory. `trust` is how long it is used before its path is looked up again.
    pub(super) fn open(path: &Path, trust: Duration) -> std::io::Result<ServedTree> {
        let root = Arc::new(open_root(path)?);
        let root = RwLock::new((Instant::now(), root));
        Ok(ServedTree { path: path.to_owned(), root, trust, walk: AtomicBool::new(false) })
    }

    /// Opens `name`, a relative path of plain components without `.` and `..`; empty for the root itself.
    /// # Errors
    /// System errors, except those that mean that there is nothing to serve.
    pub(super) fn find(&self, name: &Path) -> std::io::Result<FoundFile> {
        let opened = self.root().and_then(|root| self.open_beneath(&root, name));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::ACCESS | Errno::PERM) => return Ok(FoundFile::Forbidden),
            // NXIO: a socket, or a device without a driver.
            Err(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::XDEV
                | Errno::NAMETOOLONG
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV,
            ) => return Ok(FoundFile::Nothing),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                FoundFile::File(OpenFile { file: Arc::new(fd.into()), version: ContentVersion::of(&stat) })
            }
            FileType::Directory => FoundFile::Directory(fd),
            _ => FoundFile::Nothing,
        })
    }

    fn root(&self) -> Result<Arc<OwnedFd>, Errno> {
        {
            let root = self.root.read();
            if root.0.elapsed() < self.trust {
                return Ok(root.1.clone());
            }
        }
        let fresh = Arc::new(open_root(&self.path)?);
        *self.root.write() = (Instant::now(), fresh.clone());
        Ok(fresh)
    }

    fn open_beneath(&self, root: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        if !self.walk.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
            match rustix::fs::openat2(root, name, flags(), Mode::empty(), resolve) {
                Err(Errno::NOSYS) => self.walk.store(true, Ordering::Relaxed),
                // A rename raced with the look-up: the walk below has no such race. Or a sandbox refuses the
                // call. If the file itself is refused, the walk returns the same error.
                Err(Errno::AGAIN | Errno::PERM) => {}
                result => return result,
            }
        }
        walk(root, name)
    }
}

/// Non-blocking, because opening a pipe would wait for its other end.
fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY
}

fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens component by component. `NOFOLLOW` with `DIRECTORY` refuses intermediate links.
fn walk(root: &OwnedFd, name: &Path) -> Result<OwnedFd, Errno> {
    let mut folder: Option<OwnedFd> = None;
    let parent = name.parent().unwrap_or(Path::new(""));
    for component in parent.components() {
        let std::path::Component::Normal(component) = component else { return Err(Errno::XDEV) };
        let on = folder.as_ref().unwrap_or(root);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = Some(rustix::fs::openat(on, component, flags, Mode::empty())?);
    }
    let last = match name.components().next_back() {
        Some(std::path::Component::Normal(last)) => last,
        Some(std::path::Component::CurDir) if name == Path::new(".") => ".".as_ref(),
        _ => return Err(Errno::XDEV),
    };
    rustix::fs::openat(folder.as_ref().unwrap_or(root), last, flags(), Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks up `name` by `openat2` and by the walk; both must agree.
    fn check(tree: &ServedTree, name: &str, expected: &str) {
        for by_walk in [false, true] {
            tree.walk.store(by_walk, Ordering::Relaxed);
            let found = match tree.find(Path::new(name)).unwrap() {
                FoundFile::File(_) => "file",
                FoundFile::Directory(_) => "directory",
                FoundFile::Nothing => "nothing",
                FoundFile::Forbidden => "forbidden",
            };
            assert_eq!(found, expected, "`{name}`, walk: {by_walk}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("sub/page"), "page").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        std::os::unix::fs::symlink("sub/page", root.join("inner")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let tree = ServedTree::open(&root, Duration::ZERO).unwrap();
        check(&tree, "", "directory");
        check(&tree, "sub", "directory");
        check(&tree, "sub/page", "file");
        for name in ["absent", "link", "inner", "up", "up/secret", "pipe", "socket", "sub/page/x"] {
            check(&tree, name, "nothing");
        }
        for name in ["../secret", "sub/../../secret", "/etc/passwd"] {
            check(&tree, name, "nothing");
        }
    }

    #[test]
    fn a_replaced_root_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let tree = ServedTree::open(&root, Duration::ZERO).unwrap();
        std::fs::remove_dir(&root).unwrap();
        check(&tree, "page", "nothing");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("page"), "new").unwrap();
        check(&tree, "page", "file");
    }
}
