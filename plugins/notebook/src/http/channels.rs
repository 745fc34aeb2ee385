//! `/api/kernels/ID/channels`: a kernel's messages over a WebSocket, in both of Jupyter's forms.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use paster_sdk::ws::{self, WebSocket, WebSocketRejection, WebSocketUpgrade, close_code};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::error::Result;
use crate::identity::Principal;
use crate::kernel::HOST_SESSION;
use crate::kernel::link::{Attachment, Delivery};
use crate::kernel::message::{Channel, DefaultFrame, Message, MessageError};
use crate::protocol::KernelState;
use crate::state::Shared;

const V1: &str = "v1.kernel.websocket.jupyter.org";
/// Maximum interval between checks of a starting kernel.
const LOOK: Duration = Duration::from_secs(1);
/// How long a message may wait for the ping that confirms it. A ping after each message would delay the next one.
const CONFIRM: Duration = Duration::from_millis(20);
/// Maximum number of remembered sessions per client.
const MAX_SESSIONS: usize = 64;

#[derive(Deserialize)]
pub(super) struct ChannelsQuery {
    session_id: Option<String>,
}

/// How far a client has read, until it returns with the same session id.
#[derive(Serialize, Deserialize)]
struct ReadPosition {
    next: u64,
    sessions: Vec<String>,
}

