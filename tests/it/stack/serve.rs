//! A stack of many parts in the real server: streams, WebSockets, HTTP/2 and HEAD pass through all of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Serving, folder, patience, plugin};

/// Every kind that lets a usual request pass, around the smallest plugin.
fn serve() -> (Serving, tempfile::TempDir) {
    let kinds = "\"access_log\", \"id\", \"ban\", \"grant\", \"rate\", \"redirect\", \"proxy_headers\", \"security_headers\", \
                 \"cors\", \"errors\", \"compress\", \"buffer\", \"csrf\", \"key\", \"many\", \"circuit_breaker\", \"overlay\", \
                 \"canary\", \"rewrite\", \"body_limit\"";
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [{kinds}]\n\
         [app.files]\nuse = \"static\"\npublish_dir = \"www\"\n\
         [middleware.id]\nuse = \"request_id\"\n\
         [middleware.grant]\nuse = \"grant_ip\"\nallow = [\"loopback\"]\n\
         [middleware.rate]\nuse = \"rate_limit\"\nrequests = 1000\n\
         [middleware.redirect]\nuse = \"redirect\"\nrules = [{{ match = \"^/old$\", to = \"/\" }}]\n\
         [middleware.cors]\nuse = \"cors\"\norigins = [\"https://a.example\"]\n\
         [middleware.errors]\nuse = \"error_document\"\npages = {{ \"404\" = \"/\" }}\n\
         [middleware.buffer]\nuse = \"buffer\"\nrequests = true\nmax_bytes = 100000\nmemory_bytes = 1000\n\
         [middleware.key]\nuse = \"api_key\"\nonly = {{ path = \"/json\" }}\nfile = \"keys\"\n\
         [middleware.many]\nuse = \"concurrency_limit\"\nmax_in_flight = 10\nkey = \"client\"\n\
         [middleware.overlay]\nuse = \"static_overlay\"\napp = \"files\"\n\
         [middleware.canary]\nuse = \"canary\"\napp = \"files\"\npercent = 0\n\
         [middleware.rewrite]\nuse = \"rewrite\"\nrules = [{{ match = \"^/hi$\", to = \"/\" }}]\n",
        plugin("hello")
    );
    let key = <sha2::Sha256 as sha2::Digest>::digest("k");
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let files =
        [("server.toml", config), ("keys", format!("robot:sha256:{key}\n")), ("www/a.txt", "a file".into())];
    let folder = folder(&files.each_ref().map(|(name, content)| (*name, content.as_str())));
    (Serving::start(folder.path(), &["server.toml"]), folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_passes_through_a_long_stack() {
    let (serving, _folder) = serve();
    for http2 in [false, true] {
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let client = if http2 { builder.http2_prior_knowledge() } else { builder }.build().unwrap();
        let url = |path: &str| format!("{}{path}", serving.url());
        let get = async |path: &str| {
            let response = client.get(url(path)).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        assert_eq!(get("/").await, (200, "Hello, world!".into()));
        assert_eq!(get("/hi").await, (200, "Hello, world!".into()));
        assert_eq!(get("/a.txt").await, (200, "a file".into()));
        assert_eq!(get("/old").await.0, 308);
        assert_eq!(get("/nothing").await, (404, "Hello, world!".into()));
        assert_eq!(get("/json").await.0, 401);
        let json = client.get(url("/json")).header("x-api-key", "k").send().await.unwrap();
        assert_eq!(json.status(), 200);
        let streamed = client.get(url("/stream?bytes=3000000")).send().await.unwrap().bytes().await.unwrap();
        assert_eq!(streamed.len(), 3_000_000);
        let pieces = futures_util::stream::iter((0..50).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1000])));
        let echoed = client.post(url("/echo")).body(reqwest::Body::wrap_stream(pieces)).send().await.unwrap();
        assert_eq!(echoed.text().await.unwrap(), "x".repeat(50_000));
        let long = client.post(url("/echo")).body("x".repeat(200_000)).send().await.unwrap();
        assert_eq!(long.status(), 413);
        let head = client.head(url("/")).send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), &head.headers()["content-length"]),
            (200, &"13".try_into().unwrap())
        );
        for name in ["x-request-id", "ratelimit", "x-content-type-options", "set-cookie"] {
            assert!(head.headers().contains_key(name), "{name}: {head:?}");
        }
        let foreign = client.post(url("/echo")).header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(foreign.status(), 403);
    }
    let (own, foreign) = (format!("http://{}", serving.address()), "https://evil.example");
    assert!(handshake(&serving, foreign).1.starts_with("HTTP/1.1 403"));
    let (mut socket, head) = handshake(&serving, &own);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // A client's frame, with a mask of zeros; the server's has none.
    socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    let mut echoed = [0; 4];
    socket.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"\x81\x02hi");
}

/// A connection after a WebSocket handshake by a page of `origin`, and the head of the response.
fn handshake(serving: &Serving, origin: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        serving.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).unwrap())
}
