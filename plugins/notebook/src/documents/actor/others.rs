//! The kernels for other languages that cells of a document choose (`%r`).

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::Actor;
use crate::documents::kernel::KernelConnection;
use crate::kernel::link::{Attachment, Delivery};
use crate::kernel::message::Message;
use crate::kernel::specs::Spec;

/// How many messages of kernels may wait for the document.
const WAITING: usize = 64;

/// A language and a message of its kernel; `None` if the kernel has ended.
type OtherDelivery = (String, Option<Delivery>);

/// The connections to other kernels, by language.
pub(super) struct OtherKernels {
    open: HashMap<String, (String, KernelConnection)>,
    sender: mpsc::Sender<OtherDelivery>,
    receiver: mpsc::Receiver<OtherDelivery>,
}

impl OtherKernels {
    pub(super) fn new() -> OtherKernels {
        let (sender, receiver) = mpsc::channel(WAITING);
        OtherKernels { open: HashMap::new(), sender, receiver }
    }

    fn add(&mut self, language: &str, attachment: Attachment) {
        let kernel_id = attachment.model.id.clone();
        let mut connection = KernelConnection::default();
        connection.open(attachment);
        let mut reader = connection.take_reader();
        let (language, sender) = (language.to_owned(), self.sender.clone());
        self.open.insert(language.clone(), (kernel_id, connection));
        tokio::spawn(async move {
            while let Some(open) = &mut reader {
                let delivery = open.next().await;
                let ended = delivery.is_none();
                if sender.send((language.clone(), delivery)).await.is_err() || ended {
                    return;
                }
            }
        });
    }

    /// The next message of a kernel. May be cancelled.
    pub(super) async fn next(&mut self) -> OtherDelivery {
        match self.receiver.recv().await {
            Some(delivery) => delivery,
            None => std::future::pending().await,
        }
    }
}

impl Actor {
    /// Sends a message to the kernel of a language; starts it if the document has none.
    pub(super) async fn send_to_other(&mut self, language: &str, message: Message) -> Result<(), String> {
        if !self.others.open.contains_key(language) {
            let specs = self.context.kernel_specs.specs().await;
            let is_right = |spec: &&Spec| spec.language.eq_ignore_ascii_case(language);
            // The default kernel, if it has this language.
            let spec = specs.find(None, Some(language)).filter(is_right);
            let Some(spec) = spec.or_else(|| specs.specs.values().find(is_right)) else {
                return Err(format!(
                    "there is no kernel for `{language}` on this machine: install one, and run the cell again"
                ));
            };
            let opened = self.context.sessions.open_language(self.path.as_str(), &spec.name).await;
            let kernel = opened.map_err(|error| error.to_string())?;
            let attached = self.context.link.attach(&kernel.id, Some(kernel.next_entry), true).await;
            self.others.add(language, attached.map_err(|problem| problem.message)?);
        }
        if let Some((_, connection)) = self.others.open.get(language) {
            connection.send(message);
        }
        Ok(())
    }

    /// Handles a message of the kernel for a language.
    pub(super) async fn deliver_other(&mut self, (language, delivery): OtherDelivery) {
        if !self.others.open.contains_key(&language) {
            return;
        }
        let effects = match delivery {
            Some(Delivery::Message(_, bytes)) => match Message::parse_v1(&bytes) {
                Ok(message) => self.engine.message_of_other(&mut self.model, &language, &message),
                Err(_) => return,
            },
            Some(Delivery::Gap(..)) => return,
            None => {
                self.others.open.remove(&language);
                let reason = format!("the kernel for `{language}` has ended");
                self.engine.other_failed(&mut self.model, &language, &reason)
            }
        };
        self.carry_out(effects).await;
    }

    /// Drops the runs that wait for another kernel, and interrupts the other kernels that run a cell.
    pub(super) async fn interrupt_others(&mut self) {
        let effects = self.engine.abort_held(&mut self.model, None);
        self.carry_out(effects).await;
        for language in self.engine.running_languages() {
            if let Some((kernel_id, _)) = self.others.open.get(&language)
                && let Err(problem) = self.context.link.interrupt(kernel_id).await
            {
                tracing::warn!(%problem, language, document = %self.path, "cannot interrupt a kernel");
            }
        }
    }

    /// Takes waiting runs out of the queues of the other kernels.
    pub(super) async fn cancel_others(&mut self, cell_ids: &[String], waiting: &[String]) {
        let effects = self.engine.abort_held(&mut self.model, Some(cell_ids));
        self.carry_out(effects).await;
        for (kernel_id, _) in self.others.open.values() {
            // The document's kernel does not know the runs of other kernels.
            let _ = self.context.link.cancel(kernel_id, waiting.to_vec()).await;
        }
    }

    /// Shuts the other kernels down, because the document's kernel ends or restarts.
    pub(super) async fn close_others(&mut self) {
        self.others.open.clear();
        if let Err(problem) = self.context.sessions.close_languages(self.path.as_str()).await {
            tracing::warn!(%problem, document = %self.path, "cannot shut down a kernel");
        }
    }
}
