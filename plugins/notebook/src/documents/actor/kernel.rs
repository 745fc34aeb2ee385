//! The document's kernel: starts it, attaches to it, changes it, and detects its loss.

use std::time::Duration;

use serde_json::json;

use super::Actor;
use crate::documents::command::Command;
use crate::documents::context::PREFIX;
use crate::documents::engine::OwnershipRecord;
use crate::documents::kernel::{choose, describe};
use crate::format::kernelspec_json;
use crate::kernel::link::Delivery;
use crate::kernel::message::Message;
use crate::kernel::wire::{Event, KernelModel, ProblemKind};
use crate::protocol::{KernelState, Operation, Reply};
use crate::sessions::SessionError;

impl Actor {
    fn key(&self) -> String {
        format!("{PREFIX}{}", self.path)
    }

    /// Stores in the kernel host what the file contains.
    pub(super) async fn keep_record(&mut self) {
        let record = self.engine.record().map(|record| json!(record));
        if record.is_none() && !self.recorded {
            return;
        }
        self.recorded = record.is_some();
        let kept = self.context.link.put(self.key(), record).await;
        if let (Err(problem), true) = (kept, self.recorded) {
            tracing::warn!(%problem, document = %self.path, "cannot store the state of a running notebook");
        }
    }

    /// Continues where the previous owner stopped, if this document has a kernel.
    pub(super) async fn resume(&mut self) {
        self.describe_kernel(None).await;
        let Ok(Some((_, kernel))) = self.context.sessions.of_path(self.path.as_str()).await else { return };
        let key = self.key();
        let kept = self.context.link.kept(&key).await.unwrap_or_default().remove(&key);
        let record = kept.and_then(|record| serde_json::from_value::<OwnershipRecord>(record).ok());
        let mut from = None;
        if let Some(record) = record.filter(|record| record.kernel_id == kernel.id) {
            let effects = self.engine.restore(&mut self.model, record, &self.disk.hash());
            from = Some(self.engine.entry() + 1);
            self.carry_out(effects).await;
        }
        self.attach(&kernel, from).await;
        if self.engine.has_kernel() && self.model.shows_widgets() {
            let effects = self.engine.ask_for_comms();
            self.carry_out(effects).await;
        }
    }

    /// Has a kernel started in advance for the page that was opened.
    pub(super) fn prewarm(&self) {
        if self.engine.has_kernel() {
            return;
        }
        let (context, path) = (self.context.clone(), self.path.clone());
        let metadata = self.model.metadata.clone();
        tokio::spawn(async move {
            let specs = context.kernel_specs.specs().await;
            if let Ok(spec) = choose(&specs, &metadata, None) {
                context.prewarmed.opened(spec, &path).await;
            }
        });
    }

    /// Performs a page's operation on the kernel. Returns `None` if the reply comes later.
    pub(super) async fn operate_kernel(
        &mut self,
        client: u64,
        id: u32,
        op: Operation,
    ) -> Option<Result<Reply, String>> {
        let result = match op {
            Operation::Run { cell_ids } => self.run_cells(&cell_ids).await,
            Operation::RunAll => self.run_cells(&self.model.cell_ids()).await,
            Operation::Interrupt => self.interrupt().await,
            Operation::Cancel { cell_ids } => self.cancel(&cell_ids).await,
            Operation::OpenComms => return Some(Ok(self.engine.comms())),
            Operation::SendComm { message } => match self.engine.send_comm(client, id, &message) {
                Ok(effects) => {
                    self.carry_out(effects).await;
                    return None;
                }
                Err(message) => Err(message),
            },
            Operation::Restart { run_all } => match self.engine.kernel().id.clone() {
                Some(kernel_id) => {
                    self.begin_restart(client, id, kernel_id, run_all);
                    return None;
                }
                None if run_all => self.run_cells(&self.model.cell_ids()).await,
                None => self.ensure_kernel(None).await,
            },
            Operation::StartKernel { name } => match self.change_kernel(name.as_deref()).await {
                Err(message) => Err(message),
                Ok(()) => {
                    let effects = self.engine.answer_when_started(client, id);
                    self.carry_out(effects).await;
                    return None;
                }
            },
            Operation::ShutdownKernel => self.shutdown_kernel().await,
            Operation::Complete { code, cursor } => {
                let effects = self.engine.complete(client, id, code, cursor);
                self.carry_out(effects).await;
                return None;
            }
            Operation::Inspect { code, cursor, detail } => {
                let effects = self.engine.inspect(client, id, code, cursor, detail);
                self.carry_out(effects).await;
                return None;
            }
            Operation::ListVariables => {
                let effects = self.engine.list_variables(client, id);
                self.carry_out(effects).await;
                return None;
            }
            Operation::Debug { command, arguments } => {
                let effects = self.engine.debug(client, id, &command, arguments);
                self.carry_out(effects).await;
                return None;
            }
            Operation::AnswerInput { value } => match self.engine.answer_input(&mut self.model, &value) {
                Ok(effects) => {
                    self.carry_out(effects).await;
                    Ok(())
                }
                Err(message) => Err(message),
            },
            _ => Err("unknown request".to_owned()),
        };
        Some(result.map(|()| Reply::Done))
    }

