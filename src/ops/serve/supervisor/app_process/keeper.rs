//! Starts a process, watches it, and starts it again.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot, watch};

use super::care::{Care, Due};
use super::ended::Ended;
use super::group::{AppGroup, GroupOwner, LoadedSources, ProcessSlot};
use super::registry::AppRegistry;
use crate::app::process::{Endpoint, LoadFailure, ProcessControl, ProcessReport, ProcessSpec};
use crate::ops::serve::ipc::message::SavedStates;
use crate::ops::serve::process::backoff::Backoff;
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::running::Running;
use crate::ops::serve::supervisor::event::Event;
use crate::ops::serve::supervisor::side_process::{log_of, read_log};

/// Seconds between the request to end and KILL, unless the app has its own. No worker uses the process then.
const GRACE_SECS: u64 = 10;
/// The same for one that hangs: what is in flight beside it may end.
const HANGING: Duration = Duration::from_secs(5);

/// The time limit for the log of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The time limit for the requests of a replaced process.
const LEAVING: Duration = Duration::from_secs(300);
/// The pause after a replacement that could not load the application.
const PAUSE: Duration = Duration::from_secs(30);

/// The data with which a process of an application is started.
pub(super) struct ProcessStarter {
    pub(super) registry: Arc<AppRegistry>,
    pub(super) owner: GroupOwner,
    pub(super) spec: ProcessSpec,
    pub(super) credentials: Credentials,
    pub(super) member: Arc<ProcessSlot>,
    pub(super) sources: Arc<LoadedSources>,
    /// The processes that this one needs: it ends before them.
    pub(super) _needs: Vec<Arc<AppGroup>>,
    /// Closed when the process is to end.
    pub(super) stop: watch::Receiver<()>,
    /// A process that the previous program has started.
    pub(super) adopted: Option<(ProcessControl, Running)>,
    /// Copies the output of the process to the log.
    pub(super) log: Option<JoinHandle<()>>,
    /// Number of the generation that starts it.
    pub(super) generation: u64,
    /// What the plugins of the first process continue with.
    pub(super) states: SavedStates,
}

impl ProcessStarter {
    /// Keeps a process running. `first` gets the result of the first start. If it fails, there is no further one.
    pub(super) async fn run(mut self, mut first: Option<oneshot::Sender<Result<(), LoadFailure>>>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let ended = self.run_once(&mut first).await;
            {
                let mut run = self.member.current.lock();
                (run.pid, run.program, run.terminal, run.control) = (0, None, None, None);
            }
            match (&ended, first.take()) {
                (Ended::Stopped, _) => break,
                (Ended::Replaced, _) => continue,
                (ended, Some(first)) => {
                    self.finish_log().await;
                    let _ = first.send(ended.of_first_start(&self.spec)); // the attempt was cancelled
                    break;
                }
                (ended, None) if !ended.restarts(&self.spec) => {
                    if !self.spec.once {
                        self.report(ended, None);
                    }
                    self.finish_log().await;
                    break;
                }
                _ => {}
            }
            let pause = ended.pause(&mut backoff, began.elapsed());
            self.report(&ended, Some(pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.stop.changed() => break,
            }
            self.member.current.lock().restarts += 1;
        }
        Endpoint::remove(&self.member.socket);
        let _ = std::fs::remove_file(log_of(&self.member.socket)); // its directory may be gone
    }

    fn report(&self, ended: &Ended, pause: Option<Duration>) {
        self.registry.shared.emit(&ended.event(&self.owner, self.member.index, pause));
    }

