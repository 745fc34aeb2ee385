//! A body that is sent to clients while it is stored.
//!
//! A separate task receives it, so that slow or disconnected clients do not affect the others.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::body::Body;
use crate::body::file::read_at;
use crate::error::BoxError;

/// Bytes that a reader takes from a file at once.
const CHUNK: u64 = 64 * 1024;

/// A body that is being received.
#[derive(Debug)]
pub(super) struct Growing {
    /// The length that the response has announced.
    length: Option<u64>,
    state: Mutex<GrowingState>,
}

#[derive(Debug, Default)]
struct GrowingState {
    chunks: Vec<Bytes>,
    /// Has the bytes instead of `chunks`.
    file: Option<Arc<File>>,
    received: u64,
    end: Option<GrowthEnd>,
    readers: Vec<Waker>,
}

#[derive(Debug)]
enum GrowthEnd {
    Complete,
    Broken(Arc<str>),
    /// It is too long to be stored: one reader gets the rest from the app.
    TooLong(Option<Body>),
}

/// What has been received.
#[derive(Debug)]
pub(super) enum ReceivedBody {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Growing {
    /// A body of this length, if it is known, which goes to memory or to the file.
    pub(super) fn new(length: Option<u64>, file: Option<File>) -> Arc<Growing> {
        let state = GrowingState { file: file.map(Arc::new), ..GrowingState::default() };
        Arc::new(Growing { length, state: Mutex::new(state) })
    }

    /// Its length, if known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Receives the whole body; `None` if it is longer than `most` bytes, breaks off, or has another length than
    /// announced. Its readers get it in any case.
    pub(super) async fn receive(self: Arc<Self>, mut body: Body, most: u64) -> Option<ReceivedBody> {
        let guard = EndGuard(self.clone());
        while let Some(frame) = body.frame().await {
            let data = match frame.map(Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue, // trailers are not stored (RFC 9110, section 6.5.1)
                Err(error) => return guard.0.ended(GrowthEnd::Broken(error.to_string().into())),
            };
            if let Err(error) = self.add(data).await {
                tracing::error!("cannot store a response: {error}");
                // What is missing in the file cannot be sent either.
                return guard.0.ended(GrowthEnd::Broken(error.to_string().into()));
            }
            if self.state.lock().received > most {
                return guard.0.ended(GrowthEnd::TooLong(Some(body)));
            }
        }
        if self.length.is_some_and(|length| length != self.state.lock().received) {
            return guard.0.ended(GrowthEnd::Broken("the body does not have the announced length".into()));
        }
        let received = self.received();
        self.ended::<()>(GrowthEnd::Complete);
        Some(received)
    }

    async fn add(&self, data: Bytes) -> io::Result<()> {
        let (file, offset) = {
            let state = self.state.lock();
            (state.file.clone(), state.received)
        };
        let length = data.len() as u64;
        if let Some(file) = file {
            let write = move || file.write_all_at(&data, offset);
            tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(io::Error::other(error)))?;
            self.grown(length, None);
        } else {
            self.grown(length, Some(data));
        }
        Ok(())
    }

    fn grown(&self, length: u64, chunk: Option<Bytes>) {
        let mut state = self.state.lock();
        state.received += length;
        state.chunks.extend(chunk);
        state.readers.drain(..).for_each(Waker::wake);
    }

    /// One buffer of exactly the length: a chunk may keep a larger one alive.
    fn received(&self) -> ReceivedBody {
        let state = self.state.lock();
        if let Some(file) = &state.file {
            return ReceivedBody::File(file.clone(), state.received);
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(state.received).unwrap_or(0));
        state.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        ReceivedBody::Memory(whole.freeze())
    }

    fn ended<T>(&self, end: GrowthEnd) -> Option<T> {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        state.readers.drain(..).for_each(Waker::wake);
        None
    }

    /// The body from `start` on, up to `end`, as it is received. The rest of a body that is too long goes to the
    /// first reader that asks for it.
    pub(super) fn reader(self: &Arc<Self>, start: u64, end: Option<u64>) -> Body {
        Body::new(GrowingReader {
            body: self.clone(),
            at: start,
            end,
            chunk: (0, 0),
            reading: None,
            rest: None,
        })
    }
}

/// Ends the body for its readers if the task that receives it ends first.
struct EndGuard(Arc<Growing>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.ended::<()>(GrowthEnd::Broken("the server stopped before the response was complete".into()));
    }
}

