//! The second origin: it has the frame for outputs and nothing else, and the first one has no frame.

use serde_json::json;

use crate::server::{Server, TOKEN};
use crate::support::{Host, plain_python};

const CONTENT: &str = "ab12.usercontent.localhost:8081";

#[tokio::test]
async fn outputs_come_from_the_second_origin_alone() {
    let settings = json!({
        "python": plain_python(), "content_origin": "http://*.usercontent.localhost:8081", "allowed_hosts": ["nb.example.org"],
    });
    let server = Server::start_with(std::sync::Arc::new(Host::start()), settings).await;
    let token = format!("token {TOKEN}");
    let policy = |response: &reqwest::Response| {
        response.headers()["content-security-policy"].to_str().unwrap().to_owned()
    };
    let at = async |host: &str, path: &str| {
        server.raw("GET", path, None, &[("host", host), ("authorization", &token)]).await
    };
    let page = at("localhost:8080", "/tree").await;
    assert_eq!(page.status(), 200);
    assert!(
        policy(&page).contains("frame-src http://*.usercontent.localhost:8081 'self'"),
        "{}",
        policy(&page)
    );
    assert_eq!(at("localhost:8080", "/static/frame.html").await.status(), 404);
    // The token is right, and is worth nothing there.
    for path in
        ["/tree", "/api/contents", "/api", "/login", "/static/app.js", "/files/a", "/pub/a", "/api/me"]
    {
        let refused = at(CONTENT, path).await;
        assert_eq!(refused.status(), 404, "{path}");
        assert!(!refused.headers().contains_key("set-cookie"), "{path}");
    }
    assert_eq!(server.raw("POST", "/static/frame.html", None, &[("host", CONTENT)]).await.status(), 404);
    for other in
        ["usercontent.localhost:8081", "evil.example.org", "ab12.usercontent.localhost.evil.org:8081"]
    {
        assert_ne!(at(other, "/static/frame.html").await.status(), 200, "{other}");
    }
    let frame = at(CONTENT, "/static/frame.html").await;
    // Without Node, the front end is not built.
    if frame.status() == 200 {
        let policy = policy(&frame);
        for part in [
            "sandbox allow-scripts",
            "frame-ancestors http://nb.example.org:* https://nb.example.org:*",
            "default-src 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("allow-same-origin") && !policy.contains("'self'"), "{policy}");
    }
    // An exported page is shown without scripts.
    server.write_notebook("n.ipynb", "paster-python", &["1"]);
    let exported = at("localhost:8080", "/nbconvert/html/n.ipynb").await;
    assert_eq!(exported.status(), 200);
    assert!(policy(&exported).contains("script-src 'none'") && !policy(&exported).contains("allow-scripts"));
}
