//! Starts paster and its peers: configs and commands. All run in one directory.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::built;
use super::server::{Said, Server, Service, pinned};
use crate::setup::checked;

/// nginx: the response of the other servers.
pub(super) const HELLO: &str = "location / { return 200 \"Hello, world!\"; }";

/// A fixed response behind eight middlewares: the stack that `benches/peer/src/stack.rs` writes by hand.
const STACK: &str = "[app.main]\nuse = \"respond\"\nbody = \"Hello, world!\"\n\
     middleware = [\"request_id\", \"security_headers\", \"origins\", \"places\", \"body_limit\", \"timeout\", \"mark\", \"compress\"]\n\
     [middleware.origins]\nuse = \"cors\"\norigins = [\"https://app.example\"]\n\
     [middleware.places]\nuse = \"concurrency_limit\"\nmax_in_flight = 1000\n\
     [middleware.mark]\nuse = \"headers\"\nresponse.set = { x-served-by = \"bench\" }\n";

/// The application behind SCGI and FastCGI.
const WSGI: &str = "import sys\n\
     def application(environ, start_response):\n\
     \x20   start_response('200 OK', [('content-type', 'text/plain'), ('content-length', '13')])\n\
     \x20   return [b'Hello, world!']\n\
     if __name__ == '__main__':\n\
     \x20   kind, path = sys.argv[1:]\n\
     \x20   module = __import__('flup.server.' + {'scgi': 'scgi', 'fastcgi': 'fcgi'}[kind], fromlist=['WSGIServer'])\n\
     \x20   module.WSGIServer(application, bindAddress=path, maxThreads=64, minSpare=16, maxSpare=64).run()\n";

/// A directory with everything that the servers need.
pub(super) struct Bench {
    pub(super) folder: PathBuf,
}

/// Writes files, configs and a certificate.
pub(super) fn prepare(folder: &Path) -> Result<Bench> {
    let public = folder.join("public");
    std::fs::create_dir_all(&public)?;
    let bench = Bench { folder: folder.to_owned() };
    let noise = |length: usize| -> Vec<u8> {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(length)
        .collect()
    };
    std::fs::write(public.join("10k.bin"), noise(10 * 1024))?;
    std::fs::write(public.join("1m.bin"), noise(1024 * 1024))?;
    std::fs::write(folder.join("app.py"), WSGI)?;
    if !folder.join("cert.pem").exists() {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args([
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
        ]);
        openssl.args(["-days", "3650", "-keyout", "key.pem", "-out", "cert.pem"]);
        checked(openssl.stderr(std::process::Stdio::null()))?;
    }
    let tls = "[server.main.tls]\ncertificates = [{ certificate_file = 'cert.pem', key_file = 'key.pem' }]\n";
    let respond = "[app.main]\nuse = \"respond\"\nbody = \"Hello, world!\"\n";
    let log = "middleware = [\"log\"]\n[middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\n";
    let library = built("libhello.so");
    let plugin = format!("[app.main]\nuse = \"plugin\"\nlibrary = '{}'\n", library.display());
    let files = "[app.main]\nuse = \"static\"\npublish_dir = \"public\"\n";
    bench.config("respond", "http", "127.0.0.1:0", respond)?;
    bench.config("respond-log", "http", "127.0.0.1:0", &format!("{respond}{log}"))?;
    bench.config("stack", "http", "127.0.0.1:0", STACK)?;
    bench.config("plugin", "http", "127.0.0.1:0", &plugin)?;
    bench.config("static", "http", "127.0.0.1:0", files)?;
    bench.config("static-tls", "http", "127.0.0.1:0", &format!("{tls}{files}"))?;
    for kind in ["scgi", "fastcgi"] {
        let listen = format!("unix:{}", folder.join(format!("paster-{kind}.sock")).display());
        bench.config(kind, kind, &listen, respond)?;
    }
    for log in ["access.log", "access-nginx.log"] {
        std::fs::write(folder.join(log), "")?;
    }
    Ok(bench)
}

impl Bench {
    pub(super) fn config(&self, name: &str, server: &str, listen: &str, rest: &str) -> Result<()> {
        let text = format!("[server.main]\nuse = \"{server}\"\nlisten = ['{listen}']\n\n{rest}");
        Ok(std::fs::write(self.folder.join(format!("{name}.toml")), text)?)
    }

    pub(super) fn command(&self, core: usize, program: impl AsRef<Path>) -> Command {
        let mut command = pinned(core, program.as_ref());
        command.current_dir(&self.folder).env("HOME", &self.folder);
        command
    }

    /// paster with this config.
    pub(super) fn paster(&self, name: &str) -> Result<Service> {
        self.serve(self.command(0, built("paster")), name)
    }

