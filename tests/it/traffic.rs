//! Clients of every kind that go on until they are told to stop, and what they saw.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

/// The longest wait for anything: a client that waits longer has lost its answer.
const LONGEST: Duration = Duration::from_secs(60);

/// What the clients share.
#[derive(Default)]
pub(crate) struct Traffic {
    stop: AtomicBool,
    pub(crate) requests: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) streams: AtomicU64,
    /// Since when each answer was waited for, and for how long.
    taken: Mutex<Vec<Duration>>,
    /// What went wrong: when the request began, when it failed, and how.
    pub(crate) failures: Mutex<Vec<(Instant, Instant, String)>>,
}

/// Clients that run.
pub(crate) struct Clients {
    pub(crate) traffic: Arc<Traffic>,
    address: Arc<str>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn of(address: &str) -> Clients {
        Clients { traffic: Arc::default(), address: address.into(), threads: Vec::new() }
    }

    /// Starts a client of its own thread.
    pub(crate) fn add(&mut self, run: impl FnOnce(&str, &Traffic) + Send + 'static) {
        let (traffic, address) = (self.traffic.clone(), self.address.clone());
        self.threads.push(thread::spawn(move || run(&address, &traffic)));
    }

    /// Stops all of them and waits.
    pub(crate) fn stop(mut self) -> Arc<Traffic> {
        self.traffic.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client fell");
        }
        self.traffic.clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.traffic.stop.store(true, Relaxed);
    }
}

impl Traffic {
    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// The time within which 99 of 100 answers came since the last call, and how many came.
    pub(crate) fn p99(&self) -> (Duration, usize) {
        let mut taken = std::mem::take(&mut *self.taken.lock().unwrap());
        taken.sort_unstable();
        (taken.get(taken.len() * 99 / 100).copied().unwrap_or_default(), taken.len())
    }

    /// Does `once` so many times a second until told to stop. It gets the turn's number.
    fn pace(&self, per_second: u32, mut once: impl FnMut(u64) -> Result<(), String>) {
        let step = Duration::from_secs(1) / per_second;
        let mut due = Instant::now();
        let mut turn = 0;
        while self.goes_on() {
            turn += 1;
            let began = Instant::now();
            match once(turn) {
                Ok(()) => {
                    self.requests.fetch_add(1, Relaxed);
                    self.taken.lock().unwrap().push(began.elapsed());
                }
                Err(why) => self.fail(began, why),
            }
            due = (due + step).max(Instant::now() - step * 5);
            thread::sleep(due.saturating_duration_since(Instant::now())); // the pace
        }
    }

    fn fail(&self, began: Instant, why: String) {
        self.failures.lock().unwrap().push((began, Instant::now(), why));
    }

    /// # Panics
    /// When anything failed.
    pub(crate) fn assert_whole(&self) {
        let failures = self.failures.lock().unwrap();
        let some: Vec<_> = failures.iter().take(5).map(|(_, _, why)| why).collect();
        assert!(failures.is_empty(), "{} failed: {some:#?}", failures.len());
    }
}

/// A body that shows every lost, doubled or misplaced byte.
pub(crate) fn body(seed: u64) -> String {
    let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = (0..200 + seed % 1500).map(|_| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        format!("{number:016x}")
    });
    words.collect()
}

/// What requests travel over.
pub(crate) trait Stream: Read + Write {
    /// Whether the server has closed it.
    fn is_closed(&mut self) -> bool;
}

impl Stream for TcpStream {
    fn is_closed(&mut self) -> bool {
        let _ = self.set_nonblocking(true);
        let closed = !matches!(self.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let _ = self.set_nonblocking(false);
        closed
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn is_closed(&mut self) -> bool {
        // Between two requests only a farewell comes.
        self.sock.is_closed()
    }
}

/// Connects over TLS, to a server of the name `localhost`.
pub(crate) fn connect_tls(
    address: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, connect(address)?))
}

/// Connects with a limit to every wait.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LONGEST))?;
    stream.set_write_timeout(Some(LONGEST))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and checks the answer; `true`: the connection stays open.
fn exchange<S: Stream>(stream: &mut BufReader<S>, path: &str, sent: Option<&str>) -> io::Result<bool> {
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

/// GET and POST in turn, on one connection as long as the server keeps it.
pub(crate) fn kept<S: Stream>(traffic: &Traffic, per_second: u32, open: impl Fn() -> io::Result<S>) {
    let mut connection: Option<BufReader<S>> = None;
    traffic.pace(per_second, |turn| {
        if connection.as_mut().is_some_and(|open| open.get_mut().is_closed()) {
            connection = None;
        }
        let mut stream = match connection.take() {
            Some(open) => open,
            None => BufReader::new(open().map_err(|error| format!("connecting: {error}"))?),
        };
        let sent = (turn % 2 == 0).then(|| body(turn));
        let path = if sent.is_some() { "/echo" } else { "/" };
        if exchange(&mut stream, path, sent.as_deref()).map_err(|error| format!("kept, {path}: {error}"))? {
            connection = Some(stream);
        }
        Ok(())
    });
}

/// A new connection for each request.
pub(crate) fn fresh<S: Stream>(traffic: &Traffic, per_second: u32, open: impl Fn() -> io::Result<S>) {
    traffic.pace(per_second, |turn| {
        let mut stream = BufReader::new(open().map_err(|error| format!("connecting: {error}"))?);
        let sent = (turn % 4 == 0).then(|| body(turn));
        let path = if sent.is_some() { "/echo" } else { "/" };
        exchange(&mut stream, path, sent.as_deref())
            .map(drop)
            .map_err(|error| format!("fresh, {path}: {error}"))
    });
}

/// Several streams at a time on connections of HTTP/2.
pub(crate) fn http2(traffic: &Traffic, per_second: u32, base: &str, client: &reqwest::Client) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let once = async |turn: u64| {
        let sent = turn.is_multiple_of(2).then(|| body(turn));
        let request = match &sent {
            Some(sent) => client.post(format!("{base}/echo")).body(sent.clone()),
            None => client.get(format!("{base}/")),
        };
        let response = request.timeout(LONGEST).send().await.map_err(|error| format!("{error:?}"))?;
        if response.status() != 200 || response.version() != reqwest::Version::HTTP_2 {
            return Err(format!("{} over {:?}", response.status(), response.version()));
        }
        let back = response.text().await.map_err(|error| format!("{error:?}"))?;
        if back == sent.as_deref().unwrap_or("Hello, world!") {
            Ok(())
        } else {
            Err("the body came back changed".to_owned())
        }
    };
    // Each turn is several requests side by side.
    traffic.pace(per_second / 4, |turn| {
        let four = futures_util::future::join_all((0..4).map(|one| once(turn * 4 + one)));
        for outcome in runtime.block_on(four) {
            outcome.map_err(|why| format!("HTTP/2: {why}"))?;
            traffic.requests.fetch_add(1, Relaxed);
        }
        Ok(())
    });
}

/// Numbered messages that come back in order; closed by us after `lives` of them and opened anew. When the server asks
/// to come back (1012), we do.
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
                }
                Ok(Message::Close(Some(frame))) if frame.code == CloseCode::Restart => {
                    asked_back = true;
                    break;
                }
                // Our message met its farewell on the way.
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
            thread::sleep(Duration::from_millis(10)); // a person's pace, so that requests get their share
        }
        if !asked_back {
            let _ = socket.close(None); // what matters has come back
        }
        while socket.read().is_ok() {}
    }
}

/// Answers of some MiB, read slowly over about a second each.
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
