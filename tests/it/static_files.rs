//! `static`: what it serves, and what it never serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::Request;
use insta::assert_snapshot;

use crate::local::{Answer, Local, shown};
use crate::support::{Serving, folder, wait_until};

const FILES: &[(&str, &str)] = &[
    ("outside.txt", "outside"),
    ("www/index.html", "<p>root"),
    ("www/ten.txt", "0123456789"),
    ("www/app.js", "let whole;"),
    ("www/app.js.br", "BR"),
    ("www/app.js.gz", "GZ"),
    ("www/photo.png", "PNG"),
    ("www/photo.png.br", "never"),
    ("www/docs/a b&<c>.txt", "odd name"),
    ("www/docs/sub/x.txt", "x"),
    ("www/.env", "secret"),
    ("www/.git/config", "secret"),
    ("www/.well-known/acme", "token"),
];

fn site(options: &str) -> Local {
    let folder = folder(FILES);
    let www = folder.path().join("www");
    std::os::unix::fs::symlink("../outside.txt", www.join("link.txt")).unwrap();
    std::os::unix::fs::symlink("..", www.join("up")).unwrap();
    std::os::unix::fs::symlink("ten.txt", www.join("inner.txt")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(www.join("pipe")).status().unwrap();
    assert!(pipe.success());
    std::fs::write(www.join("large.bin"), vec![b'x'; 300_000]).unwrap();
    let config = format!("[app.main]\nuse = \"static\"\npublish_dir = {www:?}\n{options}\n");
    Local::in_folder(folder, &config, false)
}

fn get(local: &Local, target: &str, fields: &[(&str, &str)]) -> Answer {
    local.send(
        fields.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value)),
        "",
    )
}

#[test]
fn nothing_but_plain_files_beneath_the_folder_is_served() {
    let local = site("listing = true");
    for target in [
        "/../outside.txt",
        "/docs/../../outside.txt",
        "/%2e%2e/outside.txt",
        "/.%2e/outside.txt",
        "/docs/%2e%2e/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/..%2Foutside.txt",
        "/..%5coutside.txt",
        "/%252e%252e/outside.txt",
        "/..%c0%afoutside.txt",
        "/%c0%ae%c0%ae/outside.txt",
        "/..;/outside.txt",
        "/....//outside.txt",
        "/up/outside.txt",
        "/up/",
        "/up",
        "/link.txt",
        "/inner.txt",
        "/pipe",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/docs/./sub/x.txt",
        "//outside.txt",
        "//etc/passwd",
        "/docs//sub/x.txt",
        "/ten.txt/",
        "/ten.txt/x",
        "/ten.txt%00.html",
        "/%00",
        "/ten%0a.txt",
        "/absent",
        &format!("/{}", "x".repeat(300)),
        &format!("/{}x", "x/".repeat(3000)),
    ] {
        let answer = local.get(target);
        assert_eq!(shown(&answer, &["location"]), "404 - | There is no such file.\n", "{target}");
    }
    assert_eq!(shown(&local.get("/.well-known/acme"), &[]), "200 | token");
}

#[test]
fn a_directory_is_sent_to_its_slash_and_nowhere_else() {
    let local = site("");
    let check = |target: &str, expected: &str| {
        assert_eq!(shown(&local.get(target), &["location"]), expected, "{target}");
    };
    check("/", "200 - | <p>root");
    check("/docs?a=b", "301 /docs/?a=b | See /docs/?a=b\n");
    check("/docs/", "404 - | There is no such file.\n");
    for target in
        ["//evil.example/docs", "///docs", "/\\evil.example/docs", "/%5cevil.example/docs", "//docs"]
    {
        check(target, "404 - | There is no such file.\n");
    }
}

#[test]
fn a_mounted_directory_is_sent_to_its_slash_below_the_mount() {
    let config = "[app.main]\nuse = \"mount\"\nroutes = { \"/files\" = \"files\" }\n\
                  [app.files]\nuse = \"static\"\npublish_dir = \"www\"\nlisting = true\n";
    let local = Local::new(config, FILES);
    assert_eq!(local.get("/files/docs?a").headers()["location"], "/files/docs/?a");
    assert_eq!(shown(&local.get("/files"), &[]), "200 | <p>root");
    let listed = String::from_utf8(local.get("/files/docs/").body().to_vec()).unwrap();
    assert!(listed.contains("<h1>Files in /files/docs/</h1>"), "{listed}");
}

