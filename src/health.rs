//! The health of a generation: whether the server is shutting down, and the results of its apps' probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;

use crate::body::BoxFuture;

/// How long a result is cached, so that clients cannot cause constant probing.
const HOLDS: Duration = Duration::from_secs(1);
/// Longest wait for a probe.
const PATIENCE: Duration = Duration::from_secs(5);

/// Probes one app; `Err` contains the problem.
pub type Probe = Arc<dyn Fn() -> BoxFuture<Result<(), String>> + Send + Sync>;

/// The state of one generation.
#[derive(Default)]
pub struct HealthProbes {
    ending: AtomicBool,
    probes: Mutex<Vec<(String, Probe)>>,
    last: tokio::sync::Mutex<Option<(Instant, Arc<[String]>)>>,
}

impl HealthProbes {
    /// Records that the whole server is shutting down: nothing new should be sent to it.
    pub fn end(&self) {
        self.ending.store(true, Relaxed);
    }

    /// Whether the server is shutting down.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// Probes the app with this name from now on.
    pub fn add(&self, app: &str, probe: Probe) {
        self.probes.lock().push((app.to_owned(), probe));
    }

    /// What is wrong with the apps, one line each; empty if all are healthy. A result is cached for one
    /// second.
    pub async fn faults(&self) -> Arc<[String]> {
        let mut last = self.last.lock().await;
        if let Some((when, faults)) = &*last
            && when.elapsed() < HOLDS
        {
            return faults.clone();
        }
        let probes = self.probes.lock().clone();
        let asked = probes.iter().map(|(app, probe)| async move {
            match tokio::time::timeout(PATIENCE, probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(format!("app `{app}`: {why}")),
                Err(_) => Some(format!("app `{app}`: no response within {} s", PATIENCE.as_secs())),
            }
        });
        let faults: Arc<[String]> = join_all(asked).await.into_iter().flatten().collect();
        *last = Some((Instant::now(), faults.clone()));
        faults
    }
}
