//! Every filter and application of Paste has a part of paster that replaces it: `examples/from-paste` as a
//! visitor sees it, and the table of `docs/middleware.md` that names them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use sha2::Digest;

use crate::support::{Serving, paster, root, text, wait_until};

/// The example, with a supervisor's socket of its own and a server behind `/proxy`.
struct Site {
    serving: Serving,
    _upstream: Serving,
    control: tempfile::TempDir,
    client: Client,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl Site {
    fn start(arguments: &[&str]) -> Site {
        let port = ["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]"];
        let upstream = Serving::start(&root().join("examples/static"), &port);
        let to = format!("app.elsewhere.upstreams=[\"{}\"]", upstream.url());
        let control = tempfile::tempdir().unwrap();
        let socket = format!("process.control={:?}", control.path().join("control"));
        let own = ["-D", &to, "-D", &socket];
        let serving =
            Serving::start(&root().join("examples/from-paste"), &[&port, &own[..], arguments].concat());
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Site { serving, _upstream: upstream, control, client, cookies: RefCell::default() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.serving.url())
    }

    /// Sends a request with the cookies of the earlier responses, as a browser does.
    async fn send(&self, request: RequestBuilder) -> Response {
        let cookies: Vec<_> =
            self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
        }
        response
    }

    async fn get(&self, path: &str) -> Response {
        self.send(self.client.get(self.url(path))).await
    }

    /// GET with the name and password of the example.
    async fn get_with_password(&self, path: &str) -> String {
        shown(self.send(self.client.get(self.url(path)).basic_auth("demo", Some("demo"))).await).await
    }

    /// The response to GET, as `200 text`.
    async fn shown(&self, path: &str) -> String {
        shown(self.get(path).await).await
    }
}

async fn shown(response: Response) -> String {
    format!("{} {}", response.status().as_u16(), response.text().await.unwrap())
}

/// Names of the first column of the table for Paste, except those without an equivalent.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/middleware.md")).unwrap();
    let table = page.split("| Paste | paster |\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().skip(1).filter(|row| !row.contains("no equivalent"));
    let names = |row: &str| {
        let first = row.split('|').nth(1).unwrap().to_owned();
        first.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    };
    rows.flat_map(names).collect()
}

/// What a plain GET shows: the names of Paste, the path, and how the response begins.
const PLAIN: &[(&str, &str, &str)] = &[
    ("errordocument recursive", "/absent", "404 There is no /absent here"),
    ("config", "/config", "200 Hello from the config"),
    ("session", "/session", "200 visit 1"),
    ("session", "/session", "200 visit 2"),
    ("grantip", "/network", "200 local by IP"),
    ("openid auth.cas", "/sso", "200 demo by Forward"),
    ("prefix", "/prefix", "200 /shop/prefix"),
    ("urlmap static", "/static/a.txt", "200 A file"),
    ("cascade", "/cascade/a.txt", "200 A file"),
    ("cascade", "/cascade/absent.txt", "200 A fixed response"),
    ("cgi", "/cgi", "200 A script at /cgi"),
    ("test test_slow", "/test", "200 A fixed response"),
    ("printdebug", "/print_debug", "200 "),
    ("profile", "/debug/profile?secs=1", "200 <svg "),
    ("profile", "/debug/profile?app=pages&secs=1", "200 <svg "),
];

