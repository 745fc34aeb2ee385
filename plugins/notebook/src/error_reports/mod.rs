//! The errors that the notebook logs: kept for administrators, and sent to them in one email per interval.
//!
//! All workers of a server share the file `errors.json` in `state_dir`, so that they count together and send one email. It works
//! without the database, whose errors are among those to report.

mod clean;
mod digest;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::state::{ErrorState, MailLimits};
use crate::auth::Auth;
use crate::files::Files;
use crate::mail::{self, Mailer};
use crate::settings::{Mail, Settings};
use crate::store::now;

pub use self::state::RecentError;

/// How long further errors are waited for before an email is sent, so that it has all errors with one cause.
const SETTLE: Duration = Duration::from_secs(1);
/// How often it is checked whether another process has left errors that are not sent.
const LOOK: Duration = Duration::from_secs(30);
/// How long a failing start waits for the mail server.
const LAST: Duration = Duration::from_secs(15);
/// The target of panics, whose text may contain anything.
const PANIC: &str = "panic";

tokio::task_local! {
    /// The id of the request that the task handles.
    static REQUEST_ID: String;
}

/// Runs `handler` for the request with this id. The errors that it logs are reported with the id.
pub(crate) async fn in_request<F: Future>(id: Option<String>, handler: F) -> F::Output {
    match id {
        Some(id) => REQUEST_ID.scope(id, handler).await,
        None => handler.await,
    }
}

/// Collects errors. Cheap to clone.
#[derive(Clone)]
pub struct ErrorReports(Arc<ErrorReportsInner>);

struct ErrorReportsInner {
    state_dir: PathBuf,
    mail: Option<ErrorMail>,
    /// What is not yet in the file.
    pending: Mutex<ErrorState>,
    /// What is not in the file because it could not be written.
    unsaved: Mutex<Option<ErrorState>>,
    wake: Arc<Notify>,
}

/// To whom errors are sent.
struct ErrorMail {
    mailer: Mailer,
    to: Vec<String>,
    limits: MailLimits,
}

