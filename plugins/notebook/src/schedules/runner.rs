//! Runs what is due. One process for each kernel host does it; the others wait for its lock.
//!
//! A run is a hidden copy beside the notebook, which a document runs like any other, with the kernel, the sandbox and the limits
//! of its folder. Its state is in the file and in the kernel host, so the next generation of the plugin continues it. If the
//! kernel host has ended too, the run is recorded as lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use super::{Alert, Missed, Timing, failure, inject};
use crate::access::Level;
use crate::files::{FileError, RelativePath};
use crate::format;
use crate::state::Notebook;
use crate::store::{NewNotice, Schedule, ScheduledRun, StoreError, now};

/// How often schedules and runs are checked.
const TICK: Duration = Duration::from_secs(1);
/// A run that is later than this was missed, in milliseconds.
const LATE_MS: i64 = 60_000;
const LOCK: &str = "schedules";

/// Why a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunCause {
    /// Its time has come.
    Schedule,
    /// Its time had come while the server was down.
    Missed,
    /// A user requested it.
    ByHand,
}

impl RunCause {
    fn name(self) -> &'static str {
        match self {
            RunCause::Schedule => "schedule",
            RunCause::Missed => "missed",
            RunCause::ByHand => "by_hand",
        }
    }
}

/// Does what is due, until a newer generation takes over or the notebook is dropped.
pub(super) async fn run(notebook: Weak<Notebook>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(notebook) = notebook.upgrade() else { return };
        if notebook.documents.is_retired() {
            let _ = notebook.link.unlock(LOCK).await;
            return;
        }
        // Also fails while there is no kernel host.
        if !matches!(notebook.link.lock(LOCK, None).await, Ok(true)) {
            continue;
        }
        if let Err(error) = notebook.run_due().await {
            tracing::error!(%error, "cannot read the schedules");
        }
    }
}

impl Notebook {
    /// Begins to run what is due.
    pub(crate) fn watch_schedules(self: &Arc<Notebook>) {
        tokio::spawn(run(Arc::downgrade(self)));
    }

    /// Which kernel host runs what begins here.
    fn run_host(&self) -> String {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{} {}", name.trim(), self.auth.state_dir().display())
    }

    async fn run_due(&self) -> Result<(), StoreError> {
        let time = now();
        for schedule in self.store.due_schedules(time)? {
            let timing = Timing::parse(&schedule.plan.cron, schedule.plan.zone);
            // An expression whose last time has passed rests.
            let next = timing.ok().and_then(|timing| timing.next(time)).unwrap_or(i64::MAX);
            if !self.store.take_due(&schedule.id, schedule.due, next).await? {
                continue;
            }
            // What is in the trash rests.
            if RelativePath::parse(&schedule.path).is_err() {
                continue;
            }
            let missed = time - schedule.due > LATE_MS;
            if missed {
                self.tell_missed(&schedule).await?;
            }
            if !missed || schedule.plan.missed == Missed::Run {
                let cause = if missed { RunCause::Missed } else { RunCause::Schedule };
                self.queue_run(&schedule, cause, schedule.due).await?;
            }
        }
        for run in self.store.open_runs(&self.run_host())? {
            let Some(schedule) = self.store.schedule(&run.schedule)? else { continue };
            match run.status.as_str() {
                "waiting" => self.begin_run(&schedule, &run).await?,
                _ => self.watch_run(&schedule, &run).await?,
            }
        }
        // Those of a machine that did not come back.
        let limit = i64::try_from(self.settings.limits.scheduled_run_secs).unwrap_or(i64::MAX);
        let before = time.saturating_sub(limit.saturating_mul(1000)).saturating_sub(10 * LATE_MS);
        self.store.give_up_runs(before).await
    }

    async fn tell_missed(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let message = "the server was down at this time".to_owned();
        let run = new_run(schedule, RunCause::Schedule, schedule.due, "missed", message);
        self.store.add_scheduled_run(run.clone(), "", self.settings.limits.scheduled_runs).await?;
        self.alert(schedule, &run).await
    }

