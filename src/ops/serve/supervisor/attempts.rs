//! Attempts at a new generation: when one begins, and what becomes of one that has failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use super::super::Message;
use super::super::attempt::{Attempt, From, Prepared};
use super::super::event::{Event, Reason};
use super::super::live::Status;
use super::super::watch::{Scope, Watch};
use super::{Supervisor, Trying};
use crate::error::Error;
use crate::ops::fault::Fault;

impl Supervisor {
    /// Begins to make a generation from the files, or remembers to once the running attempt has ended.
    pub(super) fn make(&mut self, reason: Reason, detail: String) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(running) = &self.attempt {
            if !running.building.load(Ordering::Relaxed) {
                self.again = Some((reason, detail));
                return;
            }
            // What it builds is out of date already.
            self.attempt = None;
        }
        if reason != Reason::Start {
            self.shared.tell(&Event::Reloading { reason, detail, generation: self.generation + 1 });
            self.live(Status::Building);
        }
        self.attempt(From::Files, reason);
    }

    /// Begins to make a generation from what served before the one that serves: its config, and its libraries as
    /// they were. The files stay as they are, and the next reload takes them again.
    /// # Errors
    /// When nothing served before, or another generation is being made.
    pub(super) fn rollback(&mut self) -> Result<(), Error> {
        let Some(previous) = &self.previous else {
            return Err(Error::new("there is no generation before the one that serves"));
        };
        if self.attempt.is_some() || self.stopping.is_some() {
            return Err(Error::new("another generation is being made, or the server is ending"));
        }
        let from = From::Plan(Box::new(previous.clone()));
        let detail = "to the generation before".to_owned();
        let generation = self.generation + 1;
        self.shared.tell(&Event::Reloading { reason: Reason::Rollback, detail, generation });
        self.attempt(from, Reason::Rollback);
        Ok(())
    }

    fn attempt(&mut self, from: From, reason: Reason) {
        let building = Arc::<AtomicBool>::default();
        let attempt = Attempt {
            shared: self.shared.clone(),
            from,
            generation: self.generation + 1,
            bound: self.bound.clone(),
            carry: self.crew.as_ref().map_or(0, |crew| crew.posts.len()),
            building: building.clone(),
            pid_file: self.pid_file.as_ref().map(|held| held.path.clone()),
        };
        let (number, shared) = (self.next_task(), self.shared.clone());
        let task =
            tokio::spawn(
                async move { shared.send(Message::Attempted(number, Box::new(attempt.run().await))) },
            );
        let _task = AbortOnDropHandle::new(task);
        self.attempt = Some(Trying { number, reason, _task, since: Instant::now(), building });
    }

    pub(super) fn failed(
        &mut self,
        faults: Vec<Fault>,
        stand_in: Option<Prepared>,
        running: &Trying,
    ) -> Result<(), Vec<Fault>> {
        if self.stopping.is_some() {
            return Ok(());
        }
        // Without a watch no change could be noticed: an address is taken, say.
        if self.generation == 0 && self.watch.is_none() {
            return Err(faults);
        }
        if let (None, Some(stand_in)) = (&self.crew, stand_in) {
            self.switch(stand_in, running);
        }
        let (generation, wanted) = (self.serving(), Some(self.generation + 1));
        self.shared.tell(&Event::ReloadFailed { generation, wanted, errors: faults.clone() });
        self.live(Status::Failed { errors: faults });
        Ok(())
    }

    /// Watches what the last attempt was made from.
    pub(super) fn follow(&mut self, scope: Option<Scope>) {
        let Some(scope) = scope.filter(|_| self.reload) else { return };
        if self.watch.is_none() {
            match Watch::new(self.shared.clone()) {
                Ok(watch) => self.watch = Some(watch),
                Err(errors) => self.shared.tell(&Event::Warning { message: errors.to_string() }),
            }
        }
        if let Some(watch) = &self.watch {
            watch.set(scope, &self.shared);
        }
    }
}

/// A few of the changed files, as a person would name them.
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
