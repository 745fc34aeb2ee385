//! What one account may use: kernels at the same time, and space for files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::files::{Files, RelativePath};
use crate::settings::Limits;

/// How long the size of a folder is believed.
const FRESH: Duration = Duration::from_secs(20);

/// The limits of each account, and the size of its folder. Cheap to clone.
#[derive(Clone)]
pub struct Quota(Arc<QuotaInner>);

struct QuotaInner {
    files: Files,
    kernels: Option<usize>,
    disk_bytes: Option<u64>,
    sizes: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Quota {
    /// The limits of `limits`, for the folders in `files`.
    pub(crate) fn new(files: Files, limits: &Limits) -> Quota {
        let (kernels, disk_bytes) = (limits.user_kernels, limits.user_disk_bytes);
        Quota(Arc::new(QuotaInner { files, kernels, disk_bytes, sizes: Mutex::default() }))
    }

    /// The kernels that an account may have.
    pub fn kernels(&self) -> Option<usize> {
        self.0.kernels
    }

    /// The space that an account may have, in bytes.
    pub fn disk_bytes(&self) -> Option<u64> {
        self.0.disk_bytes
    }

    /// The size of the folder `owner`, in bytes, as of some seconds ago. Blocks, because it reads the size of every file.
    pub fn used_bytes(&self, owner: &str) -> u64 {
        if let Some((_, bytes)) = self.0.sizes.lock().get(owner).filter(|(at, _)| at.elapsed() < FRESH) {
            return *bytes;
        }
        let bytes = RelativePath::parse(owner).map_or(0, |folder| self.0.files.disk_bytes(&folder));
        self.0.sizes.lock().insert(owner.to_owned(), (Instant::now(), bytes));
        bytes
    }

    /// Whether `more` bytes may be written at `path`. Blocks.
    /// # Errors
    /// Why not, for users.
    pub fn admit_bytes(&self, path: &RelativePath, more: u64) -> Result<(), String> {
        let (Some(limit), Some(owner)) = (self.0.disk_bytes, owner_of(path)) else { return Ok(()) };
        let used = self.used_bytes(owner);
        if used + more <= limit {
            // The next write must count this one.
            if let Some((_, bytes)) = self.0.sizes.lock().get_mut(owner) {
                *bytes += more;
            }
            return Ok(());
        }
        Err(format!(
            "the folder `{owner}` uses {} of its {} (`limits.user_disk_bytes`): delete files, and empty the trash",
            megabytes(used),
            megabytes(limit)
        ))
    }

    /// Whether one more kernel may start for the notebook at `path`; `running` are the paths of those that run.
    /// # Errors
    /// Why not, for users.
    pub fn admit_kernel<'a>(
        &self,
        path: &RelativePath,
        running: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let (Some(limit), Some(owner)) = (self.0.kernels, owner_of(path)) else { return Ok(()) };
        let count = running.filter(|path| path.split('/').next() == Some(owner)).count();
        match count < limit {
            true => Ok(()),
            false => Err(format!(
                "the folder `{owner}` already has {count} kernels, which is its maximum (`limits.user_kernels`): shut one down"
            )),
        }
    }
}

/// The account whose folder contains `path`; `None` for what is in no folder.
fn owner_of(path: &RelativePath) -> Option<&str> {
    path.as_str().split_once('/').map(|(owner, _)| owner)
}

/// `12.3 MB`.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_has_its_own_limits() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("ann")).unwrap();
        std::fs::write(folder.path().join("ann/data"), [0; 600]).unwrap();
        let limits = Limits { user_kernels: Some(2), user_disk_bytes: Some(1000), ..Limits::default() };
        let quota = Quota::new(files, &limits);
        let path = |text: &str| RelativePath::parse(text).unwrap();
        assert!(quota.admit_bytes(&path("ann/x"), 300).is_ok());
        let refused = quota.admit_bytes(&path("ann/x"), 300).unwrap_err();
        assert!(refused.contains("`ann`") && refused.contains("user_disk_bytes"), "{refused}");
        assert!(quota.admit_bytes(&path("bob/x"), 1000).is_ok());
        let running = ["ann/a.ipynb", "ann/b.ipynb", "bob/c.ipynb"];
        assert!(
            quota.admit_kernel(&path("ann/d.ipynb"), running.into_iter()).unwrap_err().contains("2 kernels")
        );
        assert!(quota.admit_kernel(&path("bob/d.ipynb"), running.into_iter()).is_ok());
    }
}
