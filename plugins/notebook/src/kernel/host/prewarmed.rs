//! Kernels that are started in advance, so that a first cell does not wait for the start of an interpreter.
//!
//! A kernel is started completely: in its folder and its sandbox. So it only fits a start that differs in nothing but the name of
//! the session. It is not in the list of kernels before it is taken.

mod environment;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use self::environment::EnvironmentState;
use super::running::Running;
use super::{Host, task};
use crate::kernel::message::{Channel, Message};
use crate::kernel::transport::HOST_SESSION;
use crate::kernel::wire::{KernelModel, Launch, Prewarm, Problem};
use crate::protocol::KernelState;

/// The variable with the path of a kernel's notebook.
pub(crate) const SESSION_NAME: &str = "JPY_SESSION_NAME";
/// How long after a kernel was taken the next one is started, so that it does not slow down the first cell.
const REFILL: Duration = Duration::from_secs(2);

/// The owner of a pool, and the name of its kernelspec.
type KernelPoolName = (String, String);

/// All pools.
#[derive(Default)]
pub(super) struct KernelPools(Mutex<HashMap<KernelPoolName, KernelPool>>);

/// The kernels of one owner and one kernelspec: all with the same launch.
struct KernelPool {
    launch: Launch,
    key: String,
    count: usize,
    /// How many the owner may still take.
    room: Option<usize>,
    unused: Option<Duration>,
    /// When the plugin last asked for it.
    wanted: Instant,
    kernels: VecDeque<WaitingKernel>,
}

/// A kernel that nobody uses yet.
struct WaitingKernel {
    kernel: Arc<Running>,
    environment: EnvironmentState,
}

impl WaitingKernel {
    /// Whether it is as one would be that is started now.
    fn is_fresh(&self, launch: &Launch) -> bool {
        self.kernel.model.lock().state != KernelState::Dead
            && self.environment == EnvironmentState::of(launch)
    }

    fn end(self) {
        tokio::spawn(async move { self.kernel.shutdown().await });
    }
}

impl KernelPool {
    /// Ends the kernels that are no longer as one would be that is started now.
    fn end_old(&mut self) {
        let launch = &self.launch;
        let (fresh, old): (VecDeque<_>, VecDeque<_>) =
            self.kernels.drain(..).partition(|waiting| waiting.is_fresh(launch));
        self.kernels = fresh;
        old.into_iter().for_each(WaitingKernel::end);
    }

    fn end(self) {
        self.kernels.into_iter().for_each(WaitingKernel::end);
    }
}

impl KernelPools {
    /// The number of kernels that wait.
    pub(super) fn len(&self) -> usize {
        self.0.lock().values().map(|pool| pool.kernels.len()).sum()
    }

    /// The kernels that wait.
    pub(super) fn models(&self) -> Vec<KernelModel> {
        let pools = self.0.lock();
        pools.values().flat_map(|pool| &pool.kernels).map(|waiting| waiting.kernel.model()).collect()
    }

    /// Takes a kernel for this launch, if one waits.
    pub(super) fn take(&self, launch: &Launch) -> Option<(KernelPoolName, Arc<Running>)> {
        let mut pools = self.0.lock();
        let key = key(launch);
        let (name, pool) = pools.iter_mut().find(|(_, pool)| pool.key == key)?;
        pool.end_old();
        let taken = pool.kernels.pop_front()?;
        pool.room = pool.room.map(|room| room.saturating_sub(1));
        Some((name.clone(), taken.kernel))
    }

    /// Ends the kernel that has waited longest without being wanted. Returns whether there was one.
    pub(super) fn end_one(&self) -> bool {
        let mut pools = self.0.lock();
        let oldest =
            pools.values_mut().filter(|pool| !pool.kernels.is_empty()).min_by_key(|pool| pool.wanted);
        let ended = oldest.and_then(|pool| pool.kernels.pop_front());
        ended.map(WaitingKernel::end).is_some()
    }

    /// Ends the pools of other kernelspecs.
    pub(super) fn keep(&self, names: &[String]) {
        let mut pools = self.0.lock();
        let gone: Vec<_> = pools.keys().filter(|(_, spec)| !names.contains(spec)).cloned().collect();
        gone.iter().filter_map(|name| pools.remove(name)).for_each(KernelPool::end);
    }

    /// Removes all kernels, for the end of the host.
    pub(super) fn drain(&self) -> Vec<Arc<Running>> {
        let pools = std::mem::take(&mut *self.0.lock());
        pools.into_values().flat_map(|pool| pool.kernels).map(|waiting| waiting.kernel).collect()
    }

    /// Ends a pool that nobody wanted for its time.
    fn expire(&self, name: &KernelPoolName) {
        let mut pools = self.0.lock();
        let is_unused = |pool: &KernelPool| pool.unused.is_some_and(|unused| pool.wanted.elapsed() >= unused);
        if pools.get(name).is_some_and(is_unused) {
            pools.remove(name).into_iter().for_each(KernelPool::end);
        }
    }
}

/// What must be equal for two starts. The code that is run when a kernel is taken sets the rest.
fn key(launch: &Launch) -> String {
    let mut launch = launch.clone();
    launch.env.retain(|(name, _)| name != SESSION_NAME);
    serde_json::to_string(&launch).unwrap_or_default()
}

