//! Attempts at a new generation: when one starts, and what happens when it fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::app_process::AppProcesses;
use super::attempt::{Attempt, AttemptProgress, From, PreparedWorkers};
use super::event::{Event, ReloadReason};
use super::inbox::Notification;
use super::pool::WorkerPool;
use super::state::{Supervisor, Trying};
use super::watch::{FileWatch, Scope};
use crate::error::Error;
use crate::ops::serve::ipc::message::Status;
use crate::ops::serve::ipc::message::WorkerCommand;

impl Supervisor {
    /// Starts an attempt at a generation from the files, or schedules one for when the running attempt has
    /// ended. If the watch saw a change, the attempt emits events only once there is something new.
    pub(super) fn make(&mut self, reason: ReloadReason, detail: String) {
        if self.stopping.is_some() {
            return;
        }
        let mut forced = !reason.is_watched();
        let mut told = false;
        if let Some(running) = &self.attempt {
            if !running.progress.is_building() {
                running.progress.change();
                let kept = |again: &(ReloadReason, String)| !again.0.is_watched();
                if forced || !self.again.as_ref().is_some_and(kept) {
                    self.again = Some((reason, detail));
                }
                return;
            }
            // The result of the running attempt is already out of date.
            forced |= running.forced;
            told = running.progress.is_told();
            self.attempt = None;
        }
        let explicit = !reason.is_watched() && reason != ReloadReason::Start;
        if explicit {
            let generation = self.generation + 1;
            self.shared.emit(&Event::Reloading { reason, detail: detail.clone(), generation });
            self.live(Status::Building);
        }
        let told = told || explicit || reason == ReloadReason::Start;
        let from = From::Files(self.loaded.take().map(Box::new));
        self.attempt(from, (reason, detail), forced, told, self.kept(reason));
    }

    /// The processes that an attempt may keep. A requested reload replaces all.
    fn kept(&self, reason: ReloadReason) -> AppProcesses {
        let pool = self.pool.as_ref().filter(|_| reason.is_watched());
        pool.map(|pool| pool.apps.clone()).unwrap_or_default()
    }

    /// Starts an attempt at the previous generation: its config, and its libraries as they were. The files do
    /// not change, and the next reload reads them again.
    /// # Errors
    /// If there is no previous generation, or if another attempt is running.
    pub(super) fn rollback(&mut self) -> Result<(), Error> {
        let Some(previous) = &self.previous else {
            return Err(Error::new("there is no previous generation to return to"));
        };
        if self.attempt.is_some() || self.stopping.is_some() {
            return Err(Error::new("another reload is running, or the server is stopping"));
        }
        let from = From::Plan(Box::new(previous.clone()));
        let detail = "to the previous generation".to_owned();
        let generation = self.generation + 1;
        self.shared.emit(&Event::Reloading {
            reason: ReloadReason::Rollback,
            detail: detail.clone(),
            generation,
        });
        self.attempt(from, (ReloadReason::Rollback, detail), true, true, AppProcesses::default());
        Ok(())
    }

    /// Starts an attempt at the same generation, with other processes of the app or program `name`; all others keep
    /// theirs.
    /// # Errors
    /// If there are no such processes, or if another attempt is running.
    pub(super) fn restart(&mut self, name: &str, why: &str) -> Result<(), Error> {
        let Some(pool) = self.pool.as_ref().filter(|pool| pool.generation > 0) else {
            return Err(Error::new("the server is still starting"));
        };
        if !pool.apps.have(name) {
            let error = Error::new(format!("there is neither an app nor a program `{name}` with processes"));
            return Err(error.help("`paster ps` lists the processes"));
        }
        if self.attempt.is_some() || self.stopping.is_some() {
            return Err(Error::new("another reload is running, or the server is stopping"));
        }
        let (plan, kept) = (pool.plan.clone(), pool.apps.without(&[name.to_owned()].into()));
        let from = From::Plan(Box::new(plan));
        let (detail, generation) = (format!("new processes of {name}: {why}"), self.generation + 1);
        let reason = ReloadReason::Restart;
        self.shared.emit(&Event::Reloading { reason, detail: detail.clone(), generation });
        self.attempt(from, (reason, detail), true, true, kept);
        Ok(())
    }

