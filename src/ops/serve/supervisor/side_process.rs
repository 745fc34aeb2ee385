//! Side processes: helpers of a plugin that outlive its workers and generations, such as the notebook's
//! kernel host.
//!
//! The supervisor binds a Unix socket in its runtime directory and starts `paster __side` with it as standard
//! input, as inetd did. The kernel queues connections while the process starts or restarts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::event::Event;
use super::shared::SupervisorShared;
use super::upgrade::CarriedSideProcess;
use crate::error::{Error, Result};
use crate::ops::control::SideInfo;
use crate::ops::serve::process::backoff::Backoff;
use crate::ops::serve::process::clock::{instant_of, time_of};
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::running::Running;

/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// All side processes of a supervisor.
pub(super) struct SideProcesses {
    shared: Arc<SupervisorShared>,
    known: Mutex<BTreeMap<(String, String), SideProcess>>,
    supervisors: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
    /// The credentials for the next one that starts.
    credentials: Mutex<Credentials>,
}

struct SideProcess {
    path: PathBuf,
    listener: Arc<OwnedFd>,
    /// 0 while it restarts.
    pid: Arc<AtomicU32>,
    /// The library for the next start.
    library: watch::Sender<PathBuf>,
    run: Arc<Mutex<SideProcessRun>>,
}

/// The current process.
#[derive(Debug, Clone, Copy)]
struct SideProcessRun {
    since: Instant,
    restarts: u64,
}

impl SideProcesses {
    pub(super) fn new(shared: Arc<SupervisorShared>) -> Arc<SideProcesses> {
        Arc::new(SideProcesses {
            shared,
            known: Mutex::default(),
            supervisors: Mutex::default(),
            stop: watch::Sender::new(false),
            credentials: Mutex::default(),
        })
    }

    /// Sets the credentials for side processes that start from now on.
    pub(super) fn set_credentials(&self, credentials: &Credentials) {
        self.credentials().clone_from(credentials);
    }

    fn credentials(&self) -> MutexGuard<'_, Credentials> {
        self.credentials.lock()
    }

    /// Starts the side process `name` of `app` if it is not running. Returns the path of its socket.
    pub(super) async fn ensure(
        self: &Arc<Self>,
        app: String,
        name: String,
        library: PathBuf,
    ) -> Result<PathBuf, Error> {
        let known = self.known.lock();
        if let Some(side) = known.get(&(app.clone(), name.clone())) {
            side.library.send_replace(library);
            return Ok(side.path.clone());
        }
        // Short, because the path of a Unix socket may have at most 107 bytes, and a plugin can choose any
        // name.
        let folder = self.shared.folder.path().map_err(|errors| match errors.into_iter().next() {
            Some(error) => error,
            None => Error::new("there is no runtime directory"),
        })?;
        let taken = |path: &PathBuf| known.values().any(|side| side.path == *path);
        let mut paths = (0..).map(|number| folder.join(format!("side{number}.sock")));
        let path = paths.find(|path| !taken(path)).unwrap_or_default();
        let start = || -> io::Result<(OwnedFd, Running)> {
            let _ = std::fs::remove_file(&path); // of a side process that has ended by itself
            let listener = OwnedFd::from(std::os::unix::net::UnixListener::bind(&path)?);
            if let Some((user, group)) = self.credentials().owner() {
                std::os::unix::fs::chown(&path, Some(user), Some(group))?;
            }
            make_log(&path)?;
            let process = self.spawn(&listener, &library, &name, &path)?;
            Ok((listener, process))
        };
        let (listener, process) = start().map_err(|cause| {
            let error = Error::new(format!("cannot start the side process `{name}` of app `{app}`"));
            error.because(cause)
        })?;
        drop(known);
        let run = SideProcessRun { since: Instant::now(), restarts: 0 };
        self.keep((app, name), path.clone(), library, listener, (Some(process), run));
        Ok(path)
    }

    fn keep(
        self: &Arc<Self>,
        (app, name): (String, String),
        path: PathBuf,
        library: PathBuf,
        listener: OwnedFd,
        (process, run): (Option<Running>, SideProcessRun),
    ) {
        let supervisor = SideProcessSupervisor {
            sides: self.clone(),
            app: app.clone(),
            name: name.clone(),
            listener: Arc::new(listener),
            library: watch::Sender::new(library),
            pid: Arc::new(AtomicU32::new(process.as_ref().map_or(0, Running::pid))),
            path: path.clone(),
            run: Arc::new(Mutex::new(run)),
        };
        let run = supervisor.run.clone();
        let (listener, library, pid) =
            (supervisor.listener.clone(), supervisor.library.clone(), supervisor.pid.clone());
        let mut known = self.known.lock();
        known.insert((app, name), SideProcess { path, listener, pid, library, run });
        drop(known);
        let mut supervisors = self.supervisors.lock();
        supervisors.spawn(supervisor.keep(process, self.stop.subscribe()));
    }

    /// All of them, each with its listener, for an upgrade.
    pub(super) fn leave(&self) -> io::Result<Vec<(CarriedSideProcess, OwnedFd)>> {
        let known = self.known.lock();
        let all = known.iter().map(|((app, name), side)| {
            let run = *side.run.lock();
            let kept = CarriedSideProcess {
                app: app.clone(),
                name: name.clone(),
                path: side.path.clone(),
                library: side.library.borrow().clone(),
                pid: side.pid.load(Ordering::Relaxed),
                since: Some(time_of(run.since)),
                restarts: run.restarts,
            };
            Ok((kept, side.listener.try_clone()?))
        });
        all.collect()
    }

    /// The process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        let known = self.known.lock();
        known.values().map(|side| side.pid.load(Ordering::Relaxed)).collect()
    }

    /// Takes over one that the previous program in this process has started.
    pub(super) fn adopt(self: &Arc<Self>, kept: CarriedSideProcess, listener: OwnedFd) {
        let process = if kept.pid > 0 { Running::adopt(kept.pid).ok() } else { None };
        let run = SideProcessRun {
            since: kept.since.map_or_else(Instant::now, instant_of),
            restarts: kept.restarts,
        };
        let CarriedSideProcess { app, name, path, library, .. } = kept;
        if process.is_some() {
            read_log(&self.shared, format!("side {name}"), &path);
        }
        self.keep((app, name), path, library, listener, (process, run));
    }

    /// The state of each; memory is not included.
    pub(super) fn infos(&self) -> Vec<SideInfo> {
        let known = self.known.lock();
        let info = |((app, name), side): (&(String, String), &SideProcess)| {
            let run = *side.run.lock();
            SideInfo {
                app: app.clone(),
                name: name.clone(),
                pid: Some(side.pid.load(Ordering::Relaxed)).filter(|pid| *pid > 0),
                age_secs: run.since.elapsed().as_secs_f64(),
                memory_bytes: None,
                restarts: run.restarts,
                socket: side.path.clone(),
            }
        };
        known.iter().map(info).collect()
    }

    fn spawn(&self, listener: &OwnedFd, library: &Path, name: &str, socket: &Path) -> io::Result<Running> {
        let mut command = std::process::Command::new("/proc/self/exe");
        command.arg0("paster").arg("__side").arg("--library").arg(library).arg("--name").arg(name);
        command.arg("--parent").arg(std::process::id().to_string());
        let credentials = self.credentials().clone();
        command.arg("--credentials").arg(serde_json::to_string(&credentials)?);
        credentials.apply_to(&mut command);
        command.stdin(Stdio::from(listener.try_clone()?)).process_group(0);
        let log = std::fs::File::options().read(true).write(true).open(log_of(socket))?;
        command.stderr(log);
        read_log(&self.shared, format!("side {name}"), socket);
        if self.shared.options.json {
            command.stdout(Stdio::from(rustix::io::dup(io::stderr())?));
        }
        Running::start(&mut command)
    }

    /// Ends all of them: TERM, then KILL.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let mut supervisors = std::mem::take(&mut *self.supervisors.lock());
        while supervisors.join_next().await.is_some() {}
    }
}

