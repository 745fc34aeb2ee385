//! One request and its response, between the connection's reader and the application.
//!
//! A WSGI thread waits for what it needs. The ASGI event loop checks, and is notified of the next change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use paster_frames::{Frame, Kind, Level, WINDOW};
use pyo3::prelude::*;

use crate::asgi::Events;
use crate::connection::Connection;

/// How much more of the request body the worker may send once the application reads it.
const MORE: u32 = 192 << 10;
/// Number of bytes to read before the worker gets credit for them.
const STEP: u32 = 64 << 10;

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left;

/// One stream of a connection.
pub(crate) struct Exchange {
    pub(crate) connection: Arc<Connection>,
    pub(crate) stream: u32,
    state: Mutex<ExchangeState>,
    changed: Condvar,
    /// The event loop to notify of changes.
    events: Option<Arc<Events>>,
}

struct ExchangeState {
    /// When something was last sent or received.
    active: Instant,
    /// Unread parts of the request body, or unread messages of a WebSocket.
    received: VecDeque<(Kind, Bytes)>,
    /// The request body is complete.
    complete: bool,
    left: bool,
    /// Number of bytes of the response body that may be sent.
    credit: u64,
    /// Number of bytes that the application has read and that the worker has no credit for yet.
    read: u32,
    /// Whether the application has started to read.
    reading: bool,
    /// Something has changed since the event loop checked.
    news: bool,
    /// The event loop's future for the next change.
    waiter: Option<Py<PyAny>>,
}

impl Exchange {
    pub(crate) fn new(
        connection: Arc<Connection>,
        stream: u32,
        complete: bool,
        events: Option<Arc<Events>>,
    ) -> Exchange {
        let state = ExchangeState {
            active: Instant::now(),
            received: VecDeque::new(),
            complete,
            left: false,
            credit: u64::from(WINDOW),
            read: 0,
            reading: false,
            news: false,
            waiter: None,
        };
        Exchange { connection, stream, state: Mutex::new(state), changed: Condvar::new(), events }
    }