    pub(super) async fn run_cells(&mut self, cell_ids: &[String]) -> Result<(), String> {
        self.ensure_kernel(None).await?;
        let effects = self.engine.run(&mut self.model, cell_ids);
        self.carry_out(effects).await;
        Ok(())
    }

    async fn interrupt(&mut self) -> Result<(), String> {
        self.interrupt_others().await;
        match &self.engine.kernel().id {
            Some(kernel_id) => {
                self.context.link.interrupt(kernel_id).await.map_err(|problem| problem.message)
            }
            None => Ok(()),
        }
    }

    async fn cancel(&mut self, cell_ids: &[String]) -> Result<(), String> {
        let waiting = self.engine.waiting(cell_ids);
        self.cancel_others(cell_ids, &waiting).await;
        match &self.engine.kernel().id {
            Some(kernel_id) if !waiting.is_empty() => {
                self.context.link.cancel(kernel_id, waiting).await.map_err(|problem| problem.message)
            }
            _ => Ok(()),
        }
    }

    fn begin_restart(&self, client: u64, id: u32, kernel_id: String, run_all: bool) {
        let (link, commands) = (self.context.link.clone(), self.own_commands.clone());
        tokio::spawn(async move {
            let result = link.restart(&kernel_id).await.map(|_| ()).map_err(|problem| problem.message);
            let _ = commands.send(Command::Restarted { client, id, result, run_all });
        });
    }

    /// Handles the end of a restart.
    pub(super) async fn restarted(
        &mut self,
        result: Result<(), String>,
        run_all: bool,
    ) -> Result<(), String> {
        self.catch_up().await;
        self.close_others().await;
        result?;
        self.engine.kernel_is_new();
        if run_all { self.run_cells(&self.model.cell_ids()).await } else { Ok(()) }
    }

    /// Applies all messages that the kernel has sent so far, so that they are not mistaken for messages of a new run.
    async fn catch_up(&mut self) {
        let Some(id) = self.engine.kernel().id.clone() else { return };
        let Ok(model) = self.context.link.kernel(&id).await else { return };
        while self.kernel.is_reading() && self.engine.entry() + 1 < model.next_entry {
            match tokio::time::timeout(Duration::from_secs(5), self.kernel.next()).await {
                Ok(delivery) => Box::pin(self.deliver(delivery)).await,
                Err(_) => break,
            }
        }
        self.kernel_event(&model).await;
    }

    /// Handles a delivery from the kernel.
    pub(super) async fn deliver(&mut self, delivery: Option<Delivery>) {
        let effects = match delivery {
            Some(Delivery::Message(number, bytes)) => match Message::parse_v1(&bytes) {
                Ok(message) => self.engine.message(&mut self.model, number, &message),
                Err(error) => {
                    tracing::warn!(%error, "an unreadable message in a kernel's journal");
                    return self.engine.skip(number);
                }
            },
            Some(Delivery::Gap(from, to)) => self.engine.gap(&mut self.model, from, to),
            None => {
                self.kernel.close_reader();
                return self.refresh_kernel().await;
            }
        };
        self.carry_out(effects).await;
    }

    /// Attaches to a kernel's messages, starting with number `from` or with the next one.
    async fn attach(&mut self, kernel: &KernelModel, from: Option<u64>) {
        let attachment = match self.context.link.attach(&kernel.id, from, true).await {
            Ok(attachment) => attachment,
            Err(problem) => {
                tracing::warn!(%problem, document = %self.path, "cannot reach a kernel");
                return;
            }
        };
        self.engine.attached(attachment.from - 1);
        let model = attachment.model.clone();
        self.kernel.open(attachment);
        self.describe_kernel(Some(&model)).await;
        // A kernel that is ready says no more what its language is.
        self.kernel_event(&model).await;
    }

    /// Sends the pages the kernel that this document has or would start.
    async fn describe_kernel(&mut self, model: Option<&KernelModel>) {
        let specs = self.context.kernel_specs.specs().await;
        let effects = self.engine.describe_kernel(describe(&specs, &self.model.metadata, model));
        self.carry_out(effects).await;
    }