struct SideProcessSupervisor {
    sides: Arc<SideProcesses>,
    app: String,
    name: String,
    listener: Arc<OwnedFd>,
    library: watch::Sender<PathBuf>,
    pid: Arc<AtomicU32>,
    path: PathBuf,
    run: Arc<Mutex<SideProcessRun>>,
}

impl SideProcessSupervisor {
    /// Restarts the process whenever it fails, until the supervisor ends or the process exits with success.
    async fn keep(self, mut process: Option<Running>, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            if let Some(process) = &mut process {
                let status = tokio::select! {
                    status = process.wait() => status,
                    () = told(&mut stop) => return end(process).await,
                };
                let (app, name) = (self.app.clone(), self.name.clone());
                if status.success() {
                    let mut known = self.sides.known.lock();
                    known.remove(&(app, name));
                    return;
                }
                self.sides.shared.emit(&Event::SideExit { app, name, status: status.to_string() });
            }
            self.pid.store(0, Ordering::Relaxed);
            tokio::select! {
                () = tokio::time::sleep(backoff.next(Instant::now(), began.elapsed())) => {}
                () = told(&mut stop) => return,
            }
            let library = self.library.borrow().clone();
            match self.sides.spawn(&self.listener, &library, &self.name, &self.path) {
                Ok(again) => {
                    self.pid.store(again.pid(), Ordering::Relaxed);
                    let mut run = self.run.lock();
                    *run = SideProcessRun { since: Instant::now(), restarts: run.restarts + 1 };
                    drop(run);
                    process = Some(again);
                }
                Err(error) => {
                    process = None;
                    let message = format!("cannot restart the side process `{}`: {error}", self.name);
                    self.sides.shared.emit(&Event::Warning { message });
                }
            }
        }
    }
}

/// The named pipe for the standard error of a side process, beside its socket. The process holds both ends,
/// so that nothing is lost during an upgrade of the supervisor.
pub(super) fn log_of(socket: &Path) -> PathBuf {
    socket.with_extension("log")
}

pub(super) fn make_log(socket: &Path) -> io::Result<()> {
    let path = log_of(socket);
    let _ = std::fs::remove_file(&path); // of one that has ended by itself
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0)?)
}

/// Copies the output of the process to the log until it ends; `from` is its name there. Returns the thread that does so.
pub(super) fn read_log(shared: &SupervisorShared, from: String, socket: &Path) -> Option<JoinHandle<()>> {
    let open = || -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC; // do not wait for a writer
        let pipe = rustix::fs::open(log_of(socket), flags, Mode::empty())?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::empty())?;
        Ok(pipe)
    };
    match open() {
        Ok(pipe) => Some(shared.events.log.tee(from, pipe)),
        Err(error) => {
            let message = format!("cannot read the log of the process `{from}`: {error}");
            shared.emit(&Event::Warning { message });
            None
        }
    }
}

/// Waits until the supervisor ends.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error means that the supervisor has ended
}

async fn end(process: &mut Running) {
    process.signal(Signal::TERM);
    if tokio::time::timeout(GRACE, process.wait()).await.is_err() {
        process.signal(Signal::KILL);
        process.wait().await;
    }
}
