//! `scgi` and `fastcgi` with uWSGI and php-fpm, and with upstreams that violate the protocol.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bridge::{Program, Scripted, free_port};
use crate::support::{Connection, Serving, folder, get, patience, wait_until};

/// Serves `[app.main]` of a kind with these options in `place`.
fn serve(place: &Path, kind: &str, options: &str) -> Serving {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"{kind}\"\n{options}\n"
    );
    std::fs::write(place.join("server.toml"), config).unwrap();
    Serving::start(place, &[])
}

const APPLICATION: &str = r#"
import os, time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/redirect":
        start_response("302 Found", [("Location", "/there")])
        return [b""]
    if path == "/slow":
        time.sleep(1000)
    if path == "/large":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 65536 for _ in range(160))
    total = 0
    while True:
        piece = environ["wsgi.input"].read(65536)
        if not piece:
            break
        total += len(piece)
    keys = ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "SERVER_NAME", "HTTP_X_OWN",
            "CONTENT_LENGTH", "EXTRA"]
    text = " ".join("%s=%s" % (key, environ.get(key, "-")) for key in keys) + " body=%d" % total
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"#;

fn uwsgi(place: &Path, kind: &str) -> (Program, PathBuf) {
    std::fs::write(place.join("app.py"), APPLICATION).unwrap();
    let socket = place.join(format!("{kind}.sock"));
    let mut command = Command::new("uwsgi");
    command.args(["--plugin", "python3", "--master", "--processes", "2", "--need-app", "--die-on-term"]);
    // Otherwise a worker in `/slow` outlives a master that is killed.
    command.arg("--no-orphans");
    command.arg(format!("--{kind}-socket")).arg(&socket).args(["--wsgi-file", "app.py"]).current_dir(place);
    let mut program = Program::start(&mut command);
    program.wait_for_socket(&socket);
    (program, socket)
}

#[test]
fn uwsgi_answers_over_each_protocol() {
    for (kind, socket_kind) in [("scgi", "scgi"), ("fastcgi", "fastcgi"), ("proxy", "http")] {
        let place = tempfile::tempdir().unwrap();
        let (mut program, socket) = uwsgi(place.path(), socket_kind);
        let params = if kind == "proxy" { "" } else { "params = { EXTRA = \"more\" }" };
        let options = format!(
            "upstreams = [\"unix:{}\"]\n{params}\nmiddleware = [\"big\"]\n[app.main.timeouts]\nhead_secs = 2\n\
             [middleware.big]\nuse = \"body_limit\"\nmax_bytes = 100000000",
            socket.display()
        );
        let serving = serve(place.path(), kind, &options);
        let mut connection = Connection::open(serving.address());
        let (head, body) =
            connection.request("GET /a%20b/c?q=1 HTTP/1.1\r\nHost: Example.org\r\nX-Own: 1\r\n\r\n");
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/plain"),
            "{kind}: {head}"
        );
        assert!(
            body.contains("REQUEST_METHOD=GET SCRIPT_NAME= PATH_INFO=/a b/c QUERY_STRING=q=1"),
            "{kind}: {body}"
        );
        assert!(body.contains("HTTP_X_OWN=1"), "{kind}: {body}");
        if kind != "proxy" {
            assert!(body.contains("REMOTE_ADDR=127.0.0.1 SERVER_NAME=example.org"), "{kind}: {body}");
            assert!(body.contains("EXTRA=more"), "{kind}: {body}");
            // SCGI cannot omit it.
            let length = if kind == "scgi" { "CONTENT_LENGTH=0" } else { "CONTENT_LENGTH=-" };
            assert!(body.contains(length), "{kind}: {body}");
            let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
            let (_, body) = connection.request(chunked);
            assert!(body.contains("CONTENT_LENGTH=5") && body.ends_with("body=5"), "{kind}: {body}");
        }
        let (head, _) = connection.get("/redirect");
        assert!(head.starts_with("HTTP/1.1 302 ") && head.contains("location: /there"), "{kind}: {head}");
        let large = "x".repeat(3_000_000);
        let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{large}", large.len());
        let (_, body) = connection.request(&head);
        assert!(body.ends_with("body=3000000"), "{kind}: {body}");
        assert_eq!(connection.get("/large").1.len(), 160 * 65536, "{kind}");
        let (head, body) = connection.get("/slow");
        assert!(
            head.starts_with("HTTP/1.1 504 ") && body.contains("did not respond in time"),
            "{kind}: {head}"
        );
        program.kill();
        let (head, body) = Connection::open(serving.address()).get("/");
        // Its workers may outlive the master for a moment.
        assert!(head.starts_with("HTTP/1.1 50") || body.contains("REQUEST_METHOD"), "{kind}: {head}");
    }
}

