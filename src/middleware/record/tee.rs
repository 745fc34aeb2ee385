//! A body of which a copy is kept.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::RecordedBody;
use crate::body::Body;
use crate::error::BoxError;
use crate::middleware::identity::hex;

/// The start of a body, and the hash of what has passed.
pub(super) struct BodyStart {
    start: Vec<u8>,
    limit: usize,
    length: u64,
    hash: Sha256,
}

impl BodyStart {
    pub(super) fn new(limit: usize) -> BodyStart {
        BodyStart { start: Vec::new(), limit, length: 0, hash: Sha256::new() }
    }

    fn add(&mut self, data: &[u8]) {
        let room = self.limit.saturating_sub(self.start.len()).min(data.len());
        self.start.extend_from_slice(&data[..room]);
        self.length += data.len() as u64;
        self.hash.update(data);
    }

    /// The recorded body.
    pub(super) fn body(&self) -> RecordedBody {
        let whole = Some(&self.start).filter(|start| start.len() as u64 == self.length);
        let text = whole.and_then(|whole| std::str::from_utf8(whole).ok());
        RecordedBody {
            length: self.length,
            sha256: hex(&self.hash.clone().finalize()),
            text: text.map(str::to_owned),
            base64: whole.filter(|_| text.is_none()).map(|whole| BASE64_STANDARD.encode(whole)),
        }
    }
}

/// Passes a body on, and calls `done` when it has ended.
pub(super) struct Tee<F: FnOnce(&BodyStart)> {
    body: Body,
    kept: Arc<Mutex<BodyStart>>,
    done: Option<F>,
}

impl<F: FnOnce(&BodyStart)> Tee<F> {
    pub(super) fn new(body: Body, kept: Arc<Mutex<BodyStart>>, done: F) -> Tee<F> {
        let mut tee = Tee { body, kept, done: Some(done) };
        if tee.body.is_end_stream() {
            tee.end(); // nobody reads an empty body
        }
        tee
    }

    fn end(&mut self) {
        if let Some(done) = self.done.take() {
            done(&self.kept.lock());
        }
    }
}

impl<F: FnOnce(&BodyStart) + Unpin> HttpBody for Tee<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(task);
        if let Poll::Ready(frame) = &polled {
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                self.kept.lock().add(data);
            }
            // A reader that knows the length stops at the last byte.
            if frame.is_none() || self.body.is_end_stream() {
                self.end();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
