//! The kernel host: a side process that owns kernels, their sockets and their journals, and outlives reloads of the plugin.
//!
//! `task` drives one kernel, and `session` serves one connection. The host also keeps small values and
//! locks for the plugin, because they must live as long as the kernels.

mod handshake;
mod incoming;
mod prewarmed;
mod pty;
mod queue;
mod running;
mod session;
mod task;
mod terminals;
mod unused;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{broadcast, oneshot};

pub(crate) use self::prewarmed::SESSION_NAME;

use self::prewarmed::KernelPools;
use self::running::Running;
use self::terminals::Terminals;
use super::reaper::Reaper;
use super::wire::{Event, LAST_ACTIVITY, Launch, Problem, ProblemKind};
use crate::clock;

/// The largest value that the plugin may store, in bytes of JSON, and how many.
const MAX_VALUE_BYTES: usize = 4 << 20;
const MAX_VALUES: usize = 10_000;

/// Runs the kernel host on `listener` until the program that started it ends it (SIGTERM) or is gone. Returns
/// the exit code.
pub fn main(listener: UnixListener) -> i32 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kernel host: cannot start its runtime: {error}");
            return 1;
        }
    };
    match runtime.block_on(serve(listener)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("kernel host: {error}");
            1
        }
    }
}

async fn serve(listener: UnixListener) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let host = Arc::new(Host::new()?);
    let mut terminate = signal(SignalKind::terminate())?;
    // Ctrl-C and a closed terminal reach the whole process group. Our parent decides when we end.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hang_up = signal(SignalKind::hangup())?;
    let parent = rustix::process::getppid();
    let mut watch = tokio::time::interval(Duration::from_secs(5));
    let mut orphaned = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(session::serve(host.clone(), stream)); }
                Err(error) => {
                    tracing::warn!(%error, "kernel host: cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = terminate.recv() => break,
            _ = watch.tick() => {
                // A parent that is gone may have been replaced by a new server. Then the plugin is connected.
                let alone = rustix::process::getppid() != parent && host.controls.load(Ordering::Relaxed) == 0;
                orphaned = if alone { orphaned + 1 } else { 0 };
                if orphaned >= 6 {
                    break;
                }
            }
        }
    }
    host.end().await;
    Ok(())
}

/// Everything that the side process holds.
struct Host {
    /// Mode 0700; removed at the end.
    private: PathBuf,
    kernels: Mutex<HashMap<String, Arc<Running>>>,
    /// Kernels that were started in advance. Locked after `kernels`.
    prewarmed: KernelPools,
    terminals: Terminals,
    kept: Mutex<BTreeMap<String, Value>>,
    locks: Mutex<HashMap<String, Lock>>,
    events: broadcast::Sender<Event>,
    reaper: Reaper,
    /// Open control connections.
    controls: AtomicU64,
    connections: AtomicU64,
}

