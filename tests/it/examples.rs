//! Every example runs as it is; only the system chooses its port.

use crate::support::{Serving, paster, root};

fn serve(example: &str) -> Serving {
    serve_with(example, &[])
}

fn serve_with(example: &str, arguments: &[&str]) -> Serving {
    let folder = root().join("examples").join(example);
    let port = ["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]"];
    Serving::start(&folder, &[&port, arguments].concat())
}

async fn text(url: String) -> (u16, String) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let response = client.get(url).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[test]
fn every_example_passes_the_check() {
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let folder = entry.unwrap().path();
        // They name libraries that the tests of C plugins build, and a site that `cargo xtask docs` does.
        let built = ["hello-c", "hello-middleware-c", "docs"];
        if built.iter().any(|name| folder.ends_with(name)) {
            continue;
        }
        let output = paster().arg("check").arg(folder.join("server.toml")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{stderr}", folder.display());
        assert!(folder.join("README.md").is_file(), "{} has no README", folder.display());
    }
}

#[tokio::test]
async fn a_directory() {
    let serving = serve("static");
    let (status, page) = text(format!("{}/", serving.url())).await;
    assert_eq!(status, 200);
    assert!(page.contains("<h1>A directory on the web</h1>"), "{page}");
}

#[tokio::test]
async fn several_applications() {
    let serving = serve("mount");
    assert!(text(format!("{}/", serving.url())).await.1.contains("<h1>Front</h1>"));
    assert!(text(format!("{}/docs/", serving.url())).await.1.contains("<h1>Docs</h1>"));
    assert!((300..400).contains(&text(format!("{}/old", serving.url())).await.0));
}

#[tokio::test]
async fn middleware_for_the_web() {
    let serving = serve("middleware");
    assert!(text(format!("{}/", serving.url())).await.1.contains("<h1>Middleware for the web</h1>"));
    let api = format!("{}/api/items", serving.url());
    assert_eq!(text(api.clone()).await.0, 401);
    let request = reqwest::Client::new().get(api).header("x-api-key", "demo-key-change-me");
    let response = request.send().await.unwrap();
    assert!(response.headers().contains_key("ratelimit"), "{response:?}");
    assert_eq!(response.text().await.unwrap(), "{ \"items\": [] }");
}

#[tokio::test]
async fn the_smallest_plugin() {
    // A development build shares dependencies with other tests.
    let serving = serve_with("hello", &["-D", "app.main.profile=\"dev\""]);
    assert_eq!(text(format!("{}/", serving.url())).await, (200, "Hello, world!".to_owned()));
}

#[tokio::test]
async fn a_middleware_of_a_plugin() {
    let serving = serve_with("hello-middleware", &["-D", "middleware.hidden.profile=\"dev\""]);
    let response = reqwest::get(format!("{}/", serving.url())).await.unwrap();
    assert_eq!(response.headers()["x-robots-tag"], "noindex");
    assert_eq!(response.text().await.unwrap(), "Hello from the application\n");
}

#[tokio::test]
async fn a_middleware_in_c() {
    let folder = crate::support::folder(&[]);
    let library = crate::border::c_example("hello-middleware-c", folder.path(), |source| source);
    std::fs::copy(root().join("examples/hello-middleware-c/server.toml"), folder.path().join("server.toml"))
        .unwrap();
    assert!(library.starts_with(folder.path()));
    let serving =
        Serving::start(folder.path(), &["server.toml", "-D", "server.main.listen=[\"127.0.0.1:0\"]"]);
    let response = reqwest::get(format!("{}/", serving.url())).await.unwrap();
    assert_eq!(response.headers()["x-through"], "c");
    assert_eq!(response.text().await.unwrap(), "HELLO FROM THE APPLICATION\n");
    let own = text(format!("{}/hello-c", serving.url())).await;
    assert_eq!(own, (200, "Hello from middleware in C\n".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_files_beside_it() {
    let upstream = crate::bridge::mirror();
    let folder = root().join("examples/proxy");
    let upstreams = format!("app.api.upstreams=[\"{}\"]", upstream.url());
    let listen = "server.main.listen=[\"127.0.0.1:0\"]";
    let serving = Serving::start(&folder, &["server.toml", "-D", listen, "-D", &upstreams]);
    assert!(text(format!("{}/", serving.url())).await.1.contains("<h1>Front</h1>"));
    let (status, seen) = text(format!("{}/api/users?page=2", serving.url())).await;
    assert_eq!(status, 200);
    assert!(
        seen.starts_with("GET /users?page=2 HTTP/1.1") && seen.contains("x-forwarded-prefix: /api"),
        "{seen}"
    );
}

#[test]
fn https_with_a_certificate_of_our_own() {
    let free =
        ["-D", "server.main.listen=[\"127.0.0.1:0\"]", "-D", "server.main.redirect_http=\"127.0.0.1:0\""];
    let mut serving = Serving::launch({
        let mut command = paster();
        command.args(["serve", "--json", "server.toml"]).args(free).current_dir(root().join("examples/tls"));
        command
    });
    serving.wait_for("listening");
    let plain = serving.wait_for("listening")["url"].as_str().unwrap().to_owned();
    serving.wait_for("ready");
    let curl = std::process::Command::new("curl").args(["-sSkL", "--noproxy", "*", &plain]).output().unwrap();
    assert_eq!(String::from_utf8(curl.stdout).unwrap(), "hello over HTTPS\n", "led on from {plain}");
}

#[tokio::test]
async fn a_server_of_node() {
    let serving = serve("node");
    let (status, text) = text(format!("{}/page?a=b", serving.url())).await;
    assert_eq!(status, 200);
    assert!(text.contains("Hello from Node.js") && text.contains("/page?a=b from 127.0.0.1."), "{text}");
    assert!(serving.stderr().contains("the database is up to date"), "{}", serving.stderr());
}
