//! The pages that show a document: numbers its changes, keeps the newest ones, and sends them to every page.

use std::collections::HashMap;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;

use super::log::Log;
use crate::access::Level;
use crate::identity::Principal;
use crate::protocol::{Change, Cursor, Document, Reply, ServerFrame};

/// How many frames may wait for one page. A slower page is disconnected and resumes.
const WAITING_FRAMES: usize = 8192;

/// The connected pages, and the changes that were sent to them.
pub(super) struct Pages {
    instance: String,
    log: Log,
    clients: HashMap<u64, Page>,
    newest_client: u64,
    /// The request that caused the changes being sent now.
    pub(super) author: Option<(u64, u32)>,
}

/// A connected page.
struct Page {
    frames: mpsc::Sender<Utf8Bytes>,
    principal: Principal,
    cursor: Option<Cursor>,
}

impl Page {
    fn present(&self, client: u64) -> ServerFrame {
        ServerFrame::Present { client, name: self.principal.name.clone(), cursor: self.cursor.clone() }
    }
}

impl Pages {
    pub(super) fn new() -> Pages {
        Pages {
            instance: uuid::Uuid::new_v4().simple().to_string(),
            log: Log::default(),
            clients: HashMap::new(),
            newest_client: 0,
            author: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The number of the newest change.
    pub(super) fn last_event(&self) -> u64 {
        self.log.last()
    }

    /// Connects a page. Sends the events since that of `resume`, or the whole document. Returns the page's number and its
    /// frames.
    pub(super) fn connect(
        &mut self,
        principal: Principal,
        level: Level,
        resume: Option<(String, u64)>,
        document: impl FnOnce() -> Document,
    ) -> (u64, mpsc::Receiver<Utf8Bytes>) {
        let (sender, frames) = mpsc::channel(WAITING_FRAMES);
        let first = self.resume(resume).unwrap_or_else(|| {
            let (instance, event) = (self.instance.clone(), self.log.last());
            vec![encode(&ServerFrame::Opened { instance, event, level, document: document() })]
        });
        for frame in first {
            let _ = sender.try_send(frame);
        }
        self.newest_client += 1;
        self.clients.insert(self.newest_client, Page { frames: sender, principal, cursor: None });
        self.introduce(self.newest_client);
        (self.newest_client, frames)
    }

    /// The first frames of a resumed connection; `None` if the missed events are no longer in the log.
    fn resume(&self, resume: Option<(String, u64)>) -> Option<Vec<Utf8Bytes>> {
        let (instance, event) = resume.filter(|(instance, _)| *instance == self.instance)?;
        let missed = self.log.after(event)?;
        let resumed = encode(&ServerFrame::Resumed { instance, event, last: self.log.last() });
        let frames: Vec<Utf8Bytes> = std::iter::once(resumed).chain(missed).collect();
        (frames.len() <= WAITING_FRAMES).then_some(frames)
    }

    /// The login name of a page's user; empty if the page is gone.
    pub(super) fn name(&self, client: u64) -> String {
        self.clients.get(&client).map(|page| page.principal.name.clone()).unwrap_or_default()
    }

    pub(super) fn disconnect(&mut self, client: u64) {
        self.clients.remove(&client);
        self.show_others(client, &ServerFrame::Absent { client });
    }

    /// Introduces a new page to the others, and the others to it.
    fn introduce(&mut self, client: u64) {
        let others: Vec<ServerFrame> = self
            .clients
            .iter()
            .filter(|(id, _)| **id != client)
            .map(|(id, page)| page.present(*id))
            .collect();
        for frame in others {
            self.show(client, &frame);
        }
        self.set_cursor(client, None);
    }

    /// Handles a cursor movement on a page.
    pub(super) fn set_cursor(&mut self, client: u64, cursor: Option<Cursor>) {
        let Some(page) = self.clients.get_mut(&client) else { return };
        page.cursor = cursor;
        let frame = page.present(client);
        self.show_others(client, &frame);
    }

    fn show_others(&self, client: u64, frame: &ServerFrame) {
        for other in self.clients.keys().filter(|other| **other != client) {
            self.show(*other, frame);
        }
    }

    /// Sends a frame that may be lost. The single user does not see their own other pages.
    fn show(&self, client: u64, frame: &ServerFrame) {
        if let Some(page) = self.clients.get(&client)
            && page.principal.user.is_some()
            && page.frames.capacity() > WAITING_FRAMES / 2
        {
            let _ = page.frames.try_send(encode(frame));
        }
    }

    /// Numbers changes, keeps them, and sends them to every page.
    pub(super) fn publish(&mut self, changes: Vec<Change>) {
        for change in changes {
            let event = self.log.next();
            let author = self.author.map(|(client, _)| self.name(client));
            let mut frame = ServerFrame::Changed { event, author, request: None, change };
            let shared = encode(&frame);
            self.log.push(shared.clone());
            let author = self.author.map(|(client, request)| {
                if let ServerFrame::Changed { request: slot, .. } = &mut frame {
                    *slot = Some(request);
                }
                (client, encode(&frame))
            });
            self.clients.retain(|client, page| {
                let own = author.as_ref().filter(|(author, _)| author == client).map(|(_, frame)| frame);
                page.frames.try_send(own.unwrap_or(&shared).clone()).is_ok()
            });
        }
    }

    /// Sends a frame to every page.
    pub(super) fn tell(&mut self, frame: &ServerFrame) {
        let frame = encode(frame);
        self.clients.retain(|_, page| page.frames.try_send(frame.clone()).is_ok());
    }

    /// Sends a frame to one page.
    pub(super) fn tell_one(&mut self, client: u64, frame: &ServerFrame) {
        if let Some(page) = self.clients.get(&client)
            && page.frames.try_send(encode(frame)).is_err()
        {
            self.clients.remove(&client);
        }
    }

    /// Replies to a page's request.
    pub(super) fn answer(&mut self, client: u64, id: u32, result: Result<Reply, String>) {
        let frame = match result {
            Ok(reply) => ServerFrame::Reply { id, reply },
            Err(message) => ServerFrame::Failed { id: Some(id), message },
        };
        self.tell_one(client, &frame);
    }
}

fn encode(frame: &ServerFrame) -> Utf8Bytes {
    // These values can always be serialized as JSON.
    serde_json::to_string(frame).unwrap_or_default().into()
}
