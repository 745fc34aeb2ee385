//! Watches files, and decides which changes may lead to a new generation or a refresh of open pages.
//!
//! Only directories are watched, because editors replace a file by another one of the same name. The watch
//! gathers a burst of changes until it is quiet, and ignores a write that leaves the content as it was. The
//! attempt then decides whether to make a generation: only if the config or a library differs.
//!
//! - here: the watch and its bursts
//! - `scope`: what is watched, and what a change means; `paths`: what the config names
//! - `ignored`: paths that `.gitignore` names; `links`: symbolic links on the way to a file
//! - `limits`: why files cannot be watched

mod ignored;
mod limits;
mod links;
mod paths;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) use self::paths::Paths;
use self::scope::{ChangeScope, Rules};
pub(super) use self::scope::{Scope, is_ignored};
use super::inbox::Notification;
use super::shared::SupervisorShared;

/// A burst ends after this time without a change.
const QUIET: Duration = Duration::from_millis(20);
/// The same for libraries, which a linker writes in many steps.
const QUIET_LIBRARY: Duration = Duration::from_millis(200);
/// A burst is cut off after this time.
const CEILING: Duration = Duration::from_millis(500);
/// Larger files count as changed whenever they are written.
const LARGEST_HASHED: u64 = 16 << 20;

/// A running watch.
pub(super) struct FileWatch {
    rules: Arc<Mutex<Arc<Rules>>>,
    folders: Arc<Mutex<Folders>>,
}

/// The directories that the system watches.
struct Folders {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// The last warning, which is not repeated while it stays the same.
    warning: Option<String>,
}

/// An event reported by the system.
enum WatchEvent {
    Path(PathBuf),
    /// Events were lost: anything may have changed.
    Lost,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock()
}

impl FileWatch {
    /// Starts a watch without directories.
    /// # Errors
    /// Why the system cannot watch, and how to fix it.
    pub(super) fn new(shared: Arc<SupervisorShared>) -> Result<FileWatch, String> {
        let (sender, events) = mpsc::unbounded_channel();
        let rules = Arc::<Mutex<Arc<Rules>>>::default();
        let wanted = rules.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.need_rescan() {
                let _ = sender.send(WatchEvent::Lost); // fails only when the program ends
                return;
            }
            // Reading does not change a file, and cargo reads all sources.
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            let rules = lock(&wanted).clone();
            for path in event.paths.into_iter().filter(|path| rules.meaning(path).is_any()) {
                let _ = sender.send(WatchEvent::Path(path)); // as above
            }
        })
        .map_err(|error| format!("cannot watch files: {}", limits::reason(&error)))?;
        let folders = Folders { watcher, watched: BTreeSet::new(), warning: None };
        let watch = FileWatch { rules, folders: Arc::new(Mutex::new(folders)) };
        tokio::spawn(gather(events, watch.rules.clone(), watch.folders.clone(), shared));
        Ok(watch)
    }

    /// Watches `scope` from now on.
    pub(super) fn set(&self, scope: Scope, shared: &SupervisorShared) {
        let rules = Arc::new(Rules::new(scope));
        *lock(&self.rules) = rules.clone();
        lock(&self.folders).follow(&rules, shared);
    }
}

impl Folders {
    /// Watches exactly what `rules` want; warns about directories that cannot be watched.
    fn follow(&mut self, rules: &Rules, shared: &SupervisorShared) {
        let wanted = rules.folders();
        let gone: Vec<_> = self.watched.difference(&wanted).cloned().collect();
        gone.iter().for_each(|folder| self.unwatch(folder));
        let mut failed: Vec<(PathBuf, notify::Error)> = Vec::new();
        for folder in wanted {
            if self.watched.contains(&folder) {
                continue;
            }
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                Err(error) if folder.exists() => failed.push((folder, error)),
                Err(_) => {} // the watch of its parent reports it when it appears
            }
        }
        let warning = failed.first().map(|(folder, error)| {
            let more = match failed.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more folders"),
            };
            format!("cannot watch `{}`{more}: {}", folder.display(), limits::reason(error))
        });
        if let Some(message) = warning.clone().filter(|_| warning != self.warning) {
            shared.emit(&super::Event::Warning { message });
        }
        self.warning = warning;
    }

    /// Forgets `path` and everything below it: the system may be watching something that no longer has this
    /// name.
    fn forget(&mut self, path: &Path) {
        let below: Vec<_> = self.watched.iter().filter(|folder| folder.starts_with(path)).cloned().collect();
        below.iter().for_each(|folder| self.unwatch(folder));
    }

    fn unwatch(&mut self, folder: &Path) {
        let _ = self.watcher.unwatch(folder); // it may no longer exist
        self.watched.remove(folder);
    }
}

