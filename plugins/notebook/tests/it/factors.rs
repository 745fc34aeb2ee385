//! Other ways to log in: the second factor, and whom the server has authenticated; and what one account may use.

use axum::Extension;
use notebook::http::{RequestLocation, router};
use notebook::identity::Role;
use serde_json::json;
use totp_rs::{Algorithm, Secret, TOTP};

use crate::accounts::{Browser, FORM, HTML, start};

/// Whether a response logs the browser in.
fn has_session(response: &reqwest::Response) -> bool {
    let cookies = response.headers().get_all("set-cookie").iter();
    cookies.into_iter().any(|cookie| cookie.to_str().unwrap().starts_with("paster-notebook"))
}

/// The text between two others.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap_or_else(|| panic!("no {start} in {text}")) + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

#[tokio::test]
async fn a_login_asks_for_the_code_of_the_second_factor() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let (_, page) = ann.get("/account/second-factor").await;
    assert!(page.contains("<svg"), "{page}");
    let secret = between(&page, "type <code>", "</code>");
    let totp = TOTP::new(
        Algorithm::SHA1,
        6,
        1,
        30,
        Secret::Encoded(secret.to_owned()).to_bytes().unwrap(),
        None,
        String::new(),
    )
    .unwrap();
    let (_, refused) = ann.post("/account/second-factor", "action=confirm&code=000000").await;
    assert!(refused.contains("code is wrong"), "{refused}");
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // The code of the step before, so that the present one is still unused.
    let (_, done) = ann
        .post("/account/second-factor", &format!("action=confirm&code={}", totp.generate(now() - 30)))
        .await;
    let recovery = between(&done, "<li><code>", "</code>").to_owned();
    let step = async |form: String| {
        let response = server.raw("POST", "/login", Some(form), &[HTML, FORM]).await;
        let (status, logged_in) = (response.status().as_u16(), has_session(&response));
        (status, logged_in, response.text().await.unwrap())
    };
    let first = || step("name=ann&password=correct+horse".to_owned());
    let (status, logged_in, page) = first().await;
    assert!(
        status == 200 && !logged_in && page.contains("one-time-code"),
        "the password alone: {status} {page}"
    );
    let ticket = between(&page, "name=\"ticket\" value=\"", "\"").to_owned();
    for (ticket, code) in
        [(ticket.as_str(), "123"), ("1.1.forged", "123456"), ("9999999999.1.forged", "123456")]
    {
        let (status, logged_in, _) = step(format!("ticket={ticket}&code={code}")).await;
        assert!(status == 403 && !logged_in, "{ticket} {code}");
    }
    let code = totp.generate(now());
    assert_eq!(step(format!("ticket={ticket}&code={code}")).await.0, 303);
    let (status, ..) = step(format!("ticket={ticket}&code={code}")).await;
    assert_eq!(status, 403, "a code works once");
    assert_eq!(step(format!("ticket={ticket}&code={recovery}")).await.0, 303);
    assert_eq!(step(format!("ticket={ticket}&code={recovery}")).await.0, 403);
    // A link for a new password does not lead around it.
    let accounts = server.notebook().accounts.clone().unwrap();
    let code = accounts.invite(Role::Admin, Some(1)).await.unwrap();
    let set = server
        .raw("POST", &format!("/signup?code={code}"), Some("password=correct+horse".into()), &[HTML, FORM])
        .await;
    assert_eq!((set.headers()["location"].to_str().unwrap(), has_session(&set)), ("/login", false));
    // Guessing is throttled.
    let mut last = 0;
    for _ in 0..11 {
        last = step(format!("ticket={ticket}&code=000000")).await.0;
    }
    assert_eq!(last, 429);
    let words = ["users", "reset-second-factor", "ann"].map(str::to_owned).to_vec();
    notebook::commands::run(server.notebook(), words).await.unwrap();
    assert_eq!(first().await.0, 303);
}

