//! One kernel under the host, for the rest of the host: its state, its journal, and what can be asked of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::incoming::ControlRequests;
use super::unused::KernelUse;
use crate::clock;
use crate::kernel::journal::Journal;
use crate::kernel::message::Message;
use crate::kernel::wire::{KernelModel, Launch, Problem, ProblemKind};
use crate::protocol::KernelState;

/// A kernel that the host knows, alive or dead.
pub(super) struct Running {
    pub(super) journal: Journal,
    pub(super) model: Mutex<KernelModel>,
    pub(super) control_requests: ControlRequests,
    connections: AtomicUsize,
    pub(super) used: KernelUse,
    /// How to start the next process, if this is not how it was started.
    pub(super) relaunch: Mutex<Option<Launch>>,
    orders: mpsc::UnboundedSender<KernelOrder>,
    sends: mpsc::Sender<Message>,
    /// True after it was forgotten.
    pub(super) closed: watch::Sender<bool>,
}

/// What can be asked of a kernel.
pub(super) enum KernelOrder {
    Interrupt,
    /// Drop the waiting runs with these message ids.
    Cancel(Vec<String>),
    Restart(oneshot::Sender<Result<(), Problem>>),
    Shutdown(oneshot::Sender<()>),
}

impl Running {
    /// A kernel that is starting, and the ends of its queues: what is asked of it, and the messages to it.
    pub(super) fn new(
        id: String,
        launch: &Launch,
        folder: PathBuf,
    ) -> (Running, mpsc::UnboundedReceiver<KernelOrder>, mpsc::Receiver<Message>) {
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (sends, send_queue) = mpsc::channel(64);
        let model = KernelModel {
            id,
            name: launch.name.clone(),
            state: KernelState::Starting,
            last_activity: clock::rfc3339(SystemTime::now()),
            connections: 0,
            next_entry: 1,
            pid: None,
            starts: 0,
            info: None,
            exit: None,
        };
        let kernel = Running {
            journal: Journal::new(folder, launch.limits.journal_bytes),
            model: Mutex::new(model),
            control_requests: ControlRequests::default(),
            connections: AtomicUsize::new(0),
            used: KernelUse::new(),
            relaunch: Mutex::default(),
            orders,
            sends,
            closed: watch::Sender::new(false),
        };
        (kernel, order_queue, send_queue)
    }

    pub(super) fn model(&self) -> KernelModel {
        let mut model = self.model.lock().clone();
        model.connections = self.connections.load(Ordering::Relaxed);
        model.next_entry = self.journal.next();
        model
    }

    /// Adds `by` (`1` or `-1`) to the number of connections.
    pub(super) fn count_connection(&self, by: isize) {
        self.connections.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    /// Queues a message. Waits while the kernel is starting and the queue is full.
    pub(super) async fn send(&self, message: Message) {
        self.used.touch();
        let _ = self.sends.send(message).await;
    }

    /// Queues a message before all others, for a kernel that nothing is attached to.
    pub(super) fn send_first(&self, message: Message) {
        // The queue is empty, so this cannot fail.
        let _ = self.sends.try_send(message);
    }

    pub(super) fn interrupt(&self) {
        let _ = self.orders.send(KernelOrder::Interrupt);
    }

    pub(super) fn cancel(&self, messages: Vec<String>) {
        let _ = self.orders.send(KernelOrder::Cancel(messages));
    }

    pub(super) async fn restart(&self) -> Result<(), Problem> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.orders.send(KernelOrder::Restart(sender));
        let gone = |_| Problem::new(ProblemKind::UnknownKernel, "the kernel is shut down");
        receiver.await.map_err(gone)?
    }

    pub(super) async fn shutdown(&self) {
        let (sender, receiver) = oneshot::channel();
        let _ = self.orders.send(KernelOrder::Shutdown(sender));
        let _ = receiver.await;
    }
}