#[test]
fn methods() {
    let local = site("");
    let answer = local.send(Request::post("/ten.txt"), "x");
    assert_eq!(shown(&answer, &["allow"]), "405 GET, HEAD | A file can be read with GET and HEAD.\n");
    let answer = local.send(Request::head("/ten.txt"), "");
    assert_eq!(shown(&answer, &["content-length", "content-type"]), "200 10 text/plain; charset=utf-8 | ");
}

#[test]
fn head_fields_of_a_file() {
    let local = site("cache_control = \"public, max-age=60\"");
    let fields = [
        "content-type",
        "content-length",
        "cache-control",
        "x-content-type-options",
        "accept-ranges",
        "vary",
    ];
    let check = |target: &str, expected: &str| {
        assert_eq!(shown(&local.get(target), &fields), expected, "{target}");
        assert_eq!(shown(&local.get(target), &fields), expected, "{target}, again");
    };
    check(
        "/ten.txt",
        "200 text/plain; charset=utf-8 10 public, max-age=60 nosniff bytes accept-encoding | 0123456789",
    );
    check("/photo.png", "200 image/png 3 public, max-age=60 nosniff bytes - | PNG");
    let large = local.get("/large.bin");
    assert_eq!((large.headers()["content-length"].as_bytes(), large.body().len()), (&b"300000"[..], 300_000));
}

#[test]
fn ranges() {
    let local = site("");
    let check = |target: &str, range: &str, expected: &str| {
        let answer = get(&local, target, &[("range", range)]);
        assert_eq!(shown(&answer, &["content-range", "content-length"]), expected, "{target} {range}");
    };
    check("/ten.txt", "bytes=2-4", "206 bytes 2-4/10 3 | 234");
    check("/ten.txt", "bytes=-1", "206 bytes 9-9/10 1 | 9");
    check("/ten.txt", "bytes=8-18446744073709551615", "206 bytes 8-9/10 2 | 89");
    check("/ten.txt", "bytes=99999999999999999999999-", "416 bytes */10 - | The file has 10 bytes.\n");
    check("/ten.txt", "bytes=10-", "416 bytes */10 - | The file has 10 bytes.\n");
    check("/ten.txt", "bytes=4-2", "200 - 10 | 0123456789");
    check("/ten.txt", "bytes=0-9,0-9,0-9", "200 - 10 | 0123456789");
    check("/ten.txt", &format!("bytes={}", vec!["1-1"; 17].join(",")), "200 - 10 | 0123456789");
    check("/large.bin", "bytes=65535-65537", "206 bytes 65535-65537/300000 3 | xxx");
    for target in ["/ten.txt", "/large.bin"] {
        let answer = get(&local, target, &[("range", "bytes=0-1,-2")]);
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert_eq!(length, answer.body().len(), "{target}");
        let media = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let boundary = media.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let text = String::from_utf8(answer.body().to_vec()).unwrap().replace(boundary, "B");
        if target == "/ten.txt" {
            let part = "content-type: text/plain; charset=utf-8\r\ncontent-range: bytes";
            let expected =
                format!("--B\r\n{part} 0-1/10\r\n\r\n01\r\n--B\r\n{part} 8-9/10\r\n\r\n89\r\n--B--\r\n");
            assert_eq!(text, expected);
        }
    }
}

#[test]
fn preconditions() {
    let local = site("");
    let first = local.get("/ten.txt");
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let date = first.headers()["last-modified"].to_str().unwrap().to_owned();
    let check = |fields: &[(&str, &str)], expected: u16| {
        assert_eq!(get(&local, "/ten.txt", fields).status().as_u16(), expected, "{fields:?}");
    };
    check(&[("if-none-match", &etag)], 304);
    check(&[("if-none-match", "\"other\"")], 200);
    check(&[("if-modified-since", &date)], 304);
    check(&[("if-match", "\"other\"")], 412);
    check(&[("if-match", &etag), ("range", "bytes=0-1")], 206);
    check(&[("if-range", &etag), ("range", "bytes=0-1")], 206);
    check(&[("if-range", &date), ("range", "bytes=0-1")], 206);
    check(&[("if-range", "\"other\""), ("range", "bytes=0-1")], 200);
    check(&[("if-range", &format!("W/{etag}")), ("range", "bytes=0-1")], 200);
    let answer = get(&local, "/ten.txt", &[("if-none-match", &etag)]);
    assert_eq!(shown(&answer, &["etag", "content-length"]), format!("304 {etag} - | "));
}