impl ErrorMail {
    fn new(mail: &Mail) -> io::Result<Option<ErrorMail>> {
        if let Some(wrong) = mail.errors_to.iter().find(|address| !mail::is_address(address)) {
            let message = format!("the setting `mail.errors_to`: `{wrong}` is not an email address");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if mail.errors_to.is_empty() {
            return Ok(None);
        }
        let limits = MailLimits {
            interval_ms: mail.errors_interval_secs.get().saturating_mul(1000),
            per_hour: usize::try_from(mail.errors_per_hour.get()).unwrap_or(usize::MAX),
        };
        Ok(Some(ErrorMail { mailer: Mailer::new(mail)?, to: mail.errors_to.clone(), limits }))
    }

    /// Sends a mail to all. An error if nobody got it.
    async fn send(&self, subject: &str, text: &str) -> Result<(), String> {
        let mut failure = None;
        let mut sent = false;
        for address in &self.to {
            match self.mailer.send(address, subject, text.to_owned()).await {
                Ok(()) => sent = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !sent => Err(error),
            _ => Ok(()),
        }
    }
}

impl ErrorReports {
    /// Sends an email about why the notebook could not start, before the process ends. Only if the settings are valid.
    pub(crate) async fn start_failed(settings: &Settings, error: &str) {
        let open = || {
            let files = Files::open(&settings.data_dir).ok()?;
            let auth = Auth::open(settings, files.path()).ok()?;
            ErrorReports::open(settings, auth.state_dir()).ok()
        };
        let Some(reports) = open() else { return };
        reports.record(module_path!(), "the notebook cannot start", &[("error", error.to_owned())]);
        let _ = tokio::time::timeout(LAST, reports.pass()).await;
    }

    /// With these settings and this folder.
    /// # Errors
    /// A setting that cannot be used.
    pub(crate) fn open(settings: &Settings, state_dir: &Path) -> io::Result<ErrorReports> {
        let state_dir = state_dir.to_owned();
        let mail = settings.mail.as_ref().map(ErrorMail::new).transpose()?.flatten();
        Ok(ErrorReports(Arc::new(ErrorReportsInner {
            state_dir,
            mail,
            pending: Mutex::default(),
            unsaved: Mutex::default(),
            wake: Arc::default(),
        })))
    }

    /// Stores and sends what is recorded, until the value is dropped.
    pub fn watch(&self) {
        let (reports, wake) = (Arc::downgrade(&self.0), self.0.wake.clone());
        tokio::spawn(watch(reports, wake));
    }

    /// Records an error of the log. Does not block.
    pub fn record(&self, target: &str, message: &str, fields: &[(&'static str, String)]) {
        let (message, detail) = match target {
            PANIC => ("a panic".to_owned(), clean::places(fields)),
            _ => (clean::line(message), clean::fields(fields)),
        };
        let is_sent = target != mail::TARGET && self.0.mail.is_some();
        let request_id = REQUEST_ID.try_with(|id| clean::id(id)).ok();
        self.0.pending.lock().add(RecentError::new(target, message, detail, request_id, is_sent, now()));
        self.0.wake.notify_one();
    }

    /// The errors of the last time, the newest first. Blocks.
    pub fn recent(&self) -> Vec<RecentError> {
        let mut errors = self.update(|state| state.errors.clone());
        errors.sort_by_key(|error| std::cmp::Reverse(error.last));
        errors
    }

    /// The addresses to which errors are sent.
    pub fn addresses(&self) -> &[String] {
        self.0.mail.as_ref().map_or(&[], |mail| &mail.to)
    }

    /// Sends an email without errors, to check the settings.
    /// # Errors
    /// Why it could not be sent.
    pub async fn send_test(&self) -> Result<(), String> {
        let Some(mail) = &self.0.mail else {
            return Err("no email of errors is sent: set `mail.errors_to` in the settings".to_owned());
        };
        let sent = mail.send("A test of the notebook's emails", &digest::test(&mail.mailer)).await;
        sent.map_err(|error| clean::line(&error))
    }

    /// Stores what was recorded, and sends what is due. Returns when the next email can be sent, if there are errors that are
    /// not sent.
    async fn pass(&self) -> Option<Duration> {
        let reports = self.clone();
        let updated = tokio::task::spawn_blocking(move || {
            let limits = reports.0.mail.as_ref().map(|mail| mail.limits);
            reports.update(|state| {
                let claimed = limits.and_then(|limits| state.claim(now(), limits));
                let due = limits.and_then(|limits| state.due(now(), limits));
                (claimed, due)
            })
        });
        let (claimed, due) = updated.await.ok()?;
        let due = due.map(Duration::from_millis);
        let (Some(mail), Some(errors)) = (&self.0.mail, claimed) else { return due };
        let count = errors.iter().map(|error| error.count).sum::<u64>();
        let text = digest::text(&errors, &mail.mailer, mail.limits);
        if let Err(error) = mail.send(&digest::subject(count), &text).await {
            // A warning: it must not cause another email. The errors are in the next one.
            tracing::warn!(error, "cannot send an email about errors");
            let reports = self.clone();
            let restored = move || reports.update(|state| state.restore(&errors));
            let _ = tokio::task::spawn_blocking(restored).await;
        }
        due
    }

    /// Changes the state that all workers share, with what is pending. If the file cannot be used, the state stays in memory.
    fn update<T>(&self, change: impl FnOnce(&mut ErrorState) -> T) -> T {
        let new = std::mem::take(&mut *self.0.pending.lock());
        let mut unsaved = self.0.unsaved.lock();
        let lock = state::lock(&self.0.state_dir);
        let mut state = state::read(&self.0.state_dir);
        if let Some(unsaved) = unsaved.take() {
            state = unsaved;
        }
        let before = state.clone();
        new.errors.into_iter().for_each(|error| state.add(error));
        let result = change(&mut state);
        let written = lock.and_then(|lock| {
            let written = if state == before { Ok(()) } else { state::write(&self.0.state_dir, &state) };
            drop(lock);
            written
        });
        if written.is_err() {
            *unsaved = Some(state);
        }
        result
    }
}

async fn watch(reports: Weak<ErrorReportsInner>, wake: Arc<Notify>) {
    let mut next = Some(Duration::ZERO);
    loop {
        let pause = next.unwrap_or(LOOK).min(LOOK);
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(inner) = reports.upgrade() else { return };
        next = ErrorReports(inner).pass().await;
    }
}
