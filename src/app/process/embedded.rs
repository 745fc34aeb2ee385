//! An application in this process, to which function calls pass the frames.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use paster_frames::{Endpoint, Frame, Kind, Peer, push_pair};

use super::control::ProcessReport;
use super::link::ProcessConnection;
use super::{LoadFailure, Pool, ProcessSpec};
use crate::context::{Context, Host};
use crate::plugin::python::{self, PythonRuntime};

/// This side of the application's connection.
struct WorkerEnd {
    pool: Weak<Pool>,
    link: Arc<ProcessConnection>,
    /// Gets the result of the start.
    outcome: Mutex<Option<Sender<Result<(), LoadFailure>>>>,
    host: Arc<dyn Host>,
    /// When the application began to load.
    began: SystemTime,
}

impl Endpoint for WorkerEnd {
    fn receive(&self, frames: &mut dyn Iterator<Item = Frame>) {
        self.link.arrive(frames.filter_map(|frame| self.control(frame)));
    }

    fn connect(&self, peer: Peer) {
        self.link.connect(peer);
    }
}

impl WorkerEnd {
    /// Handles a frame that is not part of a response. Returns any other frame.
    fn control(&self, frame: Frame) -> Option<Frame> {
        if frame.kind == Kind::Log {
            let _ = self.link.log(&frame); // its frames are valid
            return None;
        }
        let Ok(Some(report)) = ProcessReport::read(&frame) else { return Some(frame) };
        match report {
            ProcessReport::Ready(_) => {
                if let Some(pool) = self.pool.upgrade() {
                    pool.add(&self.link);
                }
                self.tell(Ok(()));
            }
            ProcessReport::Failed(failure) => {
                self.sources(failure.sources.clone());
                self.tell(Err(failure));
            }
            ProcessReport::Sources(sources) => self.sources(sources),
            ProcessReport::Status(_) | ProcessReport::Stacks(_) | ProcessReport::Message(_) => {}
        }
        None
    }

    fn tell(&self, outcome: Result<(), LoadFailure>) {
        if let Some(sender) = self.outcome.lock().take() {
            let _ = sender.send(outcome); // nobody waits if it took too long
        }
    }

    fn sources(&self, sources: Vec<PathBuf>) {
        self.host.sources(self.link.app(), sources, self.began);
    }
}

/// Starts the application of `spec` in this process, and waits until it is loaded.
/// # Errors
/// Why it could not be loaded.
pub(in crate::app) fn start(
    pool: &Arc<Pool>,
    spec: &ProcessSpec,
    (runtime, library): (&PythonRuntime, &Path),
    context: &Context,
) -> Result<(), LoadFailure> {
    let failed = |summary: String| LoadFailure { summary, ..LoadFailure::default() };
    let (outcome, started) = channel();
    let link = ProcessConnection::new(pool.app.clone());
    let end = Arc::new(WorkerEnd {
        pool: Arc::downgrade(pool),
        link: link.clone(),
        outcome: Mutex::new(Some(outcome)),
        host: context.host.clone(),
        began: SystemTime::now(),
    });
    let mut settings = spec.encode(None);
    for (name, value) in &spec.env {
        push_pair(&mut settings, b"variable", format!("{name}={value}").as_bytes());
    }
    let told = end.clone();
    tokio::spawn(link.clone().run_embedded());
    let drain = move || {
        link.send(|out| out.push(Kind::Drain, 0, &[]));
        link.pass(); // whether or not the runtime is free
    };
    python::run(runtime, library, settings, end, drain, move |why| told.tell(Err(failed(why))))
        .map_err(|cause| failed(format!("no thread could be started: {cause}")))?;
    match started.recv_timeout(Duration::from_secs(spec.start_secs)) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            Err(failed(format!("it was not loaded within {} s", spec.start_secs)))
        }
        Err(RecvTimeoutError::Disconnected) => Err(failed("it ended while it was loaded".to_owned())),
    }
}