#[test]
fn precompressed_files_go_to_clients_that_accept_them() {
    let local = site("");
    let check = |target: &str, accept: &str, expected: &str| {
        let answer = get(&local, target, &[("accept-encoding", accept)]);
        assert_eq!(shown(&answer, &["content-encoding", "content-type"]), expected, "{target} {accept}");
    };
    check("/app.js", "gzip, br", "200 br text/javascript; charset=utf-8 | BR");
    check("/app.js", "gzip, br;q=0", "200 gzip text/javascript; charset=utf-8 | GZ");
    check("/app.js", "zstd", "200 - text/javascript; charset=utf-8 | let whole;");
    check("/app.js", "", "200 - text/javascript; charset=utf-8 | let whole;");
    check("/photo.png", "br", "200 - image/png | PNG");
    let tags: std::collections::BTreeSet<_> = ["br", "gzip", "identity"]
        .map(|accept| get(&local, "/app.js", &[("accept-encoding", accept)]).headers()["etag"].clone())
        .map(|etag| etag.to_str().unwrap().to_owned())
        .into();
    assert_eq!(tags.len(), 3, "each coding is a representation of its own");
    let plain = site("precompressed = false");
    assert_eq!(shown(&get(&plain, "/app.js", &[("accept-encoding", "br")]), &["vary"]), "200 - | let whole;");
}

#[test]
fn changes_are_seen() {
    let folder = folder(FILES);
    let www = folder.path().join("www");
    let config = format!("[app.main]\nuse = \"static\"\npublish_dir = {www:?}\n");
    let local = Local::in_folder(folder, &config, true);
    let check = |expected: &str| assert_eq!(shown(&local.get("/ten.txt"), &[]), expected);
    check("200 | 0123456789");
    std::fs::write(www.join("ten.txt"), "abcdefghij").unwrap();
    check("200 | abcdefghij");
    std::fs::write(www.join("ten.txt"), vec![b'y'; 100_000]).unwrap();
    assert_eq!(local.get("/ten.txt").body().len(), 100_000);
    std::fs::remove_file(www.join("ten.txt")).unwrap();
    check("404 | There is no such file.\n");
    std::fs::write(www.join("ten.txt"), "back").unwrap();
    check("200 | back");
}

/// Writes a file like `cp -a` and `tar x` do: with a given time.
fn place(path: &Path, content: &[u8], modified: SystemTime) {
    std::fs::write(path, content).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_file_replaced_by_one_of_the_same_size_and_time_is_seen() {
    let folder = folder(FILES);
    let www = folder.path().join("www");
    let config = format!("[app.main]\nuse = \"static\"\npublish_dir = {www:?}\n");
    let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    place(&www.join("small.txt"), b"old", built);
    place(&www.join("large.bin"), &[b'o'; 100_000], built);
    // The small one may be kept in memory when its change is old enough.
    wait_until("the change is of some age", || {
        let changed = std::fs::metadata(www.join("large.bin")).unwrap();
        let changed = Duration::new(changed.ctime() as u64, changed.ctime_nsec() as u32);
        (SystemTime::UNIX_EPOCH + changed).elapsed().is_ok_and(|age| age > Duration::from_millis(60))
    });
    let local = Local::in_folder(folder, &config, true);
    let before = ["/small.txt", "/large.bin"].map(|target| local.get(target).headers()["etag"].clone());
    place(&www.join("small.txt"), b"new", built);
    std::fs::remove_file(www.join("large.bin")).unwrap();
    place(&www.join("large.bin"), &[b'n'; 100_000], built);
    for (target, old) in ["/small.txt", "/large.bin"].into_iter().zip(before) {
        let answer = get(&local, target, &[("if-none-match", old.to_str().unwrap())]);
        assert_eq!((answer.status().as_u16(), answer.body()[0]), (200, b'n'), "{target}");
        assert_ne!(answer.headers()["etag"], old, "{target}");
    }
}

#[test]
fn machines_with_the_same_small_file_give_it_the_same_tag() {
    let tags = [1_000_000_000, 1_100_000_000].map(|seconds| {
        let folder = folder(FILES);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        place(&folder.path().join("www/ten.txt"), b"0123456789", time);
        let local = Local::in_folder(folder, "[app.main]\nuse = \"static\"\npublish_dir = \"www\"\n", false);
        local.get("/ten.txt").headers()["etag"].clone()
    });
    assert_eq!(tags[0], tags[1]);
}

#[test]
fn a_time_that_says_nothing_is_left_out() {
    let local = site("listing = true");
    let path = local.folder.path().join("www/docs/ten.txt");
    // File systems that cannot store it use their own last year.
    let year_12000 = SystemTime::UNIX_EPOCH + Duration::from_secs(316_000_000_000);
    for time in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1), year_12000] {
        place(&path, b"0123456789", time);
        let date = "Thu, 01 Jan 1970 00:00:00 GMT";
        for fields in [&[][..], &[("if-modified-since", date)], &[("if-unmodified-since", date)]] {
            let answer = get(&local, "/docs/ten.txt", fields);
            assert_eq!(shown(&answer, &["last-modified"]), "200 - | 0123456789", "{time:?} {fields:?}");
        }
        let answer = get(&local, "/docs/ten.txt", &[("if-range", date), ("range", "bytes=0-1")]);
        assert_eq!(answer.status().as_u16(), 200, "{time:?}");
        let html = String::from_utf8(local.get("/docs/").body().to_vec()).unwrap();
        let row = html.lines().find(|line| line.contains("ten.txt")).unwrap();
        assert!(time == year_12000 || row.ends_with("<td></td></tr>"), "{row}");
    }
    place(&path, b"0123456789", SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let answer = local.get("/docs/ten.txt");
    assert_eq!(shown(&answer, &["last-modified"]), "200 Sun, 09 Sep 2001 01:46:40 GMT | 0123456789");
}