    /// Starts a process, and waits for its end.
    async fn run_once(&mut self, first: &mut Option<oneshot::Sender<Result<(), LoadFailure>>>) -> Ended {
        let start = SystemTime::now();
        let mut ready = self.adopted.is_some();
        let started = match self.adopted.take() {
            Some(adopted) => Ok(adopted),
            None => self.start().await,
        };
        let (mut control, mut process) = match started {
            Ok(started) => started,
            Err(cause) => {
                let summary = format!("cannot run `{}`: {cause}", self.spec.program.display());
                return Ended::Failed(LoadFailure { summary, ..LoadFailure::default() });
            }
        };
        let (messages, mut outbox) = mpsc::unbounded_channel();
        {
            let mut run = self.member.current.lock();
            (run.pid, run.control) = (process.pid(), control.to_fd().ok());
            run.messages = self.spec.runs_plugins.then_some(messages);
        }
        let (mut output, mut outcome) = (String::new(), None);
        let (mut failure, mut open) = (None, true);
        let mut care = Care::new(self.spec.limits, process.pid());
        let limit = tokio::time::sleep(Duration::from_secs(self.spec.start_secs));
        tokio::pin!(limit);
        let status = loop {
            tokio::select! {
                report = control.next(), if open => match report {
                    Ok(Some(ProcessReport::Ready(facts))) => {
                        ready = true;
                        let program = facts.get("pid").and_then(|pid| pid.parse().ok());
                        {
                            let mut run = self.member.current.lock();
                            run.terminal = facts.get("terminal").cloned();
                            run.program = program;
                        }
                        care = Care::new(self.spec.limits, program.unwrap_or(process.pid()));
                        if let Some(first) = first.take() {
                            let _ = first.send(Ok(())); // the attempt was cancelled
                        }
                    }
                    Ok(Some(ProcessReport::Failed(failed))) if ready => {
                        (outcome, output) = (Some(failed.summary), failed.traceback);
                    }
                    Ok(Some(ProcessReport::Failed(failed))) => {
                        self.registry.add_sources(&self.owner.name, failed.sources.clone());
                        failure = Some(failed);
                    }
                    Ok(Some(ProcessReport::Sources(sources))) => {
                        self.sources.record(&sources, start);
                        self.registry.add_sources(&self.owner.name, sources);
                    }
                    Ok(Some(ProcessReport::Stacks(stacks))) => self.member.stacks.answer(&stacks),
                    Ok(Some(ProcessReport::Message(message))) => self.handle(message),
                    Ok(Some(ProcessReport::Status(status))) => {
                        if let Some(reason) = care.due(status) {
                            if self.spec.forwarded {
                                // The next one needs another address, which the workers must learn.
                                care.pause();
                                self.registry.ask_for_restart(&self.owner.name, &reason.to_string());
                                continue;
                            }
                            let next = tokio::select! {
                                next = self.replacement() => next,
                                grown = care.outgrown() => {
                                    self.outgrown(&process, grown);
                                    continue;
                                }
                            };
                            match next {
                                Ok(next) => {
                                    self.replaced(control, process, care, reason);
                                    self.adopted = Some(next);
                                    return Ended::Replaced;
                                }
                                Err(failure) => {
                                    care.pause();
                                    self.report(&Ended::Failed(failure), Some(PAUSE));
                                }
                            }
                        }
                    }
                    Ok(None) | Err(_) => open = false,
                },
                grown = care.outgrown(), if care.is_paused() => self.outgrown(&process, grown),
                () = self.member.stacks.wanted() => {
                    let _ = control.ask_for_stacks().await; // it may have ended
                }
                Some(message) = outbox.recv() => {
                    let _ = control.send_message(&message).await; // it may have ended
                }
                status = process.wait() => break status,
                () = &mut limit, if !ready => {
                    let summary = format!("it was not loaded within {} s", self.spec.start_secs);
                    failure = Some(LoadFailure { summary, ..LoadFailure::default() });
                    process.signal(Signal::KILL);
                    ready = true;
                }
                _ = self.stop.changed() => {
                    let _ = control.drain().await; // it may have ended
                    if tokio::time::timeout(grace(&self.spec), process.wait()).await.is_err() {
                        process.signal(Signal::KILL);
                        process.wait().await;
                    }
                    self.clear(process.pid());
                    self.finish_log().await;
                    return Ended::Stopped;
                }
            }
        };
        self.clear(process.pid());
        // The last report may have come with the end.
        while self.spec.forwarded && open {
            match tokio::time::timeout(LAST_WORDS, control.next()).await {
                Ok(Ok(Some(ProcessReport::Failed(failed)))) if ready => {
                    (outcome, output) = (Some(failed.summary), failed.traceback);
                }
                Ok(Ok(Some(ProcessReport::Failed(failed)))) => failure = Some(failed),
                Ok(Ok(Some(ProcessReport::Ready(_)))) => ready = true,
                Ok(Ok(Some(_))) => {}
                _ => open = false,
            }
        }
        match failure {
            // A program may get requests, and fail with one, before anybody has seen that it is ready.
            Some(failure) if self.spec.forwarded && first.is_none() => {
                Ended::Exited(failure.summary, failure.traceback)
            }
            Some(failure) => Ended::Failed(failure),
            None if status.success() && outcome.is_none() => Ended::Finished,
            None if ready && status.signal() == Some(Signal::KILL.as_raw()) => {
                Ended::Killed(outcome.unwrap_or_else(|| status.to_string()))
            }
            None => Ended::Exited(outcome.unwrap_or_else(|| status.to_string()), output),
        }
    }

