//! How a generation is: whether the server is ending, and what its apps answer when they are asked.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::body::BoxFuture;

/// How long an answer holds, so that nobody can have the apps asked all the time.
const HOLDS: Duration = Duration::from_secs(1);
/// Longest wait for an app's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks one app; `Err` says what is wrong with it.
pub type Probe = Arc<dyn Fn() -> BoxFuture<Result<(), String>> + Send + Sync>;

/// The state of one generation.
#[derive(Default)]
pub struct HealthProbes {
    ending: AtomicBool,
    probes: Mutex<Vec<(String, Probe)>>,
    last: tokio::sync::Mutex<Option<(Instant, Arc<[String]>)>>,
}

impl HealthProbes {
    /// Notes that the whole server ends: nothing new should be sent to it.
    pub fn end(&self) {
        self.ending.store(true, Relaxed);
    }

    /// Whether the server is ending.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// Has the app of that name asked from now on.
    pub fn add(&self, app: &str, probe: Probe) {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).push((app.to_owned(), probe));
    }

    /// What is wrong with the apps, a line each; empty when all are well. An answer holds for a second.
    pub async fn faults(&self) -> Arc<[String]> {
        let mut last = self.last.lock().await;
        if let Some((when, faults)) = &*last
            && when.elapsed() < HOLDS
        {
            return faults.clone();
        }
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = probes.iter().map(|(app, probe)| async move {
            match tokio::time::timeout(PATIENCE, probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(format!("app `{app}`: {why}")),
                Err(_) => Some(format!("app `{app}`: no answer within {} s", PATIENCE.as_secs())),
            }
        });
        let faults: Arc<[String]> = join_all(asked).await.into_iter().flatten().collect();
        *last = Some((Instant::now(), faults.clone()));
        faults
    }
}
