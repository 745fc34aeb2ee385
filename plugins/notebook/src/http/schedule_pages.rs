//! `/schedules`: the pages on which runs are scheduled, for accounts and for the single user.

use axum::extract::{Form, FromRequestParts, Path};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cookies::valid_xsrf;
use super::error::{ApiError, Result};
use super::forms::{problem, shown_time};
use super::location::RequestLocation;
use super::pages::escape;
use super::percent::encode;
use super::plain;
use super::schedules::{managed, visible};
use crate::access::Level;
use crate::files::RelativePath;
use crate::identity::Principal;
use crate::schedules::{Alert, Missed, RunCause, ScheduleError, SchedulePlan, Zone};
use crate::state::Shared;
use crate::store::{Schedule, ScheduledRun, now};

/// The user of a page of schedules.
pub(super) struct Planner {
    notebook: Shared,
    principal: Principal,
    place: RequestLocation,
    xsrf: String,
}

impl FromRequestParts<Shared> for Planner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, notebook: &Shared) -> Result<Planner> {
        let principal = parts.extensions.get::<Principal>().cloned().unwrap_or_else(Principal::nobody);
        let xsrf = valid_xsrf(notebook, &parts.headers).map(encode).unwrap_or_default();
        Ok(Planner { notebook: notebook.clone(), principal, place: RequestLocation::of(parts), xsrf })
    }
}

impl Planner {
    fn action(&self, path: &str) -> String {
        format!("{}schedules/{}?_xsrf={}", escape(&self.place.base()), escape(&encode(path)), self.xsrf)
    }

    fn button(&self, schedule: &Schedule, action: &str, label: &str) -> String {
        format!(
            "<form class=\"inline\" method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"id\" value=\"{}\">\
             <button class=\"plain\" name=\"action\" value=\"{action}\">{label}</button></form>",
            self.action(&schedule.path),
            schedule.id,
        )
    }

    fn page(&self, title: &str, path: Option<&RelativePath>, body: &str) -> Response {
        let base = escape(&self.place.base());
        let open = path.map_or_else(String::new, |path| {
            format!(
                "<a href=\"{base}notebooks/{}\">{}</a>",
                escape(&encode(path.as_str())),
                escape(path.name())
            )
        });
        let links = format!(
            "<nav><a href=\"{base}\">Notebooks</a><a href=\"{base}schedules\">All scheduled runs</a>{open}</nav>"
        );
        plain::wide_page(&self.place, title, &links, body).into_response()
    }

    /// The page of one notebook.
    fn of_notebook(&self, path: &RelativePath, notice: &str) -> Result<Response> {
        let mut body = notice.to_owned();
        for schedule in visible(&self.notebook, &self.principal, Some(path))? {
            let runs = self.notebook.store.scheduled_runs(&schedule.id)?;
            body.push_str(&self.section(&schedule, &runs));
        }
        if self.notebook.access.level(&self.principal, path) >= Some(Level::Run) {
            body.push_str(&format!(
                "<h2>New schedule</h2><p>The cells of a copy run with your rights, and the copy is kept with its outputs. The notebook \
                 itself does not change. Parameters replace the variables of the cell with the tag <code>parameters</code>.</p>{}",
                self.plan_form(path.as_str(), None)
            ));
        }
        Ok(self.page("Scheduled runs", Some(path), &body))
    }

    fn section(&self, schedule: &Schedule, runs: &[ScheduledRun]) -> String {
        let (pause, word) = if schedule.paused { ("resume", "Resume") } else { ("pause", "Pause") };
        let owner = match schedule.owner_name.as_str() {
            "" => String::new(),
            name => format!(" for {}", escape(name)),
        };
        let runs: String = runs.iter().map(|run| self.run_row(run)).collect();
        let runs = match runs.is_empty() {
            true => "<p class=\"faint\">It has not run yet.</p>".to_owned(),
            false => format!(
                "<table><tr><th>Due (UTC)</th><th>Began</th><th>Took</th><th>Status</th><th></th></tr>{runs}</table>"
            ),
        };
        format!(
            "<h2><code>{}</code>{owner}</h2><p>{}</p><p>{}{}{}</p><details><summary>Change</summary>{}</details>{runs}",
            escape(&schedule.plan.cron),
            next_words(schedule),
            self.button(schedule, "run", "Run now"),
            self.button(schedule, pause, word),
            self.button(schedule, "delete", "Delete"),
            self.plan_form(&schedule.path, Some(schedule)),
        )
    }

