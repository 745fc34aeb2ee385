//! What the servers ask each other when no client's request can be relayed: to write open notebooks, and to stop them while one
//! server moves their files.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::RelayFailure;
use super::signed::RelayedRequest;
use super::{PATIENCE, RETRY, Relay, is_address};
use crate::documents::{HeldDocuments, MoveError};
use crate::files::RelativePath;
use crate::http::RequestLocation;
use crate::http::error::{ApiError, Result, not_found};
use crate::http::percent::encode;
use crate::identity::Principal;
use crate::state::{Notebook, Shared};
use crate::store::Store;

/// The address of these requests.
pub(in crate::http) const SERVERS: &str = "/api/servers";
/// How long a server may take to write its notebooks.
const LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked for further servers that have opened a notebook in a folder that is being moved.
const ROUNDS: u32 = 5;

/// What a server asks another one. The paths are below the served folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(in crate::http) enum ServerRequest {
    /// Write the notebooks at and below `path`.
    Flush { path: String },
    /// The same, and stop them until [`ServerRequest::Release`] with the same `id`.
    Hold { path: String, id: String },
    /// Let the notebooks continue, after `from` was moved to `to` or (`None`) was not moved.
    Release { id: String, from: String, to: Option<String> },
    /// Close the notebooks at and below `path`, and shut down their kernels.
    Close { path: String, reason: String },
    /// Shut down the kernels of the notebooks at and below `path`.
    CloseKernels { path: String },
    /// Pass an event on to the subscribers.
    Publish { event: Value },
}

/// The error is a message for users.
type ServerOutcome<T = ()> = std::result::Result<T, String>;

/// The servers whose notebooks are stopped.
struct HeldServers {
    /// The id of the requests.
    id: String,
    own: Option<HeldDocuments>,
    others: Vec<String>,
}

#[derive(Deserialize)]
pub(in crate::http) struct ServerQuery {
    request: String,
}

/// Answers another server. Clients do not get here.
pub(in crate::http) async fn answer(
    State(notebook): State<Shared>,
    relayed: Option<Extension<RelayedRequest>>,
    Query(query): Query<ServerQuery>,
) -> Result<Response> {
    if relayed.is_none() {
        return Ok(not_found().await.into_response());
    }
    let request = serde_json::from_str(&query.request)
        .map_err(|_| ApiError::bad("the other server has another version of the notebook"))?;
    notebook.carry_out(request).await.map_err(ApiError::unavailable)?;
    Ok(Json(json!({})).into_response())
}

/// Until when requests are repeated that other servers must answer. The leases of a server that has stopped expire soon.
struct Patience(tokio::time::Instant);

impl Patience {
    fn new() -> Patience {
        Patience(tokio::time::Instant::now() + PATIENCE)
    }

    /// Waits before the next attempt. Returns false if there is none.
    async fn again(&self) -> bool {
        let is_early = tokio::time::Instant::now() < self.0;
        if is_early {
            tokio::time::sleep(RETRY).await;
        }
        is_early
    }
}

/// Sends the events of this server to the others.
pub(super) async fn announce(relay: Weak<Relay>, store: Store, mut events: mpsc::Receiver<Value>) {
    while let Some(event) = events.recv().await {
        let Some(relay) = relay.upgrade() else { return };
        let servers = relay.running(&store).unwrap_or_default();
        // A server that does not respond misses it.
        let _ = relay.tell_all(&servers, &ServerRequest::Publish { event }).await;
    }
}

impl Relay {
    /// Lets the subscribers of the other servers know of an event.
    pub(in crate::http) fn announce(&self, event: Value) {
        let _ = self.events.try_send(event);
    }

    async fn tell(&self, to: &str, request: &ServerRequest) -> std::result::Result<(), RelayFailure> {
        let request = serde_json::to_string(request).map_err(RelayFailure::before)?;
        let target = format!("{SERVERS}?request={}", encode(&request));
        let from = RelayedRequest { principal: Principal::nobody(), place: RequestLocation::default() };
        let (status, body) = self.exchange(to, (Method::POST, &target), &from, LIMIT).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(RelayFailure::during(
            body["message"].as_str().unwrap_or("it has another version of the notebook"),
        ))
    }

    /// Tells all `servers`. Returns what the first one that failed says.
    async fn tell_all(&self, servers: &[String], request: &ServerRequest) -> ServerOutcome {
        let telling = servers.iter().map(|to| self.tell(to, request));
        let told = futures_util::future::join_all(telling).await;
        let mut result = Ok(());
        for (to, told) in servers.iter().zip(told) {
            let Err(failure) = told else { continue };
            let what = request.held();
            self.warn(to, &what, &failure);
            let why = if failure.is_certificate { failure.words().to_owned() } else { failure.to_string() };
            result = result.and_then(|()| Err(format!("another server ({to}) {what}, but it failed: {why}")));
        }
        result
    }
}