    /// Lets a run of a schedule begin within some seconds. Returns its id.
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn queue_run(
        &self,
        schedule: &Schedule,
        cause: RunCause,
        due: i64,
    ) -> Result<String, StoreError> {
        let (host, kept) = (self.run_host(), self.settings.limits.scheduled_runs);
        let mut run = new_run(schedule, cause, due, "waiting", String::new());
        let open = |run: &ScheduledRun| matches!(run.status.as_str(), "running" | "waiting");
        if self.store.scheduled_runs(&schedule.id)?.iter().any(open) {
            run = new_run(schedule, cause, due, "error", "the previous run has not ended".to_owned());
            self.store.add_scheduled_run(run.clone(), &host, kept).await?;
            self.alert(schedule, &run).await?;
            return Ok(run.id);
        }
        let copy = RelativePath::parse(&schedule.path).ok().and_then(|path| path.scheduled_copy(&run.id));
        run.copy = copy.as_ref().map(ToString::to_string).unwrap_or_default();
        self.store.add_scheduled_run(run.clone(), &host, kept).await?;
        Ok(run.id)
    }

    async fn begin_run(&self, schedule: &Schedule, run: &ScheduledRun) -> Result<(), StoreError> {
        // First: a server that is killed now must not run it twice.
        self.store.start_scheduled_run(&run.id).await?;
        self.start_run(schedule, run).await
    }

    async fn start_run(&self, schedule: &Schedule, run: &ScheduledRun) -> Result<(), StoreError> {
        let begun = match (RelativePath::parse(&schedule.path), RelativePath::parse_internal(&run.copy)) {
            (Ok(path), Ok(copy)) => self.start_copy(schedule, &path, &copy).await,
            _ => Err("the notebook was deleted".to_owned()),
        };
        match begun {
            Ok(()) => Ok(()),
            Err(message) => {
                tracing::error!(error = message, notebook = schedule.path, "a scheduled run could not start");
                self.end_run(schedule, run, "error", &message, false).await
            }
        }
    }

    /// Writes the copy, with the parameters, and sends its cells to a kernel.
    async fn start_copy(
        &self,
        schedule: &Schedule,
        path: &RelativePath,
        copy: &RelativePath,
    ) -> Result<(), String> {
        if let Some(owner) = schedule.owner {
            let account = self.store.active_account(owner).map_err(|error| error.to_string())?;
            let Some(account) = account else { return Err("its owner is suspended".to_owned()) };
            if !self.access.account_may(&account, Level::Run, path) {
                return Err(format!("{} may no longer run this notebook", account.name));
            }
        }
        self.flush_everywhere(path).await?;
        let (files, limit) = (self.files.clone(), self.settings.limits.body_bytes);
        let (from, to, parameters) = (path.clone(), copy.clone(), schedule.plan.parameters.clone());
        let written = tokio::task::spawn_blocking(move || {
            let (bytes, _) = files.read(&from, limit).map_err(|error| error.to_string())?;
            let file =
                format::parse(&bytes).map_err(|error| format!("`{from}` is not a notebook: {error}"))?;
            let mut content = file.to_joined_json();
            inject(&mut content, &parameters)?;
            let file = format::from_json(content).map_err(|error| error.to_string())?;
            files.write(&to, &file.to_bytes()).map(drop).map_err(|error| error.to_string())
        });
        written.await.map_err(|error| error.to_string())??;
        self.documents.run_all(copy).await.map_err(|error| error.to_string())
    }

    /// Looks whether a run has ended.
    async fn watch_run(&self, schedule: &Schedule, run: &ScheduledRun) -> Result<(), StoreError> {
        let limit = i64::try_from(self.settings.limits.scheduled_run_secs).unwrap_or(i64::MAX);
        let Ok(copy) = RelativePath::parse_internal(&run.copy) else {
            return self.end_run(schedule, run, "lost", "its state is unknown", false).await;
        };
        let is_new = now() - run.started < LATE_MS;
        if is_new && matches!(self.files.facts(&copy), Err(FileError::NotFound(_))) {
            // The server ended before the copy was written, so nothing has run.
            return self.start_run(schedule, run).await;
        }
        // Its kernel was there when it began: a host without it has ended in between.
        let Ok(kernel) = self.sessions.of_path(copy.as_str()).await else { return Ok(()) };
        let state = match self.documents.run_state(&copy).await {
            Ok(state) => state,
            Err(crate::documents::OpenError::Busy(_)) => return Ok(()),
            Err(error) => return self.end_run(schedule, run, "lost", &error.to_string(), false).await,
        };
        let late = (now() - run.started) / 1000 > limit;
        match state {
            state if state.running && state.asks => {
                self.end_run(
                    schedule,
                    run,
                    "error",
                    "a cell asks for input, which a scheduled run cannot give",
                    true,
                )
                .await
            }
            state if state.running && late => {
                let message = format!("it took longer than {limit} s (`limits.scheduled_run_secs`)");
                self.end_run(schedule, run, "error", &message, true).await
            }
            state if state.running => Ok(()),
            state => match (state.dead, kernel) {
                (Some(reason), _) => self.end_run(schedule, run, "error", &reason, true).await,
                (None, None) => {
                    let message =
                        "the kernel has ended: the server was restarted, or someone shut the kernel down";
                    self.end_run(schedule, run, "lost", message, true).await
                }
                (None, Some(_)) => self.end_run(schedule, run, "ok", "", true).await,
            },
        }
    }

