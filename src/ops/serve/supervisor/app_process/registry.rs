//! Starts the processes of applications, and knows all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::group::{AppGroup, AppProcesses, CarriedApp, CarriedProcess, CurrentProcess, Member, Sources};
use super::keeper::Keeper;
use crate::app::AppKind;
use crate::app::process::{Control, LoadFailure, ProcessSpec};
use crate::config::Table;
use crate::error::Error;
use crate::ops::control::SideInfo;
use crate::ops::serve::process::clock::{instant_of, time_of};
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::running::Running;
use crate::ops::serve::supervisor::inbox::Message;
use crate::ops::serve::supervisor::plan::Plan;
use crate::ops::serve::supervisor::shared::Shared;
use crate::ops::serve::supervisor::side_process::{make_log, read_log};

/// The longest wait for the end of all processes.
const STOPPING: Duration = Duration::from_secs(12);

/// All processes of applications, of every generation.
pub(in crate::ops::serve::supervisor) struct AppRegistry {
    pub(super) shared: Arc<Shared>,
    groups: Mutex<Vec<Weak<AppGroup>>>,
    /// The source files that an application has reported, by its name.
    sources: Mutex<BTreeMap<String, BTreeSet<PathBuf>>>,
    pub(super) keepers: TaskTracker,
}

impl AppRegistry {
    pub(in crate::ops::serve::supervisor) fn new(shared: Arc<Shared>) -> Arc<AppRegistry> {
        let (groups, sources) = (Mutex::default(), Mutex::default());
        Arc::new(AppRegistry { shared, groups, sources, keepers: TaskTracker::new() })
    }

    fn groups(&self) -> Vec<Arc<AppGroup>> {
        let mut groups = self.groups.lock();
        groups.retain(|group| group.strong_count() > 0);
        groups.iter().filter_map(Weak::upgrade).collect()
    }

    /// The process ids.
    pub(in crate::ops::serve::supervisor) fn pids(&self) -> Vec<u32> {
        let groups = self.groups();
        groups.iter().flat_map(|group| &group.members).map(|member| member.current.lock().pid).collect()
    }

    /// The state of each; memory is not included.
    pub(in crate::ops::serve::supervisor) fn infos(&self) -> Vec<SideInfo> {
        let groups = self.groups();
        let infos = groups.iter().flat_map(|group| {
            group.members.iter().map(|member| {
                let run = member.current.lock();
                SideInfo {
                    app: group.app.clone(),
                    name: format!("process {}", member.index),
                    pid: Some(run.pid).filter(|pid| *pid > 0),
                    age_secs: run.since.elapsed().as_secs_f64(),
                    memory_bytes: None,
                    restarts: run.restarts,
                    socket: member.socket.clone(),
                }
            })
        });
        infos.collect()
    }

    /// The source files of all applications.
    pub(in crate::ops::serve::supervisor) fn sources(&self) -> BTreeSet<PathBuf> {
        self.sources.lock().values().flatten().cloned().collect()
    }

    /// Waits for the end of all processes, whose generations have ended.
    pub(in crate::ops::serve::supervisor) async fn stop(&self) {
        self.keepers.close();
        let _ = tokio::time::timeout(STOPPING, self.keepers.wait()).await; // they end with this process
    }

