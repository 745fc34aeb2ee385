//! Requests to the app that others wait for, and what was deleted meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::entry::{CacheEntry, CacheKey};
use crate::caches::Purge;

/// The requests to the app that others wait for: at most one for each URL.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<CacheKey, Flight>>);

struct Flight {
    /// Whether there is a response that the others may look at; closed when the request has ended.
    answered: watch::Sender<bool>,
    /// The response, while its body is received.
    entry: Option<Arc<CacheEntry>>,
}

/// What a request does that needs the app.
pub(super) enum Flown {
    /// It asks the app.
    Lead(FlightGuard),
    /// It waits until there is a response, or the request that asks for it has ended.
    Follow(watch::Receiver<bool>),
}

/// The request that others wait for. They continue when it is dropped.
pub(super) struct FlightGuard {
    flights: Arc<Flights>,
    key: CacheKey,
}

impl Flights {
    /// Joins the request for this URL, or begins it.
    pub(super) fn join(self: &Arc<Self>, key: &CacheKey) -> Flown {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(key) {
            return Flown::Follow(flight.answered.subscribe());
        }
        flights.insert(key.clone(), Flight { answered: watch::channel(false).0, entry: None });
        Flown::Lead(FlightGuard { flights: self.clone(), key: key.clone() })
    }

    /// The response that is being received, if the request selects it.
    pub(super) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<Arc<CacheEntry>> {
        let flights = self.0.lock();
        flights.get(key)?.entry.clone().filter(|entry| entry.is_selected(request))
    }

    /// No other client gets the responses that match the purge.
    fn purge(&self, purge: &Purge) {
        for flight in self.0.lock().values_mut() {
            let named = |entry: &mut Arc<CacheEntry>| is_named(purge, entry);
            flight.entry.take_if(named);
        }
    }
}

fn is_named(purge: &Purge, entry: &CacheEntry) -> bool {
    purge.matches(&entry.key.app, &entry.key.url, &entry.tags)
}

impl FlightGuard {
    /// Passes the response to the other requests. Its body may still be arriving. If the response is not for them, each of
    /// them goes to the app. Without this, the next one asks for all when the guard is dropped.
    pub(super) fn answered(&self, entry: Option<Arc<CacheEntry>>) {
        if let Some(flight) = self.flights.0.lock().get_mut(&self.key) {
            flight.entry = entry;
            flight.answered.send_replace(true);
        }
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
    }
}

/// How many purges are remembered.
const REMEMBERED: usize = 64;

/// The last purges, so that a response that was requested before one is not stored after it.
#[derive(Default)]
pub(super) struct Purges(Mutex<(u64, VecDeque<Purge>)>);

impl Purges {
    /// The number of purges so far.
    pub(super) fn count(&self) -> u64 {
        self.0.lock().0
    }

    /// Remembers a purge, and withdraws the responses that it names and that are being received.
    pub(super) fn add(&self, purge: &Purge, flights: &Flights) {
        {
            let mut purges = self.0.lock();
            purges.0 += 1;
            purges.1.push_back(purge.clone());
            if purges.1.len() > REMEMBERED {
                purges.1.pop_front();
            }
        }
        flights.purge(purge);
    }

    /// Whether one of the purges after the first `count` names the response.
    pub(super) fn names_since(&self, count: u64, entry: &CacheEntry) -> bool {
        let purges = self.0.lock();
        let since = usize::try_from(purges.0 - count).unwrap_or(usize::MAX);
        since > REMEMBERED || purges.1.iter().rev().take(since).any(|purge| is_named(purge, entry))
    }
}
