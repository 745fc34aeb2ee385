//! A session of an app: one reader, a copy of the notebook, and a kernel of its own.
//!
//! The session first runs all code cells. Then the reader gets the document, and may change the values of its controls. It ends
//! with the reader's connection, after a time without a change, or when the reader loses the right to it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{controls, visible};
use crate::access::Level;
use crate::documents::engine::{Effect, Engine};
use crate::documents::error::Unreadable;
use crate::documents::kernel::KernelConnection;
use crate::documents::model::Model;
use crate::format::NotebookFile;
use crate::kernel::link::{Attachment, Delivery, Link};
use crate::kernel::message::Message;
use crate::protocol::{Change, Kernel, KernelState, Operation, Reply, Request, ServerFrame};

/// Maximum size of a cell's output in a session, in bytes.
const OUTPUT_BYTES: usize = 1 << 20;
/// How many frames may wait for a reader. A slower reader is disconnected.
const WAITING_FRAMES: usize = 1024;
/// How many replies with the state of all widgets may wait for a reader: they can be large.
const WAITING_STATES: usize = 4;
/// How many requests may wait for a session, and how many changes of controls for its kernel.
const WAITING_REQUESTS: usize = 64;
const WAITING_CHANGES: usize = 16;
/// How often the right to the session is checked.
const RIGHTS: Duration = Duration::from_secs(2);

/// What a session needs.
pub(crate) struct AppLaunch {
    /// The title of the notebook.
    pub(crate) title: String,
    /// The notebook.
    pub(crate) file: NotebookFile,
    /// Its kernel.
    pub(crate) kernel: Kernel,
    /// The link to its kernel, and the connection to it.
    pub(crate) link: Link,
    pub(crate) attachment: Attachment,
    /// The maximum time of the first run, and the time without a change of a control after which the session ends.
    pub(crate) limits: SessionLimits,
    /// Why it must end, for the reader; `None`: the reader still has the right to it.
    pub(crate) refusal: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Times after which a session ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    pub(crate) run: Duration,
    pub(crate) idle: Duration,
}

/// A reader's end of a session.
pub(crate) struct AppSession {
    /// The frames for the reader. They end with the session.
    pub(crate) frames: mpsc::Receiver<Utf8Bytes>,
    requests: mpsc::Sender<Result<Request, Unreadable>>,
}

impl AppSession {
    /// Starts a session. It ends when this value is dropped. Must be called within a tokio runtime.
    pub(crate) fn start(launch: AppLaunch) -> AppSession {
        let (frames, frame_queue) = mpsc::channel(WAITING_FRAMES);
        let (requests, request_queue) = mpsc::channel(WAITING_REQUESTS);
        let AppLaunch { title, file, kernel, link, attachment, limits, refusal } = launch;
        let kernel_id = attachment.model.id.clone();
        let mut engine = Engine::new(&title, PathBuf::from("/"), OUTPUT_BYTES);
        engine.attached(attachment.from - 1);
        // Its changes are not for the reader.
        engine.describe_kernel(kernel);
        let mut kernel = KernelConnection::default();
        kernel.open(attachment);
        let task = SessionTask {
            title,
            model: Model::new(file),
            engine,
            kernel,
            frames,
            requests: request_queue,
            is_open: false,
            event: 0,
            waiting: 0,
            used: Instant::now(),
            problem: None,
        };
        tokio::spawn(async move {
            task.run(limits, refusal).await;
            // It ends without a connection, too, but later.
            let _ = link.shutdown(&kernel_id).await;
        });
        AppSession { frames: frame_queue, requests }
    }

    /// Sends a request. The reply comes among the frames. Returns whether there was room for it.
    pub(crate) fn request(&self, request: Result<Request, Unreadable>) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

/// The task of a session.
struct SessionTask {
    title: String,
    model: Model,
    engine: Engine,
    kernel: KernelConnection,
    frames: mpsc::Sender<Utf8Bytes>,
    requests: mpsc::Receiver<Result<Request, Unreadable>>,
    /// Whether the reader has the document.
    is_open: bool,
    /// The number of the newest change that the reader got.
    event: u64,
    /// The number of changes that the kernel has not handled.
    waiting: usize,
    used: Instant,
    /// Why the session must end, for the reader.
    problem: Option<String>,
}

impl SessionTask {
    async fn run(mut self, limits: SessionLimits, refusal: impl Fn() -> Option<String>) {
        if let Some(message) = self.serve(limits, refusal).await {
            self.send(&ServerFrame::Closing { again: false, message });
        }
    }

