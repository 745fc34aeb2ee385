//! The services that the supervisor provides to its workers.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::app_process::AppRegistry;
use super::child::{Child, WorkerHandle};
use super::event::Event;
use super::log_buffer::LogChunk;
use super::shared::SupervisorShared;
use super::side_process::SideProcesses;
use crate::config::Purpose;
use crate::error::Error;
use crate::ops::serve::ipc::message::{FromWorker, HostReply, HostRequest, Report};
use crate::ops::serve::process::credentials::Credentials;

/// The services that the supervisor provides to its workers. Clones share them.
#[derive(Clone)]
pub(super) struct Services {
    shared: Arc<SupervisorShared>,
    sides: Arc<SideProcesses>,
    apps: Arc<AppRegistry>,
}

impl Services {
    pub(super) fn new(
        shared: Arc<SupervisorShared>,
        sides: Arc<SideProcesses>,
        apps: Arc<AppRegistry>,
    ) -> Services {
        Services { shared, sides, apps }
    }

    /// Lets processes with these credentials reach the copies of libraries and the sockets of side processes.
    pub(super) fn open_to(&self, credentials: &Credentials) {
        if let Some((_, group)) = credentials.owner()
            && let Err(error) = self.shared.folder.open_to(group)
        {
            let message = format!("workers cannot access the runtime directory: {error}");
            self.shared.emit(&Event::Warning { message });
        }
        self.sides.set_credentials(credentials);
    }

    /// Handles what `child`, which runs with `credentials`, has sent, if it needs nothing else; otherwise
    /// returns it.
    pub(super) fn handle(
        &self,
        child: &Child,
        credentials: &Credentials,
        said: FromWorker,
        raw: Bytes,
    ) -> Option<(FromWorker, Bytes)> {
        match said {
            FromWorker::Notice(Report::Log) => {
                self.shared.events.log.push(LogChunk::new(format!("worker {}", child.pid), raw));
            }
            // It is shown once the generation serves.
            FromWorker::Notice(Report::Announce { app, path }) => {
                self.shared.announced.lock().insert(app, path);
            }
            FromWorker::Notice(Report::Sources { app, sources, began }) => {
                self.apps.record(&child.apps, &app, sources, began);
            }
            FromWorker::Request { id, body: HostRequest::SideProcess { app, name, library } } => {
                self.side_process(child.handle().clone(), id, app, name, library);
            }
            FromWorker::Request { id, body: HostRequest::Open { path, purpose } } => {
                self.open(child.handle().clone(), id, path, purpose, credentials);
            }
            FromWorker::Request { id, body: HostRequest::MemoryDir } => {
                let folder = self.shared.folder.memory(credentials.owner());
                let folder = folder.map_err(|errors| {
                    errors.into_iter().next().unwrap_or_else(|| Error::new("there is no runtime directory"))
                });
                self.open_to(credentials);
                child.handle().reply(id, HostReply::MemoryDir(folder), Vec::new());
            }
            other => return Some((other, raw)),
        }
        None
    }

    /// Opens a file for a worker that runs with `credentials`, and sends the descriptor.
    fn open(
        &self,
        worker: WorkerHandle,
        id: u64,
        path: PathBuf,
        purpose: Purpose,
        credentials: &Credentials,
    ) {
        let (shared, owner) = (self.shared.clone(), credentials.owner());
        // A network file system may hang.
        tokio::task::spawn_blocking(move || {
            let opened = match owner {
                Some(owner) => shared.open_files.open(&path, purpose, owner),
                None => Err(std::io::ErrorKind::PermissionDenied.into()), // it has the supervisor's own rights
            };
            let (outcome, fds) = match opened {
                Ok(file) => (Ok(()), vec![file.into()]),
                Err(error) => (Err(error.to_string()), Vec::new()),
            };
            worker.reply(id, HostReply::Opened(outcome), fds);
        });
    }

    /// Answers a worker's request for a side process.
    fn side_process(&self, worker: WorkerHandle, id: u64, app: String, name: String, library: PathBuf) {
        let sides = self.sides.clone();
        tokio::spawn(async move {
            let answer = sides.ensure(app, name, library).await;
            worker.reply(id, HostReply::SideProcess(answer), Vec::new());
        });
    }
}
