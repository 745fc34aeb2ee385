//! A browser with a cookie, for the real program.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Connection, Serving, patience};

/// A visitor of a server, who keeps the cookie.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visitor {
    /// `NAME=VALUE`
    pub(crate) cookie: Option<String>,
}

impl Visitor {
    fn head(&self, path: &str, more: &str) -> String {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let path = path.replace('ü', "%C3%BC");
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{cookie}{more}\r\n")
    }

    fn take(&mut self, head: &str) {
        let field = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
        if let Some(field) = field {
            let (pair, attributes) = field["set-cookie: ".len()..].split_once(';').unwrap();
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| pair.to_owned());
        }
    }

    /// Opens a page: `200 {}`.
    pub(crate) fn get(&mut self, serving: &Serving, path: &str) -> String {
        let (head, body) = Connection::open(serving.address()).request(&self.head(path, ""));
        self.take(&head);
        format!("{} {body}", &head[9..12])
    }

    /// Sends a form.
    pub(crate) fn post(&mut self, serving: &Serving, path: &str, form: &str) -> String {
        let more = format!("Content-Length: {}\r\n", form.len());
        let request = self.head(path, &more).replacen("GET", "POST", 1) + form;
        let (head, body) = Connection::open(serving.address()).request(&request);
        self.take(&head);
        format!("{} {body}", &head[9..12])
    }

    /// The head of the response, with field names in lower case; `None` if the connection is lost before its end.
    pub(crate) fn try_head(&mut self, address: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(patience())).ok()?;
        stream.write_all(self.head(path, "Connection: close\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("\r\n\r\n").map(|(head, _)| head.to_owned())
    }

    /// The same as `get`; `None` if the connection is lost before the end of the response.
    pub(crate) fn try_get(&mut self, address: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(patience())).ok()?;
        stream.write_all(self.head(path, "Connection: close\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        self.take(head);
        Some(format!("{} {body}", &head[9..12]))
    }

    /// Opens a WebSocket, and returns the head of the response.
    pub(crate) fn handshake(&mut self, serving: &Serving, path: &str) -> String {
        let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let (head, _) = Connection::open(serving.address()).request(&self.head(path, more));
        self.take(&head);
        head
    }
}
