//! Asks a DNS server for TXT records (RFC 1035).
//!
//! Own code: the system's resolver has no TXT records, and a resolver crate would be many times this.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

/// The time limit for a server.
const TIME: Duration = Duration::from_secs(5);
/// Longest answer over UDP in bytes; servers cut longer ones.
const ANSWER: usize = 4096;
/// The type TXT, and the class of the internet.
const TXT: u16 = 16;
const INTERNET: u16 = 1;

/// The texts of all TXT records of a name, as the server at this address knows them.
/// # Errors
/// If the server gives no answer, or one that cannot be read.
pub(super) async fn texts_of(name: &str, server: SocketAddr) -> io::Result<Vec<Vec<u8>>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this server's datagrams are received then.
    socket.connect(server).await?;
    let id = uuid::Uuid::new_v4().as_u128() as u16;
    socket.send(&question(id, name).ok_or(io::ErrorKind::InvalidInput)?).await?;
    let mut answer = [0; ANSWER];
    let length = tokio::time::timeout(TIME, socket.recv(&mut answer)).await??;
    texts(&answer[..length], id).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A question for the TXT records of a name. `None` for a name that is too long.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(TXT.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    Some(message)
}

/// The texts in an answer, also behind an alias. `None` if it is not an answer to `id`, or is malformed.
fn texts(message: &[u8], id: u16) -> Option<Vec<Vec<u8>>> {
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    if number(0)? != id || message.get(2)? & 0x80 == 0 {
        return None;
    }
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at)? + 4;
    }
    let mut texts = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at)?;
        let (kind, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if kind == TXT {
            texts.push(joined(data)?);
        }
        at += 10 + length;
    }
    Some(texts)
}

/// The end of the name that begins at `at`. A pointer ends it (section 4.1.4).
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The strings of a record, joined.
fn joined(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while let Some((length, rest)) = data.split_first() {
        let (part, rest) = rest.split_at_checked(usize::from(*length))?;
        text.extend(part);
        data = rest;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with an alias and two records, of which one has two strings.
    fn answer(id: u16) -> Vec<u8> {
        let mut message = question(id, "_acme-challenge.a.example.").unwrap();
        message[2] |= 0x80;
        message[7] = 3;
        message.extend([192, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'b', 192, 28]);
        message.extend([192, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 6, 2, b'o', b'n', 2, b'e', b'!']);
        message.extend([1, b'b', 192, 28, 0, 16, 0, 1, 0, 0, 0, 60, 0, 4, 3, b't', b'w', b'o']);
        message
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(
            question(0x1234, "a.bc.").unwrap()[..],
            *b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x10\0\x01"
        );
        assert_eq!(question(1, &"a".repeat(64)), None);
        let texts = |message: &[u8], id| texts(message, id);
        assert_eq!(texts(&answer(7), 7).unwrap(), [b"one!".to_vec(), b"two".to_vec()]);
        assert_eq!(texts(&answer(7), 8), None, "another question");
        assert_eq!(texts(&question(7, "a").unwrap(), 7), None, "not an answer");
        for end in 0..answer(7).len() {
            assert_eq!(texts(&answer(7)[..end], 7), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(message: Vec<u8>) {
            let id = u16::from_be_bytes([*message.first().unwrap_or(&0), *message.get(1).unwrap_or(&0)]);
            let _ = texts(&message, id);
        }
    }
}
