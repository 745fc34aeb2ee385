//! Answers the supervisor's queries, in a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::tasks::{self, TaskContext};
use crate::ops::assemble::Part;
use crate::ops::control::{Counts, InFlight};
use crate::ops::serve::ipc::message::FromWorker;
use crate::ops::serve::ipc::message::{Query, QueryReply};
use crate::ops::serve::ipc::wire::{Outbox, Packet};
use crate::server::control::Load;

/// What a worker can report about itself.
pub(super) struct Inspector {
    generation: u64,
    parts: Vec<Part>,
    /// The running servers, by name.
    servers: Mutex<Vec<(Arc<str>, Arc<Load>)>>,
    work: Arc<TaskContext>,
}

impl Inspector {
    pub(super) fn new(generation: u64, parts: Vec<Part>, work: TaskContext) -> Inspector {
        Inspector { generation, parts, servers: Mutex::default(), work: Arc::new(work) }
    }

    /// Adds a server that is starting.
    pub(super) fn add(&self, server: Arc<str>, load: Arc<Load>) {
        self.servers().push((server, load));
    }

    fn servers(&self) -> MutexGuard<'_, Vec<(Arc<str>, Arc<Load>)>> {
        self.servers.lock()
    }

    /// Answers over `outbox`; a task runs in `running`.
    pub(super) fn answer(
        &self,
        number: u64,
        query: Query,
        outbox: &Outbox,
        threads: &Handle,
        running: &mut JoinSet<()>,
    ) {
        let reply = |answer| outbox.send(Packet::new(&FromWorker::QueryReply(number, Box::new(answer))));
        match query {
            Query::Counts => reply(QueryReply::Counts(self.counts())),
            Query::InFlight => reply(QueryReply::InFlight(self.in_flight())),
            Query::Cancel(id) => reply(QueryReply::Cancelled(self.cancel(&id))),
            Query::Run(order) => {
                let (work, outbox) = (self.work.clone(), outbox.clone());
                let run = async move {
                    let answer = QueryReply::Ran(tasks::run(*order, work).await);
                    outbox.deliver(Packet::new(&FromWorker::QueryReply(number, Box::new(answer)))).await;
                };
                running.spawn_on(run, threads);
            }
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, load) in self.servers().iter() {
            counts += Counts {
                connections: load.connections.load(Relaxed) as u64,
                upgraded: load.upgraded.load(Relaxed) as u64,
                in_flight: load.in_flight.load(Relaxed) as u64,
                requests: load.requests(),
                failed: load.failed.load(Relaxed),
            };
        }
        counts
    }

    /// The id of a request: the numbers of the servers' tables are interleaved.
    fn id(servers: usize, server: usize, number: u64) -> String {
        format!("{}.{}", std::process::id(), number * servers as u64 + server as u64)
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let servers = self.servers();
        let mut all = Vec::new();
        for (index, (server, load)) in servers.iter().enumerate() {
            for seen in load.table.list() {
                let part = self.parts.get((seen.part as usize).wrapping_sub(1));
                all.push(InFlight {
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

    fn cancel(&self, id: &str) -> Vec<String> {
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
