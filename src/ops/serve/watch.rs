//! Watching files: which changes ask for a new generation.
//!
//! Folders are watched, never single files, as editors replace a file by another of the same name. Bursts are
//! gathered until it is quiet, and a file that was written with the content that it had is no change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Message, Shared};
use crate::error::{Error, Result};
use crate::ops::build::Inputs;

/// So long nothing may happen before a burst counts as ended.
const QUIET: Duration = Duration::from_millis(20);
/// The same after a library has changed, which a linker writes in many steps.
const QUIET_LIBRARY: Duration = Duration::from_millis(200);
/// A burst is cut off after this time.
const CEILING: Duration = Duration::from_millis(500);
/// Larger files count as changed whenever they are written.
const LARGEST_HASHED: u64 = 16 << 20;
/// Folders that hold what tools make.
const IGNORED: &[&str] =
    &["target", "node_modules", ".git", ".hg", ".svn", ".jj", "__pycache__", ".venv", ".cache"];

/// What is watched.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// Config files: a change of one is told apart.
    pub(super) configs: BTreeSet<PathBuf>,
    /// Crates, libraries, what builds write.
    pub(super) inputs: Inputs,
}

impl Scope {
    fn wants(&self, path: &Path) -> bool {
        if self.configs.contains(path) || self.inputs.files.contains(path) {
            return true;
        }
        // An included file that may be absent appears beside the one that names it.
        let beside = |config: &PathBuf| config.parent() == path.parent();
        if path.extension() == Some(OsStr::new("toml"))
            && self.configs.iter().any(beside)
            && !is_temporary(path)
        {
            return true;
        }
        !is_temporary(path)
            && !self.inputs.outputs.iter().any(|output| path.starts_with(output))
            && self.inputs.folders.iter().any(|folder| {
                let inner = path.strip_prefix(folder);
                inner.is_ok_and(|inner| !inner.iter().any(is_ignored))
            })
    }

    /// All folders to watch, each without its subfolders.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let mut found: BTreeSet<PathBuf> = self
            .configs
            .iter()
            .chain(&self.inputs.files)
            .filter_map(|file| file.parent())
            .map(Path::to_owned)
            .collect();
        let mut left: Vec<PathBuf> = self.inputs.folders.iter().cloned().collect();
        while let Some(folder) = left.pop() {
            let inner = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            left.extend(
                inner
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path())
                    .filter(|path| {
                        !path.file_name().is_some_and(is_ignored) && !self.inputs.outputs.contains(path)
                    }),
            );
            found.insert(folder);
        }
        found
    }
}

fn is_ignored(name: &OsStr) -> bool {
    IGNORED.iter().any(|ignored| name == *ignored)
}

/// What editors write beside a file while they save it.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = || name.bytes().all(|byte| byte.is_ascii_digit()); // vim's test of a folder: 4913
    name.ends_with('~')
        || [".swp", ".swx", ".swo", ".tmp", ".bak", "___jb_tmp___", "___jb_old___"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.starts_with(".#")
        || (name.starts_with('#') && name.ends_with('#'))
        || name == ".DS_Store"
        || number()
}

/// A running watch.
pub(super) struct Watch {
    scope: Arc<Mutex<Scope>>,
    state: Arc<Mutex<State>>,
}

struct State {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins to watch nothing.
    /// # Errors
    /// When the system has no watch left.
    pub(super) fn new(shared: Arc<Shared>) -> Result<Watch> {
        let (sender, events) = mpsc::unbounded_channel();
        let scope = Arc::new(Mutex::new(Scope::default()));
        let wanted = scope.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            // Reading changes nothing; cargo reads all sources.
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                if wanted.lock().unwrap_or_else(PoisonError::into_inner).wants(&path) {
                    let _ = sender.send(path); // nobody listens: the program ends
                }
            }
        })
        .map_err(|cause| {
            Error::new("cannot watch files")
                .because(cause)
                .help("serve with `--no-reload`, or raise fs.inotify.max_user_instances")
        })?;
        let state = Arc::new(Mutex::new(State { watcher, folders: BTreeSet::new() }));
        let watch = Watch { scope, state };
        tokio::spawn(gather(events, watch.scope.clone(), watch.state.clone(), shared));
        Ok(watch)
    }

    /// Watches `scope` from now on.
    pub(super) fn set(&self, scope: Scope, shared: &Shared) {
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner) = scope.clone();
        let failed = self.state.lock().unwrap_or_else(PoisonError::into_inner).follow(&scope);
        if let Some((folder, error)) = failed.first() {
            let more = if failed.len() > 1 {
                format!(" and {} more folders", failed.len() - 1)
            } else {
                String::new()
            };
            let message = format!("cannot watch `{}`{more}: {error}", folder.display());
            shared.tell(&super::Event::Warning { message });
        }
    }
}

