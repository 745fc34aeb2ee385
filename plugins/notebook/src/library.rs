//! All notebooks below the served folder, for lists and searches. The files decide: the index in the store follows them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::files::{Facts, FileError, Files, RelativePath};
use crate::format;
use crate::protocol::CellType;
use crate::store::{FileVersion, IndexedNotebook, Store, StoreError};

/// How long the index counts as fresh.
const FRESH: Duration = Duration::from_secs(1);
/// How long a request waits for the index. After that it gets what is there.
const WAIT: Duration = Duration::from_secs(3);
/// How many notebooks one change of the index takes.
const BATCH: usize = 32;
/// How much text of one notebook is indexed, in bytes.
const TEXT_BYTES: usize = 2 << 20;

/// All notebooks. Cheap to clone.
#[derive(Clone)]
pub struct Library(Arc<LibraryInner>);

struct LibraryInner {
    files: Files,
    store: Store,
    /// The largest notebook that is read, in bytes.
    limit_bytes: usize,
    /// When the index was brought up to date.
    last: Mutex<Option<Instant>>,
}

impl Library {
    /// The notebooks in `files`, indexed in `store`.
    pub fn new(files: Files, store: Store, limit_bytes: usize) -> Library {
        Library(Arc::new(LibraryInner { files, store, limit_bytes, last: Mutex::default() }))
    }

    /// Brings the index up to date. Returns whether that was done. If it takes long, it continues in the background.
    pub async fn refresh(&self) -> bool {
        let inner = self.0.clone();
        let work = tokio::spawn(async move {
            let mut last = inner.last.lock().await;
            if last.is_some_and(|last| last.elapsed() < FRESH) {
                return;
            }
            if let Err(error) = inner.index().await {
                tracing::error!(%error, "cannot update the index of notebooks");
            }
            *last = Some(Instant::now());
        });
        tokio::time::timeout(WAIT, work).await.is_ok()
    }

    /// The largest notebooks: the path and the size in bytes of each.
    /// # Errors
    /// [`StoreError`].
    pub async fn largest(&self, count: usize) -> Result<Vec<(String, u64)>, StoreError> {
        self.refresh_again().await;
        let indexed = self.0.store.indexed()?.into_iter();
        let mut sizes: Vec<_> =
            indexed.map(|(path, version)| (path, u64::try_from(version.size).unwrap_or_default())).collect();
        sizes.sort_by(|(path, size), (other, other_size)| other_size.cmp(size).then_with(|| path.cmp(other)));
        sizes.truncate(count);
        Ok(sizes)
    }

    /// Brings the index up to date even if that was done just now.
    pub async fn refresh_again(&self) -> bool {
        *self.0.last.lock().await = None;
        self.refresh().await
    }
}

impl LibraryInner {
    async fn index(&self) -> Result<(), StoreError> {
        let mut known = self.store.indexed()?;
        let files = self.files.clone();
        let present = tokio::task::spawn_blocking(move || walk(&files)).await.unwrap_or_default();
        let mut changed: Vec<(RelativePath, FileVersion)> = Vec::new();
        for (path, facts) in present {
            let version = version(&facts);
            if known.remove(path.as_str()) != Some(version) {
                changed.push((path, version));
            }
        }
        let mut gone: Vec<String> = known.into_keys().collect();
        if changed.is_empty() && !gone.is_empty() {
            self.store.index(Vec::new(), std::mem::take(&mut gone)).await?;
        }
        for batch in changed.chunks(BATCH) {
            let (files, limit, batch) = (self.files.clone(), self.limit_bytes, batch.to_vec());
            let read = move || {
                batch.into_iter().filter_map(|(path, version)| read(&files, &path, version, limit)).collect()
            };
            let read: Vec<IndexedNotebook> = tokio::task::spawn_blocking(read).await.unwrap_or_default();
            self.store.index(read, std::mem::take(&mut gone)).await?;
        }
        Ok(())
    }
}

fn version(facts: &Facts) -> FileVersion {
    let since = facts.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    FileVersion {
        modified: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        size: i64::try_from(facts.size).unwrap_or(i64::MAX),
    }
}

/// All notebooks below the served folder.
fn walk(files: &Files) -> Vec<(RelativePath, Facts)> {
    let mut notebooks = Vec::new();
    let visit = |path: RelativePath, facts: Facts| {
        if !facts.is_dir && path.is_notebook() {
            notebooks.push((path, facts));
        }
        Ok::<(), Infallible>(())
    };
    let Ok(()) = files.walk(Files::list, "not all notebooks are in the lists", visit);
    notebooks
}

/// What the index keeps of a notebook; `None` if it is gone. One that cannot be read is found by its name.
fn read(files: &Files, path: &RelativePath, version: FileVersion, limit: usize) -> Option<IndexedNotebook> {
    let (mut text, mut code) = (String::new(), String::new());
    match files.read(path, limit) {
        Ok((bytes, _)) => {
            for cell in format::parse(&bytes).map(|file| file.cells).unwrap_or_default() {
                let kept = if cell.cell_type == CellType::Code { &mut code } else { &mut text };
                if kept.len() + cell.source.len() <= TEXT_BYTES {
                    kept.push_str(&cell.source);
                    kept.push('\n');
                }
            }
        }
        Err(FileError::NotFound(_)) => return None,
        Err(_) => {}
    }
    Some(IndexedNotebook {
        path: path.to_string(),
        version,
        name: path.split_name().0.to_owned(),
        text,
        code,
    })
}
