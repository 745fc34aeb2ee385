//! What workers leave behind: programs of `cgi` apps, commands of tasks, and other processes that a plugin
//! has started.
//!
//! A worker leads a session, whose number is its process id. Everything that it starts is in this session,
//! even after the parents have ended. The kernel makes the supervisor the parent of each of these processes
//! when its own parent ends, so the supervisor can wait for it. If the supervisor itself is killed, each
//! worker ends its session and itself. A process that has started its own session (a daemon) has left on
//! purpose, and is only reaped. Side processes are the supervisor's children and in its session: they are not
//! orphans.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio_util::task::TaskTracker;

/// How long the programs of a worker that ended normally may continue. Their responses are sent, and they finish other work.
pub(crate) const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long a program may take to end after TERM.
const GRACE: Duration = Duration::from_secs(2);
/// The pauses between two scans grow from the first to the last.
const LOOKS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(250)];
/// Maximum number of scans for the child processes of a worker that ends on its own.
const LAST_LOOKS: u32 = 200;
/// An ended process that was seen this often has no waiting parent.
const OFTEN: u32 = 4;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
struct ProcessEntry {
    pid: u32,
    parent: u32,
    group: u32,
    session: u32,
    ended: bool,
}

impl ProcessEntry {
    /// `None` if there is no such process.
    /// # Errors
    /// As for [`looked`].
    fn of(pid: u32) -> io::Result<Option<ProcessEntry>> {
        let stat = looked(std::fs::read_to_string(format!("/proc/{pid}/stat")))?;
        Ok(stat.and_then(|stat| ProcessEntry::read(pid, &stat)))
    }

    fn read(pid: u32, stat: &str) -> Option<ProcessEntry> {
        // The program's name may contain spaces; the fields start after its closing parenthesis.
        let mut fields = stat.rsplit(')').next()?.split_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let mut number = || fields.next()?.parse().ok();
        Some(ProcessEntry { pid, parent: number()?, group: number()?, session: number()?, ended })
    }

    fn reap(self) {
        let _ = rustix::process::waitpid(pid(self.pid), WaitOptions::NOHANG); // it may be reaped already
    }
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(number.cast_signed())
}

/// What was read; `None` if it does not exist.
/// # Errors
/// When no descriptor or no memory is free: it is then unknown what exists.
fn looked<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|errno| Some(errno.raw_os_error()));
    match read {
        Ok(seen) => Ok(Some(seen)),
        Err(cause) if short.contains(&cause.raw_os_error()) => Err(cause),
        Err(_) => Ok(None),
    }
}

/// The children of this process.
/// # Errors
/// As for [`looked`].
fn children() -> io::Result<Vec<ProcessEntry>> {
    let own = std::process::id();
    let text =
        looked(std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")))?.unwrap_or_default();
    let numbers = text.split_whitespace().filter_map(|child| child.parse().ok());
    numbers.filter_map(|child| ProcessEntry::of(child).transpose()).collect()
}

/// All processes of a session; of those that have ended, only the ones that this process must reap.
/// # Errors
/// As for [`looked`].
fn of_session(session: u32) -> io::Result<Vec<ProcessEntry>> {
    let own = std::process::id();
    let entries = looked(std::fs::read_dir("/proc"))?.into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<_> =
        numbers.filter_map(|pid| ProcessEntry::of(pid).transpose()).collect::<Result<_, _>>()?;
    all.retain(|seen| seen.session == session && (!seen.ended || seen.parent == own));
    Ok(all)
}

/// The processes that ended workers have left, and the tasks that wait for more.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// The sessions of ended workers that still have processes.
    sessions: Mutex<BTreeSet<u32>>,
    /// Tasks that each wait for the end of a worker and then clear what it leaves.
    watches: TaskTracker,
}

impl Orphans {
    /// Makes this process the parent of orphaned descendants.
    pub(crate) fn adopt_orphans() {
        // Fails on a kernel without this: init gets them then, as usual.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.sessions.lock()
    }

    /// Runs a task that waits for the end of a worker.
    pub(crate) fn watch(&self, watch: impl Future<Output = ()> + Send + 'static) {
        self.watches.spawn(watch);
    }

    /// The sessions that are being cleared, for an upgrade.
    pub(crate) fn leave(&self) -> Vec<u32> {
        self.sessions().iter().copied().collect()
    }

