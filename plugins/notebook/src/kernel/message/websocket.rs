//! The two forms of a message on a WebSocket.
//!
//! # Source
//! Jupyter Server, `docs/source/developers/websocket-protocols.rst`.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;

use super::{Channel, Message};

/// A message with more slices than this is refused (four parts and the buffers).
pub const MAX_SLICES: usize = 1024;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends before its announced length.
    #[error("message is truncated: {0}")]
    Short(&'static str),
    /// It announces more slices than are allowed.
    #[error("message announces {0} slices, at most {MAX_SLICES} are allowed")]
    TooMany(u64),
    /// Its offsets do not ascend, or point outside.
    #[error("message has a wrong offset at position {0}")]
    Offset(usize),
    /// Its channel is not one of the four.
    #[error("unknown channel `{0}`")]
    Channel(String),
    /// It is not JSON, or JSON of another shape.
    #[error("message is not the expected JSON: {0}")]
    Json(String),
}

/// A frame of the default WebSocket form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultFrame {
    /// A message without buffers.
    Text(String),
    /// A message with buffers.
    Binary(Bytes),
}

#[derive(Deserialize)]
struct DefaultMessage {
    channel: Option<String>,
    header: Box<serde_json::value::RawValue>,
    parent_header: Option<Box<serde_json::value::RawValue>>,
    metadata: Option<Box<serde_json::value::RawValue>>,
    content: Option<Box<serde_json::value::RawValue>>,
}

impl Message {
    /// Encodes the message for `v1.kernel.websocket.jupyter.org`: the count and the offsets as little-endian
    /// u64, then the channel's name and the slices.
    pub fn encode_v1(&self) -> Bytes {
        let name = self.channel.name().as_bytes();
        let parts = [&self.header, &self.parent_header, &self.metadata, &self.content];
        let slices = || {
            std::iter::once(name)
                .chain(parts.iter().map(|part| &part[..]))
                .chain(self.buffers.iter().map(|b| &b[..]))
        };
        let count = slices().count() + 1;
        let total = 8 * (count + 1) + slices().map(<[u8]>::len).sum::<usize>();
        let mut out = BytesMut::with_capacity(total);
        out.extend_from_slice(&(count as u64).to_le_bytes());
        let mut offset = 8 * (count + 1);
        out.extend_from_slice(&(offset as u64).to_le_bytes());
        for slice in slices() {
            offset += slice.len();
            out.extend_from_slice(&(offset as u64).to_le_bytes());
        }
        for slice in slices() {
            out.extend_from_slice(slice);
        }
        out.freeze()
    }

    /// Decodes the form of [`Message::encode_v1`] without copying.
    /// # Errors
    /// [`MessageError`]. A count that the frame cannot hold is refused before anything is read.
    pub fn parse_v1(bytes: &Bytes) -> Result<Message, MessageError> {
        let word = |at: usize| -> Result<u64, MessageError> {
            let slice = bytes.get(at..at + 8).ok_or(MessageError::Short("offsets"))?;
            Ok(u64::from_le_bytes(slice.try_into().expect("eight bytes")))
        };
        let count = word(0)?;
        if count > MAX_SLICES as u64 {
            return Err(MessageError::TooMany(count));
        }
        if count < 6 {
            return Err(MessageError::Short("fewer than five slices"));
        }
        let count = count as usize;
        let mut previous = 8 * (count + 1);
        let mut slices = Vec::with_capacity(count);
        for position in 0..count {
            let offset =
                usize::try_from(word(8 * (position + 1))?).map_err(|_| MessageError::Offset(position))?;
            if offset < previous || offset > bytes.len() {
                return Err(MessageError::Offset(position));
            }
            if position > 0 {
                slices.push(bytes.slice(previous..offset));
            }
            previous = offset;
        }
        let mut slices = slices.into_iter();
        let mut next = || slices.next().ok_or(MessageError::Short("slices"));
        let channel = next()?;
        let channel = Channel::from_name(&channel).ok_or_else(|| {
            MessageError::Channel(String::from_utf8_lossy(&channel).chars().take(40).collect())
        })?;
        Ok(Message {
            channel,
            header: next()?,
            parent_header: next()?,
            metadata: next()?,
            content: next()?,
            buffers: slices.collect(),
        })
    }

    /// Encodes for the default WebSocket form.
    pub fn encode_default(&self) -> DefaultFrame {
        let header = self.header();
        let mut text =
            String::with_capacity(self.content.len() + self.header.len() + self.parent_header.len() + 200);
        text.push_str("{\"channel\":\"");
        text.push_str(self.channel.name());
        text.push_str("\",\"msg_id\":");
        text.push_str(&Value::from(header.msg_id).to_string());
        text.push_str(",\"msg_type\":");
        text.push_str(&Value::from(header.msg_type).to_string());
        let parts = [
            ("header", &self.header),
            ("parent_header", &self.parent_header),
            ("metadata", &self.metadata),
            ("content", &self.content),
        ];
        for (name, part) in parts {
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            match std::str::from_utf8(part) {
                Ok(part) if !part.is_empty() => text.push_str(part),
                _ => text.push_str("{}"),
            }
        }
        if self.buffers.is_empty() {
            text.push_str(",\"buffers\":[]}");
            return DefaultFrame::Text(text);
        }
        text.push('}');
        let slices = || std::iter::once(text.as_bytes()).chain(self.buffers.iter().map(|b| &b[..]));
        let count = self.buffers.len() + 1;
        let mut offset = 4 * (count + 1);
        let mut out = BytesMut::with_capacity(offset + slices().map(<[u8]>::len).sum::<usize>());
        out.extend_from_slice(&(count as u32).to_be_bytes());
        for slice in slices() {
            out.extend_from_slice(&(offset as u32).to_be_bytes());
            offset += slice.len();
        }
        for slice in slices() {
            out.extend_from_slice(slice);
        }
        DefaultFrame::Binary(out.freeze())
    }

