//! The codecs that servers and bridges share: heads of CGI responses, and meta-variables in both directions.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use paster::body::{Body, Request};
use paster::codec::cgi::{CgiResponse, encode_head, parse_head};
use paster::codec::variables::{Split, decode_path, encode_path, from_request, to_request};
use paster::codec::{PairsError, Variables, scgi};
use paster::environ::{CLIENT_CERT, ClientCertificate, Environ, RemoteUser};
use paster::server::gate::{ConnInfo, Gate, HostCache};
use proptest::prelude::*;

/// The meaning of a head, on one line. Every shorter prefix of it must ask for more.
fn meaning(head: &str) -> String {
    let text = format!("{head}BODY");
    match parse_head(text.as_bytes(), 1000, 5) {
        Ok(None) => "more".into(),
        Err(fault) => fault.to_string(),
        Ok(Some((answer, used))) => {
            assert_eq!(&text[used..], "BODY", "{head:?}");
            for end in 0..used {
                assert!(
                    matches!(parse_head(&text.as_bytes()[..end], 1000, 5), Ok(None)),
                    "{head:?} at {end}"
                );
            }
            match answer {
                CgiResponse::LocalRedirect(path) => format!("local {path}"),
                CgiResponse::Document { status, headers } => {
                    let fields =
                        headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
                    format!("{} {}", status.as_u16(), fields.collect::<Vec<_>>().join(" "))
                }
            }
        }
    }
}

