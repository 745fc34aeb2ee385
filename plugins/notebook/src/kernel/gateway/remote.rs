//! One kernel of a gateway: starts, watches, interrupts and ends it.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Gateway;
use crate::kernel::transport::PendingTransport;
use crate::kernel::wire::Launch;

/// How often the gateway is asked whether the kernel lives.
const LOOK: Duration = Duration::from_secs(2);
/// A kernel whose gateway cannot be reached for so long is lost.
const LOST: Duration = Duration::from_secs(60);

/// The id that the gateway gives a kernel, or why it has not started it.
type Outcome = Option<Result<String, String>>;

/// The id of a kernel that is starting.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct RemoteId(watch::Receiver<Outcome>);

impl RemoteId {
    /// Waits until the gateway has started the kernel.
    pub(super) async fn started(mut self) -> Result<String, String> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(String::new())),
            Err(_) => Err("the kernel host is ending".to_owned()),
        }
    }
}

/// A kernel of a gateway.
pub(in crate::kernel) struct RemoteKernel {
    gateway: Gateway,
    id: RemoteId,
    next_look: Instant,
    /// Since when the gateway cannot be reached.
    lost: Option<Instant>,
    ended: bool,
}

impl RemoteKernel {
    /// Asks the gateway to start a kernel.
    pub(in crate::kernel) fn start(gateway: &Gateway, launch: &Launch) -> RemoteKernel {
        let (outcome, id) = watch::channel(None);
        let (asked, name) = (gateway.clone(), launch.name.clone());
        // What gateways accept: they ignore the folder if they do not see this machine's files.
        let mut env = launch.env.clone();
        let folder = Path::new(&launch.folder).components().as_path();
        env.push(("KERNEL_WORKING_DIR".to_owned(), folder.to_string_lossy().into_owned()));
        // It continues even if no caller waits for it, because an unknown kernel would never end.
        tokio::spawn(async move {
            let started = asked.start(&name, &env).await.map_err(|error| error.to_string());
            if let Err(watch::error::SendError(Some(Ok(id)))) = outcome.send(Some(started)) {
                let _ = asked.end(&id).await; // nothing is left to be told
            }
        });
        let next_look = Instant::now() + LOOK;
        RemoteKernel { gateway: gateway.clone(), id: RemoteId(id), next_look, lost: None, ended: false }
    }

    /// A new connection to it.
    pub(in crate::kernel) fn transport(&self) -> PendingTransport {
        PendingTransport::Gateway(self.gateway.clone(), self.id())
    }

    fn id(&self) -> RemoteId {
        self.id.clone()
    }

    /// Interrupts it for `INT`; ends it for other signals.
    pub(in crate::kernel) fn signal(&self, signal: Signal) {
        let (gateway, id) = (self.gateway.clone(), self.id());
        tokio::spawn(async move {
            let Ok(id) = id.started().await else { return };
            let done = match signal {
                Signal::INT => gateway.interrupt(&id).await,
                _ => gateway.end(&id).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "cannot reach a kernel");
            }
        });
    }

    /// Waits for its end, and describes it. May be cancelled and called again.
    pub(in crate::kernel) async fn ended(&mut self) -> String {
        let id = match self.id().started().await {
            Ok(id) => id,
            Err(reason) => return format!("could not be started: {reason}"),
        };
        loop {
            tokio::time::sleep_until(self.next_look).await;
            let state = self.gateway.state(&id).await;
            self.next_look = Instant::now() + LOOK;
            match state {
                Ok(Some(state)) if state == "dead" => {
                    return "died; the gateway did not report why".to_owned();
                }
                Ok(Some(_)) => self.lost = None,
                Ok(None) => {
                    self.ended = true;
                    return "was ended by the gateway".to_owned();
                }
                Err(error) => {
                    let since = *self.lost.get_or_insert_with(Instant::now);
                    if since.elapsed() > LOST {
                        return format!("is lost: {error}");
                    }
                }
            }
        }
    }

    /// Ends it.
    pub(in crate::kernel) async fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let Ok(id) = self.id().started().await
            && let Err(error) = self.gateway.end(&id).await
        {
            tracing::warn!(%error, "cannot end a kernel");
        }
    }
}
