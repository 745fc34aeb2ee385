//! Starts the processes of applications, and knows all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::group::{
    AppGroup, AppProcesses, CarriedApp, CarriedProcess, CurrentProcess, GroupOwner, LoadedSources,
    ProcessSlot, StacksWanted,
};
use super::keeper::{ProcessStarter, grace, log_name};
use super::member::UnstartedMember;
use super::wanted::wanted;
use crate::app::process::{
    AddressKind, EndpointUsers, LoadFailure, PortReservation, ProcessControl, ProcessSpec,
};
use crate::config::Table;
use crate::error::Error;
use crate::ops::serve::ipc::message::SavedStates;
use crate::ops::serve::process::clock::{instant_of, time_of};
use crate::ops::serve::process::credentials::Credentials;
use crate::ops::serve::process::running::Running;
use crate::ops::serve::supervisor::inbox::Notification;
use crate::ops::serve::supervisor::plan::GenerationPlan;
use crate::ops::serve::supervisor::shared::SupervisorShared;
use crate::ops::serve::supervisor::side_process::{SideProcesses, read_log};

/// The longest wait for the end of all processes, above that for the slowest of them.
const STOPPING: Duration = Duration::from_secs(2);

/// All processes of applications, of every generation.
pub(in crate::ops::serve::supervisor) struct AppRegistry {
    pub(super) shared: Arc<SupervisorShared>,
    /// The side processes that plugins may ask for.
    pub(super) sides: Arc<SideProcesses>,
    groups: Mutex<Vec<Weak<AppGroup>>>,
    /// The source files that an application has reported, by its name.
    sources: Mutex<BTreeMap<String, BTreeSet<PathBuf>>>,
    pub(super) keepers: TaskTracker,
    /// The longest time that any of the processes may take to end.
    stopping_ms: AtomicU64,
}

impl AppRegistry {
    pub(in crate::ops::serve::supervisor) fn new(
        shared: Arc<SupervisorShared>,
        sides: Arc<SideProcesses>,
    ) -> Arc<AppRegistry> {
        let (groups, sources) = (Mutex::default(), Mutex::default());
        let (keepers, stopping_ms) = (TaskTracker::new(), AtomicU64::new(10_000));
        Arc::new(AppRegistry { shared, sides, groups, sources, keepers, stopping_ms })
    }

    pub(super) fn groups(&self) -> Vec<Arc<AppGroup>> {
        let mut groups = self.groups.lock();
        groups.retain(|group| group.strong_count() > 0);
        groups.iter().filter_map(Weak::upgrade).collect()
    }

    /// The process ids.
    pub(in crate::ops::serve::supervisor) fn pids(&self) -> Vec<u32> {
        let groups = self.groups();
        let members = groups.iter().flat_map(|group| &group.members);
        members.map(|member| member.current.lock().pid).collect()
    }