impl ServerRequest {
    /// What the server has that must answer, for users.
    fn held(&self) -> String {
        match self {
            ServerRequest::Flush { path }
            | ServerRequest::Hold { path, .. }
            | ServerRequest::Close { path, .. } => {
                format!("has `{path}` or a notebook in it open")
            }
            ServerRequest::Release { from, .. } => format!("has a notebook in `{from}` open"),
            ServerRequest::CloseKernels { path } => format!("may run kernels of `{path}`"),
            ServerRequest::Publish { .. } => "may have subscribers of events".to_owned(),
        }
    }
}

impl Notebook {
    async fn carry_out(&self, request: ServerRequest) -> ServerOutcome {
        let parse = |path: &str| RelativePath::parse_hidden(path).map_err(|error| error.to_string());
        let folder = |path: &str| if path.is_empty() { Ok(RelativePath::default()) } else { parse(path) };
        match request {
            ServerRequest::Flush { path } => self.documents.flush_below(&folder(&path)?).await,
            ServerRequest::Hold { path, id } => {
                self.documents.hold_as(id, &parse(&path)?).await;
                Ok(())
            }
            ServerRequest::Release { id, from, to } => {
                let (from, to) = (parse(&from)?, to.as_deref().map(parse).transpose()?);
                let released = self.documents.release_as(&id, to.as_ref().map(|to| (&from, to))).await;
                released.map_err(|error| error.to_string())?;
                match &to {
                    Some(to) => self.sessions.moved(&from, to).await.map_err(|problem| problem.message),
                    None => Ok(()),
                }
            }
            ServerRequest::Close { path, reason } => {
                let path = parse(&path)?;
                self.documents.close(&path, &reason).await;
                self.close_own_kernels_below(&path).await
            }
            ServerRequest::CloseKernels { path } => self.close_own_kernels_below(&parse(&path)?).await,
            ServerRequest::Publish { event } => {
                self.link.publish(event).await.map_err(|problem| problem.message)
            }
        }
    }

    /// Where notebooks at and below `path` are open, except for this server.
    /// # Errors
    /// If the database fails, or `path` is open on a server without an address.
    fn other_holders(&self, path: &RelativePath) -> ServerOutcome<Vec<String>> {
        let holders = self.store.holders(path, true).map_err(|error| error.to_string())?;
        let mut others: Vec<String> =
            holders.into_iter().filter(|holder| !holder.is_own).map(|holder| holder.address).collect();
        others.sort();
        others.dedup();
        match others.iter().find(|address| !is_address(address)) {
            Some(name) => Err(format!(
                "the server {name} has `{path}` or a notebook in it open, and has no setting `address`: close it there"
            )),
            None => Ok(others),
        }
    }

    /// Tells the other servers where notebooks at and below `path` are open.
    async fn tell_holders(
        &self,
        relay: &Relay,
        path: &RelativePath,
        request: &ServerRequest,
    ) -> ServerOutcome {
        let patience = Patience::new();
        loop {
            let told = match self.other_holders(path) {
                Ok(holders) => relay.tell_all(&holders, request).await,
                Err(why) => Err(why),
            };
            if told.is_ok() || !patience.again().await {
                return told;
            }
        }
    }

    /// The other servers, which may run kernels.
    fn others(&self) -> Vec<String> {
        self.relay.as_ref().and_then(|relay| relay.running(&self.store).ok()).unwrap_or_default()
    }

    /// Writes the open notebooks at and below `path` on all servers, so that their files are up to date. Waits until the notebooks of
    /// a server that has stopped can be opened here.
    /// # Errors
    /// Names the server that does not respond, or what could not be written.
    pub(crate) async fn flush_everywhere(&self, path: &RelativePath) -> ServerOutcome {
        if let Some(relay) = &self.relay {
            let request = ServerRequest::Flush { path: path.to_string() };
            self.tell_holders(relay, path, &request).await?;
            self.files.catch_up().await.map_err(|error| error.to_string())?;
        }
        self.documents.flush_below(path).await
    }

    /// Renames a file or folder with its notebooks and kernels, wherever they are open.
    /// # Errors
    /// [`MoveError`]. Nothing has been moved then.
    pub(crate) async fn rename(
        self: &Arc<Self>,
        from: &RelativePath,
        to: &RelativePath,
    ) -> std::result::Result<(), MoveError> {
        let (notebook, from, to) = (self.clone(), from.clone(), to.clone());
        // It is not interrupted if the client disconnects.
        let renaming = tokio::spawn(async move {
            match &notebook.relay {
                Some(relay) => notebook.rename_shared(relay, &from, &to).await?,
                None => notebook.documents.rename(&from, &to).await?,
            }
            notebook.sessions.moved(&from, &to).await.map_err(|problem| MoveError::Busy(problem.message))
        });
        renaming.await.unwrap_or_else(|error| Err(MoveError::Busy(format!("the rename failed: {error}"))))
    }

