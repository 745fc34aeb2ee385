//! Runs tasks, and checks that plugins have them.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::app::isolation::{isolated_tasks, run_isolated_task};
use crate::body::{App, Body};
use crate::config::{Config, Table};
use crate::error::{Error, Errors, Result};
use crate::ops::sections::task::{Order, Work};
use crate::plugin::{Instance, TaskName};
use crate::registry::nearest;
use crate::server::console::perform;
use crate::server::gate::Gate;

/// Maximum length of a result, in bytes: only its end is kept.
const LONGEST: usize = 16 << 10;
/// How long to read the output after the program has ended, because its children may hold it open.
const LINGER: Duration = Duration::from_secs(1);

/// The task that is a plugin's command line (`App::command` of paster-sdk).
const COMMAND: &str = "command";

/// What tasks can use.
#[derive(Default)]
pub(super) struct TaskContext {
    pub(super) instances: Vec<Instance>,
    /// Plugins in processes of their own, by the app's name.
    pub(super) isolated: BTreeMap<String, App>,
    pub(super) apps: BTreeMap<String, App>,
}

/// A plugin with tasks.
enum TaskPlugin<'a> {
    /// In this worker.
    Here(&'a Instance),
    /// In processes of its own: one of them runs a task.
    Isolated(&'a App),
}

impl TaskPlugin<'_> {
    async fn tasks(&self) -> Result<Vec<TaskName>, String> {
        match self {
            TaskPlugin::Here(instance) => Ok(instance.tasks()),
            TaskPlugin::Isolated(app) => isolated_tasks(app).await,
        }
    }

    async fn run(&self, task: &str, arguments: &serde_json::Value) -> Result<String, String> {
        match self {
            TaskPlugin::Here(instance) => instance.run_task(task, arguments).await,
            TaskPlugin::Isolated(app) => run_isolated_task(app, task, arguments).await,
        }
    }
}

impl TaskContext {
    /// The plugin of `app`, if it is one.
    fn plugin(&self, app: &str) -> Option<TaskPlugin<'_>> {
        let here = self.instances.iter().find(|one| one.name() == app).map(TaskPlugin::Here);
        here.or_else(|| self.isolated.get(app).map(TaskPlugin::Isolated))
    }

    /// Finds tasks that the plugins of a generation do not have.
    /// # Errors
    /// All of them, each with its place.
    pub(super) async fn check(&self, config: &Config, orders: &[Order]) -> Result<()> {
        let mut errors = Vec::new();
        for order in orders {
            let (Work::Plugin { app, task: wanted, .. }, Some(table)) =
                (&order.work, config.table("task", &order.name))
            else {
                continue;
            };
            let Some(plugin) = self.plugin(app) else {
                let error =
                    table.error("task", format!("the app `{app}` is not a plugin, so it has no tasks"));
                errors.push(error.help("use `request` or `command`"));
                continue;
            };
            match plugin.tasks().await {
                Ok(known) => errors.extend(unknown_task(&table, app, wanted, &known)),
                Err(why) => {
                    let message = format!("the tasks of the app `{app}` are not known");
                    errors.push(table.error("task", message).because(why));
                }
            }
        }
        Errors::check(errors)
    }
}

/// The error if the plugin of `app` does not have the task `wanted`.
fn unknown_task(table: &Table, app: &str, wanted: &str, known: &[TaskName]) -> Option<Error> {
    let known: Vec<_> = known.iter().map(|task| task.name.as_str()).collect();
    if known.contains(&wanted) {
        return None;
    }
    let error = table.error("task", format!("the app `{app}` has no task `{wanted}`"));
    Some(match nearest(wanted, known.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => error.help("its plugin has none: add one with `App::task` of paster-sdk"),
        None => error.help(format!("it has: {}", known.join(", "))),
    })
}

/// Runs a task to its end or its deadline.
/// # Errors
/// Why it failed.
pub(super) async fn run(order: Order, parts: Arc<TaskContext>) -> Result<String, String> {
    let work = AssertUnwindSafe(perform_work(order.work, parts)).catch_unwind();
    match tokio::time::timeout(order.timeout, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(_) => Err(format!("it was stopped after {} s (`timeout_secs`)", order.timeout.as_secs())),
    }
}

