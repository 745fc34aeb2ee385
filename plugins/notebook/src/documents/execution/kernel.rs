//! A document's kernel: starts it, attaches to it, changes it, and notices when it is lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Actor;
use crate::format::kernelspec_json;
use crate::kernel::link::HostMessage;
use crate::kernel::message::Message;
use crate::kernel::wire::{Event, KernelModel, ProblemKind};
use crate::protocol::{Change, Kernel, KernelState, Reply};
use crate::sessions::SessionError;

impl Actor {
    /// Attaches to a kernel's messages, from number `from` on, or from now on.
    pub(super) async fn attach(&mut self, kernel: &KernelModel, from: Option<u64>) {
        let attached = self.documents.0.link.attach(&kernel.id, from, true).await;
        let attachment = match attached {
            Ok(attachment) => attachment,
            Err(problem) => {
                tracing::warn!(%problem, document = %self.path, "cannot reach a kernel");
                return;
            }
        };
        self.engine.entry = attachment.from - 1;
        self.engine.reader = Some(attachment.reader);
        let (sender, mut queue) = mpsc::unbounded_channel::<Message>();
        let mut writer = attachment.writer;
        // A separate task, so that a kernel that starts slowly does not hold up the document.
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                if writer.send(&message).await.is_err() {
                    return;
                }
            }
        });
        self.engine.writer = Some(sender);
        self.describe_kernel(Some(&attachment.model)).await;
    }

    /// Tells the pages which kernel this document has or would start.
    pub(super) async fn describe_kernel(&mut self, model: Option<&KernelModel>) {
        let specs = self.documents.0.kernel_specs.specs().await;
        let wanted = self.model.metadata.get("kernelspec").cloned().unwrap_or_default();
        let spec = match model {
            Some(model) => specs.specs.get(&model.name),
            None => specs.find(wanted["name"].as_str(), wanted["language"].as_str()),
        };
        let message = match model {
            Some(model) => model.exit.clone(),
            None => specs.message.clone(),
        };
        let kernel = Kernel {
            id: model.map(|model| model.id.clone()),
            name: model.map(|model| model.name.clone()).or_else(|| spec.map(|spec| spec.name.clone())),
            display_name: spec.map(|spec| spec.display_name.clone()),
            language: spec.map(|spec| spec.language.clone()),
            state: model.map_or(KernelState::None, |model| model.state),
            message,
        };
        self.set_kernel(kernel);
    }

    pub(super) fn set_kernel(&mut self, kernel: Kernel) {
        if self.engine.kernel != kernel {
            self.engine.kernel = kernel.clone();
            self.change(vec![Change::KernelChanged { kernel }], false);
        }
    }

    pub(super) fn set_kernel_state(&mut self, state: KernelState, message: Option<String>) {
        self.set_kernel(Kernel { state, message, ..self.engine.kernel.clone() });
    }

    /// Makes sure that this document has a kernel; starts one if it has none.
    pub(super) async fn ensure_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        if self.engine.kernel.id.is_some() && self.engine.writer.is_some() {
            return match self.engine.kernel.state {
                KernelState::Dead => Err(format!(
                    "{}. Restart it to continue.",
                    self.engine.kernel.message.as_deref().unwrap_or("The kernel is dead")
                )),
                _ => Ok(()),
            };
        }
        let inner = self.documents.0.clone();
        let specs = inner.kernel_specs.specs().await;
        let wanted = self.model.metadata.get("kernelspec").cloned().unwrap_or_default();
        let spec = match name {
            Some(name) => specs
                .specs
                .get(name)
                .ok_or_else(|| format!("there is no kernel named `{name}` on this machine"))?,
            None => specs.find(wanted["name"].as_str(), wanted["language"].as_str()).ok_or_else(|| {
                specs.message.clone().unwrap_or_else(|| match wanted["name"].as_str() {
                    Some(name) => {
                        format!("there is no kernel named `{name}` on this machine: choose another one")
                    }
                    None => "there is no kernel to start".to_owned(),
                })
            })?,
        };
        // A kernel that was already there may have ended in the meantime. A new one is read from its first
        // message.
        let opened = inner
            .sessions
            .open(self.path.as_str(), self.path.name(), "notebook", Some(&spec.name), None)
            .await;
        let (_, kernel) = opened.map_err(|error: SessionError| error.to_string())?;
        self.attach(&kernel, Some(kernel.next_entry)).await;
        let mut metadata = self.model.metadata.clone();
        if metadata.get("kernelspec").is_none_or(|present| present["name"] != kernel.name) {
            if let Some(spec) = specs.specs.get(&kernel.name) {
                metadata.insert("kernelspec".into(), kernelspec_json(spec));
            }
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        if self.engine.writer.is_none() { Err("the kernel cannot be reached".to_owned()) } else { Ok(()) }
    }

    pub(super) fn detach(&mut self) {
        self.engine.reader = None;
        self.engine.writer = None;
        self.give_up_runs();
    }

    pub(super) async fn change_kernel(&mut self, name: Option<&str>) -> Result<(), String> {
        let inner = self.documents.0.clone();
        let same = name.is_none() || self.engine.kernel.name.as_deref() == name;
        if self.engine.kernel.id.is_none() || (same && self.engine.kernel.state != KernelState::Dead) {
            return self.ensure_kernel(name).await;
        }
        let session = inner.sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        let name = name.map(str::to_owned).or_else(|| self.engine.kernel.name.clone()).unwrap_or_default();
        let Some((session, _)) = session else {
            self.forget_kernel().await;
            return self.ensure_kernel(Some(&name)).await;
        };
        let (_, kernel) = inner
            .sessions
            .change(&session.id, &json!({"kernel": {"name": name}}))
            .await
            .map_err(|error| error.to_string())?;
        self.detach();
        self.attach(&kernel, Some(1)).await;
        let specs = inner.kernel_specs.specs().await;
        if let Some(spec) = specs.specs.get(&name) {
            let mut metadata = self.model.metadata.clone();
            metadata.insert("kernelspec".into(), kernelspec_json(spec));
            metadata.remove("language_info");
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
        Ok(())
    }

    pub(super) async fn shutdown_kernel(&mut self) -> Result<(), String> {
        let inner = self.documents.0.clone();
        let session = inner.sessions.of_path(self.path.as_str()).await.map_err(|problem| problem.message)?;
        if let Some((session, _)) = session {
            inner.sessions.close(&session.id).await.map_err(|problem| problem.message)?;
        }
        self.forget_kernel().await;
        Ok(())
    }

    pub(super) async fn forget_kernel(&mut self) {
        self.detach();
        self.engine.kernel.id = None;
        self.describe_kernel(None).await;
        self.keep_record().await;
        for (client, id) in std::mem::take(&mut self.engine.starting) {
            self.answer(client, id, Err("the kernel was shut down".to_owned()));
        }
    }

    /// Handles an event from the link. False: the document must be closed and opened again.
    pub(in crate::documents) async fn host_message(&mut self, host_message: HostMessage) -> bool {
        match host_message {
            // The host released our lock when the connection ended. If the host itself has ended, so have the
            // kernels.
            HostMessage::Lost => return false,
            HostMessage::Event(Event::Kernel { model })
                if Some(&model.id) == self.engine.kernel.id.as_ref() =>
            {
                self.kernel_event(model)
            }
            HostMessage::Event(Event::KernelGone { id }) if Some(&id) == self.engine.kernel.id.as_ref() => {
                self.drain_and_forget().await
            }
            HostMessage::Event(_) | HostMessage::Connected => {}
        }
        true
    }

    pub(super) fn kernel_event(&mut self, model: KernelModel) {
        match model.state {
            KernelState::Starting | KernelState::Restarting | KernelState::Dead => {
                self.set_kernel_state(model.state, model.exit.clone())
            }
            // While it runs, its own messages report busy and idle, in order with the outputs.
            _ if !matches!(self.engine.kernel.state, KernelState::Idle | KernelState::Busy) => {
                self.set_kernel_state(KernelState::Idle, None);
            }
            _ => {}
        }
        self.learn_language(model.info.as_ref());
        if matches!(model.state, KernelState::Idle | KernelState::Busy | KernelState::Dead) {
            for (client, id) in std::mem::take(&mut self.engine.starting) {
                let result = match (model.state, &model.exit) {
                    (KernelState::Dead, exit) => {
                        Err(exit.clone().unwrap_or_else(|| "the kernel is dead".to_owned()))
                    }
                    _ => Ok(Reply::Done),
                };
                self.answer(client, id, result);
            }
        }
    }

    pub(super) fn learn_language(&mut self, info: Option<&Value>) {
        let Some(language) = info.map(|info| &info["language_info"]).filter(|language| language.is_object())
        else {
            return;
        };
        if self.model.metadata.get("language_info") != Some(language) {
            let mut metadata = self.model.metadata.clone();
            metadata.insert("language_info".into(), language.clone());
            let changes = self.model.set_metadata(metadata);
            self.change(changes, true);
        }
    }

    pub(in crate::documents) async fn refresh_kernel(&mut self) {
        let Some(id) = self.engine.kernel.id.clone() else { return };
        match self.documents.0.link.kernel(&id).await {
            Ok(model) => {
                self.kernel_event(model.clone());
                if self.engine.reader.is_none() {
                    let from = self.engine.entry + 1;
                    self.attach(&model, Some(from)).await;
                }
            }
            Err(problem) if problem.kind == ProblemKind::UnknownKernel => self.forget_kernel().await,
            Err(_) => {}
        }
    }

    /// The kernel was shut down: applies its last messages, then forgets it.
    pub(super) async fn drain_and_forget(&mut self) {
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(1), self.engine.next()).await
        {
            Box::pin(self.deliver(Some(delivery))).await;
            if self.engine.reader.is_none() {
                break;
            }
        }
        self.forget_kernel().await;
    }
}
