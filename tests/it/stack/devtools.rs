//! For development: `progress`, `profile` and `validate_html`. The tests of a feature run if the program has it.

use http::Request;
use paster::body::{App, Body};

use super::wrap;

#[tokio::test]
async fn a_page_learns_how_much_of_its_upload_has_arrived() {
    use http_body_util::{BodyExt, StreamBody};
    let folder = tempfile::tempdir().unwrap();
    let reader = || {
        App::from_fn(|request: paster::body::Request| async {
            http::Response::new(Body::from(request.into_body().collect().await.unwrap().to_bytes()))
        })
    };
    let options = format!(
        "path = \"/up\"\nheader = \"x-up\"\ndir = {:?}\nkeep_secs = 60\nmax_uploads = 2\n",
        folder.path()
    );
    // Two workers, which share a directory.
    let (one, other) = (wrap(&options, "progress", reader()), wrap(&options, "progress", reader()));
    let ask = async |app: &App, id: &str| {
        let request = Request::get(format!("/up?id={id}")).body(Body::empty()).unwrap();
        let body = app.handle(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from_static(piece))), receiver))
    });
    assert_eq!(ask(&one, "a1").await, r#"{"state":"starting"}"#);
    let request = Request::post("/").header("x-up", "a1").body(Body::new(StreamBody::new(frames))).unwrap();
    let upload = tokio::spawn({
        let one = one.clone();
        async move { one.handle(request).await.unwrap().into_body().collect().await.unwrap().to_bytes() }
    });
    sender.send(b"12345").await.unwrap();
    let end = std::time::Instant::now() + crate::support::patience();
    while ask(&one, "a1").await != r#"{"state":"uploading","received":5}"# {
        assert!(std::time::Instant::now() < end, "{}", ask(&one, "a1").await);
        tokio::task::yield_now().await;
    }
    assert!(ask(&other, "a1").await.starts_with(r#"{"state":"uploading","#));
    drop(sender);
    assert_eq!(upload.await.unwrap(), "12345");
    for app in [&one, &other] {
        assert_eq!(ask(app, "a1").await, r#"{"state":"done","received":5}"#);
    }
    let request = Request::post("/?progress_id=b2").body(Body::from("123")).unwrap();
    one.handle(request).await.unwrap();
    assert_eq!(ask(&other, "b2").await, r#"{"state":"done","received":3,"size":3}"#);
    for id in ["../a1", "", "a.b"] {
        assert_eq!(ask(&other, id).await, r#"{"state":"starting"}"#, "{id}");
    }
}

#[cfg(feature = "validate_html")]
#[test]
fn errors_in_pages_are_found() {
    use super::hello;
    use crate::local::Local;
    let page = |name: &str, content: &str| (format!("www/{name}"), content.to_owned());
    let files = [
        page("good.html", "<!doctype html>\n<html lang=en><title>A</title>\n<p>text\n"),
        page("bad.html", "<!doctype html>\n<title>A</title>\n<b><i>text</b>\n</div>\n"),
        page("a.txt", "</div>"),
    ];
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    let tables = "[middleware.v]\nuse = \"validate_html\"\nmax_bytes = 10000\nmax_errors = 1\n";
    let config = hello("[\"v\"]", tables)
        .replace("use = \"respond\"\nbody = \"hello\"", "use = \"static\"\npublish_dir = \"www\"");
    let local = Local::new(&config, &files);
    let errors = |target: &str| {
        let answer = local.get(target);
        answer.headers().get("x-html-errors").map(|number| number.to_str().unwrap().parse::<u32>().unwrap())
    };
    assert_eq!((errors("/good.html"), errors("/a.txt")), (Some(0), None));
    assert!(errors("/bad.html") >= Some(2), "{:?}", errors("/bad.html"));
    assert_eq!(local.get("/bad.html").body().len(), 55);
}

#[cfg(feature = "profile")]
#[tokio::test(flavor = "multi_thread")]
async fn a_flame_graph_of_the_worker_is_an_image() {
    use http_body_util::BodyExt;
    let app = App::from_fn(|_| async { http::Response::new(Body::from("next")) });
    let options = "path = \"/graph\"\nfrequency = 50\nmax_secs = 1\nallow = [\"127.0.0.1\"]\n";
    let app = wrap(options, "profile", app);
    let request = |target: &str| {
        let mut request = Request::get(target).body(Body::empty()).unwrap();
        request.extensions_mut().insert(crate::local::environ("localhost"));
        request
    };
    let response = app.handle(request("/graph?secs=1")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "image/svg+xml");
    let graph = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&graph).contains("<svg"), "{} bytes", graph.len());
    let other = app.handle(request("/")).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(other, "next");
}
