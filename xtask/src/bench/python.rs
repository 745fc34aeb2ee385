//! Python applications on paster, in both of its modes, and on the servers that people use for them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::load::Load;
use super::peers::{Bench, free_port, on_port};
use super::server::{Server, Service};
use super::{Case, Start, built};
use crate::cargo;
use crate::setup::checked;

/// The peers, and the frameworks of the applications.
const PACKAGES: &[&str] =
    &["granian", "gunicorn", "waitress", "pyuwsgi", "uvicorn[standard]", "a2wsgi", "flask", "fastapi"];

/// The applications.
const APPLICATION: &str = r#"
from flask import Flask, request, jsonify

TEXT = [("Content-Type", "text/plain")]
LARGE = b"x" * 65536


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/upload":
        body = str(len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))).encode()
    else:
        body = LARGE if path == "/large" else b"Hello, world!"
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


flask = Flask(__name__)


@flask.get("/")
def hello():
    return "Hello, world!"


@flask.get("/json")
def items():
    return jsonify({"items": [{"id": number, "name": f"item {number}"} for number in range(10)]})
"#;

const ASGI: &str = r#"
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


@app.get("/")
async def hello():
    return {"hello": "world"}


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
"#;

macro_rules! wsgi {
    ($application:literal) => {
        &[
            ("paster, embedded", |b| b.python_on_paster("wsgi", $application, "embedded", false)),
            ("paster, process", |b| b.python_on_paster("wsgi", $application, "process", false)),
            ("paster, process, log", |b| b.python_on_paster("wsgi", $application, "process", true)),
            ("Granian", |b| b.granian("wsgi", $application)),
            ("gunicorn gthread", |b| b.gunicorn($application)),
            ("uWSGI", |b| b.uwsgi_http($application)),
            ("nginx, Granian", |b| b.python_behind_nginx(|b| b.granian("wsgi", $application))),
            ("nginx, gunicorn", |b| b.python_behind_nginx(|b| b.gunicorn($application))),
        ]
    };
}

const ASGI_SERVERS: &[(&str, Start)] = &[
    ("paster, embedded", |b| b.python_on_paster("asgi", "asgi:app", "embedded", false)),
    ("paster, process", |b| b.python_on_paster("asgi", "asgi:app", "process", false)),
    ("paster, process, log", |b| b.python_on_paster("asgi", "asgi:app", "process", true)),
    ("Granian", |b| b.granian("asgi", "asgi:app")),
    ("uvicorn", Bench::uvicorn),
    ("nginx, Granian", |b| b.python_behind_nginx(|b| b.granian("asgi", "asgi:app"))),
];

const HTTP1: Load = Load::Http1 { connections: 64 };

pub(super) const CASES: &[Case] = &[
    Case { name: "python-hello", path: "/", load: HTTP1, contenders: wsgi!("wsgi:wsgi") },
    Case { name: "python-64k", path: "/large", load: HTTP1, contenders: wsgi!("wsgi:wsgi") },
    Case { name: "python-upload-64k", path: "/upload", load: Load::Upload, contenders: wsgi!("wsgi:wsgi") },
    Case { name: "python-flask", path: "/", load: HTTP1, contenders: wsgi!("wsgi:flask") },
    Case { name: "python-flask-json", path: "/json", load: HTTP1, contenders: wsgi!("wsgi:flask") },
    Case { name: "python-fastapi", path: "/", load: HTTP1, contenders: ASGI_SERVERS },
    Case { name: "python-websocket", path: "/echo", load: Load::WebSocket, contenders: ASGI_SERVERS },
];

/// Prints how many rules of PEP 3333 paster and its peers keep: the checks of `tests/it/python/conformance.rs`.
pub(super) fn conformance(bench: &Bench) -> Result<bool> {
    let venv = bench.python()?;
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "-p", "paster", "--test", "it", "--", "--ignored"]);
    cargo.args(["--nocapture", "pep_3333_on_other_servers"]).env("PASTER_TEST_PEERS", &venv);
    cargo.env("PASTER_TEST_PYTHON", venv.join("bin/python")).env("PASTER_TEST_PATIENCE_SECS", "10");
    checked(&mut cargo).map(|()| true)
}