const SCRIPT: &str = r#"<?php
if (isset($_GET["accel"])) { header("X-Accel-Redirect: /protected/secret.txt"); exit; }
if (isset($_GET["local"])) { header("Location: /other.php?from=local", true, 200); exit; }
if (isset($_GET["log"])) { error_log("a line\nfrom the script"); }
if (isset($_GET["status"])) { http_response_code(418); }
$body = file_get_contents("php://input");
header("Content-Type: text/plain");
foreach (["SCRIPT_NAME", "PATH_INFO", "DOCUMENT_ROOT", "SCRIPT_FILENAME", "PATH_TRANSLATED", "REQUEST_URI", "QUERY_STRING"] as $key)
    echo $key, "=", $_SERVER[$key] ?? "-", "\n";
echo "body=", strlen($body), " ", md5($body), "\n";
"#;

struct Php {
    program: Program,
    place: tempfile::TempDir,
}

/// php-fpm with a site in `www`, listening on `listen`.
fn php(listen: impl Fn(&Path) -> String) -> (Php, String) {
    let place = folder(&[
        ("www/index.php", SCRIPT),
        ("www/sub/index.php", SCRIPT),
        ("www/style.css", "body {}"),
        ("www/page.html", "<p>plain"),
        ("www/image.jpg", "<?php echo 'ran';"),
        ("www/index.php.bak", "<?php // secret"),
        ("www/kit.php/kit.css", "kit {}"),
        ("private/secret.txt", "for those who may"),
    ]);
    let listen = listen(place.path());
    let root = is_root();
    let user = if root { "user = nobody\ngroup = nogroup\nlisten.mode = 0666\n" } else { "" };
    let config = format!(
        "[global]\nerror_log = {0}/fpm.log\ndaemonize = no\n[www]\nlisten = {listen}\n{user}pm = static\n\
         pm.max_children = 2\n",
        place.path().display()
    );
    std::fs::write(place.path().join("fpm.conf"), config).unwrap();
    open_to_all(place.path());
    let mut command = Command::new(fpm());
    command.arg("-F").arg("-y").arg(place.path().join("fpm.conf"));
    (Php { program: Program::start(&mut command), place }, listen)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

/// If the tests run as root, php-fpm has another user.
fn open_to_all(place: &Path) {
    let status = Command::new("chmod").args(["-R", "a+rX"]).arg(place).status().unwrap();
    assert!(status.success());
}

fn fpm() -> PathBuf {
    let programs = std::fs::read_dir("/usr/sbin").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let fpm = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("php-fpm"))
    };
    programs.into_iter().find(fpm).expect("php-fpm is installed")
}

