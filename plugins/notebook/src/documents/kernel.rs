//! A document's kernel: which one it has or would start, and the connection to it.

use tokio::sync::mpsc;

use super::engine::has_debugger;
use crate::kernel::link::{Attachment, AttachmentReader, Delivery};
use crate::kernel::message::Message;
use crate::kernel::specs::{Spec, Specs};
use crate::kernel::wire::KernelModel;
use crate::protocol::{Kernel, KernelState, Object};

/// The connection to a kernel, if the document has one.
#[derive(Default)]
pub(super) struct KernelConnection {
    reader: Option<AttachmentReader>,
    writer: Option<mpsc::UnboundedSender<Message>>,
}

impl KernelConnection {
    /// Switches to this attachment. Must be called within a tokio runtime.
    pub(super) fn open(&mut self, attachment: Attachment) {
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
        self.reader = Some(attachment.reader);
        self.writer = Some(sender);
    }

    pub(super) fn close(&mut self) {
        *self = KernelConnection::default();
    }

    /// Records that the kernel sends no more messages.
    pub(super) fn close_reader(&mut self) {
        self.reader = None;
    }

    /// Lets another task read.
    pub(super) fn take_reader(&mut self) -> Option<AttachmentReader> {
        self.reader.take()
    }

    /// Whether messages can still come.
    pub(super) fn is_reading(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) fn send(&self, message: Message) {
        if let Some(writer) = &self.writer {
            let _ = writer.send(message);
        }
    }

    /// The next delivery from the kernel. Waits forever if there is none. May be cancelled.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        match &mut self.reader {
            Some(reader) => reader.next().await,
            None => std::future::pending().await,
        }
    }
}

/// The kernel `model` in the form for pages. Without one, the kernel that a notebook with this metadata would start.
pub(crate) fn describe(specs: &Specs, metadata: &Object, model: Option<&KernelModel>) -> Kernel {
    let spec = match model {
        Some(model) => specs.specs.get(&model.name),
        None => wanted(specs, metadata),
    };
    let message = match model {
        Some(model) => model.exit.clone(),
        None => specs.message.clone(),
    };
    Kernel {
        id: model.map(|model| model.id.clone()),
        name: model.map(|model| model.name.clone()).or_else(|| spec.map(|spec| spec.name.clone())),
        display_name: spec.map(|spec| spec.display_name.clone()),
        language: spec.map(|spec| spec.language.clone()),
        state: model.map_or(KernelState::None, |model| model.state),
        message,
        debugger: model.and_then(|model| model.info.as_ref()).is_some_and(has_debugger),
    }
}

/// The kernel `name`. Without a name, the kernel that a notebook with this metadata requests.
/// # Errors
/// If there is no such
/// kernel. The message is for users.
pub(crate) fn choose<'a>(
    specs: &'a Specs,
    metadata: &Object,
    name: Option<&str>,
) -> Result<&'a Spec, String> {
    if let Some(name) = name {
        let spec = specs.specs.get(name);
        return spec.ok_or_else(|| format!("there is no kernel named `{name}` on this machine"));
    }
    wanted(specs, metadata).ok_or_else(|| {
        specs.message.clone().unwrap_or_else(|| match metadata.get("kernelspec").map(|spec| &spec["name"]) {
            Some(serde_json::Value::String(name)) => {
                format!("there is no kernel named `{name}` on this machine: choose another one")
            }
            _ => "there is no kernel to start".to_owned(),
        })
    })
}

fn wanted<'a>(specs: &'a Specs, metadata: &Object) -> Option<&'a Spec> {
    let wanted = metadata.get("kernelspec").cloned().unwrap_or_default();
    specs.find(wanted["name"].as_str(), wanted["language"].as_str())
}
