//! Real frameworks, used as a visitor does.

use std::path::Path;
use std::process::Command;

use super::Site;
use crate::support::{Serving, get, wait_until};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// `None`, with a note, if the interpreter of the tests does not have the package.
pub(super) fn site_with(package: &str, file: &str) -> Option<Site> {
    let site = Site::new(&[(file, &fixture(file))])?;
    let imported = Command::new(&site.python).args(["-c", &format!("import {package}")]).output().unwrap();
    if !imported.status.success() {
        eprintln!("skipped: {} has no {package}", site.python.display());
        return None;
    }
    Some(site)
}

/// A client that follows redirects and sends cookies back.
struct Visitor {
    client: reqwest::Client,
    base: String,
    cookies: Vec<(String, String)>,
}

impl Visitor {
    fn new(base: &str) -> Visitor {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Visitor { client, base: base.to_owned(), cookies: Vec::new() }
    }

    /// Sends a request, and follows redirects. Returns the last status and body.
    async fn send(&mut self, mut request: reqwest::RequestBuilder) -> (u16, String) {
        for _ in 0..5 {
            let cookies: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let response = request.header("Cookie", cookies.join("; ")).send().await.unwrap();
            for cookie in response.headers().get_all("set-cookie") {
                let pair = cookie.to_str().unwrap().split(';').next().unwrap();
                let (name, value) = pair.split_once('=').unwrap();
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
            let Some(place) = response.headers().get("location") else {
                return (response.status().as_u16(), response.text().await.unwrap());
            };
            let place = place.to_str().unwrap().to_owned();
            let origin: String = self.base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            let next = if place.starts_with('/') { format!("{origin}{place}") } else { place };
            request = self.client.get(next);
        }
        panic!("too many redirects");
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> (u16, String) {
        let body: Vec<_> =
            form.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect();
        let url = format!("{}{path}", self.base);
        let request = self.client.post(&url).header("Content-Type", "application/x-www-form-urlencoded");
        self.send(request.header("Referer", &url).body(body.join("&"))).await
    }
}

/// A form with a note and a file of 300,000 bytes.
fn multipart() -> Vec<u8> {
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"data.bin\"\r\n\r\n";
    let note = "Content-Disposition: form-data; name=\"note\"\r\n\r\na note";
    let head = format!("--between\r\n{note}\r\n--between\r\n{file}");
    [head.as_bytes(), &[7; 300_000], b"\r\n--between--\r\n"].concat()
}

/// The app `main` at `/` and at `/below`.
const BOTH: &str =
    "[app.site]\nuse = \"mount\"\n[app.site.routes]\n\"/\" = \"main\"\n\"/below\" = \"main\"\n";

#[tokio::test]
async fn flask() {
    let Some(site) = site_with("flask", "flask_site.py") else { return };
    let serving = site.serve_with("application = \"flask_site:application\"\n", BOTH, &["--app", "site"]);
    for mount in ["", "/below"] {
        let mut visitor = Visitor::new(&format!("{}{mount}", serving.url()));
        let (status, text) = visitor.get("/").await;
        assert!(
            status == 200 && text.contains(&format!("user=None root={mount} url={}{mount}/", serving.url())),
            "{text}"
        );
        assert!(visitor.post("/login", &[("user", "ada")]).await.1.contains("user=ada"));
        let upload = visitor.client.post(format!("{}{mount}/upload", serving.url()));
        let upload = upload.header("Content-Type", "multipart/form-data; boundary=between").body(multipart());
        let (_, text) = visitor.send(upload).await;
        assert!(text.contains("data.bin") && text.contains("300000") && text.contains("a note"), "{text}");
        let (_, text) = visitor.get("/stream").await;
        assert!(text.starts_with("0 1 2") && text.ends_with("998 999 "), "{text}");
        assert_eq!(visitor.get("/error").await.0, 500);
    }
    wait_until("Flask's own log is there", || serving.stderr().contains("ValueError: told by Flask"));
}

#[tokio::test]
async fn django_with_its_admin_site() {
    let Some(site) = site_with("django", "django_site.py") else { return };
    let serving = site.serve_with("application = \"django_site:application\"\n", BOTH, &["--app", "site"]);
    for mount in ["", "/below"] {
        let mut visitor = Visitor::new(&format!("{}{mount}", serving.url()));
        let (status, page) = visitor.get("/admin/").await;
        assert!(status == 200 && page.contains("Log in"), "{page}");
        let token = page
            .split("csrfmiddlewaretoken\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let action = format!("{mount}/admin/login/?next={mount}/admin/");
        assert!(
            page.contains(&format!("next=\" value=\"{mount}/admin/\""))
                || page.contains(&format!("value=\"{mount}/admin/\"")),
            "{page}"
        );
        let refused =
            visitor.post("/admin/login/", &[("username", "ada"), ("password", "a long passphrase")]).await;
        assert_eq!(refused.0, 403, "without a token: {}", refused.1);
        let login =
            [("csrfmiddlewaretoken", &*token), ("username", "ada"), ("password", "a long passphrase")];
        let (status, page) = visitor.post(&action[mount.len()..], &login).await;
        assert!(
            status == 200 && page.contains("Site administration") && page.contains("ada"),
            "{status} {page}"
        );
        let (_, page) = visitor.get("/admin/auth/user/").await;
        assert!(page.contains("ada@example.org"), "{page}");
    }
}

#[test]
fn small_ones() {
    for (package, application, threads, path, expected) in [
        ("bottle", "small_sites:make_bottle()", 4, "/hello/ada", "bottle ada /"),
        ("quixote", "small_sites:make_quixote()", 1, "/hello", "quixote"),
        ("paste", "small_sites:make_paste()", 4, "/inner/x", "paste /inner /x"),
    ] {
        let Some(site) = site_with(package, "small_sites.py") else { continue };
        let serving = site.serve(&format!("application = \"{application}\"\nthreads = {threads}\n"));
        assert_eq!(get(&serving, path), expected, "{package}: {}", serving.stderr());
    }
}

#[test]
fn pyramid_by_its_file() {
    let Some(site) = site_with("pyramid, paste.deploy", "small_sites.py") else { return };
    site.write("site.ini", "[app:main]\nuse = call:small_sites:pyramid_app\nword = from-the-file\n");
    let serving = site.serve("application = \"config:site.ini#main\"\n");
    assert_eq!(get(&serving, "/hello/ada"), "pyramid ada from-the-file", "{}", serving.stderr());
}

#[tokio::test]
async fn the_example() {
    let Some(site) = Site::new(&[]) else { return };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/wsgi");
    for file in ["server.toml", "guestbook.py"] {
        site.write(file, &std::fs::read_to_string(example.join(file)).unwrap());
    }
    let serving =
        Serving::spawn(site.paster(&["serve", "--json", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]));
    let mut visitor = Visitor::new(serving.url());
    assert!(visitor.get("/").await.1.contains("<ul></ul>"));
    let (status, page) = visitor.post("/", &[("entry", "Ada & Grace")]).await;
    assert!(status == 200 && page.contains("<li>Ada "), "{page}");
}
