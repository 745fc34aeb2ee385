//! WebSockets of the smallest plugin with the real server, and a client that writes raw bytes (RFC 6455).

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Serving, folder, patience, plugin};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

fn serve() -> (Serving, tempfile::TempDir) {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("hello")
    );
    let folder = folder(&[("server.toml", &config)]);
    (Serving::start(folder.path(), &["server.toml"]), folder)
}

/// A connection after the request's head, and the server's response.
fn ask(serving: &Serving, fields: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    let head = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", serving.address());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).unwrap().to_ascii_lowercase())
}

fn open(serving: &Serving) -> TcpStream {
    let (stream, head) = ask(serving, &format!("{UPGRADE}{KEY}Sec-WebSocket-Version: 13\r\n"));
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    stream
}

/// A client's frame, with a mask of zeros, so that its bytes are readable here.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Everything that comes until the connection ends.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn a_close_is_answered_and_a_fault_is_told() {
    let (serving, _folder) = serve();
    let after = |bytes: &[u8]| {
        let mut stream = open(&serving);
        stream.write_all(bytes).unwrap();
        rest(stream)
    };
    let close = |code: u16, reason: &str| [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    // Section 5.5.1: the response is a Close frame with the same code.
    let echoed = after(&frame(8, &close(1000, "bye")));
    assert_eq!((&echoed[..1], &echoed[2..4]), (&[0x88][..], &1000_u16.to_be_bytes()[..]), "{echoed:?}");
    assert_eq!(after(&frame(8, b"")), [0x88, 0]);
    // Earlier messages are answered first.
    let bytes = [frame(1, b"hi"), frame(9, b"p"), frame(8, b"")].concat();
    assert_eq!(after(&bytes), [&[0x81, 2][..], b"hi", &[0x8a, 1], b"p", &[0x88, 0]].concat());
    // Section 7.4.1: the code tells what was wrong.
    let code = |bytes: &[u8]| {
        let told = after(bytes);
        assert_eq!(told.first(), Some(&0x88), "{told:?}");
        u16::from_be_bytes([told[2], told[3]])
    };
    assert_eq!(code(&[0x81, 2, b'h', b'i']), 1002, "not masked");
    assert_eq!(code(&frame(3, b"")), 1002, "an unknown opcode");
    assert_eq!(code(&frame(1, b"\xff")), 1007, "not UTF-8");
    let two_mib = (2_u64 << 20).to_be_bytes();
    assert_eq!(code(&[&[0x82, 0x80 | 127][..], &two_mib, &[0; 4]].concat()), 1009, "more than the limit");
}

#[test]
fn only_a_valid_handshake_opens_a_web_socket() {
    let (serving, _folder) = serve();
    let check = |what: &str, fields: &str, status: &str, told: &[&str]| {
        let (_, head) = ask(&serving, fields);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{what}: {head}");
        for field in told {
            assert!(head.contains(field), "{what}: {head}");
        }
    };
    let version = "Sec-WebSocket-Version: 13\r\n";
    let needed = ["upgrade: websocket", "sec-websocket-version: 13"];
    check("a plain request", "", "426", &needed);
    check("an old version", &format!("{UPGRADE}{KEY}Sec-WebSocket-Version: 8\r\n"), "426", &needed);
    check("no version", &format!("{UPGRADE}{KEY}"), "426", &needed);
    check("no key", &format!("{UPGRADE}{version}"), "400", &[]);
    for key in ["x", "dGhlIHNhbXBsZSBub25jZSBh", "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x"] {
        check(key, &format!("{UPGRADE}{version}Sec-WebSocket-Key: {key}\r\n"), "400", &[]);
    }
    // Section 10.2: a page of another site would send the user's cookies.
    let right = format!("{UPGRADE}{version}{KEY}");
    check("another site's page", &format!("{right}Origin: https://evil.example\r\n"), "403", &[]);
    check("a sandboxed page", &format!("{right}Origin: null\r\n"), "403", &[]);
    check("the own page", &format!("{right}Origin: http://{}\r\n", serving.address()), "101", &[]);
}

/// The head of a frame of the server: its first byte, and the length of its payload.
fn frame_head(stream: &mut TcpStream) -> (u8, usize) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut length = [0; 8];
    let bytes = match head[1] {
        127 => 8,
        126 => 2,
        length => return (head[0], length.into()),
    };
    stream.read_exact(&mut length[8 - bytes..]).unwrap();
    (head[0], usize::try_from(u64::from_be_bytes(length)).unwrap())
}

#[test]
fn a_long_message_is_sent_in_fragments() {
    let (serving, _folder) = serve();
    let mut stream = open(&serving);
    let text: String = ('a'..='z').cycle().take((1 << 20) - 3).collect::<String>() + "\u{20ac}";
    let length = (text.len() as u64).to_be_bytes();
    stream.write_all(&[&[0x81, 0x80 | 127][..], &length, &[0; 4], text.as_bytes()].concat()).unwrap();
    stream.write_all(&frame(1, b"short")).unwrap();
    let mut whole = Vec::new();
    let mut heads = Vec::new();
    while whole.len() < text.len() {
        let (head, length) = frame_head(&mut stream);
        heads.push(head);
        let start = whole.len();
        whole.resize(start + length, 0);
        stream.read_exact(&mut whole[start..]).unwrap();
    }
    // Section 5.4: the first frame has the opcode, and the last one the FIN bit.
    assert_eq!(heads, [1, 0, 0, 0x80]);
    assert!(whole == text.as_bytes());
    stream.write_all(&frame(8, b"")).unwrap();
    assert_eq!(rest(stream), [&[0x81, 5][..], b"short", &[0x88, 0]].concat());
}