#[tokio::test]
async fn whom_the_server_has_authenticated_needs_no_password() {
    let server = start(json!({"trust_server_user": true})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    // The same notebook, behind a server that names the user.
    let ask = async |user: &str, path: &'static str| {
        let place = RequestLocation { user: Some(user.to_owned()), ..RequestLocation::default() };
        let app = router(server.notebook().clone()).layer(Extension(place));
        let request =
            http::Request::get(path).header("host", "localhost").body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(app, request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, me) = ask("dora", "/api/me").await;
    assert!(status == 200 && me.contains("\"username\":\"dora\""), "{status} {me}");
    assert!(server.data("dora").is_dir());
    assert_eq!(ask("dora", "/api/contents/dora").await.0, 200);
    assert_eq!(ask("dora", "/api/contents/ann").await.0, 404);
    assert_eq!(ask("dora", "/admin").await.0, 404, "somebody new is a user");
    assert_eq!(ask("ann", "/admin").await.0, 200);
    for bad in ["Ann", "a b", "../x", "dora@example.org"] {
        assert_eq!(ask(bad, "/api/me").await.0, 403, "{bad}");
    }
    let id = server.notebook().store.account("dora").unwrap().unwrap().id;
    assert_eq!(ann.post("/admin/accounts", &format!("id={id}&role=user&active=0")).await.0, 303);
    assert_eq!(ask("dora", "/api/me").await.0, 403);
    // Without the setting, the name means nothing.
    let server = start(json!({})).await;
    let place = RequestLocation { user: Some("ann".into()), ..RequestLocation::default() };
    let app = router(server.notebook().clone()).layer(Extension(place));
    let request =
        http::Request::get("/api/me").header("host", "localhost").body(axum::body::Body::empty()).unwrap();
    assert_eq!(tower::ServiceExt::oneshot(app, request).await.unwrap().status(), 403);
}

#[tokio::test]
async fn an_account_has_limits_and_sees_what_it_uses() {
    let server = start(json!({"limits": {"user_kernels": 1, "user_disk_bytes": 5000}})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    server.write_notebook("ann/a.ipynb", "paster-python", &["1"]);
    server.write_notebook("ann/b.ipynb", "paster-python", &["1"]);
    let session =
        |path: &str| Some(json!({"path": path, "type": "notebook", "kernel": {"name": "paster-python"}}));
    let (status, first) = ann.call("POST", "/api/sessions", session("ann/a.ipynb")).await;
    assert_eq!(status, 201, "{first}");
    let (status, refused) = ann.call("POST", "/api/sessions", session("ann/b.ipynb")).await;
    assert!(
        status == 503 && refused["message"].as_str().unwrap().contains("already has 1 kernels"),
        "{status} {refused}"
    );
    let (_, page) = ann.get("/admin").await;
    assert!(page.contains("of 0.0 MB, 1 of 1 kernels"), "{page}");
    let file = json!({"type": "file", "format": "text", "content": "x".repeat(6000)});
    let (status, refused) = ann.call("PUT", "/api/contents/ann/big.txt", Some(file.clone())).await;
    assert!(
        status == 507 && refused["message"].as_str().unwrap().contains("user_disk_bytes"),
        "{status} {refused}"
    );
    assert!(!server.data("ann/big.txt").exists());
    let small = json!({"type": "file", "format": "text", "content": "x"});
    assert_eq!(ann.call("PUT", "/api/contents/ann/small.txt", Some(small)).await.0, 201);
}

#[tokio::test]
async fn who_makes_an_account_answers_the_question() {
    let question = json!({"question": "Which <animal>?", "answers": ["Cat", "the cat"]});
    let server = start(json!({"sign_up": "open", "sign_up_question": question})).await;
    let form = server.raw("GET", "/signup", None, &[HTML]).await.text().await.unwrap();
    assert!(form.contains("Which &lt;animal&gt;?"), "{form}");
    let sign_up = async |answer: &str| {
        let body = format!("name=eve&password=correct+horse&answer={answer}");
        server.raw("POST", "/signup", Some(body), &[HTML, FORM]).await.status().as_u16()
    };
    assert_eq!(sign_up("").await, 400);
    assert_eq!(sign_up("dog").await, 400);
    assert_eq!(sign_up("+THE+cat+").await, 303);
    // Who was invited is not asked.
    Browser::new(&server, "ann", Role::Admin).await;
}
