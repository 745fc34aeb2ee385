//! The plugins in the process of an isolated app, and what the supervisor asks of them.

use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::host::IsolatedHost;
use crate::app::process::ControlMessage;
use crate::ops::serve::ipc::message::{
    self, FromWorker, ToWorker, WorkerCommand, WorkerReply, WorkerRequest,
};
use crate::plugin::Instance;

/// The plugins in this process.
#[derive(Clone, Default)]
pub(super) struct LoadedPlugins {
    instances: Arc<[Instance]>,
    /// What was called already. The lock puts the calls in order.
    called: Arc<Mutex<FinalCalls>>,
}

/// The calls that each plugin gets once.
#[derive(Default)]
struct FinalCalls {
    retire: bool,
    shutdown: bool,
}

impl LoadedPlugins {
    pub(super) fn new(instances: Vec<Instance>) -> LoadedPlugins {
        LoadedPlugins { instances: instances.into(), called: Arc::default() }
    }

    /// Handles a message of the supervisor, in the background on `threads`.
    pub(super) fn handle(&self, message: &ControlMessage, host: &Arc<IsolatedHost>, threads: &Handle) {
        match serde_json::from_slice(&message.text) {
            Ok(ToWorker::Reply { id, body }) => host.answered(id, body),
            Ok(ToWorker::Request { id, body: WorkerRequest::SaveState }) => {
                threads.spawn(self.clone().save_state(id, host.clone()));
            }
            Ok(ToWorker::Notice(WorkerCommand::Retire)) => {
                let plugins = self.clone();
                threads.spawn_blocking(move || plugins.retire());
            }
            Ok(ToWorker::Notice(WorkerCommand::Drain(_))) => {
                let plugins = self.clone();
                threads.spawn_blocking(move || plugins.shutdown());
            }
            Ok(_) => {} // for workers
            Err(error) => tracing::error!(%error, "unknown message from the supervisor"),
        }
    }

    /// Sends the states that the plugins save. A plugin that blocks loses only its own state.
    async fn save_state(self, id: u64, host: Arc<IsolatedHost>) {
        let save = |instance: Instance| {
            move || instance.save_state().map(|state| (instance.name().to_owned(), state))
        };
        let saving = self.instances.iter().map(|one| tokio::task::spawn_blocking(save(one.clone())));
        let saving = join_all(saving.collect::<Vec<_>>()).await;
        let (lengths, raw) = message::join(saving.into_iter().filter_map(|saved| saved.ok().flatten()));
        host.send(&FromWorker::Reply { id, body: WorkerReply::State(lengths) }, raw);
    }

    /// Informs the plugins that a newer generation serves. Blocks.
    fn retire(&self) {
        let mut called = self.called.lock();
        if !std::mem::replace(&mut called.retire, true) {
            self.instances.iter().for_each(Instance::retire);
        }
    }

    /// Tells the plugins to close their connections, because the process ends. Blocks.
    pub(super) fn shutdown(&self) {
        self.retire();
        let mut called = self.called.lock();
        if !std::mem::replace(&mut called.shutdown, true) {
            self.instances.iter().for_each(Instance::shutdown);
        }
    }
}