    /// Ends a run: keeps its copy as the result, and removes what it used.
    pub(crate) async fn end_run(
        &self,
        schedule: &Schedule,
        run: &ScheduledRun,
        status: &str,
        message: &str,
        keep: bool,
    ) -> Result<(), StoreError> {
        let copy = RelativePath::parse_internal(&run.copy).ok().filter(|copy| !copy.is_root());
        let content = match &copy {
            Some(copy) => self.take_copy(copy).await.filter(|_| keep),
            None => None,
        };
        let reason = content.as_ref().and_then(failure);
        let (status, message) = match reason {
            Some(reason) if status == "ok" => ("error", reason),
            _ => (status, message.to_owned()),
        };
        let content = content.map(|content| content.to_string());
        if !self.store.end_scheduled_run(&run.id, status, &message, content).await? {
            return Ok(());
        }
        let ended = ScheduledRun { status: status.to_owned(), message, ..run.clone() };
        self.alert(schedule, &ended).await
    }

    /// Closes the copy and removes it with its kernel. Returns its content.
    async fn take_copy(&self, copy: &RelativePath) -> Option<Value> {
        self.documents.close(copy, "the run has ended").await;
        if let Ok(Some((session, _))) = self.sessions.of_path(copy.as_str()).await
            && let Err(problem) = self.sessions.close(&session.id).await
        {
            tracing::error!(%problem, document = %copy, "cannot end the kernel of a scheduled run");
        }
        let (files, limit, read) = (self.files.clone(), self.settings.limits.body_bytes, copy.clone());
        let content = tokio::task::spawn_blocking(move || {
            let (bytes, _) = files.read(&read, limit).ok()?;
            match files.remove(&read) {
                Ok(()) | Err(FileError::NotFound(_)) => {}
                Err(error) => tracing::error!(%error, "cannot remove the copy of a scheduled run"),
            }
            format::parse(&bytes).ok().map(|file| file.to_joined_json())
        });
        let content = content.await.ok().flatten();
        self.documents.remove_overflow(copy).await;
        if let Err(error) = self.store.removed(copy).await {
            tracing::error!(%error, "cannot remove the record of a scheduled run's copy");
        }
        content
    }

    /// Notifies the owner of the result of a run, in the inbox and by email.
    async fn alert(&self, schedule: &Schedule, run: &ScheduledRun) -> Result<(), StoreError> {
        let success = run.status == "ok";
        if !success {
            tracing::warn!(
                notebook = schedule.path,
                status = run.status,
                message = run.message,
                "a scheduled run did not succeed"
            );
        }
        let wanted = match schedule.plan.alert {
            Alert::Always => true,
            Alert::Failure => !success && run.status != "stopped",
            Alert::Never => false,
        };
        let (Some(owner), Ok(path), true) = (schedule.owner, RelativePath::parse(&schedule.path), wanted)
        else {
            return Ok(());
        };
        let text = match run.status.as_str() {
            "ok" => "It succeeded.".to_owned(),
            "missed" => "It was missed: the server was down.".to_owned(),
            "lost" => format!("It was lost: {}.", run.message),
            _ => format!("It failed: {}", run.message),
        };
        let notice = NewNotice { kind: "run", author: String::new(), thread: None, text: text.clone() };
        self.store.notify(&path, vec![owner], notice).await?;
        if let (Some(mailer), Some(address)) = (&self.mailer, self.store.email_of(owner)?) {
            let subject =
                if success { "A scheduled run succeeded" } else { "A scheduled run did not succeed" };
            let link = mailer.link(&format!("schedules/{}", crate::http::encode(path.as_str())));
            mailer.send_later(
                address,
                subject,
                format!("The scheduled run of {path}:\n\n{text}\n\n{link}\n"),
            );
        }
        Ok(())
    }
}

fn new_run(schedule: &Schedule, cause: RunCause, due: i64, status: &str, message: String) -> ScheduledRun {
    ScheduledRun {
        id: uuid::Uuid::new_v4().to_string(),
        schedule: schedule.id.clone(),
        cause: cause.name().to_owned(),
        due,
        started: now(),
        ended: (status != "waiting").then(now),
        status: status.to_owned(),
        message,
        copy: String::new(),
        has_content: false,
    }
}
