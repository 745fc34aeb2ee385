//! Who may pass: `api_key`, `auth_digest`, `auth_forward`; and `canary`.

use http::Request;
use insta::assert_snapshot;
use sha2::{Digest, Sha256};

use super::hello;
use crate::local::{Answer, Local, faults, shown};

/// The app `main` shows what it sees at `/debug`, behind the `middleware` from the tables that follow.
pub(super) fn showing(middleware: &str, tables: &str, files: &[(&str, &str)]) -> Local {
    let show = "[middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\n";
    Local::new(&hello(&format!("[{middleware}, \"show\"]"), &format!("{show}{tables}")), files)
}

pub(super) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn programs_pass_with_a_key() {
    let tables = format!(
        "[middleware.k]\nuse = \"api_key\"\nfile = \"keys\"\nhashes = {{ robot = \"sha256:{}\" }}\n",
        sha256("first")
    );
    let keys = format!("# robots\nother:sha256:{}\n", sha256("second"));
    let local = showing("\"k\"", &tables, &[("keys", &keys)]);
    let call = |name: &str, value: &str| local.send(Request::get("/debug").header(name, value), "");
    for (name, value, user) in [
        ("x-api-key", "first", "robot"),
        ("authorization", "Bearer second", "other"),
        ("authorization", "bearer first", "robot"),
    ] {
        let answer = call(name, value);
        let seen = text(&answer);
        assert!(
            seen.contains(&format!("REMOTE_USER={user}\n")) && seen.contains("AUTH_TYPE=ApiKey\n"),
            "{seen}"
        );
        assert!(!seen.contains("HTTP_X_API_KEY") && !seen.contains("uthorization"), "{seen}");
    }
    for (name, value) in
        [("x-api-key", "third"), ("x-api-key", ""), ("authorization", "Basic first"), ("accept", "*/*")]
    {
        assert_eq!(
            shown(&call(name, value), &["www-authenticate"]),
            "401 Bearer realm=\"api\" | A key is required.\n"
        );
    }
    // A changed file counts within a second.
    std::fs::write(local.folder.path().join("keys"), format!("new:sha256:{}\n", sha256("third"))).unwrap();
    let end = std::time::Instant::now() + crate::support::patience();
    while call("x-api-key", "third").status() != 200 {
        assert!(std::time::Instant::now() < end, "the file was not reloaded");
        local.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(50)).await });
    }
    assert_eq!(call("x-api-key", "second").status(), 401);
    let tables = format!(
        "[middleware.k]\nuse = \"api_key\"\nheader = \"x-key\"\nbearer = false\nhashes = {{ a = \"sha256:{}\" }}\n",
        sha256("a")
    );
    let local = showing("\"k\"", &tables, &[]);
    let status = |name: &str, value: &str| {
        local.send(Request::get("/debug").header(name, value), "").status().as_u16()
    };
    assert_eq!((status("x-key", "a"), status("authorization", "Bearer a")), (200, 401));
}