    /// Returns why the session ended; `None` if the reader has left.
    async fn serve(&mut self, limits: SessionLimits, refusal: impl Fn() -> Option<String>) -> Option<String> {
        let mut rights = tokio::time::interval(RIGHTS);
        let cell_ids = self.model.cell_ids();
        let effects = self.engine.run(&mut self.model, &cell_ids);
        self.carry_out(effects);
        loop {
            if let Some(problem) = self.problem.take() {
                return Some(problem);
            }
            if !self.is_open && !self.engine.is_running() {
                self.open();
            }
            let end = self.used + if self.is_open { limits.idle } else { limits.run };
            tokio::select! {
                request = self.requests.recv() => self.request(request?),
                delivery = self.kernel.next() => match delivery {
                    Some(delivery) => self.deliver(delivery),
                    None => return Some("The kernel was shut down.".to_owned()),
                },
                () = tokio::time::sleep_until(end) => return Some(self.idle_words()),
                _ = rights.tick() => if let Some(why) = refusal() { return Some(why) },
                () = self.frames.closed() => return None,
            }
        }
    }

    fn idle_words(&self) -> String {
        match self.is_open {
            true => "The controls were not used for a while, so they were stopped.".to_owned(),
            false => "The notebook runs for too long, so it was stopped.".to_owned(),
        }
    }

    /// Sends the reader the document.
    fn open(&mut self) {
        self.is_open = true;
        self.used = Instant::now();
        let document = visible::document(&self.title, &self.model, None);
        let (instance, level) = (String::new(), Level::App);
        self.send(&ServerFrame::Opened { instance, event: 0, level, document });
    }

    fn request(&mut self, request: Result<Request, Unreadable>) {
        let (id, result) = match request {
            Ok(Request { id, op }) => (Some(id), self.operate(id, op)),
            Err(Unreadable { id, message }) => (id, Err(message)),
        };
        match (result, id) {
            (Ok(Some(reply)), Some(id)) => self.send(&ServerFrame::Reply { id, reply }),
            (Ok(_), _) => {}
            (Err(message), id) => self.send(&ServerFrame::Failed { id, message }),
        }
    }

    /// Performs a request. Returns `None` if the reply comes later.
    fn operate(&mut self, id: u32, op: Operation) -> Result<Option<Reply>, String> {
        match op {
            Operation::Ping => Ok(Some(Reply::Done)),
            Operation::OpenComms if self.frames.max_capacity() - self.frames.capacity() >= WAITING_STATES => {
                Err("too many requests at a time".to_owned())
            }
            Operation::OpenComms => Ok(Some(match self.engine.comms() {
                Reply::Comms { comms } => Reply::Comms { comms: visible::comms(comms) },
                reply => reply,
            })),
            Operation::SendComm { message } => {
                if !self.is_open {
                    return Err("the controls are not ready yet".to_owned());
                }
                if self.waiting >= WAITING_CHANGES {
                    return Err("too many changes at a time: wait until the earlier ones are done".to_owned());
                }
                let checked = controls::checked(&message, self.engine.widget_state(&message.comm_id))?;
                let effects = self.engine.send_comm(0, id, &checked)?;
                self.waiting += 1;
                self.used = Instant::now();
                self.carry_out(effects);
                Ok(None)
            }
            _ => Err("an app accepts only new values of its controls".to_owned()),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let effects = match delivery {
            Delivery::Message(number, bytes) => match Message::parse_v1(&bytes) {
                Ok(message) => self.engine.message(&mut self.model, number, &message),
                Err(_) => return self.engine.skip(number),
            },
            Delivery::Gap(from, to) => self.engine.gap(&mut self.model, from, to),
        };
        self.carry_out(effects);
        if self.engine.kernel().state == KernelState::Dead {
            // The reason may quote the code.
            self.problem = Some("The kernel has ended. It may have used too much memory or time.".to_owned());
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Change { changes, .. } => changes.into_iter().for_each(|change| self.change(change)),
                Effect::Send(message) => self.kernel.send(message),
                Effect::SendToOther { language, .. } => {
                    let why = "an app runs only the cells in the language of its notebook";
                    effects.extend(self.engine.other_failed(&mut self.model, &language, why));
                }
                Effect::Answer { id, result, .. } => {
                    self.waiting = self.waiting.saturating_sub(1);
                    self.send(&match result {
                        Ok(reply) => ServerFrame::Reply { id, reply },
                        Err(message) => ServerFrame::Failed { id: Some(id), message },
                    });
                }
                // The notebook does not change, nothing is recorded, and the rest of long outputs is not kept.
                Effect::Overflow(_) | Effect::KeepRecord | Effect::Run(_) | Effect::Edit { .. } => {}
            }
        }
    }

    fn change(&mut self, change: Change) {
        if let Change::InputRequested { input: Some(_) } = change {
            self.problem = Some("The notebook asks for input, which an app cannot give.".to_owned());
        }
        if !self.is_open || !self.model.is_shown(&change) {
            return;
        }
        if let Some(change) = visible::change(&mut self.model, change) {
            self.event += 1;
            self.send(&ServerFrame::Changed { event: self.event, author: None, request: None, change });
        }
    }

    fn send(&mut self, frame: &ServerFrame) {
        // These values can always be serialized as JSON.
        let frame = serde_json::to_string(frame).unwrap_or_default();
        if self.frames.try_send(frame.into()).is_err() {
            self.problem = Some("The connection is too slow.".to_owned());
        }
    }
}