    /// Makes sure that this document has a kernel; starts one if it has none.
    async fn ensure_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        if self.engine.has_kernel() {
            let kernel = self.engine.kernel();
            return match kernel.state {
                KernelState::Dead => Err(format!(
                    "{}. Restart it to continue.",
                    kernel.message.as_deref().unwrap_or("The kernel is dead")
                )),
                _ => Ok(()),
            };
        }
        let context = self.context.clone();
        let specs = context.kernel_specs.specs().await;
        let spec = choose(&specs, &self.model.metadata, name)?;
        // An existing kernel may have ended in the meantime. A new kernel is read from its first message.
        let opened = context
            .sessions
            .open(self.path.as_str(), self.path.name(), "notebook", Some(&spec.name), None)
            .await;
        let (_, kernel) = opened.map_err(|error: SessionError| error.to_string())?;
        self.attach(&kernel, Some(kernel.next_entry)).await;
        self.engine.kernel_is_new();
        let mut metadata = self.model.metadata.clone();
        if metadata.get("kernelspec").is_none_or(|present| present["name"] != kernel.name) {
            if let Some(spec) = specs.specs.get(&kernel.name) {
                metadata.insert("kernelspec".into(), kernelspec_json(spec));
            }
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        if self.engine.has_kernel() { Ok(()) } else { Err("the kernel cannot be reached".to_owned()) }
    }

    async fn change_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        let old = self.engine.kernel().clone();
        let same = name.is_none() || old.name.as_deref() == name;
        if old.id.is_none() || (same && old.state != KernelState::Dead) {
            return self.ensure_kernel(name).await;
        }
        let context = self.context.clone();
        let session =
            context.sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        let name = name.map(str::to_owned).or(old.name).unwrap_or_default();
        let Some((session, _)) = session else {
            self.forget_kernel().await;
            return self.ensure_kernel(Some(&name)).await;
        };
        let changed = context.sessions.change(&session.id, &json!({"kernel": {"name": name}})).await;
        let (_, kernel) = changed.map_err(|error| error.to_string())?;
        self.kernel.close();
        let effects = self.engine.detached(&mut self.model);
        self.carry_out(effects).await;
        self.attach(&kernel, Some(1)).await;
        if let Some(spec) = context.kernel_specs.specs().await.specs.get(&name) {
            let mut metadata = self.model.metadata.clone();
            metadata.insert("kernelspec".into(), kernelspec_json(spec));
            metadata.remove("language_info");
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        Ok(())
    }

    async fn shutdown_kernel(&mut self) -> Result<(), String> {
        let sessions = &self.context.sessions;
        let session = sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        if let Some((session, _)) = session {
            sessions.close(&session.id).await.map_err(|problem| problem.message)?;
        }
        self.forget_kernel().await;
        Ok(())
    }

    async fn forget_kernel(&mut self) {
        self.kernel.close();
        self.close_others().await;
        let effects = self.engine.kernel_gone(&mut self.model);
        self.carry_out(effects).await;
        self.describe_kernel(None).await;
        self.keep_record().await;
        let effects = self.engine.fail_starting();
        self.carry_out(effects).await;
    }

    /// Handles an event from the kernel host.
    pub(super) async fn host_event(&mut self, event: Event) {
        let is_ours = |id: &String| Some(id) == self.engine.kernel().id.as_ref();
        match event {
            Event::Kernel { model } if is_ours(&model.id) => self.kernel_event(&model).await,
            Event::KernelGone { id } if is_ours(&id) => self.drain_and_forget().await,
            _ => {}
        }
    }

    async fn kernel_event(&mut self, model: &KernelModel) {
        let effects = self.engine.kernel_event(&mut self.model, model);
        self.carry_out(effects).await;
    }

    /// Asks the kernel host for the kernel's state; attaches again if the connection ended.
    pub(super) async fn refresh_kernel(&mut self) {
        let Some(id) = self.engine.kernel().id.clone() else { return };
        match self.context.link.kernel(&id).await {
            Ok(model) => {
                self.kernel_event(&model).await;
                if !self.kernel.is_reading() {
                    let from = self.engine.entry() + 1;
                    self.attach(&model, Some(from)).await;
                }
            }
            Err(problem) if problem.kind == ProblemKind::UnknownKernel => self.forget_kernel().await,
            Err(_) => {}
        }
    }

    /// The kernel was shut down: applies its last messages, then forgets it.
    async fn drain_and_forget(&mut self) {
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), self.kernel.next()).await
        {
            Box::pin(self.deliver(Some(delivery))).await;
            if !self.kernel.is_reading() {
                break;
            }
        }
        self.forget_kernel().await;
    }
}