struct GrowingReader {
    body: Arc<Growing>,
    at: u64,
    end: Option<u64>,
    /// A chunk, and the offset of its first byte.
    chunk: (usize, u64),
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    rest: Option<Body>,
}

impl GrowingReader {
    /// The bytes in memory at its place, if there are some.
    fn next_chunk(&mut self, state: &GrowingState, most: u64) -> Option<Bytes> {
        let (mut index, mut start) = self.chunk;
        let found = loop {
            let chunk = state.chunks.get(index)?;
            let end = start + chunk.len() as u64;
            if self.at < end {
                let from = (self.at - start) as usize;
                let to = chunk.len().min(from.saturating_add(usize::try_from(most).unwrap_or(usize::MAX)));
                break chunk.slice(from..to);
            }
            (index, start) = (index + 1, end);
        };
        self.chunk = (index, start);
        Some(found)
    }

    fn taken(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.at += data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl HttpBody for GrowingReader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(rest) = &mut this.rest {
            return Pin::new(rest).poll_frame(task);
        }
        if let Some(reading) = &mut this.reading {
            let read = ready!(Pin::new(reading).poll(task));
            this.reading = None;
            let data = Bytes::from(read??);
            if data.is_empty() {
                return Poll::Ready(Some(Err("the cache's file became shorter".into())));
            }
            return this.taken(data);
        }
        let shared = this.body.clone();
        let mut state = shared.state.lock();
        let left = this.end.map_or(u64::MAX, |end| end.saturating_sub(this.at));
        if left == 0 {
            return Poll::Ready(None);
        }
        if this.at < state.received {
            if let Some(file) = state.file.clone() {
                let (offset, length) = (this.at, CHUNK.min(state.received - this.at).min(left));
                drop(state);
                this.reading = Some(tokio::task::spawn_blocking(move || read_at(&file, offset, length)));
                return self.poll_frame(task);
            }
            if let Some(data) = this.next_chunk(&state, left) {
                return this.taken(data);
            }
        }
        match &mut state.end {
            None => {
                state.readers.push(task.waker().clone());
                Poll::Pending
            }
            Some(GrowthEnd::Complete) => Poll::Ready(None),
            Some(GrowthEnd::Broken(why)) => Poll::Ready(Some(Err(why.to_string().into()))),
            Some(GrowthEnd::TooLong(rest)) => match rest.take() {
                Some(rest) => {
                    drop(state);
                    this.rest = Some(rest);
                    self.poll_frame(task)
                }
                None => Poll::Ready(Some(Err("the response is too long to be shared".into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == Some(self.at)
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            Some(end) => SizeHint::with_exact(end - self.at),
            None => SizeHint::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    fn body(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, BoxError>(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn read(body: Body) -> Result<String, String> {
        let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn several_readers_get_a_body_while_it_is_received() {
        for file in [None, Some(tempfile::tempfile().unwrap())] {
            let growing = Growing::new(Some(10), file);
            let readers =
                [growing.reader(0, Some(10)), growing.reader(2, Some(7)), growing.reader(10, Some(10))];
            let received = growing.clone().receive(body(&["abc", "", "defg", "hij"]), 10);
            let (received, texts) = tokio::join!(received, futures_util::future::join_all(readers.map(read)));
            assert_eq!(texts, ["abcdefghij", "cdefg", ""].map(|text| Ok(text.to_owned())));
            match received.unwrap() {
                ReceivedBody::Memory(bytes) => assert_eq!(bytes, "abcdefghij"),
                ReceivedBody::File(file, length) => {
                    assert_eq!(read_at(&file, 0, length).unwrap(), b"abcdefghij")
                }
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_or_too_short_is_not_stored() {
        let growing = Growing::new(None, None);
        let reader = growing.reader(0, None);
        assert!(growing.clone().receive(body(&["abc", "def", "ghi"]), 5).await.is_none());
        assert_eq!(read(reader).await.unwrap(), "abcdefghi", "the rest comes from the app");
        assert!(read(growing.reader(0, None)).await.is_err(), "only one reader can have it");
        let growing = Growing::new(Some(9), None);
        let reader = growing.reader(0, Some(9));
        assert!(growing.receive(body(&["abc"]), 10).await.is_none());
        assert!(read(reader).await.unwrap_err().contains("the announced length"));
    }
}