    /// Starts a process beside the one that serves, and waits until it has loaded the application.
    async fn replacement(&mut self) -> Result<(ProcessControl, Running), LoadFailure> {
        let failed = |summary: String| LoadFailure { summary, ..LoadFailure::default() };
        let (mut control, process) = self.start().await.map_err(|cause| failed(cause.to_string()))?;
        let ready = async {
            loop {
                match control.next().await {
                    Ok(Some(ProcessReport::Ready(_))) => return Ok(()),
                    Ok(Some(ProcessReport::Failed(failure))) => return Err(failure),
                    Ok(Some(
                        ProcessReport::Sources(_)
                        | ProcessReport::Status(_)
                        | ProcessReport::Stacks(_)
                        | ProcessReport::Message(_),
                    )) => {}
                    Ok(None) | Err(_) => {
                        return Err(failed("its process ended while it was loaded".to_owned()));
                    }
                }
            }
        };
        let limit = Duration::from_secs(self.spec.start_secs);
        let late = |_| failed(format!("it was not loaded within {} s", self.spec.start_secs));
        tokio::select! {
            ready = tokio::time::timeout(limit, ready) => ready.map_err(late).and_then(|ready| ready)?,
            // The caller sees it too.
            _ = self.stop.changed() => return Err(failed("the generation has ended".to_owned())),
        }
        Ok((control, process))
    }

    /// Ends a process in whose place another one serves.
    fn replaced(&self, control: ProcessControl, mut process: Running, care: Care, reason: Due) {
        let (app, index) = (self.owner.name.clone(), self.member.index);
        self.registry.shared.emit(&Event::AppReplaced { app, process: index, reason: reason.to_string() });
        let (shared, owner) = (self.registry.shared.clone(), self.owner.clone());
        self.registry.keepers.spawn(async move {
            let grace = match reason {
                Due::Stuck(_) => {
                    // faulthandler writes each thread's stack to the log.
                    process.signal(Signal::USR2);
                    HANGING
                }
                _ => LEAVING,
            };
            let _ = control.drain().await; // it may have ended
            let ended = tokio::select! {
                ended = tokio::time::timeout(grace, process.wait()) => ended.is_ok(),
                grown = care.outgrown() => {
                    shared.emit(&outgrown(&owner, index, grown));
                    false
                }
            };
            if !ended {
                process.signal(Signal::KILL);
                process.wait().await;
            }
            shared.orphans.clear(process.pid(), Duration::ZERO);
        });
    }

    /// Kills a process whose memory grows too fast for a replacement.
    fn outgrown(&self, process: &Running, grown: u64) {
        self.registry.shared.emit(&outgrown(&self.owner, self.member.index, grown));
        process.signal(Signal::KILL);
    }

    /// Waits until the last words of the process are in the log.
    async fn finish_log(&mut self) {
        if let Some(log) = self.log.take() {
            let read = tokio::task::spawn_blocking(move || log.join());
            let _ = tokio::time::timeout(LAST_WORDS, read).await; // a child of the process may keep it open
        }
    }

    /// Ends what the process has left behind, and the requests to it.
    fn clear(&self, pid: u32) {
        self.member.current.lock().messages = None;
        self.registry.shared.requests.ended(pid);
        self.registry.shared.orphans.clear(pid, Duration::ZERO);
    }

    /// The name of the process in the log.
    fn log_name(&self) -> String {
        log_name(&self.owner, self.member.index)
    }

    async fn start(&mut self) -> io::Result<(ProcessControl, Running)> {
        let (control, end) = ProcessControl::pair()?;
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0("paster").arg("__app").arg("--parent").arg(std::process::id().to_string());
        command.arg("--credentials").arg(serde_json::to_string(&self.credentials)?);
        command.arg("--").arg(&self.spec.program).args(&self.spec.args);
        self.credentials.apply_to(&mut command);
        command.current_dir(&self.spec.folder).envs(&self.spec.env).stdin(Stdio::from(end));
        let log = std::fs::File::options().read(true).write(true).open(log_of(&self.member.socket))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.log = read_log(&self.registry.shared, self.log_name(), &self.member.socket);
        let process = Running::start(&mut command)?;
        drop(command); // with the process's end of the socket
        let listener = self.member.listener.as_ref().map(OwnedFd::try_clone).transpose()?;
        if self.spec.runs_plugins {
            control.send_state(&self.first_message()).await?;
        }
        control.start(&self.spec, self.member.address.as_ref(), listener).await?;
        self.member.current.lock().since = Instant::now();
        Ok((control, process))
    }
}

fn outgrown(owner: &GroupOwner, index: usize, grown: u64) -> Event {
    let message = format!(
        "killing process {index} of {owner}: its memory has grown by {grown} MiB, twice `max_growth_mib` or more"
    );
    Event::Warning { message }
}

/// The name of a process in the log.
pub(super) fn log_name(owner: &GroupOwner, index: usize) -> String {
    if owner.is_program { owner.name.clone() } else { format!("{} {index}", owner.name) }
}

/// The time between the request to end and KILL.
pub(super) fn grace(spec: &ProcessSpec) -> Duration {
    Duration::from_secs(if spec.stop_secs > 0 { spec.stop_secs } else { GRACE_SECS })
}
