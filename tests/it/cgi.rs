//! The `cgi` server: the real program with a request in its environment.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{folder, paster, plugin};

const HELLO: &str = r#"
[server.main]
use = "cgi"
[app.main]
use = "respond"
headers = { x-a = "1" }
body = "hello"
middleware = ["access_log"]
"#;

/// Runs `command` with a request in its environment, and `body` on its standard input.
fn run(mut command: Command, variables: &[(&str, &str)], body: &[u8]) -> Output {
    command.env("GATEWAY_INTERFACE", "CGI/1.1").env("SERVER_PROTOCOL", "HTTP/1.1");
    command.env("REQUEST_METHOD", "GET").env("HTTP_HOST", "a.example").envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = body.to_vec();
    // It may end without reading.
    let writer = std::thread::spawn(move || drop(input.write_all(&body)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn serve(folder: &Path) -> Command {
    let mut command = paster();
    command.args(["serve", "server.toml"]).current_dir(folder);
    command
}

fn text(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn one_request() {
    let folder = folder(&[("server.toml", HELLO)]);
    let (out, log, code) = text(&run(serve(folder.path()), &[("REQUEST_URI", "/")], b""));
    assert_eq!(
        (&*out, code),
        ("Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nx-a: 1\r\n\r\nhello", Some(0)),
        "{log}"
    );
    let head = [("REQUEST_URI", "/"), ("REQUEST_METHOD", "HEAD")];
    let (out, ..) = text(&run(serve(folder.path()), &head, b""));
    assert_eq!(
        out,
        "Status: 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n"
    );
    // The gate checks requests here too.
    for (name, value) in [("REQUEST_URI", "/../x"), ("HTTP_HOST", "a/b"), ("CONTENT_LENGTH", "x")] {
        let (out, ..) = text(&run(serve(folder.path()), &[("REQUEST_URI", "/"), (name, value)], b""));
        assert!(out.starts_with("Status: 400 "), "{name}: {out}");
    }
}

/// `SCRIPT_NAME` is the program, and the rest of the path is the request.
#[test]
fn what_the_app_is_told() {
    let config = format!(
        "[server.main]\nuse = \"cgi\"\nremote_user = true\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("faulty")
    );
    let folder = folder(&[("server.toml", &config)]);
    let about = [
        ("REQUEST_URI", "/cgi-bin/server.toml/environ?q=1"),
        ("SCRIPT_NAME", "/cgi-bin/server.toml"),
        ("PATH_INFO", "/environ"),
        ("QUERY_STRING", "q=1"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("HTTPS", "on"),
        ("HTTP_PROXY", "http://evil.example"),
    ];
    let (out, log, code) = text(&run(serve(folder.path()), &about, b""));
    assert!(out.starts_with("Status: 200 "), "{out}{log}");
    for part in ["/cgi-bin/server.toml", "192.0.2.7", "a.example", "true"] {
        assert!(out.contains(part), "no {part}: {out}");
    }
    assert!(!out.contains("evil"), "{out}");
    assert_eq!(code, Some(0));
}

/// A private copy of the library per request would cost more than the request.
#[test]
fn a_plugin_is_loaded_from_where_it_lies() {
    let config = format!(
        "[server.main]\nuse = \"cgi\"\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("hello")
    );
    let folder = folder(&[("server.toml", &config)]);
    let mut command = serve(folder.path());
    command.env("TMPDIR", folder.path().join("nowhere"));
    let (out, log, code) = text(&run(command, &[("REQUEST_URI", "/")], b""));
    assert!(out.starts_with("Status: 200 ") && code == Some(0), "{out}{log}");
    // A file that is not a library is reported as everywhere, with its place.
    std::fs::write(folder.path().join("cut.so"), b"\x7fELF").unwrap();
    std::fs::write(
        folder.path().join("server.toml"),
        config.replace(plugin("hello").to_str().unwrap(), "cut.so"),
    )
    .unwrap();
    let (out, log, code) = text(&run(serve(folder.path()), &[("REQUEST_URI", "/")], b""));
    assert_eq!((&*out, code), ("", Some(1)), "{log}");
    assert!(log.contains("the library is truncated") && log.contains("server.toml:5"), "{log}");
}

#[test]
fn bodies() {
    let config = format!(
        "[server.main]\nuse = \"cgi\"\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"big\"]\n\
         [middleware.big]\nuse = \"body_limit\"\nmax_bytes = 100_000_000\n",
        plugin("hello")
    );
    let folder = folder(&[("server.toml", &config)]);
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let length = body.len().to_string();
    let post = [("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/echo")];
    let output = run(serve(folder.path()), &[&post[..], &[("CONTENT_LENGTH", &length)]].concat(), &body);
    assert!(output.stdout.ends_with(&body), "{}", String::from_utf8_lossy(&output.stderr));
    // Apache sends no length for a chunked body.
    let output =
        run(serve(folder.path()), &[&post[..], &[("HTTP_TRANSFER_ENCODING", "chunked")]].concat(), &body);
    assert!(output.stdout.ends_with(&body), "{}", String::from_utf8_lossy(&output.stderr));
    // Only the announced length is read, and less is an error.
    let output = run(serve(folder.path()), &[&post[..], &[("CONTENT_LENGTH", "4")]].concat(), b"abcdef");
    assert!(output.stdout.ends_with(b"\r\n\r\nabcd"), "{}", String::from_utf8_lossy(&output.stdout));
    let output = run(serve(folder.path()), &[&post[..], &[("CONTENT_LENGTH", "9")]].concat(), b"abcdef");
    // It was passed on as it came. The announced length and the exit code show the failure.
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stdout.ends_with(b"content-length: 9\r\n\r\nabcdef"),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// `#!/usr/bin/env -S paster serve` as a config's first line. A query without `=` adds no arguments.
#[test]
fn a_config_that_runs() {
    let folder = folder(&[("server.toml", &format!("#!/usr/bin/env -S paster serve\n{HELLO}"))]);
    let config = folder.path().join("server.toml");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run_with = |words: &[&str], variables: &[(&str, &str)]| {
        let bin = Path::new(env!("CARGO_BIN_EXE_paster")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(&config);
        command.args(words).env_clear().env("PATH", path).current_dir(folder.path());
        text(&run(command, &[&[("REQUEST_URI", "/")], variables].concat(), b""))
    };
    let (out, log, _) = run_with(&[], &[]);
    assert!(out.ends_with("hello"), "{log}");
    let evil = "-Dapp.main.body='evil'";
    let (out, log, _) = run_with(&[evil], &[("QUERY_STRING", "-Dapp.main.body%3d'evil'")]);
    assert!(out.ends_with("hello"), "{out}{log}");
}

#[test]
fn what_goes_wrong() {
    // Started manually, without a request.
    let files = folder(&[("server.toml", HELLO)]);
    let output = serve(files.path()).stdin(Stdio::null()).output().unwrap();
    let (out, log, code) = text(&output);
    assert_eq!((&*out, code), ("", Some(2)));
    assert!(log.contains("`REQUEST_METHOD` is not set") && log.contains("run"), "{log}");
    // Beside another server.
    let two = folder(&[("server.toml", &format!("{HELLO}\n[server.other]\nuse = \"http\"\n"))]);
    let (out, log, code) = text(&run(serve(two.path()), &[("REQUEST_URI", "/")], b""));
    assert_eq!((&*out, code), ("", Some(2)), "{log}");
    assert!(log.contains("--server NAME"), "{log}");
    let mut one = serve(two.path());
    one.env_remove("GATEWAY_INTERFACE").args(["--server", "main"]);
    one.env("REQUEST_METHOD", "GET").env("REQUEST_URI", "/").env("HTTP_HOST", "a");
    let (out, log, _) = text(&one.stdin(Stdio::null()).output().unwrap());
    assert!(out.ends_with("hello"), "{log}");
    // An error in the config is in the web server's log.
    let bad = folder(&[(
        "server.toml",
        "[server.main]\nuse = \"cgi\"\nhosts = [\"a/b\"]\n[app.main]\nuse = \"respond\"\n",
    )]);
    let (out, log, code) = text(&run(serve(bad.path()), &[("REQUEST_URI", "/")], b""));
    assert_eq!((&*out, code), ("", Some(78)), "{log}");
    assert!(log.contains("`a/b` is not a host") && log.contains("server.toml:3"), "{log}");
    // An app that fails: a response, and a message for the process that started us.
    let failing = format!(
        "[server.main]\nuse = \"cgi\"\n[app.main]\nuse = \"plugin\"\nlibrary = {:?}\n",
        plugin("faulty")
    );
    let failing = folder(&[("server.toml", &failing)]);
    let (out, log, code) = text(&run(serve(failing.path()), &[("REQUEST_URI", "/panic")], b""));
    assert!(out.starts_with("Status: 500 "), "{out}{log}");
    assert_eq!(code, Some(1), "{log}");
}