    fn run_row(&self, run: &ScheduledRun) -> String {
        let result = match run.has_content {
            true => format!("<a href=\"{}scheduled-runs/{}\">Result</a>", escape(&self.place.base()), run.id),
            false => String::new(),
        };
        let took = run.ended.map(|ended| format!("{:.1} s", (ended - run.started) as f64 / 1000.0));
        format!(
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{} {}</td><td>{result}</td></tr>",
            shown_time(run.due),
            if run.cause == "by_hand" { " <span class=\"faint\">by hand</span>" } else { "" },
            shown_time(run.started),
            took.unwrap_or_default(),
            status_words(&run.status),
            escape(&run.message),
        )
    }

    fn plan_form(&self, path: &str, schedule: Option<&Schedule>) -> String {
        let new = || SchedulePlan {
            cron: String::new(),
            zone: Zone::Local,
            parameters: Map::new(),
            missed: Missed::Run,
            alert: Alert::Failure,
        };
        let plan = schedule.map_or_else(new, |schedule| schedule.plan.clone());
        let parameters = match plan.parameters.is_empty() {
            true => String::new(),
            false => Value::Object(plan.parameters.clone()).to_string(),
        };
        let (id, action, label) = match schedule {
            Some(schedule) => (schedule.id.as_str(), "change", "Change"),
            None => ("", "add", "Add"),
        };
        format!(
            "<form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"id\" value=\"{id}\">\
             <label>Cron expression <input name=\"cron\" value=\"{}\" placeholder=\"0 3 * * 1-5\" required></label>\
             <label>Time zone <select name=\"zone\">{}</select></label>\
             <label>Parameters (JSON) <input name=\"parameters\" value=\"{}\" placeholder=\"{{&quot;days&quot;: 7}}\"></label>\
             <label>If the server was down <select name=\"missed\">{}</select></label>\
             <label>Tell me <select name=\"alert\">{}</select></label>\
             <button name=\"action\" value=\"{action}\">{label}</button></form>",
            self.action(path),
            escape(&plan.cron),
            options(&[("local", "the server's"), ("utc", "UTC")], plan.zone.name()),
            escape(&parameters),
            options(&[("run", "run once when it is up"), ("skip", "leave it out")], plan.missed.name()),
            options(
                &[("failure", "if it fails"), ("always", "always"), ("never", "never")],
                plan.alert.name()
            ),
        )
    }
}

fn options(choices: &[(&str, &str)], chosen: &str) -> String {
    let option = |(value, words): &(&str, &str)| {
        let selected = if *value == chosen { " selected" } else { "" };
        format!("<option value=\"{value}\"{selected}>{words}</option>")
    };
    choices.iter().map(option).collect()
}

fn next_words(schedule: &Schedule) -> String {
    match schedule.paused {
        true => "Paused.".to_owned(),
        false if schedule.due == i64::MAX => "It does not run any more.".to_owned(),
        false => format!("Runs next at {} (UTC).", shown_time(schedule.due)),
    }
}

fn status_words(status: &str) -> &'static str {
    match status {
        "waiting" => "begins",
        "running" => "runs",
        "ok" => "succeeded",
        "missed" => "missed",
        "lost" => "lost",
        "stopped" => "stopped",
        _ => "failed",
    }
}

