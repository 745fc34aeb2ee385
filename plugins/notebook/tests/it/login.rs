//! What a browser sees apart from the front end: login, logout, and errors as pages.

use crate::server::{Server, TOKEN};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");

/// The cookies of a logged-in browser, and the value of `_xsrf` in them.
async fn log_in(server: &Server) -> (String, String) {
    let entered =
        server.raw("GET", &format!("/tree?token={}", TOKEN.replace(' ', "+")), None, &[BROWSER]).await;
    let cookies = entered.headers().get_all("set-cookie").iter();
    let cookies: Vec<&str> =
        cookies.map(|value| value.to_str().unwrap().split(';').next().unwrap()).collect();
    let xsrf = cookies.iter().find_map(|cookie| cookie.strip_prefix("_xsrf=")).unwrap().to_owned();
    (cookies.join("; "), xsrf)
}

#[tokio::test]
async fn a_browser_gets_errors_as_pages_and_a_program_as_json() {
    let server = Server::start().await;
    let token = format!("token {TOKEN}");
    let login = ("authorization", token.as_str());
    for path in ["/tree/none", "/notebooks/none.ipynb", "/files/none", "/nowhere", "/static/none.js"] {
        let page = server.raw("GET", path, None, &[BROWSER, login]).await;
        assert_eq!(page.status(), 404, "{path}");
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(page.headers()["x-content-type-options"], "nosniff");
        let text = page.text().await.unwrap();
        assert!(text.contains("<h1>Not found</h1>") && text.contains("<a href=\"/\">"), "{text}");
        let (status, json) = server.send("GET", path, None, &[login]).await;
        assert_eq!(status, 404, "{path}");
        let message = json["message"].as_str().unwrap();
        assert!(text.contains(&message[1..]), "the same words: {message}\n{text}");
    }
    // The programming interface stays JSON, even in a browser.
    let (status, json) = server.send("GET", "/api/contents/none", None, &[BROWSER, login]).await;
    assert_eq!((status, json["reason"].as_str()), (404, Some("Not Found")));
    // Text from an address stays text.
    let page = server.raw("GET", "/files/%3Cscript%3E", None, &[BROWSER, login]).await.text().await.unwrap();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    // Without login, every address redirects a browser to the form, except those for programs.
    for path in ["/tree/none", "/files/none", "/nowhere"] {
        let page = server.raw("GET", path, None, &[BROWSER]).await;
        assert_eq!(
            (page.status().as_u16(), page.headers()["location"].to_str().unwrap()),
            (303, &*format!("/login?next={path}"))
        );
    }
    let refused = server.raw("GET", "/login", None, &[BROWSER, ("host", "evil.example")]).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("`allowed_hosts`"));
}

#[tokio::test]
async fn logging_out_takes_one_of_our_pages() {
    let server = Server::start().await;
    let (cookies, xsrf) = log_in(&server).await;
    let cookie = ("cookie", cookies.as_str());
    let own = server.url.clone();
    let origin = ("origin", own.as_str());
    // Opening the address only asks, and changes nothing.
    let asked = server.raw("GET", "/logout", None, &[BROWSER, cookie]).await;
    assert_eq!((asked.status().as_u16(), asked.headers().get("set-cookie")), (200, None));
    let form = asked.text().await.unwrap();
    let action = form.split("action=\"").nth(1).expect("a form").split('"').next().unwrap();
    assert_eq!(action, format!("/logout?_xsrf={xsrf}"));
    // Another origin cannot do it.
    for (path, headers) in [
        ("/logout", &[BROWSER, cookie, origin][..]),
        ("/logout?_xsrf=x.y", &[BROWSER, cookie, origin]),
        (action, &[BROWSER, cookie, ("origin", "http://evil.example")]),
    ] {
        let refused = server.raw("POST", path, None, headers).await;
        assert_eq!((refused.status().as_u16(), refused.headers().get("set-cookie")), (403, None), "{path}");
        assert!(refused.text().await.unwrap().contains("<h1>Not allowed</h1>"));
    }
    for headers in [&[BROWSER, cookie, origin][..], &[cookie, origin, ("x-xsrftoken", &xsrf)]] {
        let path = if headers.len() == 3 && headers[2].0 == "origin" { action } else { "/logout" };
        let left = server.raw("POST", path, None, headers).await;
        assert_eq!((left.status().as_u16(), left.headers()["location"].to_str().unwrap()), (303, "/logout"));
        assert!(left.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    }
    // Without the cookie.
    let after = server.raw("GET", "/logout", None, &[BROWSER]).await.text().await.unwrap();
    assert!(after.contains("<h1>Logged out</h1>") && after.contains("href=\"/login\""), "{after}");
    assert_eq!(server.raw("POST", "/logout", None, &[BROWSER]).await.status(), 303);
}

#[tokio::test]
async fn the_login_form_says_what_is_wrong() {
    let server = Server::start().await;
    let form = [BROWSER, ("content-type", "application/x-www-form-urlencoded")];
    let plain = server.raw("GET", "/login", None, &[BROWSER]).await.text().await.unwrap();
    assert!(
        plain.contains("<label for=\"password\">Token</label>") && !plain.contains("role=\"alert\""),
        "{plain}"
    );
    let wrong = server.raw("POST", "/login?next=/tree/a", Some("password=x".into()), &form).await;
    assert_eq!(wrong.status(), 403);
    let text = wrong.text().await.unwrap();
    assert!(
        text.contains("role=\"alert\">The token is wrong.") && text.contains("login?next=/tree/a"),
        "{text}"
    );
    let mut last = None;
    for _ in 0..20 {
        last = Some(server.raw("POST", "/login", Some("password=x".into()), &form).await);
    }
    let last = last.unwrap();
    assert!(last.status() == 429 && last.headers().contains_key("retry-after"), "{last:?}");
    assert!(last.text().await.unwrap().contains("<h1>Too many attempts</h1>"));
}
