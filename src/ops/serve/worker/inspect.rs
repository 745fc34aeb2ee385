//! What a worker can report about its requests.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::{Mutex, MutexGuard};

use crate::ops::assemble::AssembledPart;
use crate::ops::control::{RequestInFlight, WorkerLoad as Load};
use crate::server::control;

/// What a worker can report about its requests.
pub(super) struct Inspector {
    generation: u64,
    parts: Vec<AssembledPart>,
    /// The running servers, by name.
    servers: Mutex<Vec<(Arc<str>, Arc<control::Load>)>>,
}

impl Inspector {
    pub(super) fn new(generation: u64, parts: Vec<AssembledPart>) -> Inspector {
        Inspector { generation, parts, servers: Mutex::default() }
    }

    /// Adds a server that is starting.
    pub(super) fn add(&self, server: Arc<str>, load: Arc<control::Load>) {
        self.servers().push((server, load));
    }

    fn servers(&self) -> MutexGuard<'_, Vec<(Arc<str>, Arc<control::Load>)>> {
        self.servers.lock()
    }

    /// The load of all servers.
    pub(super) fn load(&self) -> Load {
        let mut sum = Load::default();
        for (_, load) in self.servers().iter() {
            sum += Load {
                connections: load.connections.load(Relaxed) as u64,
                upgraded: load.upgraded.load(Relaxed) as u64,
                in_flight: load.in_flight.load(Relaxed) as u64,
                requests: load.requests(),
                failed: load.failed.load(Relaxed),
            };
        }
        sum
    }

    /// The id of a request: the numbers of the servers' tables are interleaved.
    fn id(servers: usize, server: usize, number: u64) -> String {
        format!("{}.{}", std::process::id(), number * servers as u64 + server as u64)
    }

    /// The requests in flight.
    pub(super) fn in_flight(&self) -> Vec<RequestInFlight> {
        let servers = self.servers();
        let mut all = Vec::new();
        for (index, (server, load)) in servers.iter().enumerate() {
            for seen in load.table.list() {
                let part = self.parts.get((seen.part as usize).wrapping_sub(1));
                all.push(RequestInFlight {
                    id: Inspector::id(servers.len(), index, seen.number),
                    request_id: seen.id.map(|id| id.to_string()),
                    age_ms: u64::try_from(seen.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    method: seen.method.to_string(),
                    path: seen.path,
                    server: server.to_string(),
                    app: part.map(|part| part.app.clone()),
                    middleware: part.and_then(|part| part.middleware.clone()),
                    client: seen.client.map(|client| client.to_string()),
                    worker: std::process::id(),
                    generation: self.generation,
                    phase: seen.phase,
                });
            }
        }
        all
    }

    /// Cancels the requests with this id. Returns the ids of those that were cancelled.
    pub(super) fn cancel(&self, id: &str) -> Vec<String> {
        let servers = self.servers();
        let mut dropped = Vec::new();
        for (index, (_, load)) in servers.iter().enumerate() {
            load.table.cancel(|number, name| {
                let own = Inspector::id(servers.len(), index, number);
                let wanted = own == id || name == Some(id);
                if wanted {
                    dropped.push(own);
                }
                wanted
            });
        }
        dropped
    }
}
