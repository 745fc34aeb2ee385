//! The commands of the control socket for the caches of all workers.

use super::control::{QueriedWorker, all, refusal, value};
use super::inbox::ControlOutcome;
use crate::caches::{CachedResponse, Purge};
use crate::error::Error;
use crate::ops::control::Purged;
use crate::ops::serve::ipc::message::{WorkerReply, WorkerRequest};

/// Deletes cached responses in all workers. A directory that they share is counted once, by the first one.
pub(super) async fn purge(asked: Vec<QueriedWorker>, purge: Purge) -> ControlOutcome {
    let answers = all(&asked, || WorkerRequest::PurgeCache(purge.clone())).await;
    let mut purged = 0;
    let mut silent = 0;
    for answer in answers {
        match answer {
            Some(WorkerReply::Purged(count)) => purged += count,
            _ => silent += 1,
        }
    }
    if silent > 0 {
        let error = Error::new(format!("{silent} of {} workers did not respond", asked.len()));
        return refusal(error.help("try again: they may still have old responses"));
    }
    value(Purged { purged })
}

/// The cached responses of all workers, by URL; those in a directory once.
pub(super) async fn list(asked: Vec<QueriedWorker>, most: usize) -> Vec<CachedResponse> {
    let mut responses = Vec::new();
    for answer in all(&asked, || WorkerRequest::ListCache(most)).await {
        if let Some(WorkerReply::Cached(of_one)) = answer {
            responses.extend(of_one);
        }
    }
    let place = |one: &CachedResponse| {
        (one.app.clone(), one.url.clone(), one.vary.clone(), one.cache.clone(), one.worker)
    };
    responses.sort_by_cached_key(place);
    responses.dedup_by(|a, b| a.worker.is_none() && place(a) == place(b));
    responses.truncate(most);
    responses
}
