//! Heads and bodies: what a process sends, and request bodies that are sent again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame};
use hyper::ext::ReasonPhrase;
use paster_frames::{ResponseHead, SESSION_CHANGES};

use super::failure::ProcessFailure;
use super::link::BodyPart;
use crate::body::Body;
use crate::body::file::{BodyPiece, FileBody};
use crate::error::BoxError;

/// The whole body, if it is complete.
pub(super) fn whole_body(parts: &mut VecDeque<BodyPart>) -> Option<Body> {
    match parts.len() {
        0 => Some(Body::empty()),
        1 => match parts.pop_front()? {
            BodyPart::Data(data) => Some(data.into()),
            BodyPart::Message(..) => None,
            BodyPart::File(file, part) => {
                let piece = BodyPiece::File(part.offset..part.offset + part.length);
                Some(FileBody::new(Arc::new(file), [piece]).into())
            }
        },
        _ => None,
    }
}

/// The head of the response, and the length that it announces.
pub(super) fn read_head(payload: &[u8]) -> Result<(http::Response<()>, Option<u64>), ProcessFailure> {
    let head = ResponseHead::read(payload).map_err(|malformed| ProcessFailure::Malformed(malformed.0))?;
    let mut response = http::Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(head.status).map_err(|_| ProcessFailure::Malformed("an unknown status"))?;
    let canonical = response.status().canonical_reason().unwrap_or_default();
    if !head.reason.is_empty()
        && head.reason != canonical.as_bytes()
        && let Ok(reason) = ReasonPhrase::try_from(head.reason)
    {
        response.extensions_mut().insert(reason);
    }
    let changes = head.fields.get(SESSION_CHANGES).map(<[u8]>::to_vec);
    let fields =
        head.fields.filter(|field| !matches!(field, Ok((name, _)) if *name == SESSION_CHANGES.as_bytes()));
    let fields = fields.map(|field| match field {
        Ok((name, value)) => match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => ControlFlow::Continue((name, value)),
            _ => ControlFlow::Break("a field that is not valid"),
        },
        Err(malformed) => ControlFlow::Break(malformed.0),
    });
    let mut headers = HeaderMap::new();
    for field in fields {
        match field {
            ControlFlow::Continue((name, value)) => drop(headers.append(name, value)),
            ControlFlow::Break(what) => return Err(ProcessFailure::Malformed(what)),
        }
    }
    if let Some(changes) = changes {
        response.extensions_mut().insert(ProcessSession(changes));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    *response.headers_mut() = headers;
    Ok((response, length))
}

/// The changes of a process in the session, as JSON, in the extensions of its response.
#[derive(Debug, Clone)]
pub(super) struct ProcessSession(pub(super) Vec<u8>);

/// A request body, some parts of which were already taken.
pub(super) struct Replayed {
    pub(super) parts: VecDeque<Bytes>,
    pub(super) body: Body,
}

impl HttpBody for Replayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}
