//! Slow heads, slow bodies and slow readers, in every protocol that the program speaks. Each limit applies in
//! time, while others are served, and nothing is left afterwards. The clients here send a byte from time to
//! time, or read nothing.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paster::codec::fastcgi::{RecordReader, kind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS, block, frame, frames,
    status_of,
};
use crate::inprocess::within;
use crate::pki::Authority;
use crate::support::{Connection, Serving, folder, plugin, wait_until};
use crate::{fastcgi, pki, scgi};

/// Each limit here is one second. A client that is disconnected earlier, or so late that a limit that was not
/// set may be the reason (10 s at least), is a failure.
const EARLIEST: Duration = Duration::from_millis(900);
const LATEST: Duration = Duration::from_secs(9);
/// The time between two bytes of a slow client.
const PAUSE: Duration = Duration::from_millis(50);

const LIMITS: &str = "listen = [\"127.0.0.1:0\"]\nhead_timeout_secs = 1\nbody_pace_bytes = 1000\nbody_pace_secs = 1\n\
                      write_stall_secs = 1\nidle_timeout_secs = 600\nhalf_close_secs = 600\n";

/// A connection to the program, bare or under TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

type Line = Box<dyn Wire>;

/// The protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
    Scgi,
    FastCgi,
}

use Speech::{FastCgi, Http1, Http1Tls, Http2, Http2Tls, Scgi};

const ALL: [Speech; 6] = [Http1, Http1Tls, Http2, Http2Tls, Scgi, FastCgi];

/// The addresses of the servers, and what their clients need.
struct Ground {
    addresses: BTreeMap<&'static str, String>,
    tls: [TlsConnector; 2],
}