/// Each row: the section of RFC 3875, a head, and its meaning.
#[test]
fn heads_of_cgi_responses() {
    for (section, head, expected) in [
        ("6.2.1", "Content-Type: text/plain\n\n", "200 content-type=text/plain"),
        ("6.2.1, CR LF", "Content-Type: text/plain\r\n\r\n", "200 content-type=text/plain"),
        ("6.2.1, mixed", "Content-Type: text/plain\n\r\n", "200 content-type=text/plain"),
        ("6.2.1, no space", "a:b\nc:\t d \n\n", "200 a=b c=d"),
        ("6.2.2", "Location: /x?y\n\n", "local /x?y"),
        ("6.2.3", "Location: http://a/x\n\n", "302 location=http://a/x"),
        ("6.2.3, another host", "Location: //a/x\n\n", "302 location=//a/x"),
        ("6.2.4", "Location: /x\nStatus: 301 Moved\n\n", "301 location=/x"),
        ("6.3.3", "Status: 404 Not Found\na: b\n\n", "404 a=b"),
        ("6.3.3, no reason", "status: 404\n\n", "404 "),
        ("6.3.3, two", "Status: 200\nStatus: 404\n\n", "more than one Status"),
        ("6.3.3, no number", "Status: fine\n\n", "Status is not a final status: a number from 200 to 599"),
        (
            "RFC 9110 section 15",
            "Status: 999 No\n\n",
            "Status is not a final status: a number from 200 to 599",
        ),
        (
            "6.3.3, no answer",
            "Status: 101 Switching\n\n",
            "Status is not a final status: a number from 200 to 599",
        ),
        ("6.3, several", "Set-Cookie: a\nSet-Cookie: b\n\n", "200 set-cookie=a set-cookie=b"),
        ("6.3.4, between two hops", "a: b\nConnection: close\nTransfer-Encoding: x\n\n", "200 a=b"),
        ("6.2, no field", "\n", "the head has no fields"),
        ("6.3, no colon", "hello\n\n", "a line of the head is not a field"),
        ("6.3, a name", "a b: c\n\n", "a field's name is not valid"),
        ("6.3, folded", "a: b\n c\n\n", "a line of the head is not a field"),
        ("6.3, a value", "a: b\0c\n\n", "a field's value is not valid"),
        ("RFC 9110 8.6", "Content-Length: 1\nContent-Length: 2\n\n", "Content-Length fields differ"),
        (
            "5, nph",
            "HTTP/1.1 200 OK\r\n\r\n",
            "an HTTP status line: programs that write their own (nph) are not supported",
        ),
        ("limit_fields", "a:\nb:\nc:\nd:\ne:\nf:\n\n", "longer than the limit"),
        ("unfinished", "a: b\n", "more"),
    ] {
        assert_eq!(meaning(head), expected, "{section}: {head:?}");
    }
    assert!(matches!(parse_head(&[b'a'; 1001], 1000, 5), Err(PairsError::TooLong)));
    let mut out = Vec::new();
    let headers: HeaderMap = [("location", "/x"), ("connection", "close")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    encode_head(StatusCode::FOUND, &headers, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "Status: 302 Found\r\nlocation: /x\r\n\r\n");
}

/// A request as a bridge has it, after the gate and a mount at `/m`.
fn admitted(secure: bool, fields: &[(&str, &str)]) -> (http::request::Parts, Environ) {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/a%20b/c?d=e%20f".parse().unwrap();
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let wire = ConnInfo {
        peer: Some("192.0.2.7:4711".parse().unwrap()),
        listen: "127.0.0.1:80".into(),
        secure,
        ..ConnInfo::default()
    };
    Gate::new("main".into()).admit(&mut request, &wire, &mut HostCache::default()).unwrap();
    let (mut parts, _) = request.into_parts();
    let mut environ = parts.extensions.remove::<Environ>().unwrap();
    environ.script_name = "/m".into();
    (parts, environ)
}

fn shown(variables: &Variables) -> String {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    variables.iter().map(|(name, value)| format!("{}={}\n", lossy(name), lossy(value))).collect()
}

#[test]
fn variables_of_a_request() {
    let fields = [
        ("host", "A.example:8080"),
        ("content-type", "text/x"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("proxy", "http://evil"),
        ("x_a", "3"),
        ("authorization", "Basic eDp5"),
    ];
    let (mut parts, environ) = admitted(true, &fields);
    let variables = from_request(&parts, &environ, Some(5));
    insta::assert_snapshot!(shown(&variables), @"
    CONTENT_LENGTH=5
    CONTENT_TYPE=text/x
    GATEWAY_INTERFACE=CGI/1.1
    REQUEST_METHOD=GET
    SCRIPT_NAME=/m
    PATH_INFO=/a b/c
    QUERY_STRING=d=e%20f
    REQUEST_URI=/m/a%20b/c?d=e%20f
    SERVER_NAME=a.example
    SERVER_PORT=8080
    SERVER_PROTOCOL=HTTP/1.1
    SERVER_SOFTWARE=paster/0.1.0
    REMOTE_ADDR=192.0.2.7
    REMOTE_PORT=4711
    REQUEST_SCHEME=https
    HTTPS=on
    HTTP_HOST=A.example:8080
    HTTP_COOKIE=a=1; b=2
    HTTP_X_A=1, 2
    HTTP_AUTHORIZATION=Basic eDp5
    ");
    // A middleware has authenticated the user: the password is not passed on.
    parts.extensions.insert(RemoteUser::new("eve", "Basic").with_groups(["staff", "admins"]));
    let variables = from_request(&parts, &environ, None);
    assert_eq!(variables.text("REMOTE_USER"), Some("eve"));
    assert_eq!(variables.text("AUTH_TYPE"), Some("Basic"));
    assert_eq!(variables.text("REMOTE_GROUPS"), Some("staff,admins"));
    assert_eq!((variables.get("HTTP_AUTHORIZATION"), variables.get("CONTENT_LENGTH")), (None, None));
    // And over SCGI it comes back unchanged.
    let head = scgi::encode_head(5, &variables).unwrap();
    let (head, used) = scgi::parse_head(&head, 10_000).unwrap().unwrap();
    assert!(used > 100 && head.content_length == 5);
    let passed = to_request(&head.variables, Split::Path).unwrap();
    assert_eq!((passed.request.uri().to_string(), &*passed.script_name), (parts.uri.to_string(), "/m"));
    assert_eq!((passed.secure, passed.remote), (true, Some("192.0.2.7:4711".parse().unwrap())));
    assert_eq!(passed.server.as_deref(), Some("a.example:8080"));
    assert_eq!(passed.user, Some(RemoteUser::new("eve", "Basic").with_groups(["staff", "admins"])));
}

#[test]
fn a_certificate_is_told_as_mod_ssl_does() {
    let (mut parts, environ) = admitted(true, &[("host", "a.example"), ("authorization", "Bearer token")]);
    let certificate = ClientCertificate {
        subject: "CN=ada,O=Example".into(),
        common_name: Some("ada".into()),
        serial: Some("01A2".into()),
        names: ["email:ada@a.example", "URI:spiffe://a/ada", "DNS:a.example", "DNS:b.example"]
            .map(String::from)
            .into(),
        ..ClientCertificate::default()
    };
    parts.extensions.insert(Arc::new(certificate.clone()));
    parts.extensions.insert(RemoteUser::new("ada", CLIENT_CERT));
    let variables = from_request(&parts, &environ, None);
    // The scheme is that of the authentication, not of a field that the client sent; that field is the
    // application's.
    assert_eq!(variables.text("AUTH_TYPE"), Some("CLIENT_CERT"));
    assert_eq!(variables.text("HTTP_AUTHORIZATION"), Some("Bearer token"));
    let shown = shown(&variables);
    let told: Vec<_> = shown.lines().filter(|line| line.starts_with("SSL_")).collect();
    assert_eq!(
        told,
        [
            "SSL_CLIENT_VERIFY=SUCCESS",
            "SSL_CLIENT_S_DN=CN=ada,O=Example",
            "SSL_CLIENT_S_DN_CN=ada",
            "SSL_CLIENT_M_SERIAL=01A2",
            "SSL_CLIENT_SAN_Email_0=ada@a.example",
            "SSL_CLIENT_SAN_DNS_0=a.example",
            "SSL_CLIENT_SAN_DNS_1=b.example",
        ]
    );
    let mut back = to_request(&variables, Split::Path).unwrap().certificate.unwrap();
    back.names.insert(1, "URI:spiffe://a/ada".into());
    assert_eq!(back, certificate);
    // A name that nobody has checked does not count.
    let mut unchecked = Variables::new();
    for (name, value) in variables.iter() {
        let value = if name == b"SSL_CLIENT_VERIFY" { b"FAILED:expired" } else { value };
        unchecked.push(std::str::from_utf8(name).unwrap(), value);
    }
    assert_eq!(to_request(&unchecked, Split::Path).unwrap().certificate, None);
}

proptest! {
    #[test]
    fn paths_come_back(path in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(decode_path(&encode_path(&path)), path);
    }

    /// Whatever a web server sends, it is refused, or it is a request whose prefix and path together are the
    /// requested path.
    #[test]
    fn any_variables(
        uri in "(/[a-c%2041é]{0,6}){0,3}(\\?[a-z=&]{0,4})?",
        script in proptest::option::of("(/[a-c A\u{e9}]{0,3}){0,2}"),
        info in proptest::option::of("(/[a-c A]{0,3}){0,2}"),
        cut in 0_usize..20,
        strict in any::<bool>(),
    ) {
        let mut variables = Variables::new();
        variables.push("REQUEST_METHOD", "GET");
        variables.push("REQUEST_URI", &uri);
        let decoded = decode_path(uri.split('?').next().unwrap_or_default());
        let at = cut.min(decoded.len());
        // Half of the time, the two really are the path, cut at some point.
        match (script, info) {
            (Some(script), Some(info)) => {
                variables.push("SCRIPT_NAME", script);
                variables.push("PATH_INFO", info);
            }
            (None, None) => {
                variables.push("SCRIPT_NAME", &decoded[..at]);
                variables.push("PATH_INFO", &decoded[at..]);
            }
            (Some(script), None) => variables.push("SCRIPT_NAME", script),
            (None, Some(info)) => variables.push("PATH_INFO", info),
        }
        let split = if strict { Split::Prefix } else { Split::Path };
        if let Ok(passed) = to_request(&variables, split) {
            prop_assert!(passed.request.uri().path().starts_with('/'));
            let whole = [decode_path(&passed.script_name), decode_path(passed.request.uri().path())].concat();
            if let (Some(script), Some(info)) = (variables.get("SCRIPT_NAME"), variables.get("PATH_INFO"))
                && script.last() != Some(&b'/')
                && info.first() == Some(&b'/')
            {
                prop_assert_eq!(whole, [script, info].concat());
            }
        }
    }
}
