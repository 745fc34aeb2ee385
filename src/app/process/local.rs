//! A process without a supervisor: for `paster request`, `console` and `check`.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::control::{LoadFailure, ProcessControl, ProcessReport};
use super::failure::ApplicationError;
use super::{Endpoint, EndpointUsers, Pool, PortReservation, ProcessSpec};
use crate::context::ProcessAddress;
use crate::error::Traceback;

/// An address for a process.
pub(in crate::app) struct LocalPlace {
    endpoint: Endpoint,
    folder: TempDir,
}

impl LocalPlace {
    /// Creates an address.
    /// # Errors
    /// When there is no free port or descriptor, or no directory can be made.
    pub(in crate::app) fn bind(spec: &ProcessSpec) -> io::Result<LocalPlace> {
        let folder = tempfile::Builder::new().prefix("paster-app-").tempdir()?;
        let endpoint =
            Endpoint::bind(spec.address, &folder.path().join("app.sock"), EndpointUsers::default())?;
        Ok(LocalPlace { endpoint, folder })
    }

    /// The address.
    pub(in crate::app) fn address(&self) -> Option<ProcessAddress> {
        self.endpoint.address.clone()
    }
}

fn no_socket(cause: &io::Error) -> LoadFailure {
    LoadFailure { summary: format!("cannot create a socket: {cause}"), ..LoadFailure::default() }
}

/// Binds an address, starts a process there, and waits until the application is loaded.
async fn start_anywhere(spec: &ProcessSpec) -> Result<(LocalProcess, BTreeMap<String, String>), LoadFailure> {
    let place = LocalPlace::bind(spec).map_err(|cause| no_socket(&cause))?;
    LocalProcess::start(spec, place).await
}

/// A process that ends when this value is dropped.
pub(in crate::app) struct LocalProcess {
    child: Child,
    control: ProcessControl,
    address: Option<ProcessAddress>,
    _reservation: Option<PortReservation>,
    /// The directory of the socket.
    _folder: TempDir,
}

impl LocalProcess {
    /// Starts a process, and waits until the application is loaded.
    /// # Errors
    /// Why it could not be loaded.
    pub(in crate::app) async fn start(
        spec: &ProcessSpec,
        place: LocalPlace,
    ) -> Result<(LocalProcess, BTreeMap<String, String>), LoadFailure> {
        let LocalPlace { endpoint, folder } = place;
        let (address, listener, reservation) = endpoint.release();
        let (control, end) = ProcessControl::pair().map_err(|cause| no_socket(&cause))?;
        let mut command = Command::from(spec.command());
        command.stdin(Stdio::from(end)).process_group(0).kill_on_drop(true);
        // The application's output must not mix with that of a command.
        if let Ok(stderr) = rustix::io::dup(io::stderr()) {
            command.stdout(Stdio::from(stderr));
        }
        let child = command.spawn().map_err(|cause| {
            let summary = format!("cannot run `{}`: {cause}", spec.program.display());
            LoadFailure { summary, ..LoadFailure::default() }
        })?;
        drop(command); // the process holds the other end of the socket
        let mut local = LocalProcess { child, control, address, _reservation: reservation, _folder: folder };
        let mut alone = spec.clone();
        alone.settings.push(("alone".to_owned(), true.to_string()));
        let _ = local.control.start(&alone, local.address.as_ref(), listener).await; // its end is detected below
        let limit = Duration::from_secs(spec.start_secs);
        match tokio::time::timeout(limit, local.ready()).await {
            Ok(Ok(facts)) => Ok((local, facts)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let summary = format!("it was not loaded within {} s", spec.start_secs);
                Err(LoadFailure { summary, ..LoadFailure::default() })
            }
        }
    }

    async fn ready(&mut self) -> Result<BTreeMap<String, String>, LoadFailure> {
        loop {
            match self.control.next().await {
                Ok(Some(ProcessReport::Ready(facts))) => return Ok(facts),
                Ok(Some(ProcessReport::Failed(failure))) => return Err(failure),
                Ok(Some(
                    ProcessReport::Sources(_)
                    | ProcessReport::Status(_)
                    | ProcessReport::Stacks(_)
                    | ProcessReport::Message(_),
                )) => {}
                Ok(None) | Err(_) => {
                    let status =
                        self.child.wait().await.map_or_else(|error| error.to_string(), |s| s.to_string());
                    let summary = format!("its process ended while it was loaded ({status})");
                    return Err(LoadFailure { summary, ..LoadFailure::default() });
                }
            }
        }
    }
}

/// Starts a process in the background, for requests of `pool`.
pub(super) fn start(pool: &Arc<Pool>, spec: ProcessSpec) {
    let pool = pool.clone();
    tokio::spawn(async move {
        let failure = match start_anywhere(&spec).await {
            Ok((mut local, _)) => match connect(&local).await {
                Ok(stream) => {
                    pool.serve(stream).await;
                    let status =
                        local.child.wait().await.map_or_else(|error| error.to_string(), |s| s.to_string());
                    LoadFailure { summary: format!("its process ended ({status})"), ..LoadFailure::default() }
                }
                Err(error) => LoadFailure { summary: error.to_string(), ..LoadFailure::default() },
            },
            Err(failure) => failure,
        };
        let app = pool.app.clone();
        pool.fail(move || {
            let traceback = Some(failure.traceback.clone()).filter(|text| !text.is_empty());
            let error = ApplicationError {
                summary: format!("the application `{app}` cannot be loaded: {}", failure.summary),
                traceback: traceback.map(|text| Traceback { text, with_variables: None }.into()),
            };
            error.into()
        });
    });
}

async fn connect(local: &LocalProcess) -> io::Result<UnixStream> {
    match &local.address {
        Some(ProcessAddress::Unix(path)) => UnixStream::connect(path).await,
        _ => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Loads the application in a process that then ends. Returns facts about the process.
/// # Errors
/// Why it could not be loaded.
pub async fn probe(spec: &ProcessSpec) -> Result<BTreeMap<String, String>, LoadFailure> {
    let (mut local, facts) = start_anywhere(spec).await?;
    let _ = local.control.drain().await; // it may already have ended
    let _ = tokio::time::timeout(Duration::from_secs(5), local.child.wait()).await; // then it is killed
    Ok(facts)
}