    /// Starts an attempt, which may keep the processes `kept`.
    fn attempt(
        &mut self,
        from: From,
        (reason, detail): (ReloadReason, String),
        forced: bool,
        told: bool,
        kept: AppProcesses,
    ) {
        let progress = Arc::new(AttemptProgress::new(told));
        let number = self.next_task();
        // After a failure, always create a generation, which shows the user that the error is fixed.
        let compared = !forced && self.faults.is_none();
        let serves = self.pool.as_ref().filter(|pool| pool.generation > 0 && compared);
        let attempt = Attempt {
            shared: self.shared.clone(),
            services: self.services.clone(),
            from,
            number,
            reason,
            detail: detail.clone(),
            serves: serves.map(|pool| Box::new(pool.plan.clone())),
            generation: self.generation + 1,
            bound: self.bound.clone(),
            registry: self.apps.clone(),
            apps: kept,
            replaced: self.pool.as_ref().map(|pool| pool.apps.clone()).unwrap_or_default(),
            progress: progress.clone(),
            pid_file: self.pid_file.as_ref().map(|held| held.path.clone()),
            taken: Mutex::default(),
        };
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            shared.send(Notification::Attempted(number, Box::new(attempt.run().await)))
        });
        let _task = AbortOnDropHandle::new(task);
        self.attempt =
            Some(Trying { number, reason, _task, since: Instant::now(), detail, forced, progress });
    }

    /// Switches to the new generation.
    pub(super) fn made_new(&mut self, prepared: PreparedWorkers, running: &Trying) {
        self.faults = None;
        self.refresh = false; // the switch refreshes all pages
        self.switch(prepared, running);
    }

    /// Handles an attempt that found nothing new in what has changed.
    pub(super) fn unchanged(&mut self, running: &Trying) {
        if running.progress.is_told() {
            self.shared.emit(&Event::Unchanged { generation: self.serving() });
            self.live(Status::Serving);
        }
    }

    /// Refreshes open pages whose files have changed, unless an attempt is running: the switch would refresh
    /// them.
    pub(super) fn refresh_when_due(&mut self) {
        if self.refresh && self.attempt.is_none() {
            self.refresh = false;
            let refreshes = self.shared.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
            let workers = self.pool.iter().flat_map(WorkerPool::workers);
            workers.for_each(|worker| worker.child.tell(WorkerCommand::Refresh(refreshes)));
        }
    }

    pub(super) fn failed(
        &mut self,
        faults: Vec<Error>,
        placeholder: Option<PreparedWorkers>,
        running: &Trying,
    ) -> Result<(), Vec<Error>> {
        if self.stopping.is_some() {
            return Ok(());
        }
        // Without a watch, no change would start another attempt. An address may be in use, for example.
        if self.generation == 0 && self.watch.is_none() {
            return Err(faults);
        }
        if let (None, Some(placeholder)) = (&self.pool, placeholder) {
            self.switch(placeholder, running);
        }
        // A file that the application keeps writing does not change what is wrong.
        let known = self.faults.replace(faults.clone()).is_some_and(|known| known == faults);
        if !running.progress.is_told() {
            if known {
                return Ok(());
            }
            let (reason, detail) = (running.reason, running.detail.clone());
            self.shared.emit(&Event::Reloading { reason, detail, generation: self.generation + 1 });
        }
        let (generation, wanted) = (self.serving(), Some(self.generation + 1));
        self.shared.emit(&Event::ReloadFailed { generation, wanted, errors: faults.clone() });
        self.live(Status::Failed { errors: faults });
        Ok(())
    }

    /// Watches the files that the last attempt was made from.
    pub(super) fn follow(&mut self, scope: Option<Scope>) {
        let Some(mut scope) = scope else { return };
        let (sources, folders) = self.apps.sources();
        scope.inputs.sources.extend(sources);
        scope.inputs.folders.extend(folders);
        self.scope = Some(scope.clone());
        if !self.reload {
            return;
        }
        if self.watch.is_none() {
            match FileWatch::new(self.shared.clone()) {
                Ok(watch) => self.watch = Some(watch),
                Err(message) => {
                    if !self.unwatched {
                        self.shared.emit(&Event::Warning { message });
                    }
                    self.unwatched = true;
                }
            }
        }
        if let Some(watch) = &self.watch {
            watch.set(scope, &self.shared);
        }
    }
}

impl Supervisor {
    /// Watches source files that applications have reported. Those that changed before they were watched lead to an
    /// attempt.
    pub(super) fn follow_sources(&mut self) {
        self.follow(self.scope.clone());
        let changed = self.pool.as_ref().is_some_and(|pool| pool.apps.have_changed());
        if self.reload && self.attempt.is_none() && changed {
            self.make(ReloadReason::Files, "a source file".to_owned());
        }
    }
}

/// Names the first of the changed files, for people.
pub(super) fn summary(paths: &[PathBuf]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let names =
        paths.iter().take(2).map(|path| path.strip_prefix(&here).unwrap_or(path).display().to_string());
    let mut text = names.collect::<Vec<_>>().join(", ");
    if paths.len() > 2 {
        text += &format!(" and {} more", paths.len() - 2);
    }
    text
}
