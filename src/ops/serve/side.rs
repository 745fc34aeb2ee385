//! Side processes: helpers of a plugin that outlive its workers and generations, such as a host of kernels.
//!
//! The supervisor binds a Unix socket in its private folder and starts `paster __side` with it as standard input,
//! as inetd did; the kernel's queue holds connections while the process starts or is started anew.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backoff::Backoff;
use super::event::Event;
use super::running::Running;
use super::standing::Standing;
use super::{Shared, worker};
use crate::error::{Error, Result};
use crate::ops::fault::Fault;
use crate::plugin::Library;

/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// All side processes of a supervisor.
pub(super) struct Sides {
    known: Mutex<BTreeMap<(String, String), Side>>,
    keepers: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
    /// As whom the next one is started.
    standing: Mutex<Standing>,
}

struct Side {
    path: PathBuf,
    /// The library to start it from the next time.
    library: watch::Sender<PathBuf>,
}

impl Sides {
    pub(super) fn new() -> Sides {
        Sides {
            known: Mutex::default(),
            keepers: Mutex::default(),
            stop: watch::Sender::new(false),
            standing: Mutex::default(),
        }
    }

    /// Has those that are started from now on run with that standing.
    pub(super) fn stand(&self, standing: &Standing) {
        self.standing().clone_from(standing);
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees that the side process `name` of `app` runs; returns the path of its socket.
    pub(super) async fn ensure(
        shared: &Arc<Shared>,
        app: String,
        name: String,
        library: PathBuf,
    ) -> Result<PathBuf, Fault> {
        let sides = &shared.sides;
        let mut known = sides.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(side) = known.get(&(app.clone(), name.clone())) {
            side.library.send_replace(library);
            return Ok(side.path.clone());
        }
        // Short, as a Unix socket's path may have 107 bytes; names are the plugin's and may hold anything.
        let path = shared.folder.path().join(format!("side{}.sock", known.len()));
        let start = || -> std::io::Result<(OwnedFd, Running)> {
            let _ = std::fs::remove_file(&path); // of a side process that ended by itself
            let listener = OwnedFd::from(std::os::unix::net::UnixListener::bind(&path)?);
            if let Some((user, group)) = sides.standing().owner() {
                std::os::unix::fs::chown(&path, Some(user), Some(group))?;
            }
            let process = spawn(shared, &listener, &library, &name)?;
            Ok((listener, process))
        };
        let (listener, process) = start().map_err(|cause| {
            let error = Error::new(format!("cannot start the side process `{name}` of app `{app}`"));
            Fault::from(&error.because(cause))
        })?;
        let keeper = Keeper {
            shared: shared.clone(),
            app: app.clone(),
            name: name.clone(),
            listener,
            library: watch::Sender::new(library),
        };
        known.insert((app, name), Side { path: path.clone(), library: keeper.library.clone() });
        drop(known);
        let mut keepers = sides.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.spawn(keeper.keep(process, sides.stop.subscribe()));
        Ok(path)
    }

    /// Ends all of them: TERM, then KILL.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let mut keepers = std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        while keepers.join_next().await.is_some() {}
    }
}

struct Keeper {
    shared: Arc<Shared>,
    app: String,
    name: String,
    listener: OwnedFd,
    library: watch::Sender<PathBuf>,
}

impl Keeper {
    /// Starts the process anew whenever it dies, until the supervisor ends or the process ends by itself.
    async fn keep(self, mut process: Running, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let status = tokio::select! {
                status = process.wait() => status,
                () = told(&mut stop) => return end(&mut process).await,
            };
            let (app, name) = (self.app.clone(), self.name.clone());
            if status.success() {
                let mut known = self.shared.sides.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.remove(&(app, name));
                return;
            }
            self.shared.tell(&Event::SideExit { app, name, status: status.to_string() });
            loop {
                tokio::select! {
                    () = tokio::time::sleep(backoff.next(began.elapsed())) => {}
                    () = told(&mut stop) => return,
                }
                let library = self.library.borrow().clone();
                match spawn(&self.shared, &self.listener, &library, &self.name) {
                    Ok(again) => {
                        process = again;
                        break;
                    }
                    Err(error) => {
                        let message = format!("cannot start the side process `{}` again: {error}", self.name);
                        self.shared.tell(&Event::Warning { message });
                    }
                }
            }
        }
    }
}

fn spawn(shared: &Shared, listener: &OwnedFd, library: &Path, name: &str) -> std::io::Result<Running> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("paster").arg("__side").arg("--library").arg(library).arg("--name").arg(name);
    command.arg("--parent").arg(std::process::id().to_string());
    let standing = shared.sides.standing().clone();
    command.arg("--standing").arg(serde_json::to_string(&standing)?);
    standing.dress(&mut command);
    command.stdin(Stdio::from(listener.try_clone()?)).process_group(0);
    if shared.options.json {
        command.stdout(Stdio::from(rustix::io::dup(std::io::stderr())?));
    }
    Running::start(&mut command)
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

/// Runs the side process `name` of the plugin `library` in this process (`paster __side`); returns its status.
///
/// It gets TERM when the supervisor dies, and is ended some seconds later if it does not follow.
/// # Errors
/// When the library cannot be loaded.
pub fn side(library: &Path, name: &str, parent: u32, standing: &str) -> Result<u8> {
    let lost = |cause: std::io::Error| Error::new("the side process has no socket").because(cause);
    let listener = worker::take_over_stdin().map_err(lost)?;
    let standing: Standing = serde_json::from_str(standing)
        .map_err(|cause| Error::usage("the side process cannot read its standing").because(cause))?;
    standing.take()?;
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let parent =
        Pid::from_raw(parent.cast_signed()).filter(|parent| rustix::process::getppid() == Some(*parent));
    let Some(Ok(parent)) = parent.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty())) else {
        return Ok(1); // it has died while we were starting
    };
    let _ = std::fs::write("/proc/self/comm", "paster side"); // for `ps`
    super::log::start();
    std::thread::spawn(move || {
        let mut ended = [rustix::event::PollFd::new(&parent, rustix::event::PollFlags::IN)];
        while rustix::event::poll(&mut ended, None).is_err() {}
        std::thread::sleep(GRACE);
        std::process::exit(1);
    });
    let code = Library::load(library)?.run_side(name, listener);
    Ok(u8::try_from(code).unwrap_or(1))
}
