//! `error_document` and `buffer`.

use http::Request;
use insta::assert_snapshot;
use paster::body::{App, Body};

use super::hello;
use crate::local::{Local, faults, shown};

#[test]
fn the_app_writes_the_pages_for_errors() {
    let program = "#!/bin/sh\ncase \"$PATH_INFO\" in\n\
        /errors/missing) printf 'Content-Type: text/html\\n\\nNo %s here (%s %s)' \"$HTTP_X_ERROR_PATH\" \"$HTTP_X_ERROR_STATUS\" \"$REQUEST_METHOD\";;\n\
        /errors/*) printf 'Status: 500 No\\nContent-Type: text/plain\\n\\nbroken';;\n\
        /door) printf 'Status: 401 No\\nWWW-Authenticate: Basic\\nETag: \"a\"\\nContent-Type: text/plain\\n\\nplain';;\n\
        /fails) printf 'Status: 503 No\\nContent-Type: text/plain\\n\\nplain';;\n\
        /fine) printf 'Content-Type: text/plain\\n\\n%s' \"fine $HTTP_X_ERROR_STATUS\";;\n\
        *) printf 'Status: 404 No\\nContent-Type: text/plain\\n\\nplain';;\nesac\n";
    let folder = crate::support::folder(&[("program", program)]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("program"), executable).unwrap();
    let config = "[app.main]\nuse = \"cgi\"\nprogram = \"program\"\nmiddleware = [\"errors\"]\n\
                  [middleware.errors]\nuse = \"error_document\"\n\
                  pages = { \"404\" = \"/errors/missing\", \"4xx\" = \"/errors/missing\", \"5xx\" = \"/errors/sorry\" }\n";
    let local = Local::in_folder(folder, config, false);
    let check = |request: http::request::Builder, expected: &str| {
        assert_eq!(shown(&local.send(request, "a body"), &["content-type"]), expected);
    };
    check(Request::post("/a%20b?c"), "404 text/html | No /a%20b here (404 GET)");
    check(Request::get("/fine").header("x-error-status", "404"), "200 text/plain | fine ");
    check(Request::get("/fails"), "503 text/plain | plain");
    let answer = local.get("/door");
    assert_eq!(shown(&answer, &["www-authenticate", "etag"]), "401 Basic - | No /door here (401 GET)");
    let wrong =
        "[middleware.errors]\nuse = \"error_document\"\npages = { \"404\" = \"missing\", \"200\" = \"/\" }\n";
    assert_snapshot!(faults(&hello("[\"errors\"]", wrong)), @r"
    `200` is not a status for errors (write a number from 400 to 599, or `4xx` or `5xx` for a whole class)
    `missing` is not a path (begin it with `/`)
    ");
}

/// A body of unknown length.
fn stream(length: usize, pieces: usize) -> Body {
    use futures_util::StreamExt;
    let frames = futures_util::stream::iter(0..pieces).map(move |number| {
        let piece = vec![b'a' + (number % 26) as u8; length];
        Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(piece)))
    });
    Body::new(http_body_util::StreamBody::new(frames))
}

#[test]
fn a_request_reaches_the_app_whole_and_with_its_length() {
    let program = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s ' \"$CONTENT_LENGTH\"\nsha256sum\n";
    let folder = crate::support::folder(&[("program", program)]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("program"), executable).unwrap();
    let config = "[app.main]\nuse = \"cgi\"\nprogram = \"program\"\nmiddleware = [\"buffer\"]\n\
                  [middleware.buffer]\nuse = \"buffer\"\nmemory_bytes = 1000\nmax_bytes = 500000\nspool_dir = \".\"\n";
    let local = Local::in_folder(folder, config, false);
    for (length, pieces) in [(10, 3), (400, 3), (10_000, 40)] {
        let answer = local.send(Request::post("/"), stream(length, pieces));
        let whole: Vec<u8> = (0..pieces).flat_map(|n| vec![b'a' + (n % 26) as u8; length]).collect();
        let digest: String =
            <sha2::Sha256 as sha2::Digest>::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown(&answer, &[]), format!("200 | {} {digest}  -\n", whole.len()));
    }
    let answer = local.send(Request::post("/"), stream(100_000, 6));
    assert_eq!(shown(&answer, &[]), "413 | The request's body is too long.\n");
    assert_eq!(std::fs::read_dir(local.folder.path()).unwrap().count(), 2, "no temporary file has a name");
    let wrong = "[middleware.b]\nuse = \"buffer\"\nspool_dir = \"absent\"\n";
    assert!(
        faults(&hello("[\"b\"]", wrong)).starts_with("cannot create files in `/"),
        "{}",
        faults(&hello("[\"b\"]", wrong))
    );
}

#[test]
fn a_response_is_received_before_it_is_sent() {
    let tables =
        "[middleware.buffer]\nuse = \"buffer\"\nrequests = false\nresponses = true\nmax_bytes = 150000\n";
    // Files have a body that is not whole.
    let config = hello("[\"buffer\"]", tables)
        .replace("use = \"respond\"\nbody = \"hello\"", "use = \"static\"\npublish_dir = \"www\"");
    let (short, long) = ("s".repeat(100_000), "l".repeat(200_000));
    let local = Local::new(&config, &[("www/short.txt", &short), ("www/long.txt", &long)]);
    let answer = local.get("/short.txt");
    assert_eq!(
        (answer.headers()["content-length"].to_str().unwrap(), answer.body().len()),
        ("100000", 100_000)
    );
    assert_eq!(local.get("/long.txt").body().len(), 200_000);
    assert_eq!(local.send(Request::head("/short.txt"), "").headers()["content-length"], "100000");
}

#[tokio::test]
async fn a_response_of_unknown_length_that_is_too_long_is_passed_on() {
    use http_body_util::BodyExt;
    let app = App::from_fn(|_| async { http::Response::new(stream(100_000, 4)) });
    let app = super::wrap("responses = true\nmax_bytes = 250000\n", "buffer", app);
    let response = app.handle(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let whole: Vec<u8> = (0..4).flat_map(|n| vec![b'a' + n as u8; 100_000]).collect();
    assert!(body == whole, "{} bytes", body.len());
}