impl State {
    /// Watches what `scope` names and nothing else; returns the folders that cannot be watched.
    fn follow(&mut self, scope: &Scope) -> Vec<(PathBuf, notify::Error)> {
        let wanted = scope.folders();
        let mut failed = Vec::new();
        for folder in self.folders.difference(&wanted) {
            let _ = self.watcher.unwatch(folder); // it may be gone, and its watch with it
        }
        for folder in wanted.difference(&self.folders) {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive)
                && folder.exists()
            {
                failed.push((folder.clone(), error));
            }
        }
        self.folders = wanted;
        failed
    }
}

/// Gathers bursts of changes and tells the supervisor.
async fn gather(
    mut events: mpsc::UnboundedReceiver<PathBuf>,
    scope: Arc<Mutex<Scope>>,
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
) {
    let mut seen: BTreeMap<PathBuf, Option<u64>> = BTreeMap::new();
    while let Some(first) = events.recv().await {
        let ceiling = Instant::now() + CEILING;
        let mut paths = BTreeSet::from([first]);
        loop {
            let scope = scope.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let library = paths.iter().any(|path| scope.inputs.files.contains(path));
            let quiet = if library { QUIET_LIBRARY } else { QUIET };
            let until = (Instant::now() + quiet).min(ceiling.max(Instant::now() + QUIET));
            match tokio::time::timeout_at(until, events.recv()).await {
                Ok(Some(path)) => paths.insert(path),
                Ok(None) => return,
                Err(_) => break,
            };
            if Instant::now() >= ceiling {
                break;
            }
        }
        let now = scope.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A folder that came with its files: they may have been there before we watched it.
        let folders: Vec<_> = paths.iter().filter(|path| path.is_dir()).cloned().collect();
        if !folders.is_empty() {
            state.lock().unwrap_or_else(PoisonError::into_inner).follow(&now);
            paths.extend(crate::ops::build::files(&folders).into_iter().filter(|path| now.wants(path)));
        }
        let changed: Vec<PathBuf> = paths
            .into_iter()
            .filter(|path| !path.is_dir())
            .filter(|path| {
                let content = content(path);
                seen.insert(path.clone(), content) != Some(content) || content == Some(0)
            })
            .collect();
        if !changed.is_empty() {
            let config = changed.iter().any(|path| {
                now.configs.contains(path)
                    || now.configs.iter().any(|config| {
                        config.parent() == path.parent()
                            && path.extension() == config.extension()
                            && !path.ends_with("Cargo.toml")
                    })
            });
            shared.send(Message::Changed { paths: changed, config });
        }
    }
}

/// What a file holds, as a number; `None` when it is not there, 0 when it is too large to read.
fn content(path: &Path) -> Option<u64> {
    let size = std::fs::metadata(path).ok()?.len();
    if size > LARGEST_HASHED {
        return Some(0);
    }
    let mut hash = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hash);
    Some(hash.finish().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_change() {
        let scope = Scope {
            configs: ["/app/server.toml".into()].into(),
            inputs: Inputs {
                folders: ["/app".into(), "/lib".into()].into(),
                files: ["/built/libapp.so".into()].into(),
                outputs: ["/app/web/dist".into(), "/app/Cargo.lock".into()].into(),
            },
        };
        let check = |path: &str, expected: bool| assert_eq!(scope.wants(Path::new(path)), expected, "{path}");
        for path in
            ["/app/server.toml", "/app/local.toml", "/app/src/lib.rs", "/lib/a/b.html", "/built/libapp.so"]
        {
            check(path, true);
        }
        for path in [
            "/app/target/debug/x.d",
            "/app/.git/index",
            "/app/web/node_modules/a/b.js",
            "/app/web/dist/a.js",
            "/app/Cargo.lock",
            "/app/src/.lib.rs.swp",
            "/app/src/lib.rs~",
            "/app/src/4913",
            "/built/other.so",
            "/elsewhere/src/lib.rs",
        ] {
            check(path, false);
        }
    }
}