impl Bench {
    /// An environment with the peers, and the applications beside it.
    fn python(&self) -> Result<PathBuf> {
        let venv = self.folder.join("python");
        let stamp = venv.join("installed.txt");
        let wanted = PACKAGES.join("\n");
        if !std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            checked(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
            let mut pip = Command::new(venv.join("bin/python"));
            checked(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
            std::fs::write(stamp, wanted)?;
        }
        std::fs::write(self.folder.join("wsgi.py"), APPLICATION)?;
        std::fs::write(self.folder.join("asgi.py"), ASGI)?;
        let script = "wrk.method = 'POST'\nwrk.body = string.rep('x', 65536)\n";
        std::fs::write(self.folder.join("upload.lua"), script)?;
        Ok(venv)
    }

    fn python_program(&self, name: &str) -> Result<Command> {
        let program = self.python()?.join("bin").join(name);
        ensure!(program.exists(), "`{name}` is not installed");
        Ok(self.command(0, program))
    }

    /// paster, installed with its Python library.
    fn python_on_paster(&self, kind: &str, application: &str, mode: &str, log: bool) -> Result<Service> {
        let venv = self.python()?;
        let prefix = self.folder.join("prefix");
        for folder in ["bin", "lib/paster"] {
            std::fs::create_dir_all(prefix.join(folder))?;
        }
        let program = prefix.join("bin/paster");
        for (from, to) in [
            (built("paster"), program.clone()),
            (built("libpaster_python.so"), prefix.join("lib/paster/libpaster_python.so")),
        ] {
            let _ = std::fs::remove_file(&to); // it may run
            std::fs::copy(from, to)?;
        }
        let name = format!("{kind}-{mode}-{log}-{}", application.replace(':', "-"));
        let access = "middleware = ['log']\n[middleware.log]\nuse = 'access_log'\nfile = 'access.log'\n";
        let access = if log { access } else { "" };
        let app = format!(
            "[app.main]\nuse = '{kind}'\napplication = '{application}'\nmode = '{mode}'\npython = '{}'\n{access}",
            venv.display()
        );
        self.config(&name, "http", "127.0.0.1:0", &app)?;
        let mut command = self.command(0, program);
        command.env("PASTER_CHECKOUT", "");
        self.serve(command, &name)
    }

    fn granian(&self, interface: &str, application: &str) -> Result<Service> {
        let port = free_port()?;
        let mut command = self.python_program("granian")?;
        command.args(["--interface", interface, "--host", "127.0.0.1", "--port", &port.to_string()]);
        if interface == "wsgi" {
            command.args(["--blocking-threads", "4"]);
        }
        on_port(command.args(["--workers", "1", application]), "http", port)
    }

    fn gunicorn(&self, application: &str) -> Result<Service> {
        let port = free_port()?;
        let mut command = self.python_program("gunicorn")?;
        command.args(["-k", "gthread", "-w", "1", "--threads", "4", "-b", &format!("127.0.0.1:{port}")]);
        on_port(command.arg(application), "http", port)
    }

    fn uwsgi_http(&self, application: &str) -> Result<Service> {
        let port = free_port()?;
        let mut command = self.python_program("pyuwsgi")?;
        command.args(["--http11-socket", &format!("127.0.0.1:{port}"), "--threads", "4", "--master"]);
        command.args(["--disable-logging", "--listen", "100", "--wsgi", application]);
        on_port(&mut command, "http", port)
    }

    fn uvicorn(&self) -> Result<Service> {
        let port = free_port()?;
        let mut command = self.python_program("uvicorn")?;
        on_port(command.args(["--no-access-log", "--port", &port.to_string(), "asgi:app"]), "http", port)
    }

    /// nginx with an access log in front of a server; both are measured.
    fn python_behind_nginx(&self, back: impl Fn(&Bench) -> Result<Service>) -> Result<Service> {
        let mut back = back(self)?;
        let server: Server = back.measured.remove(0);
        let lines = format!(
            "access_log access-nginx.log; map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             upstream back {{ server {}; keepalive 64; }}",
            server.url.trim_start_matches("http://")
        );
        let pass = "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                    proxy_set_header Connection $connection_upgrade;";
        let mut service = self.nginx(&lines, "", &format!("location / {{ {pass} }}"))?;
        service.measured.push(server);
        Ok(service)
    }
}

/// What wrk sends for an upload.
pub(super) fn upload_script(folder: &Path) -> PathBuf {
    folder.join("upload.lua")
}
