//! Connects a client's WebSocket with that of another server. The bytes pass unchanged, so that pings, compression and close
//! codes are those of the two ends.
//!
//! # Source
//! RFC 6455, sections 5.2 (frames) and 7.4 (close codes).

use std::time::Duration;

use paster_sdk::ws::close_code;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long the ends may take to finish after one of them has closed.
const GOODBYE: Duration = Duration::from_secs(3);
const REASON: &str = "please reconnect";

/// Copies both ways until both ends have closed. If the server's end is lost, or `lost` returns, closes the client's WebSocket with
/// 1012, so that it reconnects.
pub(super) async fn run(
    client: impl AsyncRead + AsyncWrite,
    server: impl AsyncRead + AsyncWrite,
    lost: impl Future<Output = ()>,
) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let down = forward(&mut from_server, &mut to_client, lost);
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        () = down => {}
        () = up => return,
    }
    // Read what the client sends until it has read the close. Otherwise a reset could overtake it.
    let mut drain = tokio::io::sink();
    let _ = tokio::time::timeout(GOODBYE, tokio::io::copy(&mut from_client, &mut drain)).await;
}

/// Copies the frames of the server.
async fn forward(
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    lost: impl Future<Output = ()>,
) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 16 << 10];
    tokio::pin!(lost);
    loop {
        let count = tokio::select! {
            count = server.read(&mut buffer) => count.unwrap_or(0),
            () = &mut lost => 0,
        };
        if count == 0 {
            break;
        }
        frames.pass(&buffer[..count]);
        if client.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    if !frames.closed && frames.between() {
        let _ = client.write_all(&close_frame(close_code::RESTART, REASON)).await;
    }
    let _ = client.shutdown().await;
}

/// A close frame of a server.
fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    let length = u8::try_from(payload.len()).expect("the reason is short");
    [&[0x88, length], payload.as_slice()].concat()
}

/// Where the frames of a stream begin and end.
#[derive(Default)]
struct Frames {
    /// The beginning of a frame, until its length is known.
    head: Vec<u8>,
    /// The bytes that the current frame still has.
    rest: u64,
    /// Whether there was a close frame.
    closed: bool,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, after)) = bytes.split_first() {
            if self.rest > 0 {
                let count = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.rest -= count as u64;
                bytes = &bytes[count..];
                continue;
            }
            self.head.push(*first);
            bytes = after;
            if let Some(length) = payload_length(&self.head) {
                self.closed |= self.head[0] & 0x0f == 8;
                self.rest = length;
                self.head.clear();
            }
        }
    }

    /// Whether no frame has begun.
    fn between(&self) -> bool {
        self.head.is_empty() && self.rest == 0
    }
}

/// The length of a frame's payload; `None` until its head is complete.
fn payload_length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let size = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + size + mask {
        return None;
    }
    Some(match size {
        0 => u64::from(second & 0x7f),
        _ => head[2..2 + size].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Vec<u8> {
        let head = match length {
            0..126 => vec![0x81, length as u8],
            126..65536 => [&[0x81, 126], (length as u16).to_be_bytes().as_slice()].concat(),
            _ => [&[0x81, 127], (length as u64).to_be_bytes().as_slice()].concat(),
        };
        [head, vec![b'x'; length]].concat()
    }

    #[test]
    fn the_ends_of_frames_are_found_however_they_arrive() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let bytes = [text(length), text(3)].concat();
            for step in [1, 7, bytes.len()] {
                let mut frames = Frames::default();
                let mut ends = 0;
                let mut passed = 0;
                for part in bytes.chunks(step) {
                    frames.pass(part);
                    passed += part.len();
                    ends += usize::from(step == 1 && frames.between());
                    assert!(!frames.between() || [bytes.len() - 5, bytes.len()].contains(&passed));
                }
                assert!(frames.between() && !frames.closed, "{length}");
                assert!(step != 1 || ends == 2, "{length}: {ends}");
            }
        }
    }

    /// What a client gets when its server sends `bytes` and ends.
    async fn after(bytes: &[u8]) -> Vec<u8> {
        let (mut own, client) = tokio::io::duplex(1 << 20);
        let (mut server, other) = tokio::io::duplex(1 << 20);
        server.write_all(bytes).await.unwrap();
        drop(server);
        let read = async {
            let mut all = Vec::new();
            own.read_to_end(&mut all).await.unwrap();
            drop(own);
            all
        };
        tokio::join!(run(client, other, std::future::pending()), read).1
    }

    #[tokio::test]
    async fn a_lost_server_becomes_a_close_between_frames() {
        let restart = close_frame(1012, REASON);
        assert_eq!(after(&text(200)).await, [text(200), restart].concat());
        let own = [text(5), close_frame(1000, "bye")].concat();
        assert_eq!(after(&own).await, own);
        let half = &text(200)[..100];
        assert_eq!(after(half).await, half);
    }
}