impl Host {
    /// Keeps kernels ready as `order` says.
    pub(super) fn prewarm(self: &Arc<Self>, order: Prewarm) -> Result<(), Problem> {
        let Prewarm { owner, launch, count, room, unused_secs } = order;
        let (name, key) = ((owner, launch.name.clone()), key(&launch));
        let unused = unused_secs.map(Duration::from_secs);
        {
            let mut pools = self.prewarmed.0.lock();
            if count == 0 {
                pools.remove(&name).into_iter().for_each(KernelPool::end);
                return Ok(());
            }
            // Those of another folder or another environment.
            if pools.get(&name).is_some_and(|pool| pool.key != key) {
                pools.remove(&name).into_iter().for_each(KernelPool::end);
            }
            let kernels = VecDeque::new();
            let new =
                || KernelPool { launch: *launch, key, count, room, unused, wanted: Instant::now(), kernels };
            let pool = pools.entry(name.clone()).or_insert_with(new);
            (pool.count, pool.room, pool.unused, pool.wanted) = (count, room, unused, Instant::now());
        }
        self.fill(&name)?;
        if let Some(unused) = unused {
            let host = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(unused).await;
                host.prewarmed.expire(&name);
            });
        }
        Ok(())
    }

    /// Starts what is missing in a pool, below the limit of all kernels.
    fn fill(self: &Arc<Self>, name: &KernelPoolName) -> Result<(), Problem> {
        let kernels = self.kernels.lock();
        let mut running = kernels.len() + self.prewarmed.len();
        let mut pools = self.prewarmed.0.lock();
        let Some(pool) = pools.get_mut(name) else { return Ok(()) };
        pool.end_old();
        let count = pool.room.map_or(pool.count, |room| room.min(pool.count));
        while pool.kernels.len() > count {
            pool.kernels.pop_front().into_iter().for_each(WaitingKernel::end);
        }
        while pool.kernels.len() < count && running < pool.launch.limits.kernels {
            let id = uuid::Uuid::new_v4().to_string();
            let folder = self.kernel_folder(&id)?;
            // Before it starts, so that a change during the start is noticed.
            let environment = EnvironmentState::prepare(&pool.launch);
            let kernel = task::start(self.clone(), id, pool.launch.clone(), (folder, false));
            // It is not unused, although nothing is attached to it.
            kernel.used.hold();
            pool.kernels.push_back(WaitingKernel { kernel, environment });
            running += 1;
        }
        Ok(())
    }

    /// Takes a kernel that waits for this launch. Another one is started later.
    pub(super) fn take_prewarmed(self: &Arc<Self>, launch: &Launch) -> Option<Arc<Running>> {
        let (name, kernel) = self.prewarmed.take(launch)?;
        kernel.used.release();
        *kernel.relaunch.lock() = Some(launch.clone());
        if let Some(code) = session_name_code(launch) {
            let content = json!({
                "code": code, "silent": true, "store_history": false, "user_expressions": {}, "allow_stdin": false,
                "stop_on_error": false,
            });
            let id = format!("host-{}", uuid::Uuid::new_v4().simple());
            kernel.send_first(Message::new(Channel::Shell, "execute_request", &id, HOST_SESSION, &content));
        }
        let host = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(REFILL).await;
            if let Err(problem) = host.fill(&name) {
                tracing::warn!(%problem, "cannot start a kernel in advance");
            }
        });
        Some(kernel)
    }
}

/// Sets the name of the session in a kernel that has started without it. Only Python has a common way.
fn session_name_code(launch: &Launch) -> Option<String> {
    let (_, value) = launch.env.iter().find(|(name, _)| name == SESSION_NAME)?;
    // A JSON string is one of Python, too.
    let is_python = launch.language == "python";
    is_python.then(|| format!("__import__('os').environ['{SESSION_NAME}'] = {}", json!(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(env: &[(&str, &str)], language: &str) -> Launch {
        let env: Vec<_> = env.iter().map(|(name, value)| json!([name, value])).collect();
        serde_json::from_value(json!({
            "name": "k", "argv": ["python3"], "env": env, "folder": "/a", "resource_dir": "", "interrupt_by_message": false,
            "built_in": null, "limits": {"memory_bytes": null, "processes": null, "cpu_secs": null, "file_bytes": null, "kernels": 3, "journal_bytes": 1},
            "language": language,
        }))
        .unwrap()
    }

    #[test]
    fn only_the_name_of_the_session_may_differ() {
        let of = |env: &[(&str, &str)]| key(&launch(env, "python"));
        assert_eq!(of(&[]), of(&[(SESSION_NAME, "/a/n.ipynb")]));
        assert_ne!(of(&[]), of(&[("OTHER", "1")]));
        let elsewhere = Launch { folder: "/b".to_owned(), ..launch(&[], "python") };
        assert_ne!(of(&[]), key(&elsewhere));
        let sandboxed = Launch {
            sandbox: Some(crate::kernel::sandbox::Sandbox {
                network: false,
                home: "/h".to_owned(),
                read_only: Vec::new(),
                files: Default::default(),
            }),
            ..launch(&[], "python")
        };
        assert_ne!(of(&[]), key(&sandboxed));
    }

    #[test]
    fn a_name_of_a_session_is_quoted() {
        let code = session_name_code(&launch(&[(SESSION_NAME, "/a/é \"b'\\.ipynb")], "python")).unwrap();
        assert_eq!(code, "__import__('os').environ['JPY_SESSION_NAME'] = \"/a/é \\\"b'\\\\.ipynb\"");
        assert_eq!(session_name_code(&launch(&[(SESSION_NAME, "/a")], "r")), None);
        assert_eq!(session_name_code(&launch(&[], "python")), None);
    }
}
