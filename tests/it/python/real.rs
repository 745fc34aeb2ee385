//! Applications that people run: each on its own, under a mount, and behind nginx by SCGI.

use std::process::Command;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method};
use tokio_tungstenite::tungstenite::Message;

use super::Site;
use super::asgi::fixture;
use super::frameworks::site_with;
use crate::bridge::{Program, free_port};
use crate::support::Serving;

/// The application at three addresses. The last one is behind nginx.
struct Places {
    serving: Serving,
    urls: [String; 3],
    _nginx: Program,
    _site: Site,
}

/// Serves an application of `real_sites.py`; `None` if the interpreter lacks its package, or there is no nginx.
fn serve(package: &str, kind: &str, maker: &str) -> Option<Places> {
    if Command::new("nginx").arg("-v").output().is_err() {
        eprintln!("skipped: there is no nginx");
        return None;
    }
    let site: Site = site_with(package, "real_sites.py")?;
    site.write("channels_urls.py", &fixture("channels_urls.py"));
    let socket = site.folder().join("scgi.sock");
    let more = format!(
        "[server.gateway]\nuse = \"scgi\"\nlisten = [\"unix:{}\"]\napp = \"site\"\n\
         [app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/\" = \"main\"\n\"/below\" = \"main\"\n",
        socket.display()
    );
    let app = site.config(&format!("application = \"real_sites:{maker}()\"\nthreads = 2\n"), &more);
    let app = if kind == "asgi" { app.replace("threads = 2\n", "") } else { app };
    site.write("server.toml", &app.replace("use = \"wsgi\"", &format!("use = \"{kind}\"")));
    let serving = Serving::spawn(site.paster(&["serve", "--json", "--app", "site"]));
    let start = |port: u16| {
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\nevents {{}}\nhttp {{\n\
             access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;\n\
             uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e; client_max_body_size 10m;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ include /etc/nginx/scgi_params;\n\
             scgi_param HTTP_HOST $http_host; scgi_buffering off; scgi_pass unix:{socket}; }} }}\n}}\n",
            dir = site.folder().display(),
            socket = socket.display()
        );
        site.write("nginx.conf", &config);
        let file = site.folder().join("nginx.conf");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(site.folder());
        if rustix::process::geteuid().is_root() {
            command.args(["-g", "user root;"]); // the workers must reach the socket
        }
        let mut nginx = Program::start(&mut command);
        nginx.wait_for_port(port).then_some(nginx)
    };
    let (port, nginx) =
        (0..10).find_map(|_| Some(free_port()).and_then(|port| Some((port, start(port)?)))).unwrap();
    let url = serving.url().to_owned();
    let urls = [url.clone(), format!("{url}/below"), format!("http://127.0.0.1:{port}")];
    Some(Places { serving, urls, _nginx: nginx, _site: site })
}

async fn ask(method: &str, url: &str, body: &str) -> (u16, String) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = Client::new().request(method, url).body(body.to_owned());
    let response = request.header("Depth", "1").send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn trac() {
    let Some(places) = serve("trac", "wsgi", "make_trac") else { return };
    for url in &places.urls {
        let (status, page) = ask("GET", &format!("{url}/wiki/WikiFormatting"), "").await;
        assert!(
            status == 200 && page.contains("WikiFormatting"),
            "{status} {page}\n{}",
            places.serving.stderr()
        );
        let style = page.split("href=\"").find_map(|link| link.split_once("/chrome/common/css/trac.css"));
        let prefix = style.unwrap().0;
        let origin: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let (status, css) = ask("GET", &format!("{origin}{prefix}/chrome/common/css/trac.css"), "").await;
        assert!(status == 200 && css.contains("font"), "{prefix} {status}");
        let (status, page) = ask("GET", &format!("{url}/search?q=macro"), "").await;
        assert!(status == 200 && page.contains("Search Results"), "{page}");
    }
}

#[tokio::test]
async fn radicale() {
    let Some(places) = serve("radicale", "wsgi", "make_radicale") else { return };
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20260101T000000Z\r\n\
                 DTSTART:20260102T100000Z\r\nSUMMARY:tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    for (number, url) in places.urls.iter().enumerate() {
        // A client logs in by a name; no password is asked for.
        let url = url.replace("http://", "http://ada:any@");
        let calendar = format!("{url}/ada/calendar{number}/");
        let (status, text) = ask("MKCALENDAR", &calendar, "").await;
        assert_eq!(status, 201, "{text}\n{}", places.serving.stderr());
        assert_eq!(ask("PUT", &format!("{calendar}tea.ics"), event).await.0, 201);
        let (status, text) = ask("PROPFIND", &calendar, "").await;
        assert!(status == 207 && text.contains(&format!("/ada/calendar{number}/tea.ics")), "{text}");
        let report = "<C:calendar-query xmlns:C=\"urn:ietf:params:xml:ns:caldav\" xmlns:D=\"DAV:\"><D:prop>\
                      <C:calendar-data/></D:prop></C:calendar-query>";
        let (status, text) = ask("REPORT", &calendar, report).await;
        assert!(status == 207 && text.contains("SUMMARY:tea"), "{text}");
        assert_eq!(ask("DELETE", &format!("{calendar}tea.ics"), "").await.0, 200);
    }
}

#[tokio::test]
async fn cherrypy() {
    let Some(places) = serve("cherrypy", "wsgi", "make_cherrypy") else { return };
    for (url, prefix) in places.urls.iter().zip(["", "/below", ""]) {
        let (status, text) = ask("GET", &format!("{url}/?name=ada"), "").await;
        assert_eq!((status, text), (200, format!("cherrypy ada {prefix}")), "{}", places.serving.stderr());
        let form = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(200_000)
        );
        let upload = Client::new().post(format!("{url}/upload")).body(form);
        let upload = upload.header("Content-Type", "multipart/form-data; boundary=b").send().await.unwrap();
        assert_eq!(upload.text().await.unwrap(), "a.txt 200000");
    }
}

#[tokio::test]
async fn starlette() {
    let Some(places) = serve("starlette", "asgi", "make_starlette") else { return };
    for (url, prefix) in places.urls.iter().zip(["", "/below", ""]) {
        let (status, text) = ask("GET", &format!("{url}/"), "").await;
        assert_eq!(
            (status, text),
            (200, format!("starlette {prefix}/events")),
            "{}",
            places.serving.stderr()
        );
        let response = Client::new().get(format!("{url}/events")).send().await.unwrap();
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        assert_eq!(response.text().await.unwrap(), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
    }
}

#[tokio::test]
async fn channels() {
    let Some(places) = serve("channels", "asgi", "make_channels") else { return };
    for (url, prefix) in places.urls.iter().zip(["", "/below", ""]) {
        let (status, text) = ask("GET", &format!("{url}/"), "").await;
        assert_eq!((status, text), (200, format!("django {prefix}/")), "{}", places.serving.stderr());
    }
    // SCGI carries no WebSockets.
    for url in &places.urls[..2] {
        let url = format!("{}/ws/kitchen/", url.replacen("http", "ws", 1));
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text("tea")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("kitchen tea"));
    }
}
