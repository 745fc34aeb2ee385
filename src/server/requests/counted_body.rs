//! The body of a response while it is sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{RequestGuard, panic_text};
use crate::body::Body;
use crate::body::file::FilePart;
use crate::error::{BoxError, chain};
use crate::inflight::RequestEntry;

/// A response's body that is being sent, with its request's guard.
pub(in crate::server) struct CountedBody {
    body: Body,
    guard: RequestGuard,
}

impl CountedBody {
    pub(in crate::server) fn new(body: Body, guard: RequestGuard) -> CountedBody {
        if let Some(entry) = &guard.entry {
            entry.sending();
        }
        CountedBody { body, guard }
    }

    /// [`Body::next_part`], for a server whose socket can send files.
    pub(in crate::server) fn next_part(&mut self) -> Option<FilePart> {
        if self.guard.is_cancelled(None) {
            return None; // `poll_frame` returns the error
        }
        let part = self.body.next_part();
        self.guard.bytes += part.as_ref().map_or(0, |part| part.length as u64);
        part
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let cut = || {
            tracing::warn!("a request was cancelled by `paster cancel` in the middle of its response");
            Poll::Ready(Some(Err("the request was cancelled".into())))
        };
        if this.guard.is_cancelled(None) {
            return cut();
        }
        let mut handle = this.guard.entry.as_ref().map(RequestEntry::handle).unwrap_or_default();
        let body = Pin::new(&mut this.body);
        let frame = match catch_unwind(AssertUnwindSafe(|| handle.scope(|| body.poll_frame(cx)))) {
            Ok(Poll::Pending) if this.guard.is_cancelled(Some(cx)) => return cut(),
            Ok(frame) => frame,
            // A panic in the middle of a body must not look like its end.
            Err(panic) => Poll::Ready(Some(Err(panic_text(&*panic).into()))),
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            this.guard.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if let Poll::Ready(Some(Err(error))) = &frame {
            this.guard.requests.load.failed.fetch_add(1, Relaxed);
            let error = chain(&**error);
            handle.scope(|| tracing::error!(error, "the application failed in the middle of a body"));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
