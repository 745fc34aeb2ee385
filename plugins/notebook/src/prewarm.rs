//! Kernels that are started in advance (`kernel_prewarm`). The kernel host keeps them.
//!
//! A kernel's sandbox shows the folder of its notebook, and the process cannot leave it for another one. So a kernel is started in
//! advance only for a folder in which somebody who may run cells has opened a notebook, or, for a single user, for the served
//! folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::files::RelativePath;
use crate::kernel::link::Link;
use crate::kernel::specs::{KernelSpecs, Spec};
use crate::kernel::wire::{Prewarm, Problem};
use crate::sessions::Sessions;
use crate::settings::{Settings, Users};

/// After how many seconds the kernels of an account are ended if it opens no notebook.
const UNUSED_SECS: u64 = 600;

/// Has kernels started in advance. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PrewarmedKernels {
    counts: Arc<BTreeMap<String, usize>>,
    has_accounts: bool,
    user_kernels: Option<usize>,
    link: Link,
    kernel_specs: Arc<KernelSpecs>,
    sessions: Sessions,
}

impl PrewarmedKernels {
    pub(crate) fn new(
        settings: &Settings,
        link: Link,
        kernel_specs: Arc<KernelSpecs>,
        sessions: Sessions,
    ) -> PrewarmedKernels {
        PrewarmedKernels {
            counts: Arc::new(settings.kernel_prewarm.clone()),
            has_accounts: settings.users == Users::Accounts,
            user_kernels: settings.limits.user_kernels,
            link,
            kernel_specs,
            sessions,
        }
    }

    /// Ends the kernels of kernelspecs that are no longer in the settings. For a single user, has kernels started for the served
    /// folder.
    pub(crate) async fn begin(&self) {
        let names = self.counts.iter().filter(|(_, count)| **count > 0).map(|(name, _)| name.clone());
        // An older host has none.
        let _ = self.link.keep_prewarmed(names.collect()).await;
        if self.counts.is_empty() {
            return;
        }
        let specs = self.kernel_specs.specs().await;
        for name in self.counts.keys() {
            match specs.specs.get(name) {
                Some(spec) if !self.has_accounts => self.start(spec, None).await,
                Some(_) => {}
                None => tracing::warn!(
                    kernel = name,
                    "the setting `kernel_prewarm` does not name an installed kernel"
                ),
            }
        }
    }

    /// Has kernels started for the notebook at `path`, which somebody who may run it has opened.
    pub(crate) async fn opened(&self, spec: &Spec, path: &RelativePath) {
        if self.counts.contains_key(&spec.name) {
            self.start(spec, Some(path)).await;
        }
    }

    async fn start(&self, spec: &Spec, path: Option<&RelativePath>) {
        let started = self.try_start(spec, path).await;
        if let Err(problem) = started {
            tracing::debug!(%problem, kernel = spec.name, "no kernel was started in advance");
        }
    }

    async fn try_start(&self, spec: &Spec, path: Option<&RelativePath>) -> Result<(), Problem> {
        // A gateway has its own way.
        if spec.gateway.is_some() {
            return Ok(());
        }
        let count = self.counts.get(&spec.name).copied().unwrap_or_default();
        let (mut owner, mut room) = (String::new(), None);
        if let (true, Some(path)) = (self.has_accounts, path) {
            // A kernel that may not be started is not started in advance.
            self.sessions.admit(path).await?;
            owner = path.as_str().split('/').next().unwrap_or_default().to_owned();
            if let Some(limit) = self.user_kernels {
                room = Some(limit.saturating_sub(self.running(&owner).await?));
            }
        }
        let mut launch = self.sessions.launch(spec, path.map(RelativePath::as_str))?;
        launch.env.retain(|(name, _)| name != crate::kernel::SESSION_NAME);
        let unused_secs = self.has_accounts.then_some(UNUSED_SECS);
        self.link.prewarm(Prewarm { owner, launch: Box::new(launch), count, room, unused_secs }).await
    }

    /// How many kernels an account has in its folder.
    async fn running(&self, owner: &str) -> Result<usize, Problem> {
        let sessions = self.sessions.list().await?;
        Ok(sessions.iter().filter(|(session, _)| session.path.split('/').next() == Some(owner)).count())
    }
}