/// The page of all schedules that the user may see.
pub(super) async fn list(planner: Planner) -> Result<Response> {
    if !planner.principal.is_known() {
        return Err(ApiError::missing("there is nothing at this address"));
    }
    let base = escape(&planner.place.base());
    let mut rows = String::new();
    for schedule in visible(&planner.notebook, &planner.principal, None)? {
        let runs = planner.notebook.store.scheduled_runs(&schedule.id)?;
        let last =
            runs.first().map(|run| format!("{} {}", shown_time(run.started), status_words(&run.status)));
        // What is in the trash has no page.
        let name = match RelativePath::parse(&schedule.path) {
            Ok(path) => format!(
                "<a href=\"{base}schedules/{}\">{}</a>",
                escape(&encode(path.as_str())),
                escape(path.as_str())
            ),
            Err(_) => "in the trash".to_owned(),
        };
        rows.push_str(&format!(
            "<tr><td>{name}</td><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&schedule.plan.cron),
            escape(&schedule.owner_name),
            next_words(&schedule),
            last.unwrap_or_default(),
        ));
    }
    let body = match rows.is_empty() {
        true => "<p>Nothing is scheduled. Open the menu of a notebook and choose <em>Schedule …</em>.</p>"
            .to_owned(),
        false => format!(
            "<table><tr><th>Notebook</th><th>When</th><th>For</th><th>Next</th><th>Last run</th></tr>{rows}</table>"
        ),
    };
    Ok(planner.page("Scheduled runs", None, &body))
}

/// The page of one notebook.
pub(super) async fn show(planner: Planner, Path(path): Path<String>) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    planner.notebook.may(&planner.principal, Level::Run, &path)?;
    planner.notebook.files.facts(&path)?;
    planner.of_notebook(&path, "")
}

#[derive(Deserialize)]
pub(super) struct ScheduleForm {
    action: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    cron: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    parameters: String,
    #[serde(default)]
    missed: String,
    #[serde(default)]
    alert: String,
}

impl ScheduleForm {
    fn plan(&self) -> Result<SchedulePlan, String> {
        let parameters = match self.parameters.trim() {
            "" => Map::new(),
            text => match serde_json::from_str(text) {
                Ok(Value::Object(parameters)) => parameters,
                _ => return Err("the parameters must be a JSON object, such as {\"days\": 7}".to_owned()),
            },
        };
        Ok(SchedulePlan {
            cron: self.cron.trim().to_owned(),
            zone: Zone::parse(&self.zone).unwrap_or_default(),
            parameters,
            missed: Missed::parse(&self.missed).unwrap_or_default(),
            alert: Alert::parse(&self.alert).unwrap_or_default(),
        })
    }
}

pub(super) async fn change(
    planner: Planner,
    Path(path): Path<String>,
    Form(form): Form<ScheduleForm>,
) -> Result<Response> {
    let path = RelativePath::parse(&path)?;
    let notebook = &planner.notebook;
    notebook.may(&planner.principal, Level::Run, &path)?;
    let done = match form.action.as_str() {
        "add" => match form.plan() {
            Ok(plan) => notebook.add_schedule(&path, planner.principal.user, plan).await.map(drop),
            Err(message) => Err(ScheduleError::Unfit(message)),
        },
        action => {
            let schedule = managed(notebook, &planner.principal, &form.id)?;
            match action {
                "change" => match form.plan() {
                    Ok(plan) => notebook.change_schedule(&schedule.id, plan, schedule.paused).await,
                    Err(message) => Err(ScheduleError::Unfit(message)),
                },
                "pause" | "resume" => {
                    notebook.change_schedule(&schedule.id, schedule.plan.clone(), action == "pause").await
                }
                "run" => {
                    notebook.queue_run(&schedule, RunCause::ByHand, now()).await.map(drop).map_err(Into::into)
                }
                "delete" => notebook.delete_schedule(&schedule).await.map_err(Into::into),
                _ => return Err(ApiError::bad("there is no such action")),
            }
        }
    };
    match done {
        Ok(()) => {}
        Err(ScheduleError::Unfit(message)) => {
            let page = planner.of_notebook(&path, &problem(&message))?;
            return Ok((StatusCode::BAD_REQUEST, page).into_response());
        }
        Err(error) => return Err(error.into()),
    }
    if matches!(form.action.as_str(), "add" | "delete") {
        let what = format!("{} schedule", form.action);
        notebook
            .store
            .audit(&planner.principal.name, &planner.place.client_text(), &what, path.as_str())
            .await?;
    }
    Ok(Redirect::to(&format!("{}schedules/{}", planner.place.base(), encode(path.as_str()))).into_response())
}
