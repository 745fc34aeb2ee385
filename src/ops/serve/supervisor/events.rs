//! Passes events to the listener, the log, and the commands that wait for one.

use std::path::{Path, PathBuf};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::event::{Event, EventListener};
use super::log::Own;
use super::log_buffer::{LogBuffer, LogChunk};
use crate::context::Reopen;
use crate::error::Error;
use crate::ops::sections::log::Log;

/// How many events a receiver may lag behind.
const BEHIND: usize = 256;

/// Passes events on.
pub(super) struct EventLog {
    listener: EventListener,
    pub(super) log: LogBuffer,
    events: broadcast::Sender<Event>,
    lifecycle: Mutex<LifecycleCounts>,
    own: Mutex<Option<Own>>,
    reopen: Reopen,
}

/// Counts of what has happened so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct LifecycleCounts {
    /// How many generations were switched to.
    pub(super) switches: u64,
    /// How many attempts at a generation failed.
    pub(super) failures: u64,
    /// The number of workers that ended unexpectedly.
    pub(super) crashes: u64,
}

impl EventLog {
    /// `lifecycle` counts what has happened under the previous program.
    pub(super) fn new(listener: EventListener, lifecycle: LifecycleCounts) -> EventLog {
        let events = broadcast::Sender::new(BEHIND);
        EventLog {
            listener,
            log: LogBuffer::new(),
            events,
            lifecycle: Mutex::new(lifecycle),
            own: Mutex::default(),
            reopen: Reopen::default(),
        }
    }

    pub(super) fn emit(&self, event: &Event) {
        let own = self.own();
        if let Some(own) = &*own {
            own.tell(event);
        }
        if !own.as_ref().is_some_and(|own| own.is_alone(event)) {
            (self.listener)(event);
        }
        drop(own);
        let mut lifecycle = self.lock();
        match event {
            Event::Ready { .. } | Event::Reloaded { .. } => lifecycle.switches += 1,
            Event::ReloadFailed { .. } | Event::Failed { .. } => lifecycle.failures += 1,
            Event::WorkerExit { expected: false, .. } => lifecycle.crashes += 1,
            _ => {}
        }
        drop(lifecycle);
        let mut lines = Vec::new();
        if let Event::ReloadFailed { errors, .. } | Event::Failed { errors } = event {
            lines.extend(errors.iter().map(|fault| {
                let place = fault.origin.as_ref().map(|origin| format!("{origin}: "));
                format!("error: {}{}", place.unwrap_or_default(), fault.message)
            }));
        }
        lines.extend(event.text());
        if !lines.is_empty() {
            self.log.push(LogChunk::new("supervisor", lines.join("\n")));
        }
        if !matches!(event, Event::Progress { .. }) {
            let _ = self.events.send(event.clone()); // no receivers
        }
    }

    /// Follows the table `[log]` from now on, if there is one; its files belong to `owner`. `shown`: standard
    /// output already has the events. Returns the file if it is a new one.
    /// # Errors
    /// When its file cannot be opened; nothing has changed then.
    pub(super) fn follow(
        &self,
        log: Option<Log>,
        owner: Option<(u32, u32)>,
        shown: bool,
    ) -> Result<Option<PathBuf>, Error> {
        let mut own = self.own();
        let before = own.as_ref().and_then(Own::file).map(Path::to_owned);
        match log {
            None => *own = None,
            Some(log) if own.as_ref().is_some_and(|own| own.is_of(&log, owner)) => {}
            Some(log) => *own = Own::of(log, owner, shown, self.reopen.clone())?,
        }
        let file = own.as_ref().and_then(Own::file).map(Path::to_owned);
        Ok(file.filter(|file| before.as_ref() != Some(file)))
    }

    /// Reopens the log file, which may have been moved.
    pub(super) fn reopen(&self) {
        self.reopen.ask();
    }

    fn own(&self) -> MutexGuard<'_, Option<Own>> {
        self.own.lock()
    }

    /// The events from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(super) fn lifecycle(&self) -> LifecycleCounts {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, LifecycleCounts> {
        self.lifecycle.lock()
    }
}