    /// The source files of all applications, and the directories that belong to their programs.
    pub(in crate::ops::serve::supervisor) fn sources(&self) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        self.sources.lock().values().flatten().cloned().partition(|path| !path.is_dir())
    }

    /// Waits for the end of all processes, whose generations have ended.
    pub(in crate::ops::serve::supervisor) async fn stop(&self) {
        self.keepers.close();
        // One after another, if they depend on one another.
        let total = Duration::from_millis(self.stopping_ms.load(Ordering::Relaxed));
        let _ = tokio::time::timeout(total + STOPPING, self.keepers.wait()).await; // they end with this process
    }

    /// Starts the processes of `plan`'s applications and its programs, and waits until they are ready. Keeps those of
    /// `before` that would be the same. Others continue with the states of those in `replaced`.
    /// # Errors
    /// Every application that could not be loaded, and every program that was not ready.
    pub(in crate::ops::serve::supervisor) async fn start(
        self: &Arc<Self>,
        plan: &GenerationPlan,
        generation: u64,
        before: &AppProcesses,
        replaced: &AppProcesses,
    ) -> Result<AppProcesses, Vec<Error>> {
        let mut groups: Vec<Arc<AppGroup>> = Vec::new();
        for wanted in wanted(plan)? {
            let (mut faults, mut starts) = (Vec::new(), Vec::new());
            for wanted in wanted {
                let owner = GroupOwner::of(&wanted);
                let credentials = match plan.credentials.of_processes(&wanted.spec, &wanted.table) {
                    Ok(credentials) => credentials,
                    Err(errors) => {
                        faults.extend(errors);
                        continue;
                    }
                };
                let needs = |group: &&Arc<AppGroup>| wanted.spec.after.contains(&group.owner.name);
                let needs: Vec<_> = groups.iter().filter(needs).cloned().collect();
                let made = GroupPlan { owner, spec: wanted.spec, credentials, needs, generation };
                let kept = before.0.iter().find(|group| made.is(group));
                if let Some(kept) = kept.filter(|group| !group.sources.have_changed()) {
                    groups.push(kept.clone());
                    continue;
                }
                let states = replaced.saved_states(&made.owner, &made.spec, &self.shared).await;
                match self.begin(made, &states, plan.credentials.owner()) {
                    Ok((group, started)) => {
                        starts.push((wanted.table, group.owner.is_program, started));
                        groups.push(group);
                    }
                    Err(cause) => {
                        let message = format!("cannot start the processes of `[{}]`", wanted.table.path());
                        faults.push(Error::new(message).because(cause));
                    }
                }
            }
            let waits =
                starts.into_iter().map(|(table, program, started)| failure_of(table, program, started));
            faults.extend(join_all(waits).await.into_iter().flatten());
            if !faults.is_empty() {
                return Err(faults);
            }
        }
        Ok(AppProcesses(groups))
    }

    /// Starts processes. Each continues with the state of its number in `states`, or with the first. `workers` are the user and
    /// the group of the workers, if they are not those of this process.
    /// # Errors
    /// When a socket cannot be made.
    fn begin(
        self: &Arc<Self>,
        made: GroupPlan,
        states: &[SavedStates],
        workers: Option<(u32, u32)>,
    ) -> io::Result<(Arc<AppGroup>, Vec<Started>)> {
        let GroupPlan { owner, spec, credentials, needs, generation } = made;
        let folder = self.shared.folder.path().map_err(io::Error::other)?;
        let users = EndpointUsers { process: credentials.owner(), workers };
        let by_path = matches!(spec.address, AddressKind::Socket | AddressKind::Descriptor);
        if by_path && users.process != workers {
            self.shared.folder.open_to_all()?;
        }
        let bound = (0..spec.count).map(|index| UnstartedMember::bind(folder, index, spec.address, users));
        let bound = bound.collect::<io::Result<Vec<_>>>()?;
        // All ports are taken before the first is released.
        let members: Vec<_> = bound.into_iter().map(|unstarted| Arc::new(unstarted.release())).collect();
        let (stop, stopped) = watch::channel(());
        let sources = Arc::<LoadedSources>::default();
        sources.record(&spec.watched, SystemTime::now());
        if !spec.watched.is_empty() {
            self.add_sources(&owner.name, spec.watched.clone());
        }
        let millis = u64::try_from(grace(&spec).as_millis()).unwrap_or(u64::MAX);
        self.stopping_ms.fetch_max(millis * (1 + needs.len() as u64), Ordering::Relaxed);
        let mut started = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let keeper = ProcessStarter {
                registry: self.clone(),
                owner: owner.clone(),
                spec: spec.clone(),
                credentials: credentials.clone(),
                member: member.clone(),
                sources: sources.clone(),
                _needs: needs.clone(),
                stop: stopped.clone(),
                adopted: None,
                log: None,
                generation,
                states: states.get(index).or(states.first()).cloned().unwrap_or_default(),
            };
            let (first, outcome) = oneshot::channel();
            self.keepers.spawn(keeper.run(Some(first)));
            started.push(outcome);
        }
        let retired = AtomicBool::new(false);
        let group =
            AppGroup { owner, spec, credentials, members, sources, generation, retired, needs, _stop: stop };
        let group = Arc::new(group);
        self.groups.lock().push(Arc::downgrade(&group));
        Ok((group, started))
    }

    /// Asks for new processes in place of those of an app or a program.
    pub(super) fn ask_for_restart(&self, name: &str, reason: &str) {
        self.shared.send(Notification::Restart(name.to_owned(), reason.to_owned()));
    }

    /// Stores the source files that an application has reported, and watches them.
    pub(super) fn add_sources(&self, app: &str, sources: Vec<PathBuf>) {
        let mut known = self.sources.lock();
        let known = known.entry(app.to_owned()).or_default();
        let before = known.len();
        known.extend(sources);
        if known.len() > before {
            self.shared.send(Notification::Sources);
        }
    }

    /// Stores the source files of an application of `processes` that runs in a worker, which began to load them at `began`.
    pub(in crate::ops::serve::supervisor) fn record(
        &self,
        processes: &AppProcesses,
        app: &str,
        sources: Vec<PathBuf>,
        began: SystemTime,
    ) {
        if let Some(group) =
            processes.0.iter().find(|group| !group.owner.is_program && group.owner.name == app)
        {
            group.sources.record(&sources, began);
        }
        self.add_sources(app, sources);
    }

    /// All applications' processes, each application with its descriptors.
    /// # Errors
    /// When no descriptor is free.
    pub(in crate::ops::serve::supervisor) fn leave(&self) -> io::Result<Vec<(CarriedApp, Vec<OwnedFd>)>> {
        let groups = self.groups();
        groups.iter().map(|group| group.leave(&groups)).collect()
    }

    /// The positions of `processes` among those that [`AppRegistry::leave`] returns.
    pub(in crate::ops::serve::supervisor) fn places(&self, processes: &AppProcesses) -> Vec<usize> {
        let own = |group: &Arc<AppGroup>| processes.0.iter().any(|own| Arc::ptr_eq(own, group));
        self.groups().iter().enumerate().filter(|(_, group)| own(group)).map(|(place, _)| place).collect()
    }

    /// Takes over the processes of one application, which the previous program in this process has started, after those of
    /// `earlier` ones. `next` gives the descriptors.
    /// # Errors
    /// Those of `next`.
    pub(in crate::ops::serve::supervisor) fn adopt<E>(
        self: &Arc<Self>,
        carried: CarriedApp,
        earlier: &[AppProcesses],
        mut next: impl FnMut() -> Result<OwnedFd, E>,
    ) -> Result<AppProcesses, E> {
        let CarriedApp { owner, spec, credentials, members: carried, generation, needs } = carried;
        let (stop, stopped) = watch::channel(());
        let (sources, mut members) = (Arc::<LoadedSources>::default(), Vec::new());
        let needs: Vec<Arc<AppGroup>> =
            needs.iter().filter_map(|place| earlier.get(*place)?.0.first()).cloned().collect();
        for CarriedProcess { index, socket, address, inherits, pid, program, terminal, since, restarts } in
            carried
        {
            let listener = if inherits { Some(next()?) } else { None };
            let control = if pid > 0 { Some(next()?) } else { None };
            let copy = control.as_ref().and_then(|control| control.try_clone().ok());
            let adopted = control.and_then(|control| {
                Some((ProcessControl::from_fd(control).ok()?, Running::adopt(pid).ok()?)) // it may have just ended
            });
            let since = instant_of(since).min(Instant::now());
            let pid = if adopted.is_some() { pid } else { 0 };
            let control = copy;
            let current = CurrentProcess { pid, program, terminal, since, restarts, control, messages: None };
            let current = Mutex::new(current);
            let stacks = StacksWanted::default();
            let _reservation = address.as_ref().and_then(PortReservation::of);
            let member =
                Arc::new(ProcessSlot { index, socket, address, listener, _reservation, current, stacks });
            let log = adopted
                .as_ref()
                .and_then(|_| read_log(&self.shared, log_name(&owner, index), &member.socket));
            let keeper = ProcessStarter {
                registry: self.clone(),
                owner: owner.clone(),
                spec: spec.clone(),
                credentials: credentials.clone(),
                member: member.clone(),
                sources: sources.clone(),
                _needs: needs.clone(),
                stop: stopped.clone(),
                adopted,
                log,
                generation,
                states: SavedStates::default(),
            };
            // One that has done its work is not started again.
            if pid > 0 || !spec.once {
                self.keepers.spawn(keeper.run(None));
            }
            members.push(member);
        }
        let retired = AtomicBool::new(false);
        let group =
            AppGroup { owner, spec, credentials, members, sources, generation, retired, needs, _stop: stop };
        let group = Arc::new(group);
        self.groups.lock().push(Arc::downgrade(&group));
        Ok(AppProcesses(vec![group]))
    }
}