    fn lock(&self) -> MutexGuard<'_, ExchangeState> {
        self.state.lock()
    }

    /// Changes the state, and wakes the waiting thread or event loop.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut ExchangeState)) {
        let mut state = self.lock();
        change(&mut state);
        state.active = Instant::now();
        let is_news = !std::mem::replace(&mut state.news, true);
        drop(state);
        match &self.events {
            None => {
                self.changed.notify_all();
            }
            Some(events) if is_news => events.change(self.clone()),
            Some(_) => {}
        }
    }

    /// Adds a part of the request body or a message of a WebSocket.
    pub(crate) fn received(self: &Arc<Self>, frame: Frame) {
        self.change(|state| {
            if frame.kind != Kind::Data || !frame.payload.is_empty() {
                state.received.push_back((frame.kind, frame.payload));
            }
            state.complete |= frame.end;
        });
    }

    /// Adds the worker's credit for the response body.
    pub(crate) fn credited(self: &Arc<Self>, bytes: u32) {
        self.change(|state| state.credit = state.credit.saturating_add(u64::from(bytes)));
    }

    /// Records that the client has left or that the connection has ended.
    pub(crate) fn leave(self: &Arc<Self>) {
        self.change(|state| state.left = true);
    }

    /// When something was last sent or received.
    pub(crate) fn active(&self) -> Instant {
        self.lock().active
    }

    /// Whether the client has left.
    pub(crate) fn has_left(&self) -> bool {
        self.lock().left
    }

    /// Waits for the next part of the request body and takes it; `None` at its end. Call this without holding the interpreter
    /// lock, unless [`Exchange::can_take`].
    /// # Errors
    /// If the client has left before the end.
    pub(crate) fn take(&self) -> Result<Option<Bytes>, Left> {
        let mut state = self.lock();
        loop {
            let (taken, credit) = state.take()?;
            if taken.is_none() && !state.complete && credit == 0 {
                self.changed.wait(&mut state);
                continue;
            }
            let complete = state.complete;
            drop(state);
            self.allow(credit);
            match taken {
                Some((_, part)) => return Ok(Some(part)),
                None if complete => return Ok(None),
                None => state = self.lock(),
            }
        }
    }

    /// Whether [`Exchange::take`] would return at once.
    pub(crate) fn can_take(&self) -> bool {
        let state = self.lock();
        !state.received.is_empty() || state.complete || state.left
    }

    /// Takes a part of the body or a message that has arrived, and whether more follows; `None` if there is nothing yet. #
    /// Errors If the client has left.
    pub(crate) fn try_take(&self) -> Result<Option<(Kind, Bytes, bool)>, Left> {
        let mut state = self.lock();
        state.news = false;
        let (taken, credit) = state.take()?;
        let more = !state.complete || !state.received.is_empty();
        drop(state);
        self.allow(credit);
        match taken {
            Some((kind, part)) => Ok(Some((kind, part, more))),
            None if !more => Ok(Some((Kind::Data, Bytes::new(), false))),
            None => Ok(None),
        }
    }

    fn allow(&self, bytes: u32) {
        if bytes > 0 {
            self.connection.send(|out| out.push_credit(self.stream, bytes));
        }
    }

    /// Takes up to `wanted` bytes of credit for the response body, without waiting.
    /// # Errors
    /// If the client has left.
    pub(crate) fn try_credit(&self, wanted: usize) -> Result<usize, Left> {
        let mut state = self.lock();
        state.news = false;
        state.take_credit(wanted)
    }

    /// The same, but all or nothing. A message that is longer than the whole window is sent once the window is fully open. #
    /// Errors If the client has left.
    pub(crate) fn try_whole_credit(&self, wanted: usize) -> Result<bool, Left> {
        let mut state = self.lock();
        state.news = false;
        let open = state.credit >= (wanted as u64).min(u64::from(WINDOW));
        state.take_credit(if open { wanted } else { 0 })?;
        Ok(open)
    }

    /// The same, but waits for the first byte. Call this without holding the interpreter lock.
    /// # Errors
    /// If the client has left.
    pub(crate) fn credit(&self, wanted: usize) -> Result<usize, Left> {
        let mut state = self.lock();
        loop {
            match state.take_credit(wanted)? {
                0 => self.changed.wait(&mut state),
                count => return Ok(count),
            }
        }
    }

    /// Registers the event loop's future for the next change. Returns `false` if there was a change since the last check.
    pub(crate) fn wait_for_change(&self, future: Py<PyAny>) -> bool {
        let mut state = self.lock();
        if !state.news {
            state.waiter = Some(future);
        }
        !state.news
    }

    /// The future that waits for a change.
    pub(crate) fn take_waiter(&self) -> Option<Py<PyAny>> {
        self.lock().waiter.take()
    }

    /// Returns an error if the client has left.
    pub(crate) fn look(&self) -> bool {
        let mut state = self.lock();
        state.news = false;
        state.left
    }

    /// Writes lines to paster's log.
    pub(crate) fn log(&self, level: Level, text: &str) {
        // Variables may be secret, so they are not logged (`describe` of loader.py).
        let text = text.split("\n\0variables\0\n").next().unwrap_or_default();
        let payload = [&[level as u8], text.as_bytes()].concat();
        self.connection.send(|out| out.push(Kind::Log, self.stream, &payload));
    }

    /// Reports to the worker that the response is incomplete or missing.
    pub(crate) fn abort(&self, why: &str) {
        self.connection.send(|out| out.push(Kind::Abort, self.stream, why.as_bytes()));
    }

    /// Forgets the stream. Later frames for it are dropped.
    pub(crate) fn close(&self) {
        self.connection.forget(self.stream);
        let mut state = self.lock();
        state.received.clear();
        // An application that keeps the input reads nothing more.
        state.complete = true;
    }
}

impl ExchangeState {
    /// Takes the first item, and the credit to give.
    fn take(&mut self) -> Result<(Option<(Kind, Bytes)>, u32), Left> {
        if let Some((kind, part)) = self.received.pop_front() {
            self.read = self.read.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
            let due = !self.complete && self.read >= STEP;
            return Ok((Some((kind, part)), if due { std::mem::take(&mut self.read) } else { 0 }));
        }
        if self.complete {
            return Ok((None, 0));
        }
        if self.left {
            return Err(Left);
        }
        // A client that waits for `100 Continue` has sent nothing yet.
        let first = !std::mem::replace(&mut self.reading, true);
        Ok((None, if first { MORE } else { 0 }))
    }

    fn take_credit(&mut self, wanted: usize) -> Result<usize, Left> {
        if self.left {
            return Err(Left);
        }
        self.active = Instant::now();
        let count = (wanted as u64).min(self.credit);
        self.credit -= count;
        Ok(usize::try_from(count).unwrap_or(wanted))
    }
}