    /// Decodes a text frame of the default form.
    /// # Errors
    /// [`MessageError::Json`] and [`MessageError::Channel`].
    pub fn parse_default_text(text: &[u8]) -> Result<Message, MessageError> {
        Message::from_default(text, Vec::new())
    }

    /// Decodes a binary frame of the default form: the count and the offsets as big-endian u32, the JSON, the
    /// buffers.
    /// # Errors
    /// [`MessageError`]. A count that the frame cannot hold is refused before anything is read.
    pub fn parse_default_binary(bytes: &Bytes) -> Result<Message, MessageError> {
        let word = |at: usize| -> Result<u32, MessageError> {
            let slice = bytes.get(at..at + 4).ok_or(MessageError::Short("offsets"))?;
            Ok(u32::from_be_bytes(slice.try_into().expect("four bytes")))
        };
        let count = word(0)?;
        if count as usize > MAX_SLICES {
            return Err(MessageError::TooMany(count.into()));
        }
        let count = count as usize;
        if count == 0 {
            return Err(MessageError::Short("no JSON"));
        }
        let mut offsets = Vec::with_capacity(count + 1);
        let mut previous = 4 * (count + 1);
        for position in 0..count {
            let offset = word(4 * (position + 1))? as usize;
            if offset < previous || offset > bytes.len() {
                return Err(MessageError::Offset(position));
            }
            offsets.push(offset);
            previous = offset;
        }
        offsets.push(bytes.len());
        let buffers = offsets.windows(2).skip(1).map(|pair| bytes.slice(pair[0]..pair[1])).collect();
        Message::from_default(&bytes[offsets[0]..offsets[1]], buffers)
    }

    fn from_default(text: &[u8], buffers: Vec<Bytes>) -> Result<Message, MessageError> {
        let parsed: DefaultMessage =
            serde_json::from_slice(text).map_err(|error| MessageError::Json(error.to_string()))?;
        // Jupyter Server treats a message without a channel as one for the shell.
        let channel = parsed.channel.as_deref().unwrap_or("shell");
        let channel = Channel::from_name(channel.as_bytes())
            .ok_or_else(|| MessageError::Channel(channel.chars().take(40).collect()))?;
        let part = |raw: Option<Box<serde_json::value::RawValue>>| match raw {
            Some(raw) if raw.get() != "null" => Bytes::from(String::from(Box::<str>::from(raw))),
            _ => Bytes::from_static(b"{}"),
        };
        Ok(Message {
            channel,
            header: part(Some(parsed.header)),
            parent_header: part(parsed.parent_header),
            metadata: part(parsed.metadata),
            content: part(parsed.content),
            buffers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn message(buffers: Vec<Bytes>) -> Message {
        let mut message =
            Message::new(Channel::Shell, "execute_request", "m1", "s1", &json!({"code": "é\n1+1"}));
        message.buffers = buffers;
        message
    }

    #[test]
    fn both_forms_return_the_same_message() {
        for buffers in [vec![], vec![Bytes::from_static(b"\0\x01"), Bytes::new(), Bytes::from_static(b"xyz")]]
        {
            let message = message(buffers);
            assert_eq!(Message::parse_v1(&message.encode_v1()).unwrap(), message);
            let back = match message.encode_default() {
                DefaultFrame::Text(text) => Message::parse_default_text(text.as_bytes()),
                DefaultFrame::Binary(bytes) => Message::parse_default_binary(&bytes),
            };
            assert_eq!(back.unwrap(), message);
        }
    }

    #[test]
    fn every_cut_of_a_frame_is_refused() {
        let v1 = message(vec![Bytes::from_static(b"abc")]).encode_v1();
        for end in 0..v1.len() {
            assert!(Message::parse_v1(&v1.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_huge_count_is_refused_at_once() {
        let mut frame = (1u64 << 40).to_le_bytes().to_vec();
        frame.resize(200, 0);
        assert_eq!(Message::parse_v1(&frame.into()), Err(MessageError::TooMany(1 << 40)));
        let mut frame = u32::MAX.to_be_bytes().to_vec();
        frame.resize(200, 0);
        assert_eq!(
            Message::parse_default_binary(&frame.into()),
            Err(MessageError::TooMany(u64::from(u32::MAX)))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = Bytes::from(bytes);
            let _ = Message::parse_v1(&bytes);
            let _ = Message::parse_default_binary(&bytes);
            let _ = Message::parse_default_text(&bytes);
        }

        #[test]
        fn no_changed_byte_makes_the_parsers_panic(at in 0usize..400, to in any::<u8>()) {
            let mut bytes = message(vec![Bytes::from_static(b"abc")]).encode_v1().to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = Message::parse_v1(&bytes.into());
        }
    }
}