/// Processes that are to be started.
struct GroupPlan {
    owner: GroupOwner,
    spec: ProcessSpec,
    credentials: Credentials,
    needs: Vec<Arc<AppGroup>>,
    generation: u64,
}

impl GroupPlan {
    /// Whether the processes of `group` would be the same.
    fn is(&self, group: &AppGroup) -> bool {
        let same_needs = self.needs.len() == group.needs.len()
            && self.needs.iter().all(|one| group.needs.iter().any(|other| Arc::ptr_eq(one, other)));
        self.owner == group.owner
            && self.spec == group.spec
            && self.credentials == group.credentials
            && same_needs
    }
}

/// Waits until all processes of an application are ready. They fail for the same reason; returns it.
async fn failure_of(table: Table, is_program: bool, started: Vec<Started>) -> Option<Error> {
    let all = join_all(started).await.into_iter();
    let failure = all.map(|one| one.unwrap_or_else(|_| Err(LoadFailure::default()))).find_map(Result::err)?;
    let (name, summary) = (table.name(), failure.summary);
    let (key, message) = match (is_program, table.value().get("command")) {
        (true, _) => ("command", format!("the program `{name}` failed: {summary}")),
        (false, Some(_)) => {
            ("command", format!("the program of the app `{name}` cannot be started: {summary}"))
        }
        (false, None) => ("application", format!("the application `{name}` cannot be loaded: {summary}")),
    };
    Some(Error { output: failure.traceback, ..table.error(key, message) })
}

