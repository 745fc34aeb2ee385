//! Buffers a request body of unknown length until it is complete: CGI, SCGI and FastCGI send the length
//! first.

use std::io::{self, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::fs::File;
use tokio_util::io::poll_read_buf;

use crate::body::Body;
use crate::error::BoxError;

/// Bytes kept in memory; more goes to an unnamed file.
const MEMORY_BYTES: usize = 64 * 1024;

/// A body that is longer than the limit.
#[derive(Debug)]
pub(super) struct SpoolTooLong;

/// The complete body; a body with a known length is passed on as it is.
/// # Errors
/// Errors of the body itself and of the file; [`SpoolTooLong`] above `limit` bytes.
pub(super) async fn spool(mut body: Body, limit: u64) -> Result<Result<Body, SpoolTooLong>, BoxError> {
    if body.size_hint().exact().is_some() {
        return Ok(Ok(body));
    }
    let mut memory = BytesMut::new();
    let mut file: Option<std::fs::File> = None;
    let mut length = 0u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Ok(Err(SpoolTooLong));
        }
        memory.extend_from_slice(&data);
        if memory.len() > MEMORY_BYTES {
            file = Some(write(file.take(), memory.split().freeze()).await?);
        }
    }
    let Some(file) = file else { return Ok(Ok(memory.freeze().into())) };
    let mut file = write(Some(file), memory.freeze()).await?;
    file.seek(SeekFrom::Start(0))?;
    Ok(Ok(Body::new(Spooled { file: File::from_std(file), left: length, buffer: BytesMut::new() })))
}

/// Appends to the file; creates it if there is none.
async fn write(file: Option<std::fs::File>, data: Bytes) -> io::Result<std::fs::File> {
    let written = tokio::task::spawn_blocking(move || {
        let mut file = match file {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        file.write_all(&data)?;
        Ok(file)
    });
    written.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A body that is read from its file.
struct Spooled {
    file: File,
    left: u64,
    buffer: BytesMut,
}

impl http_body::Body for Spooled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        this.buffer.reserve(MEMORY_BYTES);
        match ready!(poll_read_buf(Pin::new(&mut this.file), cx, &mut this.buffer)) {
            Ok(0) => Poll::Ready(Some(Err("the spooled body became shorter".into()))),
            Ok(count) => {
                this.left = this.left.saturating_sub(count as u64);
                Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))))
            }
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