async fn perform_work(work: Work, parts: Arc<TaskContext>) -> Result<String, String> {
    match work {
        Work::Plugin { app, task, arguments } => {
            let Some(plugin) = parts.plugin(&app) else {
                return Err(format!("the app `{app}` is not a plugin"));
            };
            let result = plugin.run(&task, &arguments).await;
            result.map(|text| end_of(text.into_bytes())).map_err(|why| end_of(why.into_bytes()))
        }
        Work::PluginCommand { app, words } => {
            let plugin = parts.plugin(&app).ok_or_else(|| format!("the app `{app}` is not a plugin"))?;
            if !plugin.tasks().await?.iter().any(|task| task.name == COMMAND) {
                return Err(format!("the plugin of the app `{app}` has no commands"));
            }
            plugin.run(COMMAND, &words.into()).await
        }
        Work::Request { app, method, target } => {
            let app = parts.apps.get(&app).ok_or_else(|| format!("there is no app `{app}`"))?;
            request(app, &method, &target).await
        }
        Work::Command { words, folder } => command(&words, &folder).await,
    }
}

async fn request(app: &App, method: &str, target: &str) -> Result<String, String> {
    let request = http::Request::builder().method(method).uri(target).header("host", "localhost");
    let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
    let response = perform(app, &Gate::new("task".into()), request).await;
    let status = response.status();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("{status}, and the body failed: {error}"))?;
        if let Some(data) = frame.data_ref() {
            keep_end(&mut text, data);
        }
    }
    let text = format!("{status} {}", end_of(text)).trim_end().to_owned();
    if status.as_u16() < 400 { Ok(text) } else { Err(text) }
}

/// Kills the program and its children when dropped, unless the program has ended.
struct TaskGroup(Option<Pid>);

impl Drop for TaskGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, Signal::KILL); // it may have ended already
        }
    }
}

async fn command(words: &[String], folder: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot start a process: {error}");
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut output = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    // Started through this program, so that it ends when this worker is killed.
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg0("paster").arg("__task").arg("--parent").arg(std::process::id().to_string());
    command.arg("--").args(words).current_dir(folder).stdin(Stdio::null());
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    drop(command); // closes this process's copies of the pipe
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let mut group = TaskGroup(pid);
    let mut text = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    let status = loop {
        tokio::select! {
            biased;
            read = output.read(&mut chunk) => match read {
                Ok(count @ 1..) => keep_end(&mut text, &chunk[..count]),
                _ => break child.wait().await.map_err(failed)?,
            },
            status = child.wait() => {
                // Its last output is still in the pipe.
                let rest = async {
                    while let Ok(count @ 1..) = output.read(&mut chunk).await {
                        keep_end(&mut text, &chunk[..count]);
                    }
                };
                let _ = tokio::time::timeout(LINGER, rest).await; // its children may hold the pipe open
                break status.map_err(failed)?;
            }
        }
    };
    group.0 = None;
    let text = end_of(text);
    match status.success() {
        true => Ok(text),
        false => Err(format!("{status}: {text}").trim_end_matches([':', ' ']).to_owned()),
    }
}

/// Becomes the program `words` (`paster __task`), which the kernel ends with the process `parent`.
/// # Errors
/// When the program cannot be executed.
pub fn become_program(words: &[String], parent: u32) -> Result<u8> {
    let Some((program, arguments)) = words.split_first() else { return Ok(2) };
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)); // else it may outlive the worker
    if rustix::process::getppid() != Pid::from_raw(parent.cast_signed()) {
        return Ok(1); // the worker ended while this process was starting
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(Error::new(format!("cannot run `{program}`")).because(error).into())
}

fn keep_end(text: &mut Vec<u8>, more: &[u8]) {
    text.extend_from_slice(more);
    if text.len() > 2 * LONGEST {
        text.drain(..text.len() - LONGEST);
    }
}

/// The end of a text.
fn end_of(text: Vec<u8>) -> String {
    let from = text.len().saturating_sub(LONGEST);
    let kept = String::from_utf8_lossy(&text[from..]);
    let kept = kept.trim_end();
    if from > 0 { format!("…{kept}") } else { kept.to_owned() }
}
