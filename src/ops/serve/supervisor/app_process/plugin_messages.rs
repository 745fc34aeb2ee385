//! Messages of processes that run plugins. They are those between supervisor and workers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::join_all;

use super::group::{AppGroup, AppProcesses, GroupOwner, ProcessSlot};
use super::keeper::ProcessStarter;
use super::registry::AppRegistry;
use crate::app::process::{ControlMessage, ProcessSpec};
use crate::ops::serve::ipc::message::{
    FromWorker, HostReply, HostRequest, PluginStart, Report, SavedStates, ToWorker, WorkerCommand,
    WorkerRequest,
};
use crate::ops::serve::supervisor::saved_state::saved_state;
use crate::ops::serve::supervisor::shared::SupervisorShared;

impl ProcessStarter {
    /// The message with which the next process starts. Only the first one continues with a state: one that has failed may
    /// have failed because of it.
    pub(super) fn first_message(&mut self) -> ControlMessage {
        let (states, raw) = std::mem::take(&mut self.states);
        let begin = PluginStart { generation: self.generation, states };
        ControlMessage { text: serde_json::to_vec(&begin).unwrap_or_default().into(), raw } // plain data: cannot fail
    }

    /// Handles a message of the process.
    pub(super) fn handle(&self, message: ControlMessage) {
        let shared = &self.registry.shared;
        match serde_json::from_slice(&message.text) {
            Ok(FromWorker::Request { id, body: HostRequest::SideProcess { app, name, library } }) => {
                let (sides, member) = (self.registry.sides.clone(), self.member.clone());
                let pid = member.current.lock().pid;
                tokio::spawn(async move {
                    let answer = HostReply::SideProcess(sides.ensure(app, name, library).await);
                    member.send(pid, &ToWorker::Reply { id, body: answer });
                });
            }
            Ok(FromWorker::Reply { id, body }) => shared.requests.answered(id, (body, message.raw)),
            // It is shown once the generation serves.
            Ok(FromWorker::Notice(Report::Announce { app, path })) => {
                shared.announced.lock().insert(app, path);
            }
            _ => {} // no such process sends it
        }
    }
}

impl ProcessSlot {
    /// Sends a message to the process `pid`; `false` if it has ended.
    fn send(&self, pid: u32, message: &ToWorker) -> bool {
        let run = self.current.lock();
        let Some(messages) = run.messages.as_ref().filter(|_| run.pid == pid) else { return false };
        let text = serde_json::to_vec(message).unwrap_or_default().into(); // plain data: cannot fail
        messages.send(ControlMessage { text, raw: Bytes::new() }).is_ok()
    }

    /// Sends a notice to the process that runs now, if there is one.
    fn tell(&self, notice: WorkerCommand) {
        let pid = self.current.lock().pid;
        self.send(pid, &ToWorker::Notice(notice));
    }

    /// The states that the plugins of the process save.
    async fn saved_states(&self, shared: &SupervisorShared) -> SavedStates {
        let (pid, id) = (self.current.lock().pid, shared.requests.new_id());
        let reply = shared.requests.expect(id, pid);
        if !self.send(pid, &ToWorker::Request { id, body: WorkerRequest::SaveState }) {
            return SavedStates::default();
        }
        saved_state(shared, "an old process", async { reply.await.ok() }).await
    }
}

impl AppGroup {
    fn runs_plugins(&self) -> bool {
        self.spec.runs_plugins
    }
}

impl AppProcesses {
    /// The states that the plugins in the processes of `owner` save, by process, for new ones of `spec`.
    pub(super) async fn saved_states(
        &self,
        owner: &GroupOwner,
        spec: &ProcessSpec,
        shared: &SupervisorShared,
    ) -> Vec<SavedStates> {
        let old = self.0.iter().find(|group| group.owner == *owner && group.runs_plugins());
        let Some(old) = old.filter(|_| spec.runs_plugins) else { return Vec::new() };
        join_all(old.members.iter().take(spec.count).map(|member| member.saved_states(shared))).await
    }

    /// Informs the plugins in processes that are not in `used` that a newer generation serves.
    pub(in crate::ops::serve::supervisor) fn retire_unless_in(&self, used: &[&AppProcesses]) {
        let is_used = |group: &Arc<AppGroup>| {
            used.iter().flat_map(|processes| &processes.0).any(|one| Arc::ptr_eq(one, group))
        };
        for group in self.0.iter().filter(|group| group.runs_plugins() && !is_used(group)) {
            if !group.retired.swap(true, Ordering::Relaxed) {
                group.members.iter().for_each(|member| member.tell(WorkerCommand::Retire));
            }
        }
    }
}

impl AppRegistry {
    /// Has the plugins in all processes close their connections, because the server stops.
    pub(in crate::ops::serve::supervisor) fn shut_plugins_down(&self) {
        let groups = self.groups();
        let members = groups.iter().filter(|group| group.runs_plugins()).flat_map(|group| &group.members);
        members.for_each(|member| member.tell(WorkerCommand::Drain(0)));
    }
}