    /// The same, by this command.
    pub(super) fn serve(&self, mut command: Command, name: &str) -> Result<Service> {
        command.args(["serve", "--json", &format!("{name}.toml")]).stderr(std::process::Stdio::null());
        let server = Server::until(command, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            match event["event"].as_str()? {
                "listening" => Some(Said::Url(event["url"].as_str()?.trim_end_matches('/').to_owned())),
                "ready" => Some(Said::Ready),
                _ => None,
            }
        })?;
        Ok(Service::of(server))
    }

    /// paster with one app of this kind.
    pub(super) fn paster_to(&self, kind: &str, options: &str) -> Result<Service> {
        self.config(kind, "http", "127.0.0.1:0", &format!("[app.main]\nuse = \"{kind}\"\n{options}\n"))?;
        self.paster(kind)
    }

    /// `bench-peer`.
    pub(super) fn peer(&self, name: &str) -> Result<Service> {
        Ok(Service::of(self.peer_on(0, name)?))
    }

    fn peer_on(&self, core: usize, name: &str) -> Result<Server> {
        let mut command = self.command(core, built("bench-peer"));
        command.arg(name);
        Server::until(command, |line| {
            Some(Said::Both(format!("http://{}", line.strip_prefix("listening ")?)))
        })
    }

    /// nginx with these lines, these parameters of its `listen`, and this content of its server block.
    pub(super) fn nginx(&self, lines: &str, listen: &str, server: &str) -> Result<Service> {
        let port = free_port()?;
        let here = self.folder.display();
        let log = if lines.contains("access_log") { "" } else { "access_log off;" };
        let text = format!(
            "worker_processes 1; daemon off; pid {here}/nginx.pid; error_log stderr; user root;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ {log} sendfile on; tcp_nopush on; keepalive_requests 1000000; http2_max_requests 100000000;\n\
             open_file_cache max=100; client_body_temp_path {here}/b; proxy_temp_path {here}/p;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n{lines}\n\
             server {{ listen 127.0.0.1:{port} {listen}; {server} }} }}\n"
        );
        std::fs::write(self.folder.join("nginx.conf"), text)?;
        let mut command = self.command(0, "nginx");
        command.args(["-e", "stderr", "-p"]).arg(&self.folder).args(["-c", "nginx.conf"]);
        let scheme = if listen == "ssl" { "https" } else { "http" };
        on_port(&mut command, scheme, port)
    }

    /// Caddy with these global options, this scheme, and this content of its site block.
    pub(super) fn caddy(&self, global: &str, scheme: &str, site: &str) -> Result<Service> {
        let port = free_port()?;
        let text = format!(
            "{{\n auto_https off\n admin off\n {global}\n}}\n{scheme}://127.0.0.1:{port} {{\n bind 127.0.0.1\n {site}\n}}\n"
        );
        std::fs::write(self.folder.join("Caddyfile"), text)?;
        let mut command = self.command(0, "caddy");
        command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]).env("GOMAXPROCS", "1");
        on_port(&mut command, scheme, port)
    }

    /// A proxy in front of raw hyper, which is not measured.
    pub(super) fn proxy(&self, front: impl Fn(&Bench, &str) -> Result<Service>) -> Result<Service> {
        let back = self.peer_on(1, "raw")?;
        let mut service = front(self, &back.url)?;
        service.others.push(back);
        Ok(service)
    }

    /// nginx in front of a backend that speaks `scgi` or `fastcgi` on a Unix socket; both are measured.
    pub(super) fn behind_nginx(
        &self,
        kind: &str,
        backend: impl Fn(&Bench, &str) -> Result<(Server, PathBuf)>,
    ) -> Result<Service> {
        let (backend, socket) = backend(self, kind)?;
        let pass = format!("{kind}_pass unix:{};", socket.display());
        let location = format!("location / {{ include /etc/nginx/{kind}_params; {pass} }}");
        let mut service = self.nginx("", "", &location)?;
        service.measured.push(backend);
        Ok(service)
    }

    pub(super) fn paster_gateway(&self, kind: &str) -> Result<(Server, PathBuf)> {
        let mut service = self.paster(kind)?;
        let server = service.measured.remove(0);
        Ok((server, self.folder.join(format!("paster-{kind}.sock"))))
    }

    pub(super) fn uwsgi(&self, kind: &str) -> Result<(Server, PathBuf)> {
        let socket = self.socket(&format!("uwsgi-{kind}.sock"));
        let mut command = self.command(0, "uwsgi");
        command.args([
            "--plugin",
            "python3",
            "--wsgi-file",
            "app.py",
            "--disable-logging",
            "--listen",
            "100",
        ]);
        command.arg(format!("--{kind}-socket")).arg(&socket);
        Ok((Server::at(&mut command, String::new(), || UnixStream::connect(&socket).is_ok())?, socket))
    }

    /// flup, the server that users of Paste had, in a virtual environment.
    pub(super) fn flup(&self, kind: &str) -> Result<(Server, PathBuf)> {
        let venv = self.folder.join("venv");
        let python = venv.join("bin/python");
        if !python.exists() {
            checked(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        if checked(Command::new(&python).args(["-c", "import flup"]).stderr(std::process::Stdio::null()))
            .is_err()
        {
            checked(Command::new(&python).args(["-m", "pip", "install", "--quiet", "flup"]))?;
        }
        let socket = self.socket(&format!("flup-{kind}.sock"));
        let mut command = self.command(0, python);
        command.args(["app.py", kind]).arg(&socket);
        Ok((Server::at(&mut command, String::new(), || UnixStream::connect(&socket).is_ok())?, socket))
    }

    /// The path of a socket, where nothing exists.
    fn socket(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        let _ = std::fs::remove_file(&path);
        path
    }
}

/// nginx as a proxy with keep-alive connections to the upstream.
pub(super) fn nginx_proxy(bench: &Bench, back: &str) -> Result<Service> {
    let upstream =
        format!("upstream back {{ server {}; keepalive 64; }}", back.trim_start_matches("http://"));
    let pass = "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';";
    bench.nginx(&upstream, "", &format!("location / {{ {pass} }}"))
}

pub(super) fn on_port(command: &mut Command, scheme: &str, port: u16) -> Result<Service> {
    let url = format!("{scheme}://127.0.0.1:{port}");
    let server = Server::at(command, url, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(Service::of(server))
}

pub(super) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