#[test]
fn wrong_keys_are_told() {
    let tables =
        "[middleware.a]\nuse = \"api_key\"\nhashes = { a = \"plain\" }\n[middleware.b]\nuse = \"api_key\"\n";
    assert_snapshot!(faults(&hello("[\"a\", \"b\"]", tables)), @r#"
    `api_key` has no keys, so no request could pass (set `file`, or `hashes = { robot = "sha256:…" }`)
    expected the SHA-256 of a key (write `sha256:` and 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them)
    "#);
}

/// The response of a client that knows the password.
fn digest(challenge: &str, uri: &str, method: &str, password: &str, count: u32) -> String {
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let user = sha256(&format!("ann:restricted:{password}"));
    let request = sha256(&format!("{method}:{uri}"));
    let response = sha256(&format!("{user}:{nonce}:{count:08x}:abc:auth:{request}"));
    format!(
        "Digest username=\"ann\", realm=\"restricted\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, \
         nc={count:08x}, cnonce=\"abc\", algorithm=SHA-256, response=\"{response}\""
    )
}

#[test]
fn a_password_is_proved_without_being_sent() {
    let tables = "[middleware.d]\nuse = \"auth_digest\"\nhtdigest = \"users\"\nnonce_secs = 600\n";
    let users = format!("ann:restricted:{}\nann:other:{}\n", sha256("ann:restricted:pw"), sha256("x"));
    let local = showing("\"d\"", tables, &[("users", &users)]);
    let call =
        |target: &str, field: &str| local.send(Request::get(target).header("authorization", field), "");
    let first = local.get("/debug?a=b");
    let challenge = first.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert_eq!(first.status(), 401);
    assert!(
        challenge.starts_with("Digest realm=\"restricted\", qop=\"auth\", algorithm=SHA-256, nonce=\""),
        "{challenge}"
    );
    let answer = call("/debug?a=b", &digest(&challenge, "/debug?a=b", "GET", "pw", 1));
    let seen = text(&answer);
    assert!(seen.contains("REMOTE_USER=ann\n") && seen.contains("AUTH_TYPE=Digest\n"), "{seen}");
    // A repeated request is stale: it may be someone else's.
    let again = call("/debug?a=b", &digest(&challenge, "/debug?a=b", "GET", "pw", 1));
    assert_eq!(again.status(), 401);
    assert!(again.headers()["www-authenticate"].to_str().unwrap().ends_with("stale=true"));
    assert_eq!(call("/debug?a=b", &digest(&challenge, "/debug?a=b", "GET", "pw", 2)).status(), 200);
    for (what, field) in [
        ("another password", digest(&challenge, "/debug", "GET", "wrong", 3)),
        ("another target", digest(&challenge, "/other", "GET", "pw", 4)),
        ("another method", digest(&challenge, "/debug", "POST", "pw", 5)),
        ("another user", digest(&challenge, "/debug", "GET", "pw", 6).replace("\"ann\"", "\"eve\"")),
        ("another realm", digest(&challenge, "/debug", "GET", "pw", 7).replace("restricted", "other")),
    ] {
        let answer = call("/debug", &field);
        assert_eq!(answer.status(), 401, "{what}");
        assert!(!answer.headers()["www-authenticate"].to_str().unwrap().contains("stale"), "{what}");
    }
    // The escapes of the client are its own.
    assert_eq!(call("/debug", &digest(&challenge, "/de%62ug", "GET", "pw", 8)).status(), 200);
    let wrong = "[middleware.d]\nuse = \"auth_digest\"\nhtdigest = \"absent\"\nrealm = \"a\\nb\"\n";
    let told = faults(&hello("[\"d\"]", wrong));
    assert!(
        told.contains("characters that are not allowed") && told.contains("cannot read the password file"),
        "{told}"
    );
}

#[test]
fn curl_and_the_server_agree_on_digest() {
    let config = "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n".to_owned()
        + &hello("[\"d\"]", "[middleware.d]\nuse = \"auth_digest\"\nhtdigest = \"users\"\n");
    let users = format!("ann:restricted:{}\n", sha256("ann:restricted:pass word"));
    let folder = crate::support::folder(&[("server.toml", &config), ("users", &users)]);
    let serving = crate::support::Serving::start(folder.path(), &["server.toml"]);
    let curl = |user: &str| {
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--digest", "--user", user, "--data", "body"]);
        command.args(["--write-out", " %{http_code}", &format!("{}/a%20b?c=d", serving.url())]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(curl("ann:pass word"), "hello 200");
    assert!(curl("ann:wrong").ends_with(" 401"));
}

#[test]
fn another_app_decides_who_may_pass() {
    let program = "#!/bin/sh\nif [ \"$HTTP_X_TOKEN\" = good ]; then\n\
        printf 'Remote-User: ann\\nRemote-Groups: staff\\nX-Asked: %s %s %s %s\\nContent-Type: text/plain\\n\\n' \
        \"$REQUEST_METHOD\" \"$PATH_INFO\" \"$HTTP_X_ORIGINAL_METHOD\" \"$HTTP_X_ORIGINAL_URL\"\n\
        else printf 'Status: 302 Found\\nLocation: https://login.example/\\nContent-Type: text/plain\\n\\nlog in'; fi\n";
    let folder = crate::support::folder(&[("program", program)]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("program"), executable).unwrap();
    let tables = "[middleware.sso]\nuse = \"auth_forward\"\napp = \"door\"\npath = \"/verify\"\n\
                  copy = [\"remote-groups\", \"x-asked\"]\nuser_header = \"remote-user\"\ngroups_header = \"remote-groups\"\n\
                  [app.door]\nuse = \"cgi\"\nprogram = \"program\"\n\
                  [middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\n";
    let local = Local::in_folder(folder, &hello("[\"sso\", \"show\"]", tables), false);
    let call = |token: &str| {
        let request = Request::put("/debug?a=b").header("x-token", token);
        local.send(request.header("remote-user", "root").header("remote-groups", "wheel"), "a body")
    };
    let answer = call("good");
    let seen = text(&answer);
    for line in [
        "REMOTE_USER=ann",
        "AUTH_TYPE=Forward",
        "REMOTE_GROUPS=staff",
        "HTTP_REMOTE_GROUPS=staff",
        "HTTP_X_ASKED=GET /verify PUT http://localhost/debug?a=b",
        "REQUEST_METHOD=PUT",
    ] {
        assert!(seen.lines().any(|found| found == line), "{line}\n{seen}");
    }
    assert!(!seen.contains("HTTP_REMOTE_USER"), "what the client claims is removed: {seen}");
    assert_eq!(shown(&call("bad"), &["location"]), "302 https://login.example/ | log in");
    let wrong = "[middleware.sso]\nuse = \"auth_forward\"\napp = \"dor\"\npath = \"verify\"\ncopy = [\"a b\"]\n[app.door]\nuse = \"respond\"\n";
    assert_snapshot!(faults(&hello("[\"sso\"]", wrong)), @r"
    unknown app `dor` (did you mean `door`?)
    `verify` is not a path (begin it with `/`)
    `a b` is not a header name (use letters, digits and `-`)
    ");
}

#[test]
fn a_share_of_the_clients_gets_another_app_and_stays_there() {
    let with = |percent: &str| {
        let tables = format!(
            "[middleware.c]\nuse = \"canary\"\napp = \"v2\"\npercent = {percent}\ncookie = \"v\"\ncookie_secs = 60\nheader = \"x-canary\"\n\
             [app.v2]\nuse = \"respond\"\nbody = \"new\"\n"
        );
        Local::new(&hello("[\"c\"]", &tables), &[])
    };
    let local = with("30");
    let call = |local: &Local, name: &str, value: &str| local.send(Request::get("/").header(name, value), "");
    let (mut new, mut cookies) = (0, Vec::new());
    for _ in 0..400 {
        let answer = local.get("/");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        new += usize::from(text(&answer) == "new");
        assert_eq!(text(&call(&local, "cookie", &format!("a=b; {cookie}"))), text(&answer), "{cookie}");
        cookies.push((cookie, text(&answer) == "new"));
    }
    assert!((60..=180).contains(&new), "{new} of 400 at 30 %"); // 5 standard deviations are 46
    // With a larger share, clients of the new app stay there.
    let larger = with("60");
    for (cookie, was_new) in cookies.iter().filter(|(_, new)| *new) {
        assert_eq!((text(&call(&larger, "cookie", cookie)), was_new), ("new", &true));
    }
    let answer = local.get("/");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("v=") && cookie.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    assert_eq!(shown(&call(&with("0"), "cookie", "v=always"), &["set-cookie"]), "200 - | new");
    assert_eq!(shown(&call(&with("100"), "x-canary", "never"), &["set-cookie"]), "200 - | hello");
    assert_eq!(shown(&call(&with("100"), "cookie", "v=nonsense"), &[]), "200 | new");
}