#[tokio::test]
async fn each_part_of_paste_has_a_successor_that_works() {
    let site = Site::start(&[]);
    let mut tried = BTreeSet::new();
    for (names, path, expected) in PLAIN {
        tried.extend(names.split(' ').map(str::to_owned));
        let response = site.shown(path).await;
        assert!(response.starts_with(expected), "{names}: {response}");
    }
    let mut tries = |names: &[&str]| tried.extend(names.iter().map(|name| (*name).to_owned()));

    tries(&["proxy"]);
    assert!(site.shown("/proxy/").await.contains("<h1>A directory on the web</h1>"));
    tries(&["httpexceptions"]);
    assert_eq!(site.shown("/forbidden").await, "403 403 Forbidden\n");
    tries(&["gzip"]);
    let long = site.client.get(site.url("/long")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(long.headers()["content-encoding"], "gzip");
    tries(&["wdg_validate"]);
    assert_eq!(site.get("/html").await.headers()["x-html-errors"], "1");
    tries(&["lint", "translogger"]);
    assert_eq!(site.get("/wrong").await.status(), 200);
    wait_until("the access log and the violation", || {
        let log = site.serving.stderr();
        log.contains("\"GET /wrong HTTP/1.1\" 200") && log.contains("no `content-type`")
    });

    tries(&["auth_basic", "auth.multi"]);
    assert_eq!(site.get("/basic").await.status(), 401);
    assert_eq!(site.get_with_password("/basic").await, "200 demo by Basic");
    tries(&["auth_digest"]);
    assert_eq!(site.shown_with_digest("/digest").await, "200 demo by Digest");
    tries(&["auth.form"]);
    let asked = site.client.get(site.url("/form/page")).header("accept", "text/html").send().await.unwrap();
    assert_eq!(asked.status(), 303);
    let fields = "user=demo&password=demo&next=/form/page";
    let login = site.client.post(site.url("/form/login")).body(fields);
    let login = site.send(login.header("content-type", "application/x-www-form-urlencoded")).await;
    assert_eq!(login.headers()["location"], "/form/page");
    assert_eq!(site.shown("/form/page").await, "200 demo by Form");
    tries(&["auth.cookie", "auth.auth_tkt"]);
    assert_eq!(site.shown("/ticket").await, "200 nobody by nothing");
    assert_eq!(site.get_with_password("/ticket/login").await, "200 demo by Basic");
    assert_eq!(site.shown("/ticket").await, "200 demo by Ticket");

    tries(&["progress", "watch_threads"]);
    site.an_upload_is_followed().await;
    // Python's errors have a test of their own.
    tries(&["error_catcher", "cgitb", "evalerror"]);
    assert_eq!(tried, documented());
}

impl Site {
    /// Logs in as RFC 7616 says.
    async fn shown_with_digest(&self, path: &str) -> String {
        let refused = self.get(path).await;
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let value =
            |name: &str| challenge.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
        let hash = |text: String| {
            sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let secret = hash("demo:restricted:demo".to_owned());
        let request = hash(format!("GET:{path}"));
        let response = hash(format!("{secret}:{}:00000001:abc:auth:{request}", value("nonce")));
        let opaque = challenge.contains("opaque=").then(|| format!(", opaque=\"{}\"", value("opaque")));
        let field = format!(
            "Digest username=\"demo\", realm=\"restricted\", nonce=\"{}\", uri=\"{path}\", algorithm=SHA-256, \
             qop=auth, nc=00000001, cnonce=\"abc\", response=\"{response}\"{}",
            value("nonce"),
            opaque.unwrap_or_default()
        );
        shown(self.client.get(self.url(path)).header("authorization", field).send().await.unwrap()).await
    }

    /// Half an upload is in the progress and in `paster top`; then it ends.
    async fn an_upload_is_followed(&self) {
        let mut upload = TcpStream::connect(self.serving.address()).unwrap();
        let head = "POST /upload?progress_id=first HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                    Content-Length: 8\r\n\r\n1234";
        upload.write_all(head.as_bytes()).unwrap();
        let state = async || self.shown("/progress?id=first").await;
        while !state().await.contains("\"received\":4") {
            tokio::task::yield_now().await;
        }
        let socket = self.control.path().join("control");
        let output = paster().args(["top", "--once", "--control"]).arg(&socket).output().unwrap();
        assert!(text(&output.stdout).contains("/upload"), "{}", text(&output.stdout));
        upload.write_all(b"5678").unwrap();
        let mut response = String::new();
        upload.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("8 bytes"), "{response}");
        assert!(state().await.contains("\"done\""));
    }
}

#[tokio::test]
async fn errors_show_the_traceback_in_development_only() {
    for (arguments, development) in [(&[][..], false), (&["--reload"][..], true)] {
        let site = Site::start(arguments);
        let error = site.client.get(site.url("/error")).header("accept", "text/html").send().await.unwrap();
        let page = shown(error).await;
        assert!(page.starts_with("500 "), "{page}");
        assert_eq!(page.contains("ValueError"), development, "{page}");
        assert!(!page.contains("start_response(status"), "only the lines of the traceback");
        wait_until("the traceback is in the log", || {
            site.serving.stderr().contains("an error of the application")
        });
    }
}
