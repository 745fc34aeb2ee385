//! Servers in other languages, and protocols other than HTTP/1.1.

use std::process::Command;

use super::program;
use crate::support::{Connection, Serving, folder, get, text, wait_until};

/// Serves what `app` says, looks at a request and its forwarded fields, and reloads.
fn check(files: &[(&str, &str)], app: &str) {
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"program\"\n{app}\n"
    );
    let folder = folder(&[files, &[("server.toml", &config)]].concat());
    let mut serving = Serving::start(folder.path(), &[]);
    let before = get(&serving, "/somewhere?a=b");
    assert!(before.contains("/somewhere?a=b") && before.contains("127.0.0.1"), "{before}");
    let (head, body) = Connection::open(serving.address())
        .request("POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\n\r\nhello");
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("hello"), "{head}{body}");
    serving.signal("HUP");
    serving.wait_for("reloaded");
    let pid = |answer: &str| answer.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().to_owned();
    let after = get(&serving, "/somewhere?a=b");
    assert_ne!(pid(&after), pid(&before));
    wait_until("the old one ends", || !crate::support::runs(pid(&before).parse().unwrap()));
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn rack_by_puma() {
    if program("puma").is_none() {
        return;
    }
    let rack = "run lambda { |env|\n  text = \"pid #{Process.pid}\\n#{env['PATH_INFO']}?#{env['QUERY_STRING']}\\n\" +\n    \
                \"#{env['HTTP_X_FORWARDED_FOR']}\\n#{env['rack.input'].read}\"\n  [200, {'Content-Type' => 'text/plain'}, [text]]\n}\n";
    check(
        &[("config.ru", rack)],
        "command = \"puma --silent --bind tcp://{host}:{port} config.ru\"\nready = \"/\"",
    );
    check(
        &[("config.ru", rack)],
        "command = \"puma --silent --bind unix://{socket} config.ru\"\naddress = \"socket\"",
    );
}

#[test]
fn a_program_in_go() {
    if program("go").is_none() {
        return;
    }
    let code = r#"package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "pid %d\n%s\n%s\n%s", os.Getpid(), r.RequestURI, r.Header.Get("X-Forwarded-For"), body)
	})
	if err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
"#;
    let built = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(built.path().join("main.go"), code).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o", "server", "main.go"]).current_dir(built.path());
    build.env("GO111MODULE", "off").env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache"));
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&[], &format!("command = [{:?}]", built.path().join("server")));
}

#[test]
fn a_python_server_with_an_inherited_socket() {
    if program("python3").is_none() {
        return;
    }
    let code = r#"import http.server, os, socket, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        text = f"pid {os.getpid()}\n{self.path}\n{self.headers.get('X-Forwarded-For')}\n{body}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_HEAD = do_GET

    def address_string(self):
        return "paster"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    def __init__(self):
        super().__init__("", Handler, bind_and_activate=False)
        assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
        self.socket = socket.socket(fileno=3)

Server().serve_forever()
"#;
    check(&[("server.py", code)], "command = [\"python3\", \"server.py\"]\naddress = \"descriptor\"");
}

#[test]
fn programs_speak_other_protocols() {
    let paster = env!("CARGO_BIN_EXE_paster");
    let inner = |server: &str| {
        format!(
            "[server.main]\nuse = \"{server}\"\nlisten = [\"unix:${{env:SOCKET}}\"]\n[app.main]\nuse = \"respond\"\nbody = \"from {server}\"\n"
        )
    };
    for (server, protocol) in [("fastcgi", "fastcgi"), ("scgi", "scgi"), ("http", "h2c"), ("http", "http")] {
        let inner = inner(server);
        let config = format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[app.main]\nuse = \"program\"\nprotocol = \"{protocol}\"\n\
             address = \"socket\"\ncommand = [{paster:?}, \"serve\", \"inner.toml\"]\n{}\n",
            if server == "http" { "ready = \"/\"" } else { "" }
        );
        let folder = folder(&[("server.toml", &config), ("inner.toml", &inner)]);
        let mut serving = Serving::start(folder.path(), &["server.toml"]);
        assert_eq!(get(&serving, "/").trim(), format!("from {server}"), "{protocol}");
        assert_eq!(serving.stop(), Some(0));
    }
}
