//! `auth_form`, in a session.

use http::Request;
use insta::assert_snapshot;

use crate::local::{Answer, Local, faults};

const KEY: &str = "a key of more than thirty-two characters";

/// An app at `/app` that shows the user, behind a login.
fn config(options: &str) -> String {
    format!(
        "[app.main]\nuse = \"mount\"\nroutes = {{ \"/app\" = \"inner\" }}\n\
         [app.inner]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"session\", \"login\", \"show\"]\n\
         [middleware.session]\nuse = \"session\"\nkeys = \"{KEY}\"\n\
         [middleware.login]\nuse = \"auth_form\"\nhtpasswd = \"users\"\n{options}\n\
         [middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\nallow = [\"loopback\"]\n"
    )
}

/// A browser.
struct Browser<'a> {
    local: &'a Local,
    cookie: Option<String>,
}

impl Browser<'_> {
    fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("accept", "text/html,*/*;q=0.8");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let answer = self.local.send(request, body.to_owned());
        if let Some(field) = answer.headers().get("set-cookie") {
            let (pair, attributes) = field.to_str().unwrap().split_once(';').unwrap();
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| pair.to_owned());
        }
        answer
    }

    fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    fn log_in(&mut self, user: &str, password: &str, next: &str) -> Answer {
        let body = format!("user={user}&password={password}&next={next}");
        self.send("POST", "/app/login", &[("sec-fetch-site", "same-origin")], &body)
    }
}

fn location(answer: &Answer) -> String {
    let field = answer.headers().get("location").map_or("-", |field| field.to_str().unwrap());
    format!("{} {field}", answer.status().as_u16())
}

fn body(answer: &Answer) -> String {
    String::from_utf8(answer.body().to_vec()).unwrap()
}

fn users() -> (String, String) {
    let hash = bcrypt::hash("pass word", 4).unwrap();
    (format!("ann:{hash}\n"), hash)
}

#[test]
fn a_user_logs_in_and_out() {
    let (users, _) = users();
    let local = Local::new(&config("title = \"Staff\""), &[("users", &users)]);
    let mut ann = Browser { local: &local, cookie: None };
    assert_eq!(location(&ann.get("/app/debug?x=1&y=2")), "303 /app/login?next=%2Fdebug%3Fx%3D1%26y%3D2");
    assert_eq!(ann.cookie, None, "a visitor who does not log in has no session");
    let page = ann.get("/app/login?next=%2Fdebug%3Fx%3D1%26y%3D2");
    let text = body(&page);
    assert!(text.contains("<h1>Staff</h1>") && text.contains("action=\"/app/login\""), "{text}");
    assert!(text.contains("name=\"next\" value=\"/debug?x&#x3D;1&amp;y&#x3D;2\""), "{text}");
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    // Wrong passwords and names look the same.
    for (user, password) in [("ann", "wrong"), ("eve", "pass+word"), ("ann", "pass+word%00"), ("", "")] {
        let answer = ann.log_in(user, password, "/debug");
        assert_eq!(answer.status(), 403, "{user}");
        assert!(body(&answer).contains("The name or the password is wrong."));
    }
    let answer = ann.log_in("ann", "pass+word", "%2Fdebug%3Fx%3D1");
    assert_eq!(location(&answer), "303 /app/debug?x=1");
    let shown = body(&ann.get("/app/debug?x=1"));
    assert!(shown.contains("REMOTE_USER=ann\n") && shown.contains("AUTH_TYPE=Form\n"), "{shown}");
    assert_eq!(body(&ann.get("/app/")), "hello");
    assert_eq!(location(&ann.get("/app/login?next=/debug")), "303 /app/debug", "she is logged in already");
    assert_eq!(location(&ann.get("/app/login")), "303 /app/");
    // The way out.
    let page = body(&ann.get("/app/logout"));
    assert!(page.contains("You are logged in as ann.") && page.contains("action=\"/app/logout\""), "{page}");
    let mut stolen = Browser { local: &local, cookie: ann.cookie.clone() };
    let foreign = ann.send("POST", "/app/logout", &[("origin", "https://evil.example")], "");
    assert_eq!((foreign.status().as_u16(), body(&ann.get("/app/"))), (403, "hello".to_owned()));
    let answer = ann.send("POST", "/app/logout", &[("origin", "http://localhost")], "");
    assert_eq!((location(&answer), ann.cookie.is_none()), ("303 /app/login".to_owned(), true));
    assert_eq!(location(&stolen.get("/app/")), "303 /app/login?next=%2F", "the session has ended");
}