/// Gathers bursts of changes and reports them to the supervisor.
async fn gather(
    mut events: mpsc::UnboundedReceiver<WatchEvent>,
    rules: Arc<Mutex<Arc<Rules>>>,
    folders: Arc<Mutex<Folders>>,
    shared: Arc<SupervisorShared>,
) {
    let mut seen: BTreeMap<PathBuf, Option<u64>> = BTreeMap::new();
    while let Some(first) = events.recv().await {
        let Some((paths, lost)) = burst(first, &mut events, &rules).await else { return };
        let mut now = lock(&rules).clone();
        // A changed link refers to another directory now.
        let links: Vec<_> = paths.iter().filter(|path| now.links.contains(*path)).cloned().collect();
        if lost || !links.is_empty() {
            now = Arc::new(Rules::new(now.scope.clone()));
            *lock(&rules) = now.clone();
        }
        let paths = renew(paths, &links, &now, &mut lock(&folders), &shared);
        let changed: Vec<PathBuf> = paths
            .into_iter()
            .filter(|path| links.contains(path) || !path.is_dir())
            .filter(|path| {
                let content = content(path);
                seen.insert(path.clone(), content) != Some(content) || content == Some(0)
            })
            .collect();
        let everything = ChangeScope { config: true, input: true, page: true };
        let meaning = changed.iter().map(|path| match links.contains(path) {
            true => everything,
            false => now.meaning(path),
        });
        let meaning = meaning.fold(if lost { everything } else { ChangeScope::default() }, ChangeScope::and);
        if meaning.is_any() {
            let ChangeScope { config, input, page } = meaning;
            shared.send(Notification::Changed { paths: changed, config, input, page });
        }
    }
}

/// Waits for the end of a burst. Returns its paths, and whether events were lost. `None` when the program
/// ends.
async fn burst(
    first: WatchEvent,
    events: &mut mpsc::UnboundedReceiver<WatchEvent>,
    rules: &Mutex<Arc<Rules>>,
) -> Option<(BTreeSet<PathBuf>, bool)> {
    let ceiling = Instant::now() + CEILING;
    let (mut paths, mut lost) = (BTreeSet::new(), false);
    let mut next = Some(first);
    loop {
        match next.take() {
            Some(WatchEvent::Path(path)) => drop(paths.insert(path)),
            Some(WatchEvent::Lost) => lost = true,
            None => {}
        }
        if Instant::now() >= ceiling {
            return Some((paths, lost));
        }
        let libraries = lock(rules).clone();
        let library = paths.iter().any(|path| libraries.scope.inputs.files.contains(path));
        let quiet = if library { QUIET_LIBRARY } else { QUIET };
        let until = (Instant::now() + quiet).min(ceiling.max(Instant::now() + QUIET));
        match tokio::time::timeout_at(until, events.recv()).await {
            Ok(Some(told)) => next = Some(told),
            Ok(None) => return None,
            Err(_) => return Some((paths, lost)),
        }
    }
}

/// Watches directories that are new or were recreated, and adds their files, which may be older than the
/// watch.
fn renew(
    mut paths: BTreeSet<PathBuf>,
    links: &[PathBuf],
    rules: &Rules,
    folders: &mut Folders,
    shared: &SupervisorShared,
) -> BTreeSet<PathBuf> {
    links.iter().for_each(|link| folders.forget(link));
    let (mut come, mut gone) = (Vec::new(), false);
    for path in &paths {
        if folders.watched.contains(path) {
            folders.forget(path);
            gone = true;
        }
        if path.is_dir() && !links.contains(path) {
            come.push(path.clone());
        }
    }
    if come.is_empty() && links.is_empty() && !gone {
        return paths;
    }
    folders.follow(rules, shared);
    let inner = crate::ops::build::files(&come).into_iter();
    paths.extend(inner.filter(|path| rules.meaning(path).is_any()));
    paths
}

/// A hash of a file's content, or of a link's target; `None` if it does not exist, 0 if it is too large to
/// read.
pub(super) fn content(path: &Path) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    if let Ok(target) = std::fs::read_link(path) {
        target.hash(&mut hash);
    }
    let found = std::fs::metadata(path).ok()?;
    if found.is_file() {
        if found.len() > LARGEST_HASHED {
            return Some(0);
        }
        std::fs::read(path).ok()?.hash(&mut hash);
    }
    Some(hash.finish().max(1))
}