    /// Cleans up after `worker` in the background: its processes may continue for `patience`, then get TERM, and KILL 2 s
    /// later. Call this once the worker is reaped.
    pub(crate) fn clear(self: &Arc<Self>, worker: u32, patience: Duration) {
        // If the children cannot be read now, scan again later.
        if children().is_ok_and(|children| !children.iter().any(|child| child.session == worker)) {
            return;
        }
        self.sessions().insert(worker);
        let this = self.clone();
        tokio::spawn(async move {
            let gone = end(worker, None, patience).await;
            if !gone {
                stop(worker).await;
            }
            this.sessions().remove(&worker);
        });
    }

    /// Ends everything that is left, and waits for it. Call this once every worker is killed or released,
    /// including those that were still starting.
    pub(crate) async fn end(&self) {
        self.watches.close();
        let _ = tokio::time::timeout(GRACE, self.watches.wait()).await; // do not wait for what cannot be killed
        futures_util::future::join_all(self.leave().into_iter().map(stop)).await;
    }
}

/// Ends this process and the session that it leads once `parent` has ended. This has its own thread because a
/// plugin may block all others.
/// # Errors
/// When the kernel cannot report that end, or the thread cannot be started.
pub(crate) fn end_with(parent: Pid) -> io::Result<()> {
    let parent = rustix::process::pidfd_open(parent, PidfdFlags::empty())?;
    // A scan needs two descriptors, and connections may have taken all others.
    let spare = File::open("/dev/null")?;
    std::thread::Builder::new().name("guard".into()).spawn(move || {
        let mut ended = [PollFd::new(&parent, PollFlags::IN)];
        while rustix::event::poll(&mut ended, None).is_err() {}
        drop((parent, spare));
        end_own();
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL); // cannot fail
    })?;
    Ok(())
}

/// Kills all other processes of the session that this process leads.
pub(crate) fn end_own() {
    let own = std::process::id();
    // The next scan finds what is started meanwhile.
    for _ in 0..LAST_LOOKS {
        let others = of_session(own).map(|mut others| {
            others.retain(|seen| !seen.ended && seen.pid != own);
            others
        });
        if others.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        for pid in others.iter().flatten().filter_map(|seen| pid(seen.pid)) {
            let _ = rustix::process::kill_process(pid, Signal::KILL); // it may have ended already
        }
        std::thread::sleep(LOOKS[0]);
    }
}

async fn stop(session: u32) {
    if !end(session, Some(Signal::TERM), GRACE).await {
        end(session, Some(Signal::KILL), GRACE).await;
    }
}

/// Signals every process group of the session, and waits until all have ended; `false` if `time` was too
/// short.
async fn end(session: u32, signal: Option<Signal>, time: Duration) -> bool {
    let until = Instant::now() + time;
    let (mut signalled, mut pause) = (BTreeSet::new(), LOOKS[0]);
    loop {
        let mut members = of_session(session);
        if members.iter().flatten().any(|seen| seen.ended) {
            members.iter().flatten().filter(|seen| seen.ended).for_each(|seen| seen.reap());
            members = of_session(session);
        }
        if members.as_ref().is_ok_and(Vec::is_empty) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        for seen in members.iter().flatten().filter(|seen| !seen.ended) {
            if let (Some(signal), Some(group)) = (signal, pid(seen.group))
                && signalled.insert(seen.group)
            {
                let _ = rustix::process::kill_process_group(group, signal); // it may have ended already
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOKS[1]);
    }
}

/// Reaps children without a waiting task: orphans, and processes of the previous program.
#[derive(Debug, Default)]
pub(crate) struct Reaper(BTreeMap<u32, u32>);

impl Reaper {
    /// Looks for such children, except the `known` ones, which have a waiting task.
    pub(crate) fn sweep(&mut self, known: &[u32]) {
        let Ok(children) = children() else { return };
        let ended = children.into_iter().filter(|child| child.ended && !known.contains(&child.pid));
        let mut now = BTreeMap::new();
        for child in ended {
            let seen = self.0.get(&child.pid).map_or(1, |seen| seen + 1);
            if seen >= OFTEN {
                child.reap();
            } else {
                now.insert(child.pid, seen);
            }
        }
        self.0 = now;
    }

    /// Forgets what it has seen.
    pub(crate) fn rest(&mut self) {
        self.0.clear();
    }
}
