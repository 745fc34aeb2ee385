//! `cache` with its responses in a real Redis, which two servers share as two machines would.

use super::servers::Database;
use crate::cache::{Upstream, ask, rest};
use crate::control::Site;
use crate::support::{Connection, Serving, paster, wait_until};

fn site(upstream: &Upstream, redis: &Database, options: &str) -> Site {
    Site::new(&format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n[process]\nworkers = 2\n\
         [app.main]\nuse = \"proxy\"\nupstreams = [{:?}]\nmiddleware = [\"shared\"]\n\
         [middleware.shared]\nuse = \"cache\"\nstore = \"db\"\n{options}\n\
         [resource.db]\nuse = \"redis\"\n{}",
        upstream.server.url(),
        redis.table
    ))
}

/// The head in lower case, and the body.
fn get(serving: &Serving, path: &str, fields: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n");
    let (head, body) = Connection::open(serving.address()).request(&request);
    (head.to_ascii_lowercase(), body)
}

fn is_hit(serving: &Serving, path: &str) -> bool {
    get(serving, path, "").0.contains("cache-status: paster; hit")
}

#[test]
fn all_workers_and_machines_share_the_responses() {
    let Some(redis) = Database::redis() else { return };
    let upstream = Upstream::start();
    let sites = [site(&upstream, &redis, ""), site(&upstream, &redis, "")];
    let [one, two] = [sites[0].serve(&[]), sites[1].serve(&[])];
    assert!(get(&one, "/a", "").0.contains("fwd=miss; stored"));
    // Each connection may reach another worker.
    for serving in [&one, &two] {
        for _ in 0..8 {
            let (head, body) = get(serving, "/a", "");
            assert!(head.contains("cache-status: paster; hit; ttl=") && body == "/a 1", "{head}{body}");
        }
    }
    // Variants by `Vary`.
    for (language, number) in [("de", 1), ("en", 2), ("de", 1), ("en", 2)] {
        for serving in [&one, &two] {
            let (_, body) = get(serving, "/vary/x", &format!("Accept-Language: {language}\r\n"));
            assert_eq!(body, format!("/vary/x {number}"));
        }
    }
    // Parts and conditions are answered from the stored response.
    let (head, body) = get(&two, "/a", "Range: bytes=1-1\r\n");
    assert!(head.starts_with("http/1.1 206") && body == "a", "{head}{body}");
    // A change on one machine is one for all.
    Connection::open(one.address())
        .request("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n");
    assert!(get(&two, "/a", "").0.contains("fwd=miss"));
    for path in ["/tag/x", "/b?q=1", "/c"] {
        get(&one, path, "");
    }
    let listed = sites[1].json(&["cache", "list"]);
    let urls: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["url"].as_str().unwrap()).collect();
    let named =
        ["a", "b?q=1", "c", "tag/x", "vary/x", "vary/x"].map(|path| format!("http://shop.test/{path}"));
    assert_eq!(urls, named);
    let tagged = &listed[3];
    assert_eq!((&tagged["tags"][1], &tagged["bytes"]), (&"blue".into(), &8.into()), "{tagged}");
    assert!(listed[5]["worker"].is_null() && listed[5]["vary"][0][0] == "accept-language", "{listed}");
    assert!(sites[0].text(&["cache", "list"]).contains("accept-language"));
    assert_eq!(sites[1].text(&["cache", "purge", "--tag", "blue"]), "deleted 1 response\n");
    assert_eq!(sites[0].text(&["cache", "purge", "--path", "/b"]), "deleted 1 response\n");
    assert!(!is_hit(&one, "/tag/x") && is_hit(&two, "/c"));
    assert_eq!(sites[1].text(&["cache", "purge", "--all"]), "deleted 5 responses\n");
    assert_eq!(sites[0].text(&["cache", "list"]), "no response is stored\n");
    assert_eq!(get(&one, "/c", "").1, "/c 2");
}

#[test]
fn a_response_that_was_requested_before_a_purge_is_not_stored() {
    let Some(redis) = Database::redis() else { return };
    let upstream = Upstream::start();
    let sites = [site(&upstream, &redis, ""), site(&upstream, &redis, "")];
    let [one, two] = [sites[0].serve(&[]), sites[1].serve(&[])];
    let slow = ask(one.address(), "/slow");
    wait_until("the app is asked", || upstream.count("/slow") == 1);
    assert_eq!(sites[1].text(&["cache", "purge", "--path", "/slow"]), "deleted 0 responses\n");
    upstream.gate.open();
    assert!(rest(slow).ends_with("/slow 1"));
    // The next response is stored by the same task, so this one would have been there before.
    get(&one, "/a", "");
    assert!(is_hit(&two, "/a"));
    assert!(get(&two, "/slow", "").1 != "/slow 1");
}

#[test]
fn long_responses_are_not_stored() {
    let Some(redis) = Database::redis() else { return };
    let upstream = Upstream::start();
    let site = site(&upstream, &redis, "max_entry_bytes = 4");
    let serving = site.serve(&[]);
    assert!(!is_hit(&serving, "/a/longer") && !is_hit(&serving, "/a/longer"));
    assert!(!is_hit(&serving, "/a") && is_hit(&serving, "/a"));
}

#[test]
fn without_redis_every_request_goes_to_the_app() {
    let Some(mut redis) = Database::redis() else { return };
    let upstream = Upstream::start();
    let site = site(&upstream, &redis, "");
    let serving = site.serve(&[]);
    let stored = || site.json(&["cache", "list"]).as_array().unwrap().len();
    get(&serving, "/a", "");
    get(&serving, "/b", "");
    assert!(is_hit(&serving, "/a"));
    redis.kill();
    for number in 2..12 {
        let (head, body) = get(&serving, "/a", "");
        assert!(head.contains("cache-status: paster; fwd=miss"), "{head}");
        assert_eq!(body, format!("/a {number}"));
    }
    assert_eq!(stored(), 0);
    // What is deleted now must not come back with Redis.
    site.text(&["cache", "purge", "--path", "/b"]);
    let failures = || serving.stderr().matches("responses are not cached until it is back").count();
    wait_until("both workers have noticed it", || {
        get(&serving, "/a", "");
        failures() == 2
    });
    redis.start();
    wait_until("both workers use it again", || serving.stderr().matches("responses are cached").count() == 2);
    assert_eq!(failures(), 2, "each worker logs it once");
    assert!(!is_hit(&serving, "/b"));
    assert!(is_hit(&serving, "/a"), "what was stored before is still there");
}

#[test]
fn wrong_stores_are_named() {
    let config = |options: &str| {
        format!(
            "[server.main]\nuse = \"http\"\n[app.main]\nuse = \"respond\"\nmiddleware = [\"shared\"]\n\
             [middleware.shared]\nuse = \"cache\"\n{options}\n[resource.some]\nuse = \"memory\"\n"
        )
    };
    for (options, expected) in [
        ("store = \"none\"", "unknown resource `none`"),
        ("store = \"some\"", "the resource `some` cannot store responses"),
        ("store = \"some\"\ndir = \"/tmp\"", "cannot be combined"),
    ] {
        let folder = crate::support::folder(&[("server.toml", &config(options))]);
        let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "{text}");
    }
}