impl Speech {
    fn server(self) -> &'static str {
        match self {
            Http1 | Http2 => "main",
            Http1Tls | Http2Tls => "secure",
            Scgi => "scgi",
            FastCgi => "fastcgi",
        }
    }

    async fn connect(self, ground: &Ground) -> Line {
        let address = &ground.addresses[self.server()];
        let client = match self {
            Http1Tls => &ground.tls[0],
            Http2Tls => &ground.tls[1],
            _ => return Box::new(TcpStream::connect(address).await.unwrap()),
        };
        Box::new(pki::connect(client, address, "localhost").await)
    }

    /// A whole request without a body.
    fn get(self, path: &str) -> Vec<u8> {
        match self {
            Http1 | Http1Tls => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes(),
            Http2 | Http2Tls => {
                // Space for a response of any length: what is not read stays in the socket.
                let most = 0x7fff_ffff_u32.to_be_bytes();
                let windows = [&[0, 4][..], &most].concat();
                let more = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
                let head = self.head("GET", path);
                [
                    PREFACE.to_vec(),
                    frame(SETTINGS, 0, 0, &windows),
                    frame(8, 0, 0, &more),
                    frame(HEADERS, END_STREAM | END_HEADERS, 1, &head),
                ]
                .concat()
            }
            Scgi => scgi::ask(path, &[], ""),
            FastCgi => fastcgi::ask(1, true, path, ""),
        }
    }

    fn head(self, method: &str, path: &str) -> Vec<u8> {
        let scheme = if self == Http2 { "http" } else { "https" };
        block(&[(":method", method), (":scheme", scheme), (":path", path), (":authority", "localhost")])
    }

    /// The start of a head, and a byte of which many more would be needed.
    fn begun_head(self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Http1 | Http1Tls => (b"GET /pid HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".into(), b"x".into()),
            Http2 | Http2Tls => {
                let head = [
                    &[0, 3, 232, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1][..],
                    &self.head("GET", "/pid"),
                ];
                ([PREFACE, &frame(SETTINGS, 0, 0, &[]), &head.concat()].concat(), b"x".into())
            }
            Scgi => (b"5000:CONTENT_LENGTH\x000\0SCGI\x001\0X_SLOW\0".into(), b"x".into()),
            FastCgi => {
                let whole = fastcgi::ask(1, false, "/pid", "");
                // BEGIN_REQUEST, and the header of a PARAMS record of 1,000 bytes.
                ([&whole[..16], &[1, 4, 0, 1, 3, 232, 0, 0]].concat(), b"x".into())
            }
        }
    }

    /// A request up to the start of its body, and a piece of which many more would be needed.
    fn begun_body(self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Http1 | Http1Tls => {
                let head = "POST /digest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n";
                (head.into(), b"x".into())
            }
            Http2 | Http2Tls => {
                let head = frame(HEADERS, END_HEADERS, 1, &self.head("POST", "/digest"));
                ([PREFACE, &frame(SETTINGS, 0, 0, &[]), &head].concat(), frame(DATA, 0, 1, b"x"))
            }
            Scgi => {
                let whole = scgi::ask("/digest", &["REQUEST_METHOD", "POST"], &"x".repeat(90_000));
                (whole[..whole.len() - 90_000].into(), b"x".into())
            }
            FastCgi => {
                let length = ("CONTENT_LENGTH", "90000");
                let variables =
                    [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/digest"), ("HTTP_HOST", "a"), length];
                (fastcgi::head(1, false, &variables), vec![1, 5, 0, 1, 0, 1, 0, 0, b'x'])
            }
        }
    }

    /// A description of what the server sent.
    fn read(self, seen: &[u8]) -> String {
        match self {
            Http1 | Http1Tls => {
                let text = String::from_utf8_lossy(seen);
                let closes = if text.contains("\r\nconnection: close\r\n") { ", close" } else { "" };
                text.strip_prefix("HTTP/1.1 ").map_or(text.to_string(), |rest| rest[..3].to_owned() + closes)
            }
            Http2 | Http2Tls => {
                let words = frames(seen).into_iter().filter_map(|frame| match frame.kind {
                    HEADERS => Some(status_of(&frame.payload).to_string()),
                    GOAWAY => Some("GOAWAY".to_owned()),
                    _ => None,
                });
                words.collect::<Vec<_>>().join(", ")
            }
            Scgi => scgi::outcome(&String::from_utf8_lossy(seen)),
            FastCgi => {
                let (mut reader, mut buffer) = (RecordReader::default(), bytes::BytesMut::from(seen));
                let mut text = String::new();
                while let Some(part) = reader.next(&mut buffer).unwrap() {
                    if part.header.kind == kind::STDOUT {
                        text += &String::from_utf8_lossy(&part.content);
                    }
                }
                scgi::outcome(&text)
            }
        }
    }

    /// A request of another client, on a separate connection: it must be answered in the meantime.
    async fn other(self, ground: &Ground) -> Result<(), String> {
        let began = Instant::now();
        let mut line = self.connect(ground).await;
        line.write_all(&self.get("/pid")).await.unwrap();
        let seen =
            drip(&mut line, b"", 1, |seen| self.read(seen).starts_with(|first: char| first.is_ascii_digit()))
                .await;
        let (answer, took) = (self.read(&seen), began.elapsed());
        // For SCGI and FastCGI the body is a process id.
        let good = answer == "200" || (matches!(self, Scgi | FastCgi) && !answer.is_empty());
        match good && took < LATEST {
            true => Ok(()),
            false => Err(format!("another client got {answer:?} after {took:?}")),
        }
    }
}

/// Sends `piece` repeatedly, this many bytes at a time, until the server closes or `done` accepts what it has
/// sent; returns that.
async fn drip(line: &mut Line, piece: &[u8], step: usize, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut space = vec![0; 16 * 1024];
    let mut bits = piece.chunks(step).cycle();
    while !done(&seen) {
        tokio::select! {
            read = line.read(&mut space) => match read {
                Ok(count @ 1..) => seen.extend_from_slice(&space[..count]),
                _ => break,
            },
            () = tokio::time::sleep(PAUSE), if !piece.is_empty() => {
                // A read shows whether the server has closed.
                let _ = line.write_all(bits.next().unwrap()).await;
                let _ = line.flush().await;
            }
        }
    }
    seen
}

/// The result for a slow client: what it saw, and its connection, which it keeps.
type Seen = Result<(String, Line), String>;

/// Measures a slow client against its limit.
async fn cut(what: String, expected: &str, slow: impl Future<Output = Seen>) -> Result<Line, String> {
    let began = Instant::now();
    let outcome = timeout(LATEST, slow).await;
    let took = began.elapsed();
    match outcome {
        Err(_) => Err(format!("{what}: not cut")),
        Ok(Err(why)) => Err(format!("{what}: {why}")),
        Ok(Ok((found, _))) if found != expected => {
            Err(format!("{what}: expected {expected:?}, found {found:?}"))
        }
        Ok(Ok(_)) if took < EARLIEST => Err(format!("{what}: cut after {took:?}")),
        Ok(Ok((_, line))) => Ok(line),
    }
}

