//! `paster __program`: runs beside one program. It starts the program, finds out when it is ready, copies its output to the
//! log, and ends it.
//!
//! The supervisor starts this process like those of Python applications, with the same messages over the control socket. So
//! the supervisor sends no requests, and reads no responses.
//!
//! - here: the life of the program; `child`: its start and its signals; `ready`: whether it is ready
//! - `output`: what it writes, and its terminal; `exec`: the last step before the program, in its process

mod child;
mod exec;
mod output;
mod ready;

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use self::child::ProgramChild;
pub use self::exec::exec;
use self::ready::Readiness;
use super::process::descriptors;
use crate::app::process::{LoadFailure, Settings, Starter};
use crate::app::program::ProgramSettings;
use crate::error::{Error, Result};

/// The first and the maximum pause between two readiness checks.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];
/// The minimum and the maximum pause between two checks of a program that was ready, in seconds.
const CHECKS: [u64; 2] = [1, 5];
/// The pause between two reports.
const REPORTS: Duration = Duration::from_secs(1);

/// Runs one program to its end; returns its exit status.
/// # Errors
/// When this process was not started by a supervisor.
pub fn program() -> Result<u8> {
    let lost = |cause: std::io::Error| Error::usage("the process has no control socket").because(cause);
    let socket = descriptors::take_over_stdin().map_err(lost)?;
    let _ = std::fs::write("/proc/self/comm", "paster program"); // for `ps`
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let code = runtime.block_on(async {
        let mut starter = Starter::new(socket).map_err(lost)?;
        let settings = starter.settings().await.map_err(lost)?;
        let text = settings.text("program").unwrap_or_default();
        let plan = ProgramSettings::read(text).map_err(|cause| lost(cause.into()))?;
        Ok(run(&mut starter, &plan, settings).await)
    });
    runtime.shutdown_background();
    code
}

/// Runs the program, and reports to `starter`; returns the exit status.
async fn run(starter: &mut Starter, plan: &ProgramSettings, settings: Settings) -> u8 {
    let readiness = Readiness::new(plan, &settings);
    let mut child = match readiness.and_then(|readiness| ProgramChild::start(plan, settings, readiness)) {
        Ok(child) => child,
        Err(cause) => {
            let summary = format!("cannot run `{}`: {cause}", plan.words[0]);
            let _ = starter.failed(&LoadFailure { summary, ..LoadFailure::default() }).await; // it may have ended
            return 1;
        }
    };
    let ended = match first_start(starter, plan, &mut child).await {
        Ok(()) => serve(starter, plan, &mut child).await,
        Err(ended) => ended,
    };
    child.clear();
    match ended {
        ProgramEnd::Stopped => 0,
        ProgramEnd::Done => {
            let _ = starter.ready(&[]).await; // it may have ended
            0
        }
        ProgramEnd::Failed { summary, code } => {
            let traceback = child.last_output().await;
            let failure = LoadFailure { summary, traceback, ..LoadFailure::default() };
            let _ = starter.failed(&failure).await; // it may have ended
            code
        }
    }
}

/// How the life of a program has ended.
enum ProgramEnd {
    /// It was to end.
    Stopped,
    /// It has done its work.
    Done,
    /// By itself, or because it was not ready.
    Failed { summary: String, code: u8 },
}

/// Waits until the program is ready.
async fn first_start(
    starter: &mut Starter,
    plan: &ProgramSettings,
    child: &mut ProgramChild,
) -> Result<(), ProgramEnd> {
    let limit = Instant::now() + Duration::from_secs(plan.start_secs);
    let mut pause = LOOKS[0];
    let mut why = plan.ready.to_string();
    loop {
        let look = async {
            let looked = child.readiness.look().await;
            if looked.is_err() {
                tokio::time::sleep(pause).await;
            }
            looked
        };
        tokio::select! {
            biased;
            status = child.process.wait() => return Err(ended(plan, status, false)),
            () = starter.stopped() => return Err(stop(plan, child).await),
            () = tokio::time::sleep_until(limit) => {
                stop(plan, child).await;
                let summary = format!("it was not ready within {} s: {why}", plan.start_secs);
                return Err(ProgramEnd::Failed { summary, code: 1 });
            }
            looked = look, if !plan.once => match looked {
                Ok(()) => break,
                Err(reason) => (why, pause) = (reason, (pause * 2).min(LOOKS[1])),
            },
        }
    }
    let pid = child.pid.to_string();
    let mut facts = vec![("pid", &*pid)];
    facts.extend(child.terminal_name().map(|name| ("terminal", name)));
    let _ = starter.ready(&facts).await; // its end is noticed next
    Ok(())
}

/// Waits for the end of a program that is ready.
async fn serve(starter: &mut Starter, plan: &ProgramSettings, child: &mut ProgramChild) -> ProgramEnd {
    let every = Duration::from_secs((plan.stuck_secs / 4).clamp(CHECKS[0], CHECKS[1]));
    let mut checks = tokio::time::interval_at(Instant::now() + every, every);
    let mut reports = tokio::time::interval(REPORTS);
    let mut last_ready = Instant::now();
    loop {
        tokio::select! {
            status = child.process.wait() => return ended(plan, status, true),
            () = starter.stopped() => return stop(plan, child).await,
            _ = reports.tick(), if plan.reports => {
                let _ = starter.status(Default::default()).await; // its end is noticed next
            }
            _ = checks.tick(), if plan.stuck_secs > 0 && child.readiness.can_look_again() => {
                let looked = tokio::select! {
                    looked = child.readiness.look() => looked,
                    status = child.process.wait() => return ended(plan, status, true),
                    () = starter.stopped() => return stop(plan, child).await,
                };
                let silent = last_ready.elapsed().as_secs();
                match looked {
                    Ok(()) => last_ready = Instant::now(),
                    Err(why) if silent >= plan.stuck_secs => {
                        let summary = format!("it has not been ready for {silent} s: {why}");
                        child.signal(Signal::KILL);
                        let _ = child.process.wait().await; // its status is that of KILL
                        return ProgramEnd::Failed { summary, code: 1 };
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

fn ended(plan: &ProgramSettings, status: std::io::Result<ExitStatus>, was_ready: bool) -> ProgramEnd {
    use std::os::unix::process::ExitStatusExt;
    let status = match status {
        Ok(status) => status,
        Err(cause) => return ProgramEnd::Failed { summary: cause.to_string(), code: 1 },
    };
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    let code = u8::try_from(code).unwrap_or(1);
    match (status.success(), was_ready) {
        (true, _) if plan.once => ProgramEnd::Done,
        (true, true) => ProgramEnd::Stopped,
        (_, true) => ProgramEnd::Failed { summary: status.to_string(), code },
        (_, false) if plan.once => ProgramEnd::Failed { summary: status.to_string(), code: code.max(1) },
        (_, false) => ProgramEnd::Failed {
            summary: format!("it ended before it was ready ({status})"),
            code: code.max(1),
        },
    }
}

/// Asks the program to end; kills it if it takes too long.
async fn stop(plan: &ProgramSettings, child: &mut ProgramChild) -> ProgramEnd {
    child.signal(child::signal_of(plan.stop_signal));
    let limit = Duration::from_secs(plan.stop_secs);
    if tokio::time::timeout(limit, child.process.wait()).await.is_err() {
        child.signal(Signal::KILL);
        let _ = child.process.wait().await; // it ends now
    }
    ProgramEnd::Stopped
}
