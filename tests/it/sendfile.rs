//! Large files over plain HTTP/1: what the kernel sends is the file, byte for byte, or nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::support::{Serving, patience, wait_until};

const LARGE: usize = 3_000_001;

/// Bytes without a period and, except by chance, without a zero.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 255) as u8 + 1
    })
    .take(length)
    .collect()
}

/// A site with a large and a small file, behind this stack.
fn site(stack: &str, server: &str) -> (tempfile::TempDir, Serving) {
    let folder = tempfile::tempdir().unwrap();
    let www = folder.path().join("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("large.bin"), noise(LARGE)).unwrap();
    std::fs::write(www.join("large.txt"), noise(LARGE)).unwrap();
    std::fs::write(www.join("small.txt"), "small").unwrap();
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n{server}\n\
         [app.main]\nuse = \"static\"\npublish_dir = \"www\"\nmiddleware = [{stack}]\n\
         [middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"common\"\n"
    );
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let serving = Serving::start(folder.path(), &["server.toml"]);
    (folder, serving)
}

/// A connection. If `little` is set, the client has a small receive buffer.
fn connect(serving: &Serving, little: bool) -> TcpStream {
    let address: std::net::SocketAddr = serving.address().parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    if little {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(patience())).unwrap();
    socket.into()
}

fn ask(socket: &mut TcpStream, method: &str, target: &str, fields: &str) {
    write!(socket, "{method} {target} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n").unwrap();
}

/// Reads a head byte by byte, so that what follows is not read.
fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn body(socket: &mut TcpStream, head: &str) -> Vec<u8> {
    let mut body = vec![0; field(head, "content-length").unwrap().parse().unwrap()];
    socket.read_exact(&mut body).unwrap();
    body
}

/// All kinds of requests for a file.
fn ask_all(socket: &mut TcpStream) {
    ask(socket, "GET", "/large.bin", "");
    ask(socket, "HEAD", "/large.bin", "");
    ask(socket, "GET", "/small.txt", "");
    ask(socket, "GET", "/large.bin", "range: bytes=65535-1065536\r\n");
    ask(socket, "GET", "/large.bin", "range: bytes=0-99999,2000000-2999999,-1\r\n");
    ask(socket, "GET", "/absent", "");
}

/// Reads the responses to [`ask_all`].
fn read_all(socket: &mut TcpStream) {
    let file = noise(LARGE);
    let whole = head(socket);
    assert!(body(socket, &whole) == file, "the whole file");
    assert_eq!(field(&head(socket), "content-length"), Some("3000001"));
    let small = head(socket);
    assert_eq!(body(socket, &small), b"small");
    let range = head(socket);
    assert_eq!(field(&range, "content-range"), Some("bytes 65535-1065536/3000001"));
    assert!(body(socket, &range) == file[65535..=1_065_536], "a range");
    let several = head(socket);
    let boundary = field(&several, "content-type").unwrap().split_once("boundary=").unwrap().1;
    let several = body(socket, &several);
    let mut rest = &several[..];
    for part in [0..100_000, 2_000_000..3_000_000, 3_000_000..3_000_001] {
        let start = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(rest[start..start + part.len()] == file[part.clone()], "part {part:?}");
        rest = &rest[start + part.len()..];
    }
    assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
    let absent = head(socket);
    assert!(absent.starts_with("HTTP/1.1 404 "), "{absent}");
    body(socket, &absent);
}

fn check(stack: &str, server: &str, little: bool) {
    let (_folder, serving) = site(stack, server);
    let mut socket = connect(&serving, little);
    for rounds in [1, 2] {
        (0..rounds).for_each(|_| ask_all(&mut socket));
        (0..rounds).for_each(|_| read_all(&mut socket));
    }
}

#[test]
fn bytes_are_right_one_after_another_and_pipelined() {
    check("", "", false);
}

#[test]
fn bytes_are_right_for_a_client_that_takes_little() {
    check("\"log\", \"compress\"", "", true);
}

#[test]
fn bytes_are_right_one_request_at_a_time() {
    check("\"log\"", "one_at_a_time = true", false);
}