/// Starts, lets another client send a request, and continues slowly.
async fn drips(
    speech: Speech,
    ground: &Ground,
    (begun, piece): (Vec<u8>, Vec<u8>),
    step: usize,
    done: impl Fn(&[u8]) -> bool,
) -> Seen {
    let mut line = speech.connect(ground).await;
    line.write_all(&begun).await.unwrap();
    line.flush().await.unwrap();
    speech.other(ground).await?;
    let seen = drip(&mut line, &piece, step, done).await;
    Ok((speech.read(&seen), line))
}

async fn slow_head(speech: Speech, ground: Arc<Ground>) -> Result<Line, String> {
    let expected = match speech {
        Http1 | Http1Tls => "408, close",
        Http2 | Http2Tls => "GOAWAY",
        Scgi | FastCgi => "closed",
    };
    cut(format!("{speech:?}, head"), expected, drips(speech, &ground, speech.begun_head(), 1, |_| false))
        .await
}

/// A head in complete frames, each with one byte of it.
async fn slow_frames(speech: Speech, ground: Arc<Ground>) -> Result<Line, String> {
    let head = frame(HEADERS, END_STREAM, 1, &speech.head("GET", "/pid"));
    // An endless literal field. (hyper only limits the number of such frames.)
    let begun =
        [PREFACE, &frame(SETTINGS, 0, 0, &[]), &head, &frame(CONTINUATION, 0, 1, &[0x10, 1, b'x', 120])];
    let slow = drips(speech, &ground, (begun.concat(), frame(CONTINUATION, 0, 1, &[b'x'; 40])), 1, |_| false);
    cut(format!("{speech:?}, head in pieces"), "GOAWAY", slow).await
}

async fn slow_body(speech: Speech, ground: Arc<Ground>) -> Result<Line, String> {
    let expected = match speech {
        Http1 | Http1Tls => "408, close",
        _ => "408",
    };
    // Over HTTP/2 only the stream ends.
    let http2 = matches!(speech, Http2 | Http2Tls);
    let done = |seen: &[u8]| {
        http2 && frames(seen).iter().any(|frame| frame.flags & END_STREAM != 0 && frame.stream == 1)
    };
    let slow = drips(speech, &ground, speech.begun_body(), usize::MAX, done);
    let mut line = cut(format!("{speech:?}, body"), expected, slow).await?;
    if http2 {
        let next = frame(HEADERS, END_STREAM | END_HEADERS, 3, &speech.head("GET", "/pid"));
        line.write_all(&next).await.unwrap();
        let answered =
            |seen: &[u8]| frames(seen).iter().any(|frame| frame.kind == HEADERS && frame.stream == 3);
        let seen = within(drip(&mut line, b"", 1, answered)).await;
        if !answered(&seen) {
            return Err(format!("{speech:?}: the connection of a slow body is of no more use"));
        }
        line.shutdown().await.unwrap(); // it would live on
    }
    Ok(line)
}

async fn slow_reader(speech: Speech, path: &str, ground: Arc<Ground>) -> Result<Line, String> {
    let slow = async {
        let mut line = speech.connect(&ground).await;
        line.write_all(&speech.get(path)).await.unwrap();
        line.flush().await.unwrap();
        within(line.socket().readable()).await.unwrap();
        speech.other(&ground).await?;
        // Nothing is read: only the kernel's state of the connection shows that it has ended.
        let ready = line.socket().ready(Interest::ERROR).await.unwrap();
        let error = line.socket().take_error().unwrap().map(|error| error.kind());
        let reset = ready.is_error() && error == Some(io::ErrorKind::ConnectionReset);
        Ok((if reset { "reset".to_owned() } else { format!("{ready:?} {error:?}") }, line))
    };
    cut(format!("{speech:?}, reader of {path}"), "reset", slow).await
}