pub(super) async fn open(
    State(notebook): State<Shared>,
    principal: Principal,
    Path(id): Path<String>,
    Query(query): Query<ChannelsQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketRejection>,
) -> Result<Response> {
    notebook.may_use_kernel(&principal, &id).await?;
    until_started(&notebook, &id).await?;
    let session = query.session_id.filter(|session| !session.is_empty() && session.len() <= 200);
    let key = session.as_ref().map(|session| format!("cursor/{id}/{session}"));
    let kept = match &key {
        Some(key) => notebook.link.kept(key).await?.remove(key),
        None => None,
    };
    let cursor = kept.and_then(|value| serde_json::from_value::<ReadPosition>(value).ok());
    let attachment = notebook.link.attach(&id, cursor.as_ref().map(|cursor| cursor.next), true).await?;
    let upgrade = match upgrade {
        // The guard has checked the origin against the settings.
        Ok(upgrade) => upgrade.protocols([V1]).any_origin(),
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let sessions = cursor.into_iter().flat_map(|cursor| cursor.sessions).chain(session);
    let sessions = sessions.collect();
    let limit = notebook.settings.limits.message_bytes;
    Ok(upgrade.max_message_bytes(limit).on_upgrade(async move |socket: WebSocket| {
        let is_v1 = socket.protocol().is_some();
        let client = ChannelsClient { is_v1, sessions, requests: VecDeque::new(), next: attachment.from };
        notebook.channels.fetch_add(1, Ordering::Relaxed);
        let client = tokio::select! {
            client = client.serve(socket, attachment) => Some(client),
            () = notebook.until_kernel_is_denied(&principal, &id) => None,
        };
        notebook.channels.fetch_sub(1, Ordering::Relaxed);
        if let (Some(key), Some(client)) = (key, client) {
            let cursor = ReadPosition { next: client.next, sessions: client.sessions.into_iter().collect() };
            // Without a kernel there is nothing to resume.
            if notebook.link.kernel(&id).await.is_ok() {
                let _ = notebook.link.put(key, Some(json!(cursor))).await;
            }
        }
    }))
}

/// Waits while the kernel starts. Clients expect a kernel to respond within a second after they connect, because Jupyter
/// Server requests the kernel's info first.
async fn until_started(notebook: &Shared, id: &str) -> Result<()> {
    let mut messages = notebook.link.host_messages();
    while notebook.link.kernel(id).await?.state == KernelState::Starting {
        let _ = tokio::time::timeout(LOOK, messages.recv()).await;
    }
    Ok(())
}

/// Whether this is the kernel host's report that a kernel is being restarted. Jupyter's clients would take it for the death of
/// the kernel; the kernel's `shutdown_reply` informs them of a restart.
fn is_restart(message: &Message) -> bool {
    if message.channel != Channel::Iopub {
        return false;
    }
    let header = message.header();
    header.session == HOST_SESSION
        && header.msg_type == "status"
        && message.content()["execution_state"] == "restarting"
}

struct ChannelsClient {
    is_v1: bool,
    /// The sessions that its messages used. The client receives the replies to them.
    sessions: HashSet<String>,
    /// The message ids that it sent, the newest last.
    requests: VecDeque<String>,
    /// The number of the first message that the client has not confirmed.
    next: u64,
}

/// Confirms delivery with ping and pong. A pong shows that everything before its ping has arrived, which a successful write
/// does not. One ping confirms all messages that were sent before it.
#[derive(Default)]
struct Confirm {
    /// The number of the newest message sent.
    sent: u64,
    /// When the next ping is due, if messages were sent since the last one.
    due: Option<Instant>,
    /// The message that the outstanding ping confirms.
    asked: Option<u64>,
}

impl Confirm {
    /// Remembers that everything up to the message `number` was sent.
    fn sent(&mut self, number: u64) {
        self.sent = number;
        self.due.get_or_insert_with(|| Instant::now() + CONFIRM);
    }

    /// Waits until a ping is due. Only one ping is outstanding at a time.
    async fn due(&self) {
        match self.due {
            Some(due) if self.asked.is_none() => tokio::time::sleep_until(due).await,
            _ => std::future::pending().await,
        }
    }

    /// The ping that is due.
    fn ping(&mut self) -> ws::Message {
        self.due = None;
        self.asked = Some(self.sent);
        ws::Message::Ping(Bytes::copy_from_slice(&self.sent.to_be_bytes()))
    }

    /// The number that a pong confirms.
    fn pong(&mut self, payload: &[u8]) -> Option<u64> {
        let asked = self.asked.filter(|asked| asked.to_be_bytes() == payload)?;
        self.asked = None;
        Some(asked)
    }
}

impl ChannelsClient {
    async fn serve(mut self, mut socket: WebSocket, mut attachment: Attachment) -> ChannelsClient {
        let mut confirm = Confirm::default();
        loop {
            tokio::select! {
                () = confirm.due() => if socket.send(confirm.ping()).await.is_err() {
                    return self;
                },
                delivery = attachment.reader.next() => match delivery {
                    Some(Delivery::Message(number, bytes)) => {
                        if let Some(frame) = self.frame(bytes)
                            && socket.send(frame).await.is_err()
                        {
                            return self;
                        }
                        confirm.sent(number);
                    }
                    Some(Delivery::Gap(_, to)) => confirm.sent(to - 1),
                    None => {
                        socket.close(close_code::NORMAL, "the kernel is shut down").await;
                        return self;
                    }
                },
                message = socket.recv_or_pong() => {
                    let parsed = match message {
                        Some(Ok(ws::Message::Text(text))) => Message::parse_default_text(text.as_bytes()),
                        Some(Ok(ws::Message::Binary(bytes))) if self.is_v1 => Message::parse_v1(&bytes),
                        Some(Ok(ws::Message::Binary(bytes))) => Message::parse_default_binary(&bytes),
                        Some(Ok(ws::Message::Pong(payload))) => {
                            if let Some(number) = confirm.pong(&payload) {
                                self.next = number + 1;
                            }
                            continue;
                        }
                        Some(Ok(ws::Message::Ping(_) | ws::Message::Close(_))) => continue,
                        Some(Err(_)) | None => return self,
                    };
                    match parsed.and_then(|message| self.check(message)) {
                        Ok(message) => if attachment.writer.send(&message).await.is_err() { return self },
                        // Ignore broken frames and unknown channels.
                        Err(error) => tracing::warn!(%error, "dropped a frame of a kernel client"),
                    }
                }
            }
        }
    }

    fn check(&mut self, message: Message) -> Result<Message, MessageError> {
        if message.channel == Channel::Iopub || !message.is_well_formed() {
            return Err(MessageError::Json(
                "a client may only send JSON objects on shell, control and stdin".to_owned(),
            ));
        }
        let header = message.header();
        if header.msg_type.is_empty() || header.msg_id.is_empty() {
            return Err(MessageError::Json("the header has no `msg_type` or no `msg_id`".to_owned()));
        }
        if !header.session.is_empty() && self.sessions.len() < MAX_SESSIONS {
            self.sessions.insert(header.session);
        }
        self.requests.push_back(header.msg_id);
        if self.requests.len() > 1000 {
            self.requests.pop_front();
        }
        Ok(message)
    }

    /// The frame for a message; `None` if the message is for another client.
    fn frame(&self, bytes: Bytes) -> Option<ws::Message> {
        let message = Message::parse_v1(&bytes).ok()?;
        if is_restart(&message) {
            return None;
        }
        if message.channel != Channel::Iopub {
            let parent = message.parent();
            if !self.sessions.contains(&parent.session) && !self.requests.contains(&parent.msg_id) {
                return None;
            }
        }
        Some(if self.is_v1 {
            ws::Message::Binary(bytes)
        } else {
            match message.encode_default() {
                DefaultFrame::Text(text) => ws::Message::Text(text.into()),
                DefaultFrame::Binary(bytes) => ws::Message::Binary(bytes),
            }
        })
    }
}