/// The outcome of the first start of a process.
type Started = oneshot::Receiver<Result<(), LoadFailure>>;

impl AppGroup {
    fn leave(&self, groups: &[Arc<AppGroup>]) -> io::Result<(CarriedApp, Vec<OwnedFd>)> {
        let (mut members, mut descriptors) = (Vec::new(), Vec::new());
        for member in &self.members {
            let run = member.current.lock();
            descriptors.extend(member.listener.as_ref().map(OwnedFd::try_clone).transpose()?);
            if let Some(control) = run.control.as_ref().filter(|_| run.pid > 0) {
                descriptors.push(control.try_clone()?);
            }
            members.push(CarriedProcess {
                index: member.index,
                socket: member.socket.clone(),
                address: member.address.clone(),
                inherits: member.listener.is_some(),
                program: run.program,
                terminal: run.terminal.clone(),
                pid: if run.control.is_some() { run.pid } else { 0 },
                since: time_of(run.since),
                restarts: run.restarts,
            });
        }
        let (owner, spec, credentials) = (self.owner.clone(), self.spec.clone(), self.credentials.clone());
        let place = |need: &Arc<AppGroup>| groups.iter().position(|group| Arc::ptr_eq(group, need));
        let needs = self.needs.iter().filter_map(place).collect();
        let generation = self.generation;
        Ok((CarriedApp { owner, spec, credentials, members, generation, needs }, descriptors))
    }
}
