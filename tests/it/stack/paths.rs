//! Addresses: `redirect`, `rewrite`, `proxy_headers`, `static_overlay`, `print_debug`.

use http::Request;
use insta::assert_snapshot;
use paster::environ::Environ;

use super::{hello, secure, send};
use crate::local::{Local, faults, shown};

/// What the app sees of a request, in the order of `names`.
fn seen(
    local: &Local,
    request: http::request::Builder,
    names: &[&str],
    change: impl FnOnce(&mut Environ),
) -> String {
    let answer = send(local, request, "", change);
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let value = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or("-").to_owned()
    };
    match answer.status().as_u16() {
        200 => names.iter().map(value).collect::<Vec<_>>().join(" "),
        status => format!("{status} {text}"),
    }
}

/// A program that prints its variables, behind the `middleware` from the table that follows.
fn environment(middleware: &str, tables: &str) -> Local {
    let folder =
        crate::support::folder(&[("program", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n")]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("program"), executable).unwrap();
    let config =
        format!("[app.main]\nuse = \"cgi\"\nprogram = \"program\"\nmiddleware = {middleware}\n{tables}\n");
    Local::in_folder(folder, &config, false)
}

#[test]
fn clients_are_redirected_to_the_one_address() {
    let check = |options: &str, target: &str, host: &str, over_tls: bool, expected: &str| {
        let local =
            Local::new(&hello("[\"r\"]", &format!("[middleware.r]\nuse = \"redirect\"\n{options}\n")), &[]);
        let change = |environ: &mut Environ| environ.secure = over_tls;
        let answer = send(&local, Request::get(target).header("host", host), "", change);
        let location = answer.headers().get("location").map_or("", |location| location.to_str().unwrap());
        assert_eq!(format!("{} {location}", answer.status().as_u16()), expected, "{options} {target} {host}");
    };
    check("https = true", "/a?b=c", "example.org", false, "308 https://example.org/a?b=c");
    check("https = true", "/a", "example.org:8080", false, "308 https://example.org/a");
    check(
        "https = true\nhttps_port = 8443",
        "/a",
        "example.org:8080",
        false,
        "308 https://example.org:8443/a",
    );
    check("https = true", "/a", "example.org:8443", true, "200 ");
    check("www = \"remove\"", "/a", "www.example.org:81", false, "308 http://example.org:81/a");
    check("www = \"add\"\nhttps = true", "/", "example.org", false, "308 https://www.example.org/");
    check("www = \"add\"", "/", "127.0.0.1", false, "200 ");
    check("www = \"add\"", "/", "localhost", false, "200 ");
    check("host = \"Example.org\"\nstatus = 301", "/x", "old.example", true, "301 https://example.org/x");
    check("trailing_slash = \"add\"", "/a?b", "a.org", false, "308 http://a.org/a/?b");
    check("trailing_slash = \"add\"", "/a.css", "a.org", false, "200 ");
    check("trailing_slash = \"remove\"", "/a/", "a.org", false, "308 http://a.org/a");
    check("trailing_slash = \"remove\"", "/", "a.org", false, "200 ");
    let rules = "rules = [{ match = \"^/blog/(.*)$\", to = \"https://blog.example/$1\", status = 302 }, \
                 { match = \"^/(?<year>[0-9]{4})/(.*)$\", to = \"/archive?y=$year&p=$2\" }, \
                 { match = \"^/go(.*)$\", to = \"/$1\" }]";
    check(rules, "/blog/a%20b?c", "a.org", false, "302 https://blog.example/a%20b?c");
    check(rules, "/2026/a&b?c", "a.org", false, "308 /archive?y=2026&p=a%26b");
    // A path that begins with two slashes would be another host.
    check(rules, "/go/evil.example/", "a.org", false, "308 /evil.example/");
    check(rules, "/other", "a.org", false, "200 ");
    let wrong = "[middleware.r]\nuse = \"redirect\"\nstatus = 200\nhost = \"a b\"\n\
                 rules = [{ match = \"(\", to = \"/\" }, { match = \"a\", to = \"$1\" }, { match = \"a\", to = \"/$1\" }]\n";
    assert_snapshot!(faults(&hello("[\"r\"]", wrong)), @r"
    `200` is not a redirect status (use 301, 302, 303, 307 or 308)
    `(` is not a regular expression: unclosed group (see <https://docs.rs/regex/#syntax>)
    cannot redirect to `$1` (write a URL with its scheme, or a path that begins with `/`)
    `/$1` refers to a group that does not exist (write `$1` or `$name` for a group of the regular expression, and `$$` for a dollar)
    `a b` is not a host (write `example.org`, without a scheme and a port)
    ");
}

#[test]
fn a_redirect_below_a_mount_keeps_the_mount() {
    let tables =
        "[middleware.r]\nuse = \"redirect\"\nhttps = true\nrules = [{ match = \"^/old$\", to = \"/new\" }]\n";
    let config = hello("[\"r\"]", tables).replace("app.main", "app.inner")
        + "[app.main]\nuse = \"mount\"\nroutes = { \"/shop\" = \"inner\" }\n";
    let local = Local::new(&config, &[]);
    let location = |target: &str| local.get(target).headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(location("/shop/cart"), "https://localhost/shop/cart");
    assert_eq!(location("/shop/old"), "/shop/new");
}

#[test]
fn paths_are_rewritten_and_the_prefix_stays_known() {
    let names = ["SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_URI"];
    let check = |options: &str, target: &str, expected: &str| {
        let local = environment("[\"r\"]", &format!("[middleware.r]\nuse = \"rewrite\"\n{options}\n"));
        assert_eq!(seen(&local, Request::get(target), &names, |_| ()), expected, "{options} {target}");
    };
    check("strip_prefix = \"/shop\"", "/shop/cart?a", "/shop /cart a /shop/cart?a");
    check("strip_prefix = \"/shop\"", "/shop", "/shop / - /shop/".replace(" - ", "  ").as_str());
    check("strip_prefix = \"/shop\"", "/shopping", " /shopping  /shopping");
    check("add_prefix = \"/v1\"", "/a?b", " /v1/a b /v1/a?b");
    let rules = "rules = [{ match = \"^/article/([^/]+)$\", to = \"/show.php?id=$1\" }, \
                 { match = \"^/old/(.*)$\", to = \"/new/$1\" }]";
    check(rules, "/article/7&x=1?y=2", " /show.php id=7%26x%3D1 /show.php?id=7%26x%3D1");
    check(rules, "/old/a%20b%3Fc?d=e", " /new/a b?c d=e /new/a%20b%3Fc?d=e");
    check(rules, "/else?f", " /else f /else?f");
    check(
        "rules = [{ match = \"^/a(.*)b$\", to = \"/$1/x\" }]",
        "/a..b",
        "400 The path cannot be rewritten.\n",
    );
    let wrong = "[middleware.r]\nuse = \"rewrite\"\nstrip_prefix = \"/a/\"\nadd_prefix = \"b\"\n\
                 rules = [{ match = \"[\", to = \"/\" }, { match = \"a\", to = \"https://b/\" }]\n";
    assert_snapshot!(faults(&hello("[\"r\"]", wrong)), @r"
    `[` is not a regular expression: unclosed character class (see <https://docs.rs/regex/#syntax>)
    `https://b/` is not a path (begin it with `/`; to another host, use `redirect`)
    `/a/` is not a prefix of paths (write `/prefix`, without a slash at the end)
    `b` is not a prefix of paths (write `/prefix`, without a slash at the end)
    ");
}

#[test]
fn an_app_behind_a_proxy_learns_its_address() {
    let names = ["SCRIPT_NAME", "PATH_INFO", "REQUEST_SCHEME", "SERVER_NAME", "SERVER_PORT", "HTTP_HOST"];
    let check = |options: &str, sent: &str, trusted: bool, expected: &str| {
        let tables = format!("[middleware.p]\nuse = \"proxy_headers\"\n{options}\n");
        let request = Request::get("/cart").header("x-forwarded-prefix", sent).header("host", "inner:8000");
        let change = |environ: &mut Environ| environ.trusted = trusted;
        assert_eq!(
            seen(&environment("[\"p\"]", &tables), request, &names, change),
            expected,
            "{options} {sent}"
        );
    };
    check("", "/shop/", true, "/shop /cart http inner 8000 inner:8000");
    check("", "/shop", false, " /cart http inner 8000 inner:8000");
    check("prefix = \"/fixed\"", "/evil", false, "/fixed /cart http inner 8000 inner:8000");
    check("prefix = \"/fixed\"", "/../x", true, "/fixed /cart http inner 8000 inner:8000");
    check("prefix_header = \"\"", "/shop", true, " /cart http inner 8000 inner:8000");
    let all = "scheme = \"https\"\nhost = \"Shop.example\"";
    check(all, "", false, " /cart https shop.example 443 shop.example");
    let wrong = "[middleware.p]\nuse = \"proxy_headers\"\nprefix = \"shop/\"\nprefix_header = \"a b\"\nhost = \"a/b\"\n";
    assert_snapshot!(faults(&hello("[\"p\"]", wrong)), @r"
    `shop/` is not a prefix of paths (write `/prefix`, without a slash at the end)
    `a b` is not a header name (use letters, digits and `-`)
    `a/b` is not a host (write `example.org` or `example.org:8443`)
    ");
}

#[test]
fn files_come_first_and_the_app_gets_the_rest() {
    let tables = "[middleware.files_first]\nuse = \"static_overlay\"\napp = \"files\"\n\
                  [app.files]\nuse = \"static\"\npublish_dir = \"public\"\n";
    let local = Local::new(&hello("[\"files_first\"]", tables), &[("public/a.txt", "a file")]);
    assert_eq!(shown(&local.get("/a.txt"), &["content-type"]), "200 text/plain; charset=utf-8 | a file");
    assert_eq!(shown(&local.get("/b.txt"), &[]), "200 | hello");
    assert_eq!(shown(&local.send(Request::post("/a.txt"), "body"), &[]), "200 | hello");
    let head = local.send(Request::head("/a.txt"), "");
    assert_eq!(shown(&head, &["content-length"]), "200 6 | ");
}

#[test]
fn a_request_is_shown_as_the_app_sees_it_without_secrets() {
    let tables = "[middleware.show]\nuse = \"print_debug\"\npath = \"/debug\"\nallow = [\"127.0.0.1\"]\n";
    let local = Local::new(&hello("[\"show\"]", tables), &[]);
    let request = || {
        Request::get("/debug?a=b&token=abc")
            .header("host", "example.org")
            .header("cookie", "session=abc")
            .header("authorization", "Bearer abc")
            .header("x-api-key", "abc")
            .header("referer", "https://a.example/?password=abc")
            .header("accept", "text/html")
    };
    let answer = send(&local, request(), "", secure);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_snapshot!(std::str::from_utf8(answer.body()).unwrap(), @r"
    GATEWAY_INTERFACE=CGI/1.1
    REQUEST_METHOD=GET
    SCRIPT_NAME=
    PATH_INFO=/debug
    QUERY_STRING=a=b&token=***
    REQUEST_URI=/debug?a=b&token=***
    SERVER_NAME=example.org
    SERVER_PORT=443
    SERVER_PROTOCOL=HTTP/1.1
    SERVER_SOFTWARE=paster/0.1.0
    REMOTE_ADDR=127.0.0.1
    REMOTE_PORT=50000
    REQUEST_SCHEME=https
    HTTPS=on
    HTTP_HOST=example.org
    HTTP_COOKIE=***
    HTTP_AUTHORIZATION=***
    HTTP_X_API_KEY=***
    HTTP_REFERER=https://a.example/?password=***
    HTTP_ACCEPT=text/html
    ");
    let answer = send(&local, request(), "", super::from("192.0.2.7"));
    assert_eq!(shown(&answer, &[]), "200 | hello", "the path exists only for some clients");
    assert_eq!(shown(&local.get("/other"), &[]), "200 | hello");
}