#[test]
fn a_php_site_is_one_table() {
    let (mut php, listen) = php(|place| place.join("fpm.sock").display().to_string());
    php.program.wait_for_socket(Path::new(&listen));
    let place = php.place.path();
    let serving = serve(
        place,
        "fastcgi",
        &format!(
            "upstreams = [\"unix:{listen}\"]\nroot = \"www\"\nhand_off = {{ \"/protected\" = \"private\" }}\n\
             [app.private]\nuse = \"static\"\npublish_dir = \"private\""
        ),
    );
    let www = place.join("www").display().to_string();
    let mut connection = Connection::open(serving.address());
    let (head, body) = connection.get("/index.php/a%20b/c?q=%20");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/plain"), "{head}");
    let expected = format!(
        "SCRIPT_NAME=/index.php\nPATH_INFO=/a b/c\nDOCUMENT_ROOT={www}\nSCRIPT_FILENAME={www}/index.php\n\
         PATH_TRANSLATED={www}/a b/c\nREQUEST_URI=/index.php/a%20b/c?q=%20\nQUERY_STRING=q=%20\nbody=0 "
    );
    assert!(body.starts_with(&expected), "{body}");
    assert!(connection.get("/").1.starts_with("SCRIPT_NAME=/index.php\nPATH_INFO=\n"));
    assert!(connection.get("/sub/").1.starts_with("SCRIPT_NAME=/sub/index.php\n"));
    assert!(connection.get("/sub").0.contains("\r\nlocation: /sub/\r\n"));
    assert_eq!(connection.get("/style.css").1, "body {}");
    assert_eq!(connection.get("/kit.php/kit.css").1, "kit {}", "a directory may be named like a script");
    assert_eq!(connection.get("/image.jpg").1, "<?php echo 'ran';");
    for path in ["/image.jpg/x.php", "/missing.php", "/missing", "/index.php.bak", "/INDEX.PHP", "/fpm.conf"]
    {
        assert!(connection.get(path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    assert!(connection.get("/?status").0.starts_with("HTTP/1.1 418 "));
    assert_eq!(connection.get("/?accel").1, "for those who may");
    let body = "y".repeat(900_000);
    let post = format!("POST /index.php HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n{body}");
    assert!(connection.request(&post).1.contains("body=900000 "));
    connection.get("/?log");
    wait_until("the script's words are logged", || serving.stderr().contains("a line"));
}

#[test]
fn frameworks_have_their_front_script_also_under_a_mount_and_over_tcp() {
    let (mut php, listen) = (0..10)
        .find_map(|_| {
            let port = free_port();
            let (mut php, listen) = php(|_| format!("127.0.0.1:{port}"));
            php.program.wait_for_port(port).then_some((php, listen))
        })
        .unwrap();
    let place = php.place.path();
    std::fs::write(
        place.join("server.toml"),
        format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
             routes = {{ \"/blog\" = \"php\" }}\n[app.php]\nuse = \"fastcgi\"\nupstreams = [\"{listen}\"]\n\
             root = \"www\"\nfallback = \"/index.php\"\nkeep_connections = true\n"
        ),
    )
    .unwrap();
    let serving = Serving::start(place, &[]);
    let mut connection = Connection::open(serving.address());
    for _ in 0..5 {
        let (_, body) = connection.get("/blog/posts/1?q");
        assert!(body.starts_with("SCRIPT_NAME=/blog/index.php\nPATH_INFO=\n"), "{body}");
        assert!(body.contains("REQUEST_URI=/blog/posts/1?q\n"), "{body}");
    }
    assert_eq!(connection.get("/blog/page.html").1, "<p>plain");
    php.program.end();
    let (head, body) = connection.get("/blog/");
    assert!(head.starts_with("HTTP/1.1 502 ") && body.contains("`php`"), "{head}{body}");
}

/// A record of FastCGI.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
}

#[test]
fn what_is_not_fastcgi_is_502() {
    let end = |status: u8| record(3, &[0, 0, 0, 0, status, 0, 0, 0]);
    let answers: Vec<(Vec<u8>, &str)> = vec![
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "a record with a version other than 1"),
        (end(0), "it is empty"),
        (end(2), "it is overloaded"),
        (end(9), "END_REQUEST has an unknown status"),
        ([record(6, b"no colon\r\n\r\n"), end(0)].concat(), "not a field"),
        ([record(6, b"Status: 200\r\n"), end(0)].concat(), "its head is incomplete"),
        (vec![], "without a response"),
        (record(6, b"Status: 200\r\nA: b"), "without a response"),
    ];
    for (answer, words) in answers {
        let upstream = Scripted::start(move |peer| {
            let mut head = [0; 16];
            let _ = peer.0.read_exact(&mut head);
            peer.write(&answer);
            let _ = peer.0.get_mut().shutdown(std::net::Shutdown::Write);
            peer.wait_for_close();
        });
        let place = tempfile::tempdir().unwrap();
        let serving =
            serve(place.path(), "fastcgi", &format!("upstreams = [\"127.0.0.1:{}\"]", upstream.port));
        let (head, body) = Connection::open(serving.address()).get("/");
        assert!(head.starts_with("HTTP/1.1 502 ") && body.contains(words), "{words}: {head}{body}");
    }
}

#[test]
fn a_kept_fastcgi_connection_serves_on() {
    let upstream = Scripted::start(|peer| {
        let mut open = 0u32;
        loop {
            let mut header = [0; 8];
            if peer.0.read_exact(&mut header).is_err() {
                return;
            }
            let length = usize::from(u16::from_be_bytes([header[4], header[5]])) + usize::from(header[6]);
            let mut content = vec![0; length];
            peer.0.read_exact(&mut content).unwrap();
            if header[1] == 5 && length == 0 {
                open += 1;
                let document = format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nrequest {open}");
                let (head, tail) = document.split_at(20);
                let stderr = record(7, b"a word\n");
                let end = record(3, &[0; 8]);
                let all =
                    [record(6, head.as_bytes()), stderr, record(6, tail.as_bytes()), record(6, b""), end];
                peer.write(all.concat());
            }
        }
    });
    let place = tempfile::tempdir().unwrap();
    let options = format!("upstreams = [\"127.0.0.1:{}\"]\nkeep_connections = true", upstream.port);
    let serving = serve(place.path(), "fastcgi", &options);
    let mut connection = Connection::open(serving.address());
    for turn in 1..=3 {
        assert_eq!(connection.get("/").1, format!("request {turn}"));
    }
    assert_eq!(upstream.count(), 1);
    wait_until("its words are logged", || serving.stderr().contains("a word"));
}

#[test]
fn bodies_without_a_length_are_spooled_up_to_their_limit() {
    let upstream = Scripted::start(|peer| {
        let mut byte = [0; 1];
        let mut length = String::new();
        while peer.0.read_exact(&mut byte).is_ok() && byte[0] != b':' {
            length.push(byte[0] as char);
        }
        let mut head = vec![0; length.parse::<usize>().unwrap() + 1];
        peer.0.read_exact(&mut head).unwrap();
        let text = String::from_utf8_lossy(&head).into_owned();
        let count: usize =
            text.strip_prefix("CONTENT_LENGTH\0").unwrap().split('\0').next().unwrap().parse().unwrap();
        let mut body = vec![0; count];
        peer.0.read_exact(&mut body).unwrap();
        let same = body.iter().all(|byte| *byte == b'z');
        peer.write(format!("Status: 200 OK\r\n\r\n{count} {same}"));
    });
    let place = tempfile::tempdir().unwrap();
    let options = format!("upstreams = [\"127.0.0.1:{}\"]\nspool_limit_bytes = 300000", upstream.port);
    let serving = serve(place.path(), "scgi", &options);
    let post = |count: usize| {
        let mut stream = std::net::TcpStream::connect(serving.address()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .unwrap();
        for _ in 0..count / 1000 {
            let _ = stream.write_all(format!("3e8\r\n{}\r\n", "z".repeat(1000)).as_bytes());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for count in [1000, 64_000, 66_000, 300_000] {
        let answer = post(count);
        assert!(answer.contains(&format!("{count} true")), "{count}: {answer}");
    }
    assert!(post(301_000).starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_local_redirect_is_followed_within_the_app() {
    let upstream = Scripted::start(|peer| {
        let mut head = vec![0; 4096];
        let count = peer.0.read(&mut head).unwrap();
        let text = String::from_utf8_lossy(&head[..count]).into_owned();
        let value = |name: &str| {
            text.split(&format!("\0{name}\0"))
                .nth(1)
                .and_then(|rest| rest.split('\0').next())
                .unwrap_or("")
                .to_owned()
        };
        peer.write(match value("PATH_INFO").as_str() {
            "/from" => "Location: /to?a=b\r\n\r\n".to_owned(),
            "/raw" => "Location: /to ä?a=b c\r\n\r\n".to_owned(),
            "/loop" => "Location: /loop\r\n\r\n".to_owned(),
            path => {
                format!("Status: 200 OK\r\n\r\n{} {path} {}", value("REQUEST_METHOD"), value("QUERY_STRING"))
            }
        });
    });
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "scgi", &format!("upstreams = [\"127.0.0.1:{}\"]", upstream.port));
    let mut connection = Connection::open(serving.address());
    let post = "POST /from HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(connection.request(post).1, "GET /to a=b");
    assert_eq!(connection.get("/raw").1, "GET /to ä a=b%20c", "a raw path is escaped");
    assert!(connection.get("/loop").0.starts_with("HTTP/1.1 502 "));
    assert_eq!(get(&serving, "/plain"), "GET /plain ");
}

#[test]
fn the_example_of_a_php_site_runs() {
    let (mut php, listen) = php(|place| place.join("fpm.sock").display().to_string());
    php.program.wait_for_socket(Path::new(&listen));
    // php-fpm's user may have no access to this repository.
    let site = php.place.path().join("site");
    let copied =
        Command::new("cp").arg("-r").arg(crate::support::root().join("examples/php")).arg(&site).status();
    assert!(copied.unwrap().success());
    open_to_all(php.place.path());
    let upstreams = format!("app.main.upstreams=[\"unix:{listen}\"]");
    let serving = Serving::start(&site, &["-D", &upstreams, "--listen", "127.0.0.1:0"]);
    let page = get(&serving, "/posts/%3C1%3E");
    assert!(page.contains("<h1>PHP ") && page.contains("<code>/posts/%3C1%3E</code>"), "{page}");
}

#[test]
fn scripts_have_the_stated_endings() {
    let upstream = Scripted::start(|peer| {
        let (mut params, mut header) = (Vec::new(), [0; 8]);
        while peer.0.read_exact(&mut header).is_ok() {
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let mut content = vec![0; length + usize::from(header[6])];
            peer.0.read_exact(&mut content).unwrap();
            match header[1] {
                4 => params.extend_from_slice(&content[..length]),
                5 if length == 0 => break,
                _ => {}
            }
        }
        let variables = paster::codec::fastcgi::parse_pairs(&params).unwrap();
        let value = |name: &str| String::from_utf8_lossy(variables.get(name).unwrap()).into_owned();
        let text = format!("Status: 200\r\n\r\n{} {}", value("SCRIPT_NAME"), value("PATH_INFO"));
        peer.write([record(6, text.as_bytes()), record(6, b""), record(3, &[0; 8])].concat());
    });
    let place = folder(&[("www/a.phtml", ""), ("www/b.php", "text"), ("www/a.phtml.bak", "")]);
    let options = format!(
        "upstreams = [\"127.0.0.1:{}\"]\nroot = \"www\"\nsplit_path = [\".phtml\", \".php5\"]",
        upstream.port
    );
    let serving = serve(place.path(), "fastcgi", &options);
    assert_eq!(Connection::open(serving.address()).get("/a.phtml/b").1, "/a.phtml /b");
    assert_eq!(Connection::open(serving.address()).get("/b.php").1, "text");
    assert!(Connection::open(serving.address()).get("/a.phtml.bak").0.starts_with("HTTP/1.1 404 "));
}
