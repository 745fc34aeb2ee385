//! `auth_ticket`, with Paste's own tickets.

use std::process::Command;

use http::Request;
use insta::assert_snapshot;

use crate::local::{Answer, Local, faults};

const SECRET: &str = "a secret of more than thirty-two characters";

/// An app behind tickets, which shows the user.
fn config(options: &str, inner: &str) -> String {
    format!(
        "[app.main]\nuse = \"respond\"\nbody = \"hello\"\nmiddleware = [\"ticket\", {inner} \"show\"]\n\
         [middleware.ticket]\nuse = \"auth_ticket\"\nsecrets = [\"{SECRET}\"]\n{options}\n\
         [middleware.basic]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n\
         [middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\nallow = [\"loopback\"]\n"
    )
}

/// What Python prints; `None` if its interpreter has no Paste.
fn paste(code: &str) -> Option<String> {
    let python = std::env::var_os("PASTER_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let code = format!("from paste.auth import auth_tkt\nimport hashlib, sys, time\n{code}");
    let output = Command::new(python).args(["-c", &code]).output().ok()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("ModuleNotFoundError"), "{said}");
        eprintln!("skipped: Python has no Paste");
        return None;
    }
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn get(local: &Local, cookie: &str) -> Answer {
    local.send(Request::get("/debug").header("cookie", format!("a=b; auth_tkt={cookie}")), "")
}

fn user(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(answer.body());
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-").to_owned();
    format!("{} {} {}", answer.status().as_u16(), line("REMOTE_USER="), line("AUTH_TYPE="))
}

#[test]
fn tickets_of_paste_are_accepted() {
    let ticket = |arguments: &str| {
        paste(&format!(
            "ticket = auth_tkt.AuthTicket('{SECRET}', 'ann k', {arguments})\n\
             print(ticket.cookie_value().decode())\nprint(ticket.cookie()['auth_tkt'].value)"
        ))
    };
    let Some(made) = ticket("'0.0.0.0', tokens=['staff', 'wiki'], user_data='x', digest_algo=hashlib.sha256")
    else {
        return;
    };
    let (plain, encoded) = made.split_once('\n').unwrap();
    let encoded = encoded.trim_start_matches("b'").trim_end_matches('\'');
    let local = Local::new(&config("", ""), &[("users", "")]);
    assert_eq!(user(&get(&local, plain)), "200 ann k Ticket");
    assert_eq!(user(&get(&local, encoded)), "200 ann k Ticket");
    assert_eq!(user(&get(&local, &format!("\"{plain}\""))), "200 ann k Ticket");
    for wrong in ["", "x", &plain.replace("ann", "eve"), &plain.replace("staff", "admin"), &plain[1..]] {
        assert_eq!(get(&local, wrong).status(), 401, "{wrong}");
    }
    let other = Local::new(&config("", "").replace(SECRET, &SECRET.replace('a', "e")), &[("users", "")]);
    assert_eq!(get(&other, plain).status(), 401);
    let renamed = Local::new(&config("cookie = \"sso\"", ""), &[("users", "")]);
    assert_eq!(get(&renamed, plain).status(), 401);
    // Tokens.
    for (tokens, expected) in [("[\"wiki\"]", 200), ("[\"admin\", \"staff\"]", 200), ("[\"admin\"]", 401)] {
        let local = Local::new(&config(&format!("tokens = {tokens}"), ""), &[("users", "")]);
        assert_eq!(get(&local, plain).status().as_u16(), expected, "{tokens}");
    }
    // Another hash; a ticket that is too old; one from the future; one for another address.
    let sha512 = ticket("'127.0.0.1', digest_algo=hashlib.sha512").unwrap();
    let bound = Local::new(&config("digest = \"sha512\"\nbind_address = true", ""), &[("users", "")]);
    assert_eq!(user(&get(&bound, sha512.lines().next().unwrap())), "200 ann k Ticket");
    let elsewhere = ticket("'10.0.0.1', digest_algo=hashlib.sha512").unwrap();
    assert_eq!(get(&bound, elsewhere.lines().next().unwrap()).status(), 401);
    for time in ["time=time.time() - 7201", "time=time.time() + 600"] {
        let made = ticket(&format!("'0.0.0.0', digest_algo=hashlib.sha256, {time}")).unwrap();
        assert_eq!(get(&local, made.lines().next().unwrap()).status(), 401, "{time}");
    }
    let lasting = Local::new(&config("timeout_secs = 90000", ""), &[("users", "")]);
    let old = ticket("'0.0.0.0', digest_algo=hashlib.sha256, time=time.time() - 80000").unwrap();
    assert_eq!(get(&lasting, old.lines().next().unwrap()).status(), 200);
    // MD5, Paste's default, is not accepted.
    let md5 = ticket("'0.0.0.0'").unwrap();
    assert_eq!(get(&local, md5.lines().next().unwrap()).status(), 401);
}

#[test]
fn who_has_logged_in_elsewhere_gets_a_ticket() {
    let hash = bcrypt::hash("pass", 4).unwrap();
    let users = format!("j:{hash}\n");
    let options = "issue = true\ntokens = [\"staff\"]\ndomain = \"example.org\"";
    let local = Local::new(&config(options, "\"basic\","), &[("users", &users)]);
    let refused = local.get("/");
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("set-cookie")), (401, false));
    let answer = local.send(Request::get("/").header("authorization", "Basic ajpwYXNz"), "");
    let field = answer.headers()["set-cookie"].to_str().unwrap();
    let (pair, attributes) = field.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Domain=example.org");
    let ticket = pair.strip_prefix("auth_tkt=").unwrap();
    let other = Local::new(&config("tokens = [\"staff\"]", ""), &[("users", "")]);
    assert_eq!(user(&get(&other, ticket)), "200 j Ticket");
    let code = format!(
        "import base64\nfound = auth_tkt.parse_ticket(b'{SECRET}', base64.b64decode('{ticket}'), '0.0.0.0', hashlib.sha256)\n\
         print(found[1], found[2])"
    );
    if let Some(said) = paste(&code) {
        assert_eq!(said, "j [b'staff']");
    }
}

#[test]
fn visitors_without_a_ticket_are_sent_to_the_login() {
    let local =
        Local::new(&config("login_url = \"https://login.example.org/?site=1\"", ""), &[("users", "")]);
    let answer = local.send(Request::get("/a?b=c").header("accept", "text/html"), "");
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(
        (answer.status().as_u16(), location),
        (303, "https://login.example.org/?site=1&back=http%3A%2F%2Flocalhost%2Fa%3Fb%3Dc")
    );
    assert_eq!(local.get("/").status(), 401, "a program is not redirected");
    let wrong = "[app.main]\nuse = \"respond\"\nbody = \"\"\nmiddleware = [\"t\"]\n[middleware.t]\nuse = \"auth_ticket\"\n";
    assert_snapshot!(faults(&format!("{wrong}secrets = []\ncookie = \"a b\"\ndomain = \"a;b\"\nlogin_url = \"login\"\n")), @r#"
    tickets need a secret (write `secrets = "${file:ticket.secret}"`)
    `a b` cannot be the name of a cookie (use letters, digits, `-` and `_`)
    `a;b` is not a domain (write `example.org`)
    `login` is not an address (write `https://login.example.org/`, or a path)
    "#);
    assert_snapshot!(faults(&format!("{wrong}secrets = \"short\"\n")), @"the secret is shorter than 32 characters (write a random one with `openssl rand -hex 32`)");
}
