//! Scheduled runs: a notebook is copied, its parameters are set, its cells run without a page, and the copy is kept.

mod parameters;
mod runner;
mod timing;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::parameters::{failure, inject};
pub(crate) use self::runner::RunCause;
pub use self::timing::{Timing, Zone};
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::state::Notebook;
use crate::store::{Schedule, StoreError};

/// A schedule in the form that clients send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulePlan {
    /// When it runs: a cron expression, `0 3 * * 1-5`.
    pub cron: String,
    /// The time zone of the expression.
    #[serde(default)]
    pub zone: Zone,
    /// Values for the variables of the cell with the tag `parameters`.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// What happens with a run that was due while the server was down.
    #[serde(default)]
    pub missed: Missed,
    /// The runs that the owner is notified of.
    #[serde(default)]
    pub alert: Alert,
}

/// What happens with a run that was due while the server was down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// It runs once, when the server is up again.
    #[default]
    Run,
    /// It is left out.
    Skip,
}

/// The runs that the owner is notified of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// Of those that did not succeed or were missed.
    #[default]
    Failure,
    /// Of all.
    Always,
    /// Of none.
    Never,
}

impl Missed {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Missed::Run => "run",
            Missed::Skip => "skip",
        }
    }

    /// The value with this name.
    pub fn parse(name: &str) -> Option<Missed> {
        [Missed::Run, Missed::Skip].into_iter().find(|value| value.name() == name)
    }
}

impl Alert {
    /// As it is stored and sent.
    pub fn name(self) -> &'static str {
        match self {
            Alert::Failure => "failure",
            Alert::Always => "always",
            Alert::Never => "never",
        }
    }

    /// The value with this name.
    pub fn parse(name: &str) -> Option<Alert> {
        [Alert::Failure, Alert::Always, Alert::Never].into_iter().find(|value| value.name() == name)
    }
}

/// Why a schedule cannot be made or changed; for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// What was entered cannot be used.
    #[error("{0}")]
    Unfit(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Notebook {
    /// Adds a schedule of `owner` (none: the single user) for the notebook at `path`. Returns its id.
    /// # Errors
    /// [`ScheduleError`].
    pub async fn add_schedule(
        &self,
        path: &RelativePath,
        owner: Option<i64>,
        plan: SchedulePlan,
    ) -> Result<String, ScheduleError> {
        let unfit = |message: String| ScheduleError::Unfit(message);
        if !path.is_notebook() || self.files.facts(path).is_err() {
            return Err(unfit(format!("there is no notebook `{path}`")));
        }
        let next = check(&plan)?;
        let limit = self.settings.limits.user_schedules;
        if self.store.schedules()?.iter().filter(|known| known.owner == owner).count() >= limit {
            return Err(unfit(format!(
                "there are already {limit} schedules (`limits.user_schedules`): delete one first"
            )));
        }
        Ok(self.store.add_schedule(path, owner, plan, next).await?)
    }

    /// Changes a schedule. Its next run is the next time of its expression.
    /// # Errors
    /// [`ScheduleError`].
    pub async fn change_schedule(
        &self,
        id: &str,
        plan: SchedulePlan,
        paused: bool,
    ) -> Result<(), ScheduleError> {
        let next = check(&plan)?;
        Ok(self.store.change_schedule(id, plan, paused, next).await?)
    }

    /// Whether `principal` may see and change a schedule: its owner while the notebook is visible, and who manages the notebook.
    pub fn may_manage(&self, principal: &Principal, schedule: &Schedule) -> bool {
        let Ok(path) = RelativePath::parse(&schedule.path) else {
            // In the trash.
            return principal.is_known() && principal.user == schedule.owner;
        };
        match self.access.level(principal, &path) {
            Some(Level::Manage) => true,
            Some(level) => level >= Level::Run && principal.user == schedule.owner,
            None => false,
        }
    }
}

/// Checks a plan. Returns when it runs next, in milliseconds since 1970.
fn check(plan: &SchedulePlan) -> Result<i64, ScheduleError> {
    let timing = Timing::parse(&plan.cron, plan.zone).map_err(ScheduleError::Unfit)?;
    for name in plan.parameters.keys() {
        parameters::check_name(name).map_err(ScheduleError::Unfit)?;
    }
    timing.next(crate::store::now()).ok_or_else(|| ScheduleError::Unfit("no time matches it".to_owned()))
}
