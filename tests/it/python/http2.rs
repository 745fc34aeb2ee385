//! WebSockets over HTTP/2 (RFC 8441).

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::MODES;
use super::asgi::{self, APP};

type Sender = hyper::client::conn::http2::SendRequest<Empty<bytes::Bytes>>;

async fn connect(address: &str) -> Sender {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn open(address: &str, path: &str, protocol: &'static str) -> Request<Empty<bytes::Bytes>> {
    let request = Request::builder().method(Method::CONNECT).uri(format!("http://{address}{path}"));
    let request = request.extension(Protocol::from_static(protocol)).header("sec-websocket-version", "13");
    request.header("sec-websocket-protocol", "chat").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn web_sockets_over_http2() {
    for mode in MODES {
        let Some(site) = asgi::site() else { return };
        let serving = asgi::serve(&site, &format!("{APP}{mode}"), "", &[]);
        let mut sender = connect(serving.address()).await;
        // The server's settings have arrived with the first response.
        let get = || Request::get(format!("http://{}/hello", serving.address())).body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(get()).await.unwrap().status(), 200);
        let response = sender.send_request(open(serving.address(), "/echo", "websocket")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        for name in ["connection", "upgrade", "sec-websocket-accept"] {
            assert!(!response.headers().contains_key(name), "{:?}", response.headers());
        }
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
        for message in [Message::text("hello"), Message::text("x".repeat(1_000_000))] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
            // Other requests share the connection.
            assert_eq!(sender.send_request(get()).await.unwrap().status(), 200);
        }
        socket.send(Message::text("close")).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(Some(_))))));
        let refused = sender.send_request(open(serving.address(), "/reject", "websocket")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let other = sender.send_request(open(serving.address(), "/echo", "connect-udp")).await.unwrap();
        assert_eq!(other.status(), StatusCode::NOT_IMPLEMENTED);
    }
}