#[test]
fn a_login_is_safe_from_other_sites() {
    let (users, _) = users();
    let local = Local::new(&config(""), &[("users", &users)]);
    let mut ann = Browser { local: &local, cookie: None };
    // A form on another site would log a visitor in as someone else.
    let form = "user=ann&password=pass+word";
    for fields in [("origin", "https://evil.example"), ("origin", "null")] {
        let answer = ann.send("POST", "/app/login", &[fields], form);
        assert_eq!((answer.status().as_u16(), ann.cookie.clone()), (403, None), "{fields:?}");
    }
    // The page to return to is one of this site.
    for next in ["https://evil.example/", "//evil.example/", "/%5Cevil.example", "/%09/evil.example", "x"] {
        let mut browser = Browser { local: &local, cookie: None };
        assert_eq!(location(&browser.log_in("ann", "pass+word", next)), "303 /app/", "{next}");
    }
    // A session id that was there before the login is not the one after it.
    ann.log_in("ann", "pass+word", "/");
    let before = ann.cookie.clone();
    ann.log_in("ann", "pass+word", "/");
    assert!(before.is_some() && ann.cookie != before);
    let mut old = Browser { local: &local, cookie: before };
    assert_eq!(old.get("/app/").status(), 303);
    // Programs and forms are not redirected.
    assert_eq!(local.send(Request::get("/app/"), "").status(), 401);
    let mut browser = Browser { local: &local, cookie: None };
    assert_eq!(browser.send("POST", "/app/form", &[], "a=b").status(), 401);
    let long = "x".repeat(20_000);
    assert_eq!(ann.send("POST", "/app/login", &[], &long).status(), 413);
}

#[test]
fn who_is_removed_or_gets_a_new_password_is_logged_out() {
    let (users, hash) = users();
    let local = Local::new(&config(""), &[("users", &users)]);
    let mut ann = Browser { local: &local, cookie: None };
    ann.log_in("ann", "pass+word", "/");
    assert_eq!(body(&ann.get("/app/")), "hello");
    let file = local.folder.path().join("users");
    let other = bcrypt::hash("new", 4).unwrap();
    std::fs::write(&file, format!("ann:{other}\n")).unwrap();
    crate::support::wait_until("the new password counts", || ann.get("/app/").status() == 303);
    std::fs::write(&file, format!("ann:{hash}\n")).unwrap();
    crate::support::wait_until("the old password counts again", || ann.get("/app/").status() == 200);
    std::fs::write(&file, "").unwrap();
    crate::support::wait_until("she is gone", || ann.get("/app/").status() == 303);
}

#[test]
fn attempts_are_limited() {
    let (users, _) = users();
    let local = Local::new(&config("attempts = 2\nper_secs = 3600"), &[("users", &users)]);
    let mut eve = Browser { local: &local, cookie: None };
    let statuses = [(); 3].map(|()| eve.log_in("ann", "wrong", "/").status().as_u16());
    assert_eq!(statuses, [403, 403, 429]);
    let answer = eve.log_in("ann", "pass+word", "/");
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (429, true));
    assert!(body(&answer).contains("Too many attempts."));
}

#[test]
fn the_page_and_the_paths_are_options() {
    let (users, _) = users();
    let page = "<form action=\"{{action}}\">{{title}}|{{next}}|{{user}}|{{error}}|{{logout}}</form>";
    let options = "page = \"page.html\"\nlogin_path = \"/in\"\nlogout_path = \"/out\"\nhome_path = \"/home\"";
    let local = Local::new(&config(options), &[("users", &users), ("page.html", page)]);
    let mut ann = Browser { local: &local, cookie: None };
    assert_eq!(location(&ann.get("/app/")), "303 /app/in?next=%2F");
    assert_eq!(body(&ann.get("/app/in")), "<form action=\"/app/in\">Log in|/home|||false</form>");
    let answer = ann.send("POST", "/app/in", &[], "user=%3Cb%3E&password=x");
    assert!(body(&answer).contains("|&lt;b&gt;|The name"), "{}", body(&answer));
    let answer = ann.send("POST", "/app/in", &[], "user=ann&password=pass+word");
    assert_eq!(location(&answer), "303 /app/home");
    assert!(body(&ann.get("/app/out")).contains("||ann||true"), "{}", body(&ann.get("/app/out")));
    let wrong = "[app.main]\nuse = \"respond\"\nbody = \"\"\nmiddleware = [\"l\"]\n[middleware.l]\nuse = \"auth_form\"\n\
                 htpasswd = \"/dev/null\"\nlogin_path = \"in\"\npage = \"/nowhere.html\"\n";
    assert_snapshot!(faults(wrong), @r"
    `in` is not a path (begin it with `/`)
    cannot read the template `/nowhere.html` (set a Handlebars template)
    ");
    // Without a session, the reason is told.
    let local = Local::new(&wrong.replace("login_path = \"in\"\npage = \"/nowhere.html\"\n", ""), &[]);
    let error = local.try_send(Request::get("/"), "").unwrap_err();
    assert_snapshot!(error, @"`auth_form` needs the middleware `session` outside of it");
}
