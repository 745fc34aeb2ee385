//! `cgi`: programs that respond, fail, linger and stream, and a real `git clone` and `git push`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::bridge::{all_children, resident_kib};
use crate::support::{Connection, Serving, get, patience, runs, wait_until};

const PROGRAM: &str = r#"#!/bin/sh
echo started >&2
case "$PATH_INFO" in
    /env) printf 'Content-Type: text/plain\n\n'; env | sort; pwd ;;
    /args) printf 'Content-Type: text/plain\r\n\r\n%s' "$*" ;;
    /body) printf 'Content-Type: text/plain\n\n'; wc -c ;;
    /status) printf 'Status: 404 Not Here\nContent-Type: text/plain\n\nnope' ;;
    /moved) printf 'Location: https://example.org/\n\n' ;;
    /local) printf 'Location: %s/args?x\n\n' "$SCRIPT_NAME" ;;
    /work/*)
        case "$PATH_INFO" in
            /work/204) printf 'Status: 204\n\n' ;;
            /work/304) printf 'Status: 304\n\n' ;;
            /work/local) printf 'Location: %s/args\n\n' "$SCRIPT_NAME" ;;
            /work/head) printf 'Content-Type: text/plain\nContent-Length: 70000\n\n'; head -c 70000 /dev/zero ;;
            /work/plain) printf 'Content-Type: text/plain\n\n' ;;
            /work/none) printf 'Content-Type: text/plain\nContent-Length: 7\n\n' ;;
        esac
        while [ ! -e go ]; do sleep 0.05; done; wc -c > worked.new; mv worked.new worked ;;
    /nothing) exit 3 ;;
    /garbage) echo garbage; echo ;;
    /fork) sleep 1000 & echo $! > fork.pid; echo $$ > lead.pid; wait ;;
    /stream) printf 'Content-Type: text/plain\n\n'; echo $$ > lead.pid; yes ;;
    /large) printf 'Content-Type: text/plain\n\n'; head -c 104857600 /dev/zero ;;
    /ignore) trap '' TERM; echo $$ > lead.pid; printf 'Content-Type: text/plain\n\n'; while true; do sleep 1; done ;;
    /wait) while [ ! -e go ]; do sleep 0.05; done; printf 'Content-Type: text/plain\n\nwent' ;;
esac
"#;

fn program(place: &Path) {
    let path = place.join("program");
    std::fs::write(&path, PROGRAM).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Serves the program at `/cgi` with these options.
fn serve(place: &Path, options: &str) -> Serving {
    program(place);
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/cgi\" = \"cgi\" }}\n[app.cgi]\nuse = \"cgi\"\nprogram = \"program\"\n{options}\n\
         [middleware.big]\nuse = \"body_limit\"\nmax_bytes = 1000000000\n"
    );
    std::fs::write(place.join("server.toml"), config).unwrap();
    Serving::start(place, &[])
}

#[test]
fn a_program_sees_the_environment_of_the_document_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "args = [\"a b\", \"c\"]\nenv = { EXTRA = \"more\" }");
    let mut connection = Connection::open(serving.address());
    let (_, body) = connection.request(
        "GET /cgi/env?q=%20 HTTP/1.1\r\nHost: Example.org:81\r\nX-Own: 1\r\nProxy: evil\r\nCookie: a=b\r\n\r\n",
    );
    let lines: Vec<_> = body.lines().filter(|line| !line.starts_with("REMOTE_PORT=")).collect();
    let here = place.path().display();
    let expected = format!(
        "EXTRA=more\nGATEWAY_INTERFACE=CGI/1.1\nHTTP_COOKIE=a=b\nHTTP_HOST=Example.org:81\n\
         HTTP_X_OWN=1\nPATH=/usr/local/bin:/usr/bin:/bin\nPATH_INFO=/env\nPWD={here}\nQUERY_STRING=q=%20\n\
         REMOTE_ADDR=127.0.0.1\nREQUEST_METHOD=GET\nREQUEST_SCHEME=http\nREQUEST_URI=/cgi/env?q=%20\n\
         SCRIPT_FILENAME={here}/program\nSCRIPT_NAME=/cgi\nSERVER_NAME=example.org\nSERVER_PORT=81\n\
         SERVER_PROTOCOL=HTTP/1.1\nSERVER_SOFTWARE=paster/{}\n{here}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(lines.join("\n"), expected);
    let empty = "POST /cgi/env HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert!(connection.request(empty).1.starts_with("CONTENT_LENGTH=0\n"), "an empty body is one");
    assert_eq!(connection.get("/cgi/args").1, "a b c");
    assert_eq!(connection.get("/cgi/local").1, "a b c", "a local redirect");
    wait_until("its words are logged", || serving.stderr().contains("started"));
}

#[test]
fn answers_and_failures_have_their_status() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "middleware = [\"big\"]");
    let mut connection = Connection::open(serving.address());
    let (head, body) = connection.get("/cgi/status");
    assert!(head.starts_with("HTTP/1.1 404 ") && body == "nope", "{head}{body}");
    let (head, _) = connection.get("/cgi/moved");
    assert!(head.starts_with("HTTP/1.1 302 ") && head.contains("location: https://example.org/"), "{head}");
    for (path, words) in [("/nothing", "without a response"), ("/garbage", "is malformed")] {
        let (head, body) = connection.get(&format!("/cgi{path}"));
        assert!(head.starts_with("HTTP/1.1 502 ") && body.contains(words), "{head}{body}");
        assert!(body.contains("The upstream `cgi` failed"), "{body}");
    }
    let body = "x".repeat(2_000_000);
    let post = format!("POST /cgi/body HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(connection.request(&post).1.trim(), "2000000");
    // A program that does not read its body still responds.
    let post =
        format!("POST /cgi/status HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(Connection::open(serving.address()).request(&post).1, "nope");
    let chunked =
        "POST /cgi/body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(Connection::open(serving.address()).request(chunked).1.trim(), "3");
    no_children(&serving);
}

/// Waits until no worker has a child, alive or dead.
fn no_children(serving: &Serving) {
    wait_until("all programs are reaped", || {
        serving.children().into_iter().all(|worker| all_children(worker).is_empty())
    });
}

fn pid(place: &Path, name: &str) -> u32 {
    let path = place.join(name);
    let mut pid = None;
    wait_until("the program has told its number", || {
        pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

#[test]
fn a_client_that_goes_ends_the_program_with_all_that_it_started() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "");
    for (path, files) in
        [("/fork", &["lead.pid", "fork.pid"][..]), ("/stream", &["lead.pid"]), ("/ignore", &["lead.pid"])]
    {
        for file in files {
            let _ = std::fs::remove_file(place.path().join(file));
        }
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.write_all(format!("GET /cgi{path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let pids: Vec<_> = files.iter().map(|file| pid(place.path(), file)).collect();
        assert!(pids.iter().all(|pid| runs(*pid)), "{path}");
        drop(stream);
        wait_until("they have ended", || !pids.iter().any(|pid| runs(*pid)));
    }
    no_children(&serving);
}

#[test]
fn time_and_number_are_limited() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "time_limit_secs = 2\nmax_processes = 1\nqueue_secs = 1");
    let (head, body) = Connection::open(serving.address()).get("/cgi/fork");
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}{body}");
    let fork = pid(place.path(), "fork.pid");
    wait_until("it has ended", || !runs(fork));
    no_children(&serving);
    let address = serving.address().to_owned();
    let waiting = std::thread::spawn(move || Connection::open(&address).get("/cgi/wait"));
    wait_until("the program runs", || {
        serving.children().into_iter().any(|worker| !all_children(worker).is_empty())
    });
    let (head, body) = Connection::open(serving.address()).get("/cgi/args");
    assert!(
        head.starts_with("HTTP/1.1 503 ") && body.contains("its limit of requests in flight"),
        "{head}{body}"
    );
    std::fs::write(place.path().join("go"), "").unwrap();
    let (head, _) = waiting.join().unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 504 "), "{head}");
}

#[test]
fn the_time_limit_holds_whether_or_not_the_answer_is_read() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "time_limit_secs = 2\nmax_processes = 1");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        let request = format!("GET /cgi{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    // Whether a response, read to its end, claims to be complete.
    let whole = |mut stream: TcpStream| {
        let (mut tail, mut piece, begun) = (Vec::new(), vec![0; 1 << 16], Instant::now());
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            tail.extend_from_slice(&piece[..count]);
            tail.drain(..tail.len().saturating_sub(5));
            assert!(begun.elapsed() < patience(), "it goes on and on");
        }
        tail == b"0\r\n\r\n"
    };
    // It writes endlessly, to a client that reads everything.
    assert!(!whole(ask("/stream")));
    let lead = pid(place.path(), "lead.pid");
    wait_until("it has ended", || !runs(lead));
    // And to a client that reads nothing but stays connected.
    std::fs::remove_file(place.path().join("lead.pid")).unwrap();
    let idle = ask("/stream");
    let lead = pid(place.path(), "lead.pid");
    wait_until("it has ended too", || !runs(lead));
    assert_eq!(Connection::open(serving.address()).get("/cgi/args").1, "", "its place is free");
    assert!(!whole(idle));
    assert!(whole(ask("/args")), "another one is whole");
    no_children(&serving);
}

#[test]
fn a_program_whose_answer_has_no_body_does_its_work_to_the_end() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "");
    let (go, worked) = (place.path().join("go"), place.path().join("worked"));
    let check = |method: &str, path: &str, status: &str, length: Option<&str>| {
        let request = format!(
            "{method} /cgi/work/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        );
        let mut stream = TcpStream::connect(serving.address()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
        let found = answer.lines().find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(found, length, "{method} {path}: {answer}");
        // Its response is here, but the program still runs.
        assert!(!worked.exists(), "{method} {path}");
        std::fs::write(&go, "").unwrap();
        wait_until("the work is done", || worked.exists());
        assert_eq!(std::fs::read_to_string(&worked).unwrap().trim(), "3", "{method} {path}");
        std::fs::remove_file(&go).unwrap();
        std::fs::remove_file(&worked).unwrap();
    };
    check("POST", "204", "204", None);
    check("GET", "304", "304", None);
    check("POST", "local", "200", None);
    check("HEAD", "head", "200", Some("70000"));
    check("HEAD", "none", "200", Some("7"));
    check("HEAD", "plain", "200", None);
    no_children(&serving);
}

#[test]
fn large_answers_stream_in_little_memory() {
    let place = tempfile::tempdir().unwrap();
    let serving = serve(place.path(), "");
    get(&serving, "/cgi/args");
    let before = resident_kib(serving.pid());
    let mut stream = TcpStream::connect(serving.address()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.write_all(b"GET /cgi/large HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    let (mut total, mut most, mut piece) = (0, 0, vec![0; 1 << 20]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        total += count;
        most = most.max(resident_kib(serving.pid()));
    }
    assert!(total > 100 << 20, "{total}");
    assert!(most.saturating_sub(before) < 12 * 1024, "grew by {} KiB", most.saturating_sub(before));
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn git_clones_and_pushes() {
    let backend = Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let backend = format!("{}/git-http-backend", String::from_utf8(backend).unwrap().trim());
    let place = tempfile::tempdir().unwrap();
    let here = place.path();
    std::fs::create_dir(here.join("repositories")).unwrap();
    git(here, &["init", "--bare", "repositories/one.git"]);
    git(&here.join("repositories/one.git"), &["config", "http.receivepack", "true"]);
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"mount\"\n\
         routes = {{ \"/git\" = \"git\" }}\n[app.git]\nuse = \"cgi\"\nprogram = {backend:?}\nmiddleware = [\"big\"]\n\
         env = {{ GIT_PROJECT_ROOT = \"{0}/repositories\", GIT_HTTP_EXPORT_ALL = \"1\", HOME = \"{0}\" }}\n\
         [middleware.big]\nuse = \"body_limit\"\nmax_bytes = 100000000\n",
        here.display()
    );
    std::fs::write(here.join("server.toml"), config).unwrap();
    let serving = Serving::start(here, &[]);
    let url = format!("{}/git/one.git", serving.url());
    git(here, &["clone", &url, "work"]);
    let work = here.join("work");
    // More than git sends in one piece: it is chunked, without a length.
    let mut noise = vec![0; 5_000_000];
    let mut seed = 1u32;
    for byte in &mut noise {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        *byte = seed as u8;
    }
    std::fs::write(work.join("noise.bin"), &noise).unwrap();
    git(&work, &["add", "noise.bin"]);
    git(&work, &["commit", "-m", "noise"]);
    git(&work, &["push", "origin", "HEAD:main"]);
    git(here, &["clone", "-b", "main", &url, "again"]);
    assert_eq!(std::fs::read(here.join("again/noise.bin")).unwrap(), noise);
    no_children(&serving);
}

#[test]
fn wrong_options_are_named() {
    let place = tempfile::tempdir().unwrap();
    let check = |options: &str, words: &str| {
        let config = format!("[server.main]\nuse = \"http\"\n[app.main]\nuse = \"cgi\"\n{options}\n");
        std::fs::write(place.path().join("server.toml"), config).unwrap();
        let output = crate::support::paster().arg("check").current_dir(place.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(words), "{words}:\n{text}");
        assert_eq!(output.status.code(), Some(78));
    };
    std::fs::write(place.path().join("plain"), "").unwrap();
    check("program = \"missing\"", "cannot find the program");
    check("program = \"plain\"", "chmod +x");
    check("program = \".\"", "is not a file");
    check("program = \"plain\"\nenv = { \"a=b\" = \"c\" }", "`a=b` is not a variable name");
    check(
        "program = \"plain\"\nworking_dir = \"nowhere\"",
        "is not a directory, so the program cannot start in it",
    );
}
