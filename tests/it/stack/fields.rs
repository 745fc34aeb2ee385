//! Fields for browsers: `security_headers`, `cors`, `csrf`.

use http::Request;
use http::request::Builder;
use insta::assert_snapshot;

use super::{hello, secure, send};
use crate::local::{Answer, Local, faults, shown};

/// The fields of a response, sorted.
fn fields(answer: &Answer) -> String {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.to_str().unwrap())
    };
    let mut lines: Vec<_> = answer.headers().iter().map(line).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn browsers_are_told_to_be_strict() {
    let local = Local::new(&hello("\"security_headers\"", ""), &[]);
    let https = || Request::get("/").header("host", "example.org");
    assert_snapshot!(fields(&send(&local, https(), "", secure)), @r"
    content-security-policy: default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'
    content-type: text/plain; charset=utf-8
    cross-origin-opener-policy: same-origin
    cross-origin-resource-policy: same-origin
    permissions-policy: camera=(), geolocation=(), microphone=()
    referrer-policy: strict-origin-when-cross-origin
    strict-transport-security: max-age=31536000
    x-content-type-options: nosniff
    x-frame-options: SAMEORIGIN
    ");
    // Over plain HTTP, anyone on the way could have sent it (RFC 6797, section 7.2).
    let hsts = |answer: Answer| answer.headers().contains_key("strict-transport-security");
    assert!(!hsts(send(&local, https(), "", |_| ())));
    assert!(!hsts(send(&local, Request::get("/").header("host", "localhost"), "", secure)));
}

#[test]
fn fields_of_the_app_are_kept_and_options_change_the_others() {
    let tables = "[middleware.strict]\nuse = \"security_headers\"\ncontent_security_policy = \"default-src 'none'\"\n\
                  report_only = true\nhsts_secs = 63072000\nhsts_subdomains = true\nhsts_preload = true\n\
                  frame_options = \"\"\nreferrer_policy = \"no-referrer\"\npermissions_policy = \"\"\n\
                  opener_policy = \"unsafe-none\"\nresource_policy = \"cross-origin\"\ncontent_type_options = \"\"\n\
                  remove = [\"x-runtime\"]\n\
                  [middleware.app]\nuse = \"headers\"\nresponse.set = { referrer-policy = \"origin\", x-runtime = \"1\" }\n";
    let local = Local::new(&hello("[\"strict\", \"app\"]", tables), &[]);
    assert_snapshot!(fields(&send(&local, Request::get("/").header("host", "a.org"), "", secure)), @r"
    content-security-policy-report-only: default-src 'none'
    content-type: text/plain; charset=utf-8
    cross-origin-opener-policy: unsafe-none
    cross-origin-resource-policy: cross-origin
    referrer-policy: origin
    strict-transport-security: max-age=63072000; includeSubDomains; preload
    ");
    let wrong = "[middleware.strict]\nuse = \"security_headers\"\nhsts_preload = true\nremove = [\"a b\"]\n\
                 referrer_policy = \"a\\nb\"\n";
    assert_snapshot!(faults(&hello("[\"strict\"]", wrong)), @r"
    `referrer_policy` contains characters that are not allowed in a header (remove line breaks and control characters)
    browsers do not preload this host (set `hsts_subdomains = true` and `hsts_secs = 31536000` or more)
    `a b` is not a header name (use letters, digits and `-`)
    ");
}

/// A request of a script on a page of `origin`.
fn of(request: Builder, origin: &str) -> Builder {
    request.header("origin", origin)
}

#[test]
fn scripts_of_allowed_origins_may_use_the_app() {
    let tables = "[middleware.cors]\nuse = \"cors\"\norigins = [\"https://a.example\", \"https://*.b.example:8443\"]\n\
                  methods = [\"GET\", \"PUT\"]\nrequest_headers = [\"x-token\"]\nexpose_headers = [\"x-total\"]\n\
                  credentials = true\nmax_age_secs = 60\n";
    let local = Local::new(&hello("[\"cors\"]", tables), &[]);
    let allowed = |origin: &str| {
        let answer = local.send(of(Request::get("/"), origin), "");
        assert_eq!(answer.body(), "hello");
        answer.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    };
    for origin in ["https://a.example", "https://x.b.example:8443", "https://x.y.b.example:8443"] {
        assert_eq!(allowed(origin).as_deref(), Some(origin));
    }
    for origin in [
        "https://evil.example",
        "http://a.example",
        "https://b.example:8443",
        "https://evil/.b.example:8443",
        "null",
    ] {
        assert_eq!(allowed(origin), None, "{origin}");
    }
    let preflight = Request::options("/").header("access-control-request-method", "PUT");
    let answer = local.send(of(preflight, "https://a.example"), "");
    assert_snapshot!(format!("{} {}\n{}", answer.status(), answer.body().len(), fields(&answer)), @r"
    200 OK 0
    access-control-allow-credentials: true
    access-control-allow-headers: x-token
    access-control-allow-methods: GET,PUT
    access-control-allow-origin: https://a.example
    access-control-max-age: 60
    vary: origin
    ");
    // An OPTIONS request that is not a preflight is for the app.
    assert_eq!(shown(&local.send(Request::options("/"), ""), &[]), "200 | hello");
    let answer = local.send(of(Request::get("/"), "https://a.example"), "");
    assert_eq!(shown(&answer, &["access-control-expose-headers"]), "200 x-total | hello");
}

#[test]
fn any_origin_gets_no_credentials() {
    let tables =
        "[middleware.cors]\nuse = \"cors\"\norigins = \"*\"\nmethods = \"*\"\nrequest_headers = \"*\"\n";
    let local = Local::new(&hello("[\"cors\"]", tables), &[]);
    let preflight = Request::options("/")
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization");
    let answer = local.send(of(preflight, "https://a.example"), "");
    let names =
        ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"];
    assert_eq!(shown(&answer, &names), "200 * PATCH authorization | ");
    let wrong = "[middleware.cors]\nuse = \"cors\"\ncredentials = true\nmethods = [\"put\"]\n\
                 origins = [\"*\", \"example.org\", \"https://a.example/\", \"https://a.example:443\"]\n";
    assert_snapshot!(faults(&hello("[\"cors\"]", wrong)), @r"
    `example.org` is not an origin (write `https://example.org` or `https://*.example.org`, without a path or a default port)
    `https://a.example/` is not an origin (write `https://example.org` or `https://*.example.org`, without a path or a default port)
    `https://a.example:443` is not an origin (write `https://example.org` or `https://*.example.org`, without a path or a default port)
    browsers do not send credentials if all origins are allowed (list the origins instead of `*`)
    `put` is not a method (write it in upper case: `POST`)
    ");
}

#[test]
fn pages_of_other_sites_cannot_send_requests_with_effects() {
    let tables = "[middleware.csrf]\nuse = \"csrf\"\ntrusted_origins = [\"https://pay.example\"]\n";
    let local = Local::new(&hello("[\"csrf\"]", tables), &[]);
    let check = |method: &str, fields: &[(&str, &str)], expected: u16| {
        let request = Request::builder().method(method).uri("/").header("host", "example.org:8080");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(local.send(request, "").status().as_u16(), expected, "{method} {fields:?}");
    };
    check("POST", &[], 200); // not a browser
    check("POST", &[("sec-fetch-site", "same-origin")], 200);
    check("POST", &[("sec-fetch-site", "none")], 200);
    check("POST", &[("sec-fetch-site", "cross-site")], 403);
    check("POST", &[("sec-fetch-site", "same-site")], 403);
    check("POST", &[("sec-fetch-site", "cross-site"), ("origin", "https://pay.example")], 200);
    check("POST", &[("origin", "http://example.org:8080")], 200);
    check("POST", &[("origin", "https://evil.example")], 403);
    check("DELETE", &[("origin", "null")], 403);
    check("GET", &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], 200);
    let handshake = |origin| [("upgrade", "websocket"), ("connection", "upgrade"), ("origin", origin)];
    check("GET", &handshake("https://evil.example"), 403);
    check("GET", &handshake("null"), 403);
    check("GET", &handshake("http://example.org:8080"), 200);
    check("GET", &handshake("https://pay.example"), 200);
    let wrong = "[middleware.csrf]\nuse = \"csrf\"\ntrusted_origins = [\"example.org\"]\n";
    assert_snapshot!(faults(&hello("[\"csrf\"]", wrong)), @"`example.org` is not an origin (write `https://example.org`)");
}
