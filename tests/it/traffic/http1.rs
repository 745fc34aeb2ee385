//! Requests over HTTP/1.1, one at a time per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Traffic, body};
use crate::support::patience;

/// The transport of requests.
pub(crate) trait Stream: Read + Write {
    /// The kinds that its requests count as: on a kept connection, and on a new one.
    const KINDS: [&str; 2];

    /// Whether the server has closed it.
    fn is_closed(&mut self) -> bool;
}

impl Stream for TcpStream {
    const KINDS: [&str; 2] = ["kept", "fresh"];

    fn is_closed(&mut self) -> bool {
        let _ = self.set_nonblocking(true);
        let closed = !matches!(self.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let _ = self.set_nonblocking(false);
        closed
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    const KINDS: [&str; 2] = ["kept, TLS", "fresh, TLS"];

    fn is_closed(&mut self) -> bool {
        // Between two requests only a close may arrive.
        self.sock.is_closed()
    }
}

/// Connects over TLS to a server with the name `localhost`.
pub(crate) fn connect_tls(
    address: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, connect(address)?))
}

/// Connects, with a limit for every wait.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience()))?;
    stream.set_write_timeout(Some(patience()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and checks the response; `true`: the connection stays open.
pub(crate) fn exchange<S: Stream>(
    stream: &mut BufReader<S>,
    path: &str,
    sent: Option<&str>,
) -> io::Result<bool> {
    let wrong = |what: &str| Err(io::Error::other(what.to_owned()));
    let head = match sent {
        Some(sent) => {
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{sent}", sent.len())
        }
        None => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    };
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().flush()?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return wrong(&format!("closed before the answer: {head:?}"));
        }
    }
    let head = head.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        return wrong(&head);
    }
    let mut body = Vec::new();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        body.resize(length.parse().unwrap_or(0), 0);
        stream.read_exact(&mut body)?;
    } else {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    if body != sent.unwrap_or("Hello, world!").as_bytes() {
        return wrong(&format!("the body came back changed: {} bytes", body.len()));
    }
    Ok(!head.contains("connection: close"))
}

/// GET and POST in turn, on one connection for as long as the server keeps it.
pub(crate) fn kept<S: Stream>(traffic: &Traffic, per_second: u32, open: impl Fn() -> io::Result<S>) {
    let mut connection: Option<BufReader<S>> = None;
    let mut once = |turn: u64| {
        if connection.as_mut().is_some_and(|open| open.get_mut().is_closed()) {
            connection = None;
        }
        let mut stream = match connection.take() {
            Some(open) => open,
            None => BufReader::new(open().map_err(|error| format!("connecting: {error}"))?),
        };
        let sent = turn.is_multiple_of(2).then(|| body(turn));
        let path = if sent.is_some() { "/echo" } else { "/" };
        if exchange(&mut stream, path, sent.as_deref()).map_err(|error| format!("{path}: {error}"))? {
            connection = Some(stream);
        }
        Ok(())
    };
    traffic.pace(per_second, |turn, due| traffic.ended(S::KINDS[0], due, once(turn)));
}

/// A new connection for each request.
pub(crate) fn fresh<S: Stream>(traffic: &Traffic, per_second: u32, open: impl Fn() -> io::Result<S>) {
    let once = |turn: u64| {
        let mut stream = BufReader::new(open().map_err(|error| format!("connecting: {error}"))?);
        let sent = turn.is_multiple_of(4).then(|| body(turn));
        let path = if sent.is_some() { "/echo" } else { "/" };
        exchange(&mut stream, path, sent.as_deref()).map(drop).map_err(|error| format!("{path}: {error}"))
    };
    traffic.pace(per_second, |turn, due| traffic.ended(S::KINDS[1], due, once(turn)));
}