    async fn rename_shared(
        &self,
        relay: &Relay,
        from: &RelativePath,
        to: &RelativePath,
    ) -> std::result::Result<(), MoveError> {
        let patience = Patience::new();
        let HeldServers { id, own, others } = loop {
            match self.hold_everywhere(relay, from).await {
                Ok(held) => break held,
                Err(why) if !patience.again().await => return Err(MoveError::Busy(why)),
                Err(_) => {}
            }
        };
        // The other servers have just written them.
        let renamed = match self.files.catch_up().await {
            Ok(()) => self.documents.rename_file(from, to).await,
            Err(error) => Err(error),
        };
        if let Some(own) = own {
            self.documents.release(own, renamed.is_ok().then_some((from, to))).await;
        }
        let to = renamed.is_ok().then(|| to.to_string());
        // A server that does not respond finds it out from the database.
        let _ = relay.tell_all(&others, &ServerRequest::Release { id, from: from.to_string(), to }).await;
        renamed.map_err(MoveError::File)
    }

    /// Stops the notebooks at and below `path` on all servers.
    /// # Errors
    /// Why a server did not. No server has stopped its notebooks then.
    async fn hold_everywhere(&self, relay: &Relay, path: &RelativePath) -> ServerOutcome<HeldServers> {
        let mut held = HeldServers { id: uuid::Uuid::new_v4().to_string(), own: None, others: Vec::new() };
        match self.hold_all(relay, path, &mut held).await {
            Ok(()) => Ok(held),
            Err(why) => {
                if let Some(own) = held.own {
                    self.documents.release(own, None).await;
                }
                let release = ServerRequest::Release { id: held.id, from: path.to_string(), to: None };
                let _ = relay.tell_all(&held.others, &release).await;
                Err(why)
            }
        }
    }

    /// Does so in the order of the addresses, so that two servers that move something do not wait for each other. Adds each server
    /// to `held` before it is asked.
    async fn hold_all(&self, relay: &Relay, path: &RelativePath, held: &mut HeldServers) -> ServerOutcome {
        let request = ServerRequest::Hold { path: path.to_string(), id: held.id.clone() };
        let own = relay.own.as_deref().unwrap_or_default();
        for _ in 0..ROUNDS {
            let mut holders = self.other_holders(path)?;
            holders.retain(|holder| !held.others.contains(holder));
            if holders.is_empty() && held.own.is_some() {
                return Ok(());
            }
            let mut new = holders.clone();
            if held.own.is_none() {
                // The others may have kernels whose folder moves.
                new.extend(self.others());
                new.push(own.to_owned());
                new.sort();
                new.dedup();
            }
            for server in new {
                if server == own {
                    held.own = Some(self.documents.hold(path).await);
                    continue;
                }
                held.others.push(server.clone());
                match relay.tell_all(std::slice::from_ref(&server), &request).await {
                    Err(why) if holders.contains(&server) => return Err(why),
                    _ => {}
                }
            }
        }
        Err(format!("notebooks in `{path}` are being opened on several servers: try again"))
    }

    /// Closes the notebooks at and below `path` on all servers, and shuts down their kernels. Their pages show `reason`.
    /// # Errors
    /// Names the server that does not respond, or has the message of the kernel host.
    pub(crate) async fn close_everywhere(
        &self,
        path: &RelativePath,
        reason: &str,
    ) -> std::result::Result<(), MoveError> {
        if let Some(relay) = &self.relay {
            let request = ServerRequest::Close { path: path.to_string(), reason: reason.to_owned() };
            self.tell_holders(relay, path, &request).await.map_err(MoveError::Busy)?;
        }
        self.documents.close(path, reason).await;
        self.close_kernels_below(path).await.map_err(MoveError::Busy)
    }

    /// Shuts down the kernels of the notebooks at and below `path`, on all servers.
    /// # Errors
    /// The message of the kernel host.
    pub(crate) async fn close_kernels_below(&self, path: &RelativePath) -> ServerOutcome {
        if let Some(relay) = &self.relay {
            // A server that does not respond may not have any.
            let _ =
                relay.tell_all(&self.others(), &ServerRequest::CloseKernels { path: path.to_string() }).await;
        }
        self.close_own_kernels_below(path).await
    }
}