struct Lock {
    /// The number of the connection that holds it.
    holder: u64,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Host {
    fn new() -> std::io::Result<Host> {
        // Socket paths are limited to 107 bytes, so the folder's path must be short.
        let parent = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        let parent = parent.filter(|path| path.as_os_str().len() < 40).unwrap_or_else(std::env::temp_dir);
        let private = tempfile::Builder::new()
            .prefix("paster-k-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?
            .keep();
        let reaper = Reaper::start(&private)?;
        Ok(Host {
            private,
            kernels: Mutex::default(),
            prewarmed: KernelPools::default(),
            terminals: Terminals::default(),
            kept: Mutex::default(),
            locks: Mutex::default(),
            events: broadcast::Sender::new(1024),
            reaper,
            controls: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        })
    }

    fn kernel(&self, id: &str) -> Result<Arc<Running>, Problem> {
        let found = self.kernels.lock().get(id).cloned();
        found.ok_or_else(|| Problem::new(ProblemKind::UnknownKernel, format!("Kernel does not exist: {id}")))
    }

    /// Starts a kernel. A `temporary` one ends with its last attachment.
    fn start(
        self: &Arc<Self>,
        launch: Launch,
        id: Option<String>,
        temporary: bool,
    ) -> Result<Arc<Running>, Problem> {
        let is_chosen = id.is_some();
        let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if uuid::Uuid::parse_str(&id).is_err() {
            return Err(Problem::new(ProblemKind::Malformed, "a kernel id must be a UUID"));
        }
        let mut kernels = self.kernels.lock();
        if let Some(present) = kernels.get(&id) {
            return Ok(present.clone());
        }
        if kernels.len() >= launch.limits.kernels {
            let message = format!(
                "{} kernels are running, which is the maximum: shut one down, or increase `limits.kernels` in the settings",
                kernels.len()
            );
            return Err(Problem::new(ProblemKind::Limit, message));
        }
        // One with an id that the client chose is started for it.
        if let Some(kernel) = if is_chosen { None } else { self.take_prewarmed(&launch) } {
            kernels.insert(kernel.model().id, kernel.clone());
            return Ok(kernel);
        }
        if kernels.len() + self.prewarmed.len() >= launch.limits.kernels {
            self.prewarmed.end_one();
        }
        let folder = self.kernel_folder(&id)?;
        let kernel = task::start(self.clone(), id.clone(), launch, (folder, temporary));
        kernels.insert(id, kernel.clone());
        Ok(kernel)
    }

    /// Creates the private folder of a kernel.
    fn kernel_folder(&self, id: &str) -> Result<PathBuf, Problem> {
        let folder = self.private.join(&id[..13]);
        let failed = |error| {
            Problem::new(ProblemKind::LaunchFailed, format!("cannot create {}: {error}", folder.display()))
        };
        std::fs::DirBuilder::new().create(&folder).map_err(failed)?;
        Ok(folder)
    }

    /// Forgets a kernel, and the stored values about it: sessions, and what clients have read.
    fn forget(&self, id: &str) {
        if self.kernels.lock().remove(id).is_some() {
            let now = clock::rfc3339(SystemTime::now());
            let mut kept = self.kept.lock();
            kept.retain(|key, value| !key.contains(id) && value["kernel_id"] != *id);
            kept.insert(LAST_ACTIVITY.to_owned(), now.into());
            drop(kept);
            let _ = self.events.send(Event::KernelGone { id: id.to_owned() });
        }
    }

    fn put(&self, key: String, value: Option<Value>) -> Result<(), Problem> {
        let mut kept = self.kept.lock();
        let Some(value) = value else {
            kept.remove(&key);
            return Ok(());
        };
        if key.len() > 4096
            || value.to_string().len() > MAX_VALUE_BYTES
            || (kept.len() >= MAX_VALUES && !kept.contains_key(&key))
        {
            return Err(Problem::new(
                ProblemKind::Limit,
                format!("the kernel host cannot store the value `{key}`: it is too large"),
            ));
        }
        kept.insert(key, value);
        Ok(())
    }

    fn kept(&self, prefix: &str) -> Value {
        let kept = self.kept.lock();
        let found = kept.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Value::Object(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Takes the lock `key` for `connection`. `Ok`: it has the lock at once. `Err`: it gets it when the
    /// receiver fires.
    fn lock(&self, key: &str, connection: u64, wait: bool) -> Result<bool, oneshot::Receiver<()>> {
        let mut locks = self.locks.lock();
        let Some(present) = locks.get_mut(key) else {
            locks.insert(key.to_owned(), Lock { holder: connection, waiting: VecDeque::new() });
            return Ok(true);
        };
        if present.holder == connection {
            return Ok(true);
        }
        if !wait {
            return Ok(false);
        }
        let (sender, receiver) = oneshot::channel();
        present.waiting.push_back((connection, sender));
        let _ = self.events.send(Event::LockWanted { key: key.to_owned() });
        Err(receiver)
    }

    fn unlock(&self, key: &str, connection: u64) {
        let mut locks = self.locks.lock();
        let Some(present) = locks.get_mut(key) else { return };
        if present.holder != connection {
            return;
        }
        while let Some((next, sender)) = present.waiting.pop_front() {
            present.holder = next;
            if sender.send(()).is_ok() {
                return;
            }
        }
        locks.remove(key);
        let _ = self.events.send(Event::LockFree { key: key.to_owned() });
    }

    fn unlock_all(&self, connection: u64) {
        let held: Vec<String> = self
            .locks
            .lock()
            .iter_mut()
            .filter_map(|(key, present)| {
                present.waiting.retain(|(waiting, _)| *waiting != connection);
                (present.holder == connection).then(|| key.clone())
            })
            .collect();
        held.iter().for_each(|key| self.unlock(key, connection));
    }

    async fn end(&self) {
        let mut kernels: Vec<_> = self.kernels.lock().values().cloned().collect();
        kernels.extend(self.prewarmed.drain());
        self.terminals.end();
        futures_util::future::join_all(kernels.iter().map(|kernel| kernel.shutdown())).await;
        // Kills what is left and removes the private folder.
        self.reaper.finish();
    }
}
