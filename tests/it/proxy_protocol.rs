//! The PROXY protocol before HTTP: who may use it, and what it states.

use paster::body::{App, Body, Request, Response};
use paster::environ::Environ;
use paster::server::control::Phase;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::inprocess::{Running, ask, read_to_end, server, within};
use crate::pki::Authority;

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LINE: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// Responds with the client's address.
fn client() -> App {
    App::from_fn(|request: Request| async move {
        let environ = request.extensions().get::<Environ>().unwrap();
        let peer = environ.peer.map_or("-".into(), |peer| peer.to_string());
        let client = environ.client.map_or("-".into(), |client| client.to_string());
        Response::new(Body::from(format!("{peer} {client} secure={}", environ.secure)))
    })
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];

#[tokio::test]
async fn a_balancer_says_who_the_client_is() {
    let running = Running::start("proxy_protocol = [\"127.0.0.0/8\"]", client());
    let mut stream = running.connect().await;
    // Header and request in one piece, then the next request on the same connection.
    assert_eq!(ask(&mut stream, &format!("{LINE}{GET}")).await.1, "192.0.2.7:56324 192.0.2.7 secure=false");
    assert_eq!(ask(&mut stream, GET).await.1, "192.0.2.7:56324 192.0.2.7 secure=false");
    // Byte by byte.
    let mut stream = running.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in LINE.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&mut stream, GET).await.1, "192.0.2.7:56324 192.0.2.7 secure=false");
    let mut stream = running.connect().await;
    let tls = [&IPV4[..], b"\x20\0\x05\x01\0\0\0\0"].concat();
    stream.write_all(&binary(0x21, 0x11, &tls)).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "192.0.2.7:56324 192.0.2.7 secure=true");
    let mut stream = running.connect().await;
    stream.write_all(&binary(0x20, 0, b"")).await.unwrap();
    let own = stream.local_addr().unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, format!("{own} {} secure=false", own.ip()), "LOCAL");
    // The client's own fields are not the load balancer's.
    let mut stream = running.connect().await;
    let claim = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    assert_eq!(ask(&mut stream, &format!("{LINE}{claim}")).await.1, "192.0.2.7:56324 192.0.2.7 secure=false");
    running.end().await;
}

#[tokio::test]
async fn others_and_malformed_headers_are_refused() {
    let running = Running::start("proxy_protocol = [\"127.0.0.1\"]", client());
    for bad in
        [GET.to_owned(), format!("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n{GET}"), "\r\n\r\n\0\r\nQUIX\n".into()]
    {
        assert_eq!(running.exchange(bad.as_bytes()).await, "", "{bad:?}");
    }
    running.end().await;
    let running = Running::start("proxy_protocol = [\"10.0.0.0/8\", \"unix\"]", client());
    assert_eq!(running.exchange(format!("{LINE}{GET}").as_bytes()).await, "", "this peer is not listed");
    running.end().await;
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let running = Running::start("proxy_protocol = [\"127.0.0.1\"]\nhead_timeout_secs = 1", client());
    let mut stream = running.connect().await;
    stream.write_all(b"PROXY TCP4 ").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    running.end().await;
}

#[tokio::test]
async fn a_unix_peer_is_listed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let options = format!("listen = [\"unix:{}\"]\nproxy_protocol = [\"unix\"]", path.display());
    let running = Running::start(&options, client());
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    assert_eq!(ask(&mut stream, &format!("{LINE}{GET}")).await.1, "192.0.2.7:56324 192.0.2.7 secure=false");
    running.end().await;
}

#[tokio::test]
async fn tls_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("test");
    let pair = authority.pair(folder.path(), "localhost", &["localhost"]);
    let table =
        format!("proxy_protocol = [\"127.0.0.1\"]\n[server.main.tls]\ncertificates = [{}]", pair.item());
    let running = Running::start(&table, client());
    let mut stream = TcpStream::connect(running.address()).await.unwrap();
    stream.write_all(&binary(0x21, 0x11, &IPV4)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = within(authority.client(&[], None).connect(name, stream)).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, "192.0.2.7:56324 192.0.2.7 secure=true");
    running.end().await;
}

#[tokio::test]
async fn the_next_generation_knows_it_still() {
    const OPTIONS: &str = "proxy_protocol = [\"127.0.0.1\"]";
    let mut old = Running::start(OPTIONS, client());
    let mut stream = old.connect().await;
    let first = ask(&mut stream, &format!("{LINE}{GET}")).await.1;
    let new = Running::on(server(OPTIONS), old.sockets, client());
    old.phase.send(Phase::Retired).unwrap();
    let idle = within(old.handed.take().unwrap().recv()).await.unwrap();
    new.adopted.send(idle).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await.1, first);
    within(old.task).await.unwrap();
    new.end().await;
}