/// A client that connects to the TLS server and never finishes the handshake.
async fn slow_handshake(
    begun: &'static [u8],
    piece: &'static [u8],
    ground: Arc<Ground>,
) -> Result<Line, String> {
    let slow = async {
        let mut line: Line = Box::new(TcpStream::connect(&ground.addresses["secure"]).await.unwrap());
        line.write_all(begun).await.unwrap();
        Http1Tls.other(&ground).await?;
        let seen = drip(&mut line, piece, 1, |_| false).await;
        Ok((String::from_utf8_lossy(&seen).into_owned(), line))
    };
    cut(format!("a handshake of {} bytes", begun.len()), "", slow).await
}

/// The config of all servers; `certificates` are for the TLS server.
fn config(certificates: &str) -> String {
    let server = |name: &str, kind: &str| format!("[server.{name}]\nuse = \"{kind}\"\n{LIMITS}");
    format!(
        "[process]\nworkers = 1\n{}{}{}{}[server.secure.tls]\nhandshake_timeout_secs = 1\ncertificates = [{certificates}]\n\
         [server.admin]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\napp = \"admin\"\n\
         [app.main]\nuse = \"mount\"\n[app.main.routes]\n\"/\" = \"plugin\"\n\"/files\" = \"files\"\n\
         [app.files]\nuse = \"static\"\npublish_dir = \".\"\n[app.plugin]\nuse = \"plugin\"\nlibrary = {:?}\n[app.admin]\nuse = \"respond\"\nmiddleware = [\"metrics\"]\n",
        server("main", "http"),
        server("scgi", "scgi"),
        server("fastcgi", "fastcgi"),
        server("secure", "http"),
        plugin("faulty"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_cut_in_time_and_disturb_nobody() {
    let folder = folder(&[]);
    let authority = Authority::new("test");
    let pair = authority.pair(folder.path(), "localhost", &["localhost"]);
    std::fs::write(folder.path().join("server.toml"), config(&pair.item())).unwrap();
    // More than the sockets hold.
    std::fs::File::create(folder.path().join("long")).unwrap().set_len(256 << 20).unwrap();
    let serving = Serving::start(folder.path(), &[]);
    let servers = ["main", "secure", "scgi", "fastcgi"];
    let address = |server: &&'static str| {
        let (_, address) = serving.urls[*server].split_once("://").unwrap();
        (*server, address.to_owned())
    };
    let tls = [authority.client(&["http/1.1"], None), authority.client(&["h2"], None)];
    let ground = Arc::new(Ground { addresses: servers.iter().map(address).collect(), tls });
    type Case = Pin<Box<dyn Future<Output = Result<Line, String>> + Send>>;
    let mut cases: Vec<Case> = Vec::new();
    for speech in ALL {
        cases.push(Box::pin(slow_head(speech, ground.clone())));
        cases.push(Box::pin(slow_body(speech, ground.clone())));
        // On plain HTTP/1 the kernel sends a file itself.
        for path in ["/endless", "/files/long"] {
            cases.push(Box::pin(slow_reader(speech, path, ground.clone())));
        }
    }
    for speech in [Http2, Http2Tls] {
        cases.push(Box::pin(slow_frames(speech, ground.clone())));
    }
    // Nothing at all, a record that does not come, and one that comes byte by byte.
    cases.push(Box::pin(slow_handshake(b"", b"", ground.clone())));
    cases.push(Box::pin(slow_handshake(b"\x16\x03\x01\x02\x00\x01", b"", ground.clone())));
    cases.push(Box::pin(slow_handshake(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",
        b"\x03",
        ground.clone(),
    )));
    let count = cases.len();
    let mut running: JoinSet<_> = cases.into_iter().collect();
    let (mut kept, mut wrong) = (Vec::new(), Vec::new());
    while let Some(ended) = within(running.join_next()).await {
        match ended.unwrap() {
            Ok(line) => kept.push(line),
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    // All clients still hold their end, but the server has closed every connection.
    let admin = serving.urls["admin"].trim_start_matches("http://");
    let mut text = String::new();
    tokio::task::block_in_place(|| {
        wait_until("every connection is out of the counts", || {
            text = Connection::open(admin).get("/metrics").1;
            servers.iter().all(|server| {
                ["paster_connections_open", "paster_requests_in_flight"]
                    .iter()
                    .all(|name| text.contains(&format!("{name}{{server=\"{server}\"}} 0\n")))
            })
        });
    });
    assert_eq!(kept.len(), count);
}
