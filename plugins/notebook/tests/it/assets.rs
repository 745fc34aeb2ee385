//! The files of the page: a browser fetches each version once, compressed.

use std::io::Read;

use crate::server::{Server, TOKEN};

#[tokio::test]
async fn a_browser_fetches_each_file_once() {
    let server = Server::start().await;
    let token = format!("token {TOKEN}");
    let page = server.raw("GET", "/tree", None, &[("authorization", &token)]).await.text().await.unwrap();
    let Some(script) = page.split('"').find(|part| part.contains("static/app.js")) else {
        return eprintln!("skipped: without Node, the front end is not built");
    };
    let get =
        async |path: &str, headers: &[(&'static str, &str)]| server.raw("GET", path, None, headers).await;
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let is_kept =
        |response: &reqwest::Response| header(response, "cache-control").unwrap().contains("immutable");

    let plain = get(script, &[]).await;
    assert!(plain.status() == 200 && is_kept(&plain), "{plain:?}");
    assert_eq!(header(&plain, "content-encoding"), None);
    let zipped = get(script, &[("accept-encoding", "br, gzip;q=0.5")]).await;
    assert!(zipped.status() == 200 && is_kept(&zipped), "{zipped:?}");
    assert_eq!(header(&zipped, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(header(&zipped, "vary").as_deref(), Some("accept-encoding"));
    let (tag, zipped_tag) = (header(&plain, "etag").unwrap(), header(&zipped, "etag").unwrap());
    assert_ne!(tag, zipped_tag, "these are two representations: RFC 9110 section 8.8.3.3");

    for (tag, coding, status) in [
        (&tag, "identity", 304),
        (&zipped_tag, "gzip", 304),
        (&tag, "gzip", 200),
        (&zipped_tag, "identity", 200),
    ] {
        let again = get("/static/app.js", &[("if-none-match", tag), ("accept-encoding", coding)]).await;
        assert_eq!(again.status(), status, "{tag} {coding}");
        assert!(!is_kept(&again), "this address has other content after an upgrade");
    }
    let old = get("/static/app.js?v=0123456789abcdef", &[]).await;
    assert!(!is_kept(&old), "the page of another version");

    let (plain, zipped) = (plain.bytes().await.unwrap(), zipped.bytes().await.unwrap());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut text).unwrap();
    assert!(text == plain, "the compressed form has the same content");
    let text = String::from_utf8(text).unwrap();
    let (_, rest) = text.split_once("./chunks/").expect("the script imports others");
    let chunk = get(&format!("/static/chunks/{}", rest.split('"').next().unwrap()), &[]).await;
    assert!(chunk.status() == 200 && is_kept(&chunk), "{chunk:?}");
    assert_eq!(get("/static/app.js.gz", &[]).await.status(), 404);
}
