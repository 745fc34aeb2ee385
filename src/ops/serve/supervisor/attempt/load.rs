//! Loads what an attempt is made from: the config, its sockets, its libraries.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::Attempt;
use super::start::start;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ops::build::{self, Copies, Speed};
use crate::ops::sections::Sections;
use crate::ops::sections::process::Process;
use crate::ops::serve::ipc::message::Role;
use crate::ops::serve::ipc::message::SavedStates;
use crate::ops::serve::options::LoadedConfig;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::pid_file::PidFile;
use crate::ops::serve::supervisor::app_process::AppProcesses;
use crate::ops::serve::supervisor::event::Event;
use crate::ops::serve::supervisor::plan::GenerationPlan;
use crate::ops::serve::supervisor::sockets::{self, Bound};
use crate::ops::serve::supervisor::watch::{self, Paths, Scope};

/// The data loaded from the files.
pub(super) struct Loaded {
    /// The config, if it could be read.
    pub(super) config: Option<(Config, Sections)>,
    pub(super) scope: Option<Scope>,
    /// The sockets, even if the rest could not be made.
    pub(super) bound: Vec<Bound>,
    pub(super) made: std::result::Result<(GenerationPlan, Vec<Bound>), Vec<Error>>,
}

impl Attempt {
    /// Reads the sections of the config, binds its new addresses, and gets every library built and copied. An address that
    /// cannot be bound is reported before any build.
    pub(super) async fn load(&self, read: LoadedConfig, held: &[Bound]) -> Loaded {
        let shared = &self.shared;
        let config = read.config.and_then(|config| Ok((Sections::read(&config)?, config)));
        let (mut sections, config) = match config {
            Ok(config) => config,
            Err(errors) => {
                let scope = Some(Scope { configs: read.files.into_iter().collect(), ..Scope::default() });
                let made = Err(errors.into());
                return Loaded { config: None, scope, bound: Vec::new(), made };
            }
        };
        let process = &mut sections.process;
        process.reload = shared.options.reload.unwrap_or(process.reload);
        let credentials = Credentials::of(process, &config);
        let (configs, paths) = (config.files().iter().cloned().collect(), Paths::of(&config));
        let mut scope = Scope { configs, paths, ..Scope::default() };
        let bound = self.bind(&config, held);
        let taken = bound.and_then(|bound| {
            self.take_pid_file(&sections.process)?;
            Ok((bound, credentials?, self.copies(&config)?))
        });
        let (bound, credentials, copies) = match taken {
            Ok(taken) => taken,
            Err(errors) => {
                // Keep watching what was watched: saving a file does not free an address.
                let made = Err(errors.into());
                let config = Some((config, sections));
                return Loaded { config, scope: None, bound: Vec::new(), made };
            }
        };
        let tell = |app: &str, progress| {
            self.announce();
            shared.emit(&Event::of_build(app, progress));
        };
        let speed = if sections.process.reload { Speed::Development } else { Speed::Production };
        let (inputs, libraries) = build::libraries(&config, speed, copies, &tell).await;
        scope.inputs = inputs;
        let (sources, folders) = self.registry.sources();
        scope.inputs.sources.extend(sources);
        scope.inputs.folders.extend(folders);
        let read = contents(&scope);
        let plan = |libraries| GenerationPlan {
            config: config.clone(),
            process: sections.process.clone(),
            log: sections.log.clone(),
            tasks: sections.tasks.clone(),
            credentials,
            libraries,
            read,
        };
        let made = match libraries {
            Ok(libraries) => Ok((plan(libraries), bound.clone())),
            Err(build::BuildFailure { mut faults, built }) => {
                self.look_at_the_rest(&plan(built), &mut faults).await;
                Err(faults)
            }
        };
        Loaded { config: Some((config, sections)), scope: Some(scope), bound, made }
    }

    /// Some libraries could not be built: lets a worker find the other faults, so that all are reported at
    /// once.
    async fn look_at_the_rest(&self, plan: &GenerationPlan, faults: &mut Vec<Error>) {
        let name = self.shared.name(self.generation, 0);
        let apps = AppProcesses::default();
        let plan = (plan, &apps);
        let found =
            start(&self.shared, &self.services, plan, &[], name, SavedStates::default(), Role::Try).await;
        for fault in found.err().into_iter().flatten() {
            let same =
                |told: &Error| *told == fault || (told.origin.is_some() && told.origin == fault.origin);
            if !faults.iter().any(same) {
                faults.push(fault);
            }
        }
    }

    /// Binds the addresses of `config`. Reuses sockets that serve or that this attempt has bound before.
    pub(super) fn bind(&self, config: &Config, held: &[Bound]) -> Result<Vec<Bound>> {
        let old: Vec<_> = self.bound.iter().chain(held).cloned().collect();
        let mut bound = sockets::bind(config, &old)?;
        for one in &mut bound {
            one.new = !self.bound.iter().any(|old| Arc::ptr_eq(&old.socket, &one.socket));
        }
        Ok(bound)
    }

    /// The directory for private copies of libraries, if there are plugins.
    fn copies(&self, config: &Config) -> Result<Option<&Copies>> {
        build::any(config).then(|| self.shared.folder.copies()).transpose()
    }

    /// Locks the pid file, unless it is the one that is already locked.
    pub(super) fn take_pid_file(&self, process: &Process) -> Result<()> {
        let mut taken = self.taken.lock();
        let wanted = process.pid_file.as_deref().filter(|path| self.pid_file.as_deref() != Some(path));
        if taken.as_ref().map(|taken| &*taken.path) != wanted {
            *taken = None;
            *taken = wanted.map(PidFile::take).transpose()?;
        }
        Ok(())
    }
}

/// A hash of the files that the config names and a generation reads once. Plugin libraries are identified by
/// their copies.
fn contents(scope: &Scope) -> u64 {
    let mut hash = DefaultHasher::new();
    let files = scope.paths.read.difference(&scope.inputs.files).filter(|path| !path.is_dir());
    files.for_each(|path| (path, watch::content(path)).hash(&mut hash));
    hash.finish()
}
