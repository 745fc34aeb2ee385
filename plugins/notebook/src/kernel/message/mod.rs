//! Jupyter messages as slices.
//!
//! The four parts of a message stay as the sender wrote them. They are parsed only where a part is needed.
//!
//! # Source
//! Jupyter, "Messaging in Jupyter", sections "General Message Format" and "The Wire Protocol".

mod websocket;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::websocket::{DefaultFrame, MAX_SLICES, MessageError};

/// The session of the messages that documents send.
pub const DOCUMENT_SESSION: &str = "paster-document";

/// The channel of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Requests and their replies.
    Shell,
    /// Requests that overtake those on the shell channel.
    Control,
    /// A message that a kernel sends to all clients.
    Iopub,
    /// A kernel's questions.
    Stdin,
}

impl Channel {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Channel::Shell => "shell",
            Channel::Control => "control",
            Channel::Iopub => "iopub",
            Channel::Stdin => "stdin",
        }
    }

    /// The channel with the name `name`.
    pub fn from_name(name: &[u8]) -> Option<Channel> {
        Some(match name {
            b"shell" => Channel::Shell,
            b"control" => Channel::Control,
            b"iopub" => Channel::Iopub,
            b"stdin" => Channel::Stdin,
            _ => return None,
        })
    }
}

/// One message. `header` and its three companions are JSON objects as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its channel.
    pub channel: Channel,
    /// Its sender and type.
    pub header: Bytes,
    /// The header of the message that caused it, or `{}`.
    pub parent_header: Bytes,
    /// Anything.
    pub metadata: Bytes,
    /// The content, which depends on the message type.
    pub content: Bytes,
    /// Binary attachments.
    pub buffers: Vec<Bytes>,
}

/// The header fields that are used here. Empty if the header lacks them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Unique.
    pub msg_id: String,
    /// For example `execute_request`.
    pub msg_type: String,
    /// The sender's session.
    pub session: String,
}

impl Message {
    /// Creates a new message.
    pub fn new(channel: Channel, msg_type: &str, msg_id: &str, session: &str, content: &Value) -> Message {
        let header = json!({
            "msg_id": msg_id, "msg_type": msg_type, "session": session, "username": "paster",
            "date": crate::clock::rfc3339(std::time::SystemTime::now()), "version": "5.4",
        });
        Message {
            channel,
            header: header.to_string().into(),
            parent_header: Bytes::from_static(b"{}"),
            metadata: Bytes::from_static(b"{}"),
            content: content.to_string().into(),
            buffers: Vec::new(),
        }
    }

    /// The header's fields; empty if the header is not JSON.
    pub fn header(&self) -> Header {
        serde_json::from_slice(&self.header).unwrap_or_default()
    }

    /// The parent header's fields; empty if there is no parent.
    pub fn parent(&self) -> Header {
        serde_json::from_slice(&self.parent_header).unwrap_or_default()
    }

    /// The content as JSON, with U+FFFD for characters that cannot be decoded; null if it is not JSON.
    pub fn content(&self) -> Value {
        serde_json::from_slice(&self.content)
            .or_else(|_| serde_json::from_str(&without_lone_surrogates(&self.content)))
            .unwrap_or_default()
    }

    /// Whether each of the four parts is a JSON object, as a kernel expects.
    pub fn is_well_formed(&self) -> bool {
        [&self.header, &self.parent_header, &self.metadata, &self.content].iter().all(|part| {
            part.first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(part).is_ok()
        })
    }
}

/// JSON with U+FFFD for each escaped half of a surrogate pair and for bytes that are not UTF-8.
fn without_lone_surrogates(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                rest = &rest[6..];
                continue;
            }
            // Skips the escaped character too, so that a second backslash does not start another escape.
            _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_cannot_be_decoded_do_not_cost_the_content() {
        let mut message = Message::new(Channel::Shell, "execute_request", "m1", "s1", &json!({}));
        for (content, text) in [
            (&br#"{"text": "a\udcffb"}"#[..], "a\u{fffd}b"),
            (br#"{"text": "\ud83dx\ud83d\ude00\ud83d"}"#, "\u{fffd}x😀\u{fffd}"),
            (br#"{"text": "\udcff \\udcff \u00e9\n"}"#, "\u{fffd} \\udcff é\n"),
            (b"{\"text\": \"a\xffb\"}", "a\u{fffd}b"),
        ] {
            message.content = Bytes::from_static(content);
            assert_eq!(message.content(), json!({"text": text}));
        }
        for content in [&b"{\"text\": \"\\udc"[..], b"\\", b"\\ud8\xc3\xa9", b""] {
            message.content = Bytes::from_static(content);
            assert_eq!(message.content(), Value::Null);
        }
    }
}