    /// Starts the processes of `plan`'s applications, and waits until they have loaded them. Keeps those of `before` that
    /// would be the same.
    /// # Errors
    /// Every application that could not be loaded.
    pub(in crate::ops::serve::supervisor) async fn start(
        self: &Arc<Self>,
        plan: &Plan,
        before: &AppProcesses,
    ) -> Result<AppProcesses, Vec<Error>> {
        let (mut groups, mut faults, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for name in plan.config.names("app") {
            let Some(table) = plan.config.table("app", name) else { continue };
            let Ok(entry) = AppKind::of(&table) else { continue }; // the workers report it
            let Some(library) = plan.libraries.get(name).filter(|_| entry.kind.has_processes()) else {
                continue;
            };
            let spec = match entry.kind.processes(&table, library, plan.process.reload) {
                Ok(Some(spec)) => spec,
                Ok(None) => continue,
                Err(errors) => {
                    faults.extend(errors);
                    continue;
                }
            };
            let same = |group: &&Arc<AppGroup>| {
                group.app == name && group.spec == spec && group.credentials == plan.credentials
            };
            if let Some(kept) = before.0.iter().find(same).filter(|group| !group.sources.have_changed()) {
                groups.push(kept.clone());
                continue;
            }
            match self.begin(name, spec, &plan.credentials) {
                Ok((group, started)) => {
                    groups.push(group);
                    starts.push((table, started));
                }
                Err(cause) => {
                    let error = Error::new(format!("cannot start the processes of app `{name}`"));
                    faults.push(error.because(cause));
                }
            }
        }
        let waits = starts.into_iter().map(|(table, started)| failure_of(table, started));
        faults.extend(join_all(waits).await.into_iter().flatten());
        if faults.is_empty() { Ok(AppProcesses(groups)) } else { Err(faults) }
    }

    /// Starts the processes of an application.
    /// # Errors
    /// When a socket cannot be made.
    fn begin(
        self: &Arc<Self>,
        app: &str,
        spec: ProcessSpec,
        credentials: &Credentials,
    ) -> io::Result<(Arc<AppGroup>, Vec<Started>)> {
        let folder = self.shared.folder.path().map_err(io::Error::other)?;
        let members = (0..spec.count).map(|index| Member::bind(folder, index, credentials).map(Arc::new));
        let members = members.collect::<io::Result<Vec<_>>>()?;
        let (stop, stopped) = watch::channel(());
        let sources = Arc::<Sources>::default();
        let mut started = Vec::new();
        for member in &members {
            let keeper = Keeper {
                registry: self.clone(),
                app: app.to_owned(),
                spec: spec.clone(),
                credentials: credentials.clone(),
                member: member.clone(),
                sources: sources.clone(),
                stop: stopped.clone(),
                adopted: None,
                log: None,
            };
            let (first, outcome) = oneshot::channel();
            self.keepers.spawn(keeper.run(Some(first)));
            started.push(outcome);
        }
        let credentials = credentials.clone();
        let group =
            Arc::new(AppGroup { app: app.to_owned(), spec, credentials, members, sources, _stop: stop });
        self.groups.lock().push(Arc::downgrade(&group));
        Ok((group, started))
    }

    /// Stores the source files that an application has reported, and watches them.
    pub(super) fn add_sources(&self, app: &str, sources: Vec<PathBuf>) {
        let mut known = self.sources.lock();
        let known = known.entry(app.to_owned()).or_default();
        let before = known.len();
        known.extend(sources);
        if known.len() > before {
            self.shared.send(Message::Sources);
        }
    }

    /// All applications' processes, each application with its descriptors.
    /// # Errors
    /// When no descriptor is free.
    pub(in crate::ops::serve::supervisor) fn leave(&self) -> io::Result<Vec<(CarriedApp, Vec<OwnedFd>)>> {
        self.groups().iter().map(|group| group.leave()).collect()
    }

    /// The positions of `processes` among those that [`AppRegistry::leave`] returns.
    pub(in crate::ops::serve::supervisor) fn places(&self, processes: &AppProcesses) -> Vec<usize> {
        let own = |group: &Arc<AppGroup>| processes.0.iter().any(|own| Arc::ptr_eq(own, group));
        self.groups().iter().enumerate().filter(|(_, group)| own(group)).map(|(place, _)| place).collect()
    }

    /// Takes over the processes of one application, which the previous program in this process has started. `next` gives
    /// the descriptors.
    /// # Errors
    /// Those of `next`.
    pub(in crate::ops::serve::supervisor) fn adopt<E>(
        self: &Arc<Self>,
        carried: CarriedApp,
        mut next: impl FnMut() -> Result<OwnedFd, E>,
    ) -> Result<AppProcesses, E> {
        let CarriedApp { app, spec, credentials, members: carried } = carried;
        let (stop, stopped) = watch::channel(());
        let (sources, mut members) = (Arc::<Sources>::default(), Vec::new());
        for CarriedProcess { index, socket, pid, since, restarts } in carried {
            let listener = next()?;
            let control = if pid > 0 { Some(next()?) } else { None };
            let copy = control.as_ref().and_then(|control| control.try_clone().ok());
            let adopted = control.and_then(|control| {
                Some((Control::from_fd(control).ok()?, Running::adopt(pid).ok()?)) // it may have just ended
            });
            let since = instant_of(since);
            let pid = if adopted.is_some() { pid } else { 0 };
            let current =
                Mutex::new(CurrentProcess { pid, since: since.min(Instant::now()), restarts, control: copy });
            let member = Arc::new(Member { index, socket, listener, current });
            let log = adopted
                .as_ref()
                .and_then(|_| read_log(&self.shared, format!("{app} {index}"), &member.socket));
            let keeper = Keeper {
                registry: self.clone(),
                app: app.clone(),
                spec: spec.clone(),
                credentials: credentials.clone(),
                member: member.clone(),
                sources: sources.clone(),
                stop: stopped.clone(),
                adopted,
                log,
            };
            self.keepers.spawn(keeper.run(None));
            members.push(member);
        }
        let group = Arc::new(AppGroup { app, spec, credentials, members, sources, _stop: stop });
        self.groups.lock().push(Arc::downgrade(&group));
        Ok(AppProcesses(vec![group]))
    }
}

/// Waits until all processes of an application are ready. They fail for the same reason; returns it.
async fn failure_of(table: Table, started: Vec<Started>) -> Option<Error> {
    let all = join_all(started).await.into_iter();
    let failure = all.map(|one| one.unwrap_or_else(|_| Err(LoadFailure::default()))).find_map(Result::err)?;
    let message = format!("the application `{}` cannot be loaded: {}", table.name(), failure.summary);
    Some(Error { output: failure.traceback, ..table.error("application", message) })
}

/// The outcome of the first start of a process.
type Started = oneshot::Receiver<Result<(), LoadFailure>>;

impl AppGroup {
    fn leave(&self) -> io::Result<(CarriedApp, Vec<OwnedFd>)> {
        let (mut members, mut descriptors) = (Vec::new(), Vec::new());
        for member in &self.members {
            let run = member.current.lock();
            descriptors.push(member.listener.try_clone()?);
            if let Some(control) = run.control.as_ref().filter(|_| run.pid > 0) {
                descriptors.push(control.try_clone()?);
            }
            members.push(CarriedProcess {
                index: member.index,
                socket: member.socket.clone(),
                pid: if run.control.is_some() { run.pid } else { 0 },
                since: time_of(run.since),
                restarts: run.restarts,
            });
        }
        let (app, spec, credentials) = (self.app.clone(), self.spec.clone(), self.credentials.clone());
        Ok((CarriedApp { app, spec, credentials, members }, descriptors))
    }
}

impl Member {
    /// Makes the socket, and the pipe for the log.
    fn bind(folder: &Path, index: usize, credentials: &Credentials) -> io::Result<Member> {
        let mut paths = (0..).map(|number| folder.join(format!("app{number}.sock")));
        let socket = paths.find(|path| !path.exists()).unwrap_or_default();
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        // Processes that share it must not wait for a connection that another one has accepted.
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = credentials.owner() {
            std::os::unix::fs::chown(&socket, Some(user), Some(group))?;
        }
        make_log(&socket)?;
        let current =
            Mutex::new(CurrentProcess { pid: 0, since: Instant::now(), restarts: 0, control: None });
        Ok(Member { index, socket, listener: listener.into(), current })
    }
}