#[test]
fn the_cache_keeps_to_its_size() {
    let local = site("cache_bytes = 3000");
    for _ in 0..3 {
        for (target, expected) in
            [("/ten.txt", "0123456789"), ("/app.js", "let whole;"), ("/photo.png", "PNG")]
        {
            assert_eq!(shown(&local.get(target), &[]), format!("200 | {expected}"));
        }
    }
}

#[test]
fn a_listing_shows_what_is_served() {
    let local = site("listing = true");
    let html = String::from_utf8(local.get("/docs/").body().to_vec()).unwrap();
    let rows: Vec<_> =
        html.lines().filter_map(|line| line.split("</a>").next()?.split("<a ").nth(1)).collect();
    assert_snapshot!(rows.join("\n"), @r#"
    href="../">Parent directory
    href="./sub/">sub/
    href="./a%20b%26%3Cc%3E.txt">a b&amp;&lt;c&gt;.txt
    "#);
    assert_eq!(shown(&local.get("/docs/a%20b%26%3Cc%3E.txt"), &[]), "200 | odd name");
    let root = site("listing = true\nindex = []");
    let html = String::from_utf8(root.get("/").body().to_vec()).unwrap();
    for hidden in [".env", ".git", "link.txt", "pipe", "up", "Parent"] {
        assert!(!html.contains(&format!(">{hidden}")), "{hidden}");
    }
}

/// The whole program's response to these bytes: the status line and the body.
fn over_the_wire(serving: &Serving, request: &str) -> String {
    let mut socket = TcpStream::connect(serving.address()).unwrap();
    write!(socket, "GET {request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    format!("{status} {body}")
}

#[test]
fn the_whole_program_serves_nothing_outside() {
    let folder = folder(FILES);
    let www = folder.path().join("www");
    std::os::unix::fs::symlink("../outside.txt", www.join("link.txt")).unwrap();
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
                  [app.main]\nuse = \"static\"\npublish_dir = \"www\"\nmiddleware = [\"log\"]\n\
                  [middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"common\"\n";
    std::fs::write(folder.path().join("server.toml"), config).unwrap();
    let mut serving = Serving::start(folder.path(), &["server.toml"]);
    assert_eq!(over_the_wire(&serving, "/ten.txt"), "200 0123456789");
    for target in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/docs/..%2f..%2foutside.txt",
        "/docs/..%5c..%5coutside.txt",
        "/link.txt",
        "/.env",
        "/ten.txt%00",
        "//outside.txt",
    ] {
        let answer = over_the_wire(&serving, target);
        assert!(answer.starts_with('4') && !answer.contains("secret"), "{target}: {answer}");
        assert!(!answer.ends_with(" outside"), "{target}: {answer}");
    }
    serving.stop();
    let log = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert!(
        log.contains("\"GET /ten.txt HTTP/1.1\" 200 10\n"),
        "the log is whole once the program ended: {log}"
    );
}
