//! Side processes: helpers of a plugin that outlive its workers and generations, such as a host of kernels.
//!
//! The supervisor binds a Unix socket in its private folder and starts `paster __side` with it as standard input,
//! as inetd did; the kernel's queue holds connections while the process starts or is started anew.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backoff::Backoff;
use super::event::Event;
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
}

struct Side {
    path: PathBuf,
    /// The library to start it from the next time.
    library: watch::Sender<PathBuf>,
}

impl Sides {
    pub(super) fn new() -> Sides {
        Sides { known: Mutex::default(), keepers: Mutex::default(), stop: watch::Sender::new(false) }
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
        let start = || -> std::io::Result<(OwnedFd, tokio::process::Child)> {
            let _ = std::fs::remove_file(&path); // of a side process that ended by itself
            let listener = OwnedFd::from(std::os::unix::net::UnixListener::bind(&path)?);
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
    async fn keep(self, mut process: tokio::process::Child, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let status = tokio::select! {
                status = process.wait() => status.unwrap_or_default(),
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

fn spawn(
    shared: &Shared,
    listener: &OwnedFd,
    library: &Path,
    name: &str,
) -> std::io::Result<tokio::process::Child> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("paster").arg("__side").arg("--library").arg(library).arg("--name").arg(name);
    command.arg("--parent").arg(std::process::id().to_string());
    command.stdin(Stdio::from(listener.try_clone()?)).process_group(0);
    if shared.options.json {
        command.stdout(Stdio::from(rustix::io::dup(std::io::stderr())?));
    }
    tokio::process::Command::from(command).kill_on_drop(true).spawn()
}

/// Waits until the supervisor ends.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // an error means that the supervisor has ended
}

async fn end(process: &mut tokio::process::Child) {
    let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, Signal::TERM); // it may have ended just now
    }
    if tokio::time::timeout(GRACE, process.wait()).await.is_err() {
        let _ = process.kill().await;
    }
}

/// Runs the side process `name` of the plugin `library` in this process (`paster __side`); returns its status.
///
/// It gets TERM when the supervisor dies, and is ended some seconds later if it does not follow.
/// # Errors
/// When the library cannot be loaded.
pub fn side(library: &Path, name: &str, parent: u32) -> Result<u8> {
    let lost = |cause: std::io::Error| Error::new("the side process has no socket").because(cause);
    let listener = worker::take_over_stdin().map_err(lost)?;
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
