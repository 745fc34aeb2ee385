//! Checks a request's rights with `access`, and words the refusal.

use std::time::Duration;

use http::StatusCode;

use super::error::{ApiError, Result, blocking};
use crate::access::{Denied, Level};
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::sessions::Session;
use crate::state::Notebook;

/// How often the rights of an open connection are checked.
pub(super) const RIGHTS: Duration = Duration::from_secs(2);

impl Notebook {
    /// Checks that `principal` has `level` on `path`. A file that the principal may not see is reported as missing.
    pub(super) fn may(&self, principal: &Principal, level: Level, path: &RelativePath) -> Result<()> {
        self.access.may(principal, level, path).map_err(|denied| match denied {
            Denied::Hidden => ApiError::missing(format!("`{path}` does not exist")),
            Denied::Insufficient => ApiError::new(
                StatusCode::FORBIDDEN,
                format!("you may not do this with `{path}`: ask its owner for the right"),
            ),
        })
    }

    /// Checks that `principal` has `level` on the file at `path`, or on the folder and everything in it. (Who may see a file in a
    /// folder may also list the folder.)
    pub(super) async fn may_below(
        &self,
        principal: &Principal,
        level: Level,
        path: &RelativePath,
    ) -> Result<()> {
        self.may(principal, level, path)?;
        let (files, access) = (self.files.clone(), self.access.clone());
        let (principal, path) = (principal.clone(), path.clone());
        let refused = ApiError::new(
            StatusCode::FORBIDDEN,
            format!("`{path}` has files that you may not see: copy those that you may see one by one"),
        );
        blocking(move || {
            let mut folders = vec![path];
            while let Some(folder) = folders.pop() {
                if !files.facts(&folder)?.is_dir {
                    continue;
                }
                for (entry, facts) in files.list(&folder)? {
                    if access.may(&principal, level, &entry).is_err() {
                        return Err(refused);
                    }
                    folders.extend(facts.is_dir.then_some(entry));
                }
            }
            Ok(())
        })
        .await
    }

    /// Refuses a write of so many bytes at `path` if it exceeds the quota of the owner.
    pub(super) async fn admit_bytes(&self, path: &RelativePath, bytes: usize) -> Result<()> {
        let Some(quota) = self.quota.clone() else { return Ok(()) };
        let path = path.clone();
        let refused = |message: String| ApiError::new(StatusCode::INSUFFICIENT_STORAGE, message);
        blocking(move || quota.admit_bytes(&path, bytes as u64).map_err(refused)).await
    }

    /// Whether `principal` is the single user or an administrator.
    pub(super) fn may_everything(&self, principal: &Principal) -> bool {
        self.access.level(principal, &RelativePath::default()) == Some(Level::Manage)
    }

    /// Returns when `principal` may no longer use a kernel.
    pub(super) async fn until_kernel_is_denied(&self, principal: &Principal, id: &str) {
        loop {
            tokio::time::sleep(RIGHTS).await;
            // Other errors do not concern the right.
            let denied = self.may_use_kernel(principal, id).await;
            if denied.is_err_and(|error| error.status() == StatusCode::NOT_FOUND) {
                return;
            }
        }
    }

    /// Whether `principal` may see a session, or use its kernel if `level` is [`Level::Run`].
    pub(super) fn may_session(&self, principal: &Principal, level: Level, session: &Session) -> bool {
        match RelativePath::parse(&session.path) {
            Ok(path) => self.access.may(principal, level, &path).is_ok(),
            // A Jupyter console has a name instead.
            Err(_) => self.may_everything(principal),
        }
    }

    /// Whether `principal` may use a kernel: the kernel of a document that they may run, or a kernel that they started.
    pub(super) async fn may_use_kernel(&self, principal: &Principal, id: &str) -> Result<()> {
        if self.usable_kernels(principal).await?.is_none_or(|usable| usable.iter().any(|usable| usable == id))
        {
            return Ok(());
        }
        Err(ApiError::missing(format!("Kernel does not exist: {id}")))
    }

    /// The kernels that `principal` may use; `None`: all.
    pub(super) async fn usable_kernels(&self, principal: &Principal) -> Result<Option<Vec<String>>> {
        if self.may_everything(principal) {
            return Ok(None);
        }
        let sessions = self.sessions.list().await?;
        let of_sessions = sessions
            .into_iter()
            .filter(|(session, _)| self.may_session(principal, Level::Run, session))
            .map(|(session, _)| session.kernel_id);
        let started = self.sessions.started_by(principal).await?;
        Ok(Some(of_sessions.chain(started).collect()))
    }
}