#[test]
fn http2_and_compression_get_bytes() {
    let (folder, serving) = site("\"compress\"", "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let url = format!("{}/large.bin", serving.url());
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert!(answer.bytes().await.unwrap() == noise(LARGE), "HTTP/2");
    });
    let mut socket = connect(&serving, false);
    ask(&mut socket, "GET", "/large.txt", "accept-encoding: gzip\r\nconnection: close\r\n");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let start = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..start].to_vec()).unwrap();
    assert_eq!(
        (field(&head, "content-encoding"), field(&head, "transfer-encoding")),
        (Some("gzip"), Some("chunked"))
    );
    let packed = dechunked(&answer[start..]);
    let path = folder.path().join("large.gz");
    std::fs::write(&path, packed).unwrap();
    let plain = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
    assert!(plain.stdout == noise(LARGE), "gzip");
}

fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 2 + length + 2..];
    }
}

#[test]
fn a_file_that_becomes_shorter_ends_the_answer_unfinished() {
    let (folder, mut serving) = site("\"log\"", "");
    let path = folder.path().join("www/large.bin");
    let whole = noise(64 * 1024 * 1024);
    std::fs::write(&path, &whole).unwrap();
    let mut socket = connect(&serving, true);
    ask(&mut socket, "GET", "/large.bin", "");
    let head = head(&mut socket);
    assert_eq!(field(&head, "content-length"), Some("67108864"));
    let mut start = [0; 1000];
    socket.read_exact(&mut start).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20_000_000).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest); // the end may be a reset
    let got = [&start[..], &rest].concat();
    assert!(got.len() <= 20_000_000, "{} bytes of a file of 20000000", got.len());
    assert!(got == whole[..got.len()], "what came is the file's");
    assert!(serving.stderr().contains("became shorter"), "{}", serving.stderr());
    // Others are not affected.
    let mut socket = connect(&serving, false);
    ask(&mut socket, "GET", "/small.txt", "");
    let small = self::head(&mut socket);
    assert_eq!(body(&mut socket, &small), b"small");
    assert_eq!(serving.stop(), Some(0));
}

/// The private memory of all workers, in KiB.
fn resident_kib(serving: &Serving) -> u64 {
    let of = |pid: u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap_or_default();
        line.split_whitespace().next().map_or(0, |kib| kib.parse().unwrap())
    };
    serving.children().into_iter().map(of).sum()
}

#[test]
fn many_slow_clients_cost_no_memory_and_those_that_go_away_nothing() {
    // The machine may be so busy that the clients read nothing for a long time.
    let (folder, mut serving) = site("\"log\", \"compress\"", "write_stall_secs = 3600");
    let file = noise(16 * 1024 * 1024);
    std::fs::write(folder.path().join("www/large.bin"), &file).unwrap();
    let get = || {
        let mut socket = connect(&serving, true);
        ask(&mut socket, "GET", "/large.bin", "accept-encoding: gzip\r\n");
        let head = head(&mut socket);
        (socket, head)
    };
    drop(get());
    let before = resident_kib(&serving);
    let mut clients: Vec<_> = (0..64).map(|_| get()).collect();
    let during = resident_kib(&serving);
    // A body that goes through hyper has 400 KiB per client in memory.
    assert!(during < before + 64 * 100, "{before} KiB before, {during} KiB with 64 slow clients");
    for (socket, _) in clients.drain(..56) {
        let _ = socket.shutdown(Shutdown::Both);
    }
    let read = |(mut socket, head): (TcpStream, String)| {
        socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
        let mut body = Vec::new();
        let end = (&mut socket).take(file.len() as u64).read_to_end(&mut body);
        (body == file).then_some(()).ok_or_else(|| format!("{} bytes, {end:?}, {head}", body.len()))
    };
    let read = &read;
    let read: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || read(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(read.iter().all(Result::is_ok), "{read:?}\n{}", serving.stderr());
    let log = folder.path().join("access.log");
    wait_until("every request is logged", || lines(&log).len() == 65);
    assert_eq!(serving.stop(), Some(0));
    let lengths: Vec<u64> =
        lines(&log).iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    let whole = file.len() as u64;
    assert_eq!(lengths.iter().filter(|length| **length == whole).count(), 8, "{lengths:?}");
    assert!(lengths.iter().all(|length| *length <= whole), "{lengths:?}");
}

fn lines(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}
