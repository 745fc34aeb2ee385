//! Long-lived exchanges: WebSockets and streams.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Traffic, connect, tally};

/// The pace of a person, so that requests get their share.
const PAUSE: Duration = Duration::from_millis(50);

/// Numbered messages that come back in order. We close after `lives` of them and reconnect. If the server
/// asks us to reconnect (1012), we do.
pub(crate) fn web_socket(address: &str, traffic: &Traffic, lives: u64) {
    let mut count = 0_u64;
    while traffic.goes_on() {
        let began = Instant::now();
        let opened = connect(address).map_err(|error| error.to_string()).and_then(|stream| {
            tungstenite::client(format!("ws://{address}/ws"), stream).map_err(|error| error.to_string())
        });
        let mut socket = match opened {
            Ok((socket, _)) => socket,
            Err(why) => {
                traffic.fail(began, format!("opening a WebSocket: {why}"));
                continue;
            }
        };
        let mut asked_back = false;
        for _ in 0..lives {
            if !traffic.goes_on() {
                break;
            }
            count += 1;
            let began = Instant::now();
            let back = socket.send(Message::text(count.to_string())).and_then(|()| socket.read());
            match back {
                Ok(Message::Text(text)) if text.as_str() == count.to_string() => {
                    traffic.messages.fetch_add(1, Relaxed);
                    traffic.taken().add(tally::WEB_SOCKET, began.elapsed());
                }
                Ok(Message::Close(Some(frame))) if frame.code == CloseCode::Restart => {
                    asked_back = true;
                    break;
                }
                // Our message crossed the server's close.
                Err(tungstenite::Error::Protocol(_)) if matches!(socket.read(), Ok(Message::Close(_))) => {
                    asked_back = true;
                    break;
                }
                other => {
                    traffic.fail(began, format!("a WebSocket, message {count}: {other:?}"));
                    asked_back = true;
                    break;
                }
            }
            thread::sleep(PAUSE);
        }
        if !asked_back {
            let _ = socket.close(None); // what matters has come back
        }
        while socket.read().is_ok() {}
    }
}

/// Responses of some MiB, each read slowly over about a second.
pub(crate) fn streams(address: &str, traffic: &Traffic) {
    const LENGTH: usize = 6 << 20;
    while traffic.goes_on() {
        let began = Instant::now();
        let read = || -> io::Result<usize> {
            let mut stream = BufReader::with_capacity(64 << 10, connect(address)?);
            let request = format!("GET /stream?bytes={LENGTH} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.get_mut().write_all(request.as_bytes())?;
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let mut length = 0;
            loop {
                let mut size = String::new();
                stream.read_line(&mut size)?;
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                io::copy(&mut stream.by_ref().take(size as u64 + 2), &mut io::sink())?;
                if size == 0 {
                    return Ok(length);
                }
                length += size;
                thread::sleep(Duration::from_millis(10)); // slower than it could, as a client far away
            }
        };
        match read() {
            Ok(LENGTH) => drop(traffic.streams.fetch_add(1, Relaxed)),
            Ok(length) => traffic.fail(began, format!("a stream ended as if whole after {length} bytes")),
            Err(error) => traffic.fail(began, format!("a stream was cut off: {error}")),
        }
    }
}
