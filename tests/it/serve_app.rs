//! `paster serve --app KIND:ARGUMENT`: serving without a config file.

use std::os::unix::fs::PermissionsExt;

use crate::bridge::mirror;
use crate::support::{Serving, folder, get, paster, wait_until};

#[test]
fn one_line_serves() {
    let place = folder(&[
        ("public/a.txt", "from a file"),
        ("program", "#!/bin/sh\nprintf 'A: b\\n\\nran %s' $PATH_INFO"),
    ]);
    std::fs::set_permissions(place.path().join("program"), std::fs::Permissions::from_mode(0o755)).unwrap();
    // A config in the folder is not used.
    std::fs::write(place.path().join("server.toml"), "broken").unwrap();
    let upstream = mirror();
    let proxy = format!("proxy:{}", upstream.url());
    for (app, path, expected) in [
        ("static:./public", "/a.txt", "from a file"),
        (&proxy, "/x", "GET /x HTTP/1.1"),
        ("cgi:./program", "/y", "ran /y"),
        ("respond:hello", "/", "hello"),
    ] {
        let mut serving = Serving::start(place.path(), &["--app", app, "--listen", "127.0.0.1:0"]);
        assert!(get(&serving, path).starts_with(expected), "{app}");
        let line = format!("\"GET {path} HTTP/1.1\" 200");
        wait_until("it is logged", || serving.stderr().contains(&line));
        assert_eq!(serving.stop(), Some(0), "{app}");
    }
}

#[test]
fn more_is_said_by_d() {
    let place = folder(&[("public/a.txt", "from a file")]);
    let sets = ["-D", "app.main.listing=true", "-D", "middleware.body_limit.max_bytes=5"];
    let arguments = [&["--app", "static:public", "--listen", "127.0.0.1:0"], &sets[..]].concat();
    let serving = Serving::start(place.path(), &arguments);
    assert!(get(&serving, "/").contains("a.txt"));
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef";
    let (head, _) = crate::support::Connection::open(serving.address()).request(post);
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[test]
fn slips_are_explained() {
    let place = folder(&[("server.toml", "[server.main]\nuse = \"http\"\n")]);
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = paster().arg("serve").args(arguments).current_dir(place.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for words in words {
            assert!(text.contains(words), "{arguments:?}: {words}\n{text}");
        }
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    };
    check(&["--app", "statik:public"], 2, &["unknown kind of app `statik`", "did you mean `static`?"]);
    check(
        &["--app", "mount:x"],
        2,
        &["an app of the kind `mount` needs a config file", "proxy:http://HOST:PORT"],
    );
    check(&["--app", "proxy:"], 2, &["names only a kind"]);
    check(&["server.toml", "--app", "static:public"], 2, &["omit `server.toml`"]);
    let slip = "`ftp://a` is not the address of an upstream";
    check(&["--app", "proxy:ftp://a"], 78, &[slip, "--> --app", "--app proxy:ftp://a"]);
    check(&["--app", "static:./nowhere"], 78, &["cannot open the directory"]);
    check(&["--app", "cgi:./nowhere"], 78, &["cannot find the program"]);
}

#[test]
fn the_config_behind_it_is_one_to_begin_with() {
    let place = folder(&[("public/a.txt", "from a file")]);
    let show = paster()
        .args(["config", "show", "--app", "static:./public"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert!(show.status.success());
    std::fs::write(place.path().join("server.toml"), show.stdout).unwrap();
    let serving = Serving::start(place.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(get(&serving, "/a.txt"), "from a file");
}
