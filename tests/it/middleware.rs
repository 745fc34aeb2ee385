//! Each middleware, as a client and an app see it.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::StreamExt;
use http::Request;
use http_body_util::StreamBody;
use insta::assert_snapshot;
use paster::body::{App, Body};
use paster::context::Context;
use paster::middleware::{MIDDLEWARE, MiddlewareBuilder};

use crate::local::{Answer, Local, faults, load, shown};
use crate::support::folder;

/// An app `main` that responds with `hello`, behind the `middleware` from the table that follows.
fn hello(middleware: &str, rest: &str) -> String {
    format!("[app.main]\nuse = \"respond\"\nbody = \"Hello, World\"\nmiddleware = [{middleware}]\n{rest}\n")
}

fn send(local: &Local, fields: &[(&str, &str)]) -> Answer {
    local.send(
        fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value)),
        "",
    )
}

/// A body of unknown length.
fn stream(pieces: &[&'static str]) -> Body {
    let pieces: Vec<_> = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
    let frames = futures_util::stream::iter(pieces)
        .map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
    Body::new(StreamBody::new(frames))
}

#[test]
fn a_stack_is_outermost_first() {
    let tables = "[middleware.a]\nuse = \"headers\"\nresponse.append = { x = \"a\" }\n\
                  [middleware.b]\nuse = \"headers\"\nresponse.append = { x = \"b\" }";
    let local = Local::new(&hello("\"a\", \"lowercase\", \"b\"", tables), &[]);
    assert_eq!(shown(&local.get("/"), &["x"]), "200 b, a | hello, world");
}

#[test]
fn a_body_is_limited_by_its_length_and_while_it_streams() {
    // `cascade` reads the whole body before it calls its app.
    let reader = "[app.main]\nuse = \"cascade\"\napps = [\"a\"]\nmiddleware = [\"small\"]\n\
                  [app.a]\nuse = \"respond\"\nbody = \"read\"\n\
                  [middleware.small]\nuse = \"body_limit\"\nmax_bytes = 8\n";
    let local = Local::new(reader, &[]);
    let check = |body: Body, expected: &str| {
        assert_eq!(shown(&local.send(Request::post("/"), body), &[]), expected);
    };
    let refused = "413 | The request's body is longer than 8 bytes.\n";
    check("12345678".into(), "200 | read");
    check("123456789".into(), refused);
    check(stream(&["1234", "5678"]), "200 | read");
    check(stream(&["1234", "5678", "9"]), refused);
    check(stream(&["123456789"]), refused);
}

#[test]
fn every_app_has_a_limit_unless_its_stack_names_one() {
    let local = Local::new(&hello("", ""), &[]);
    let long = "x".repeat(1024 * 1024 + 1);
    let check = |local: &Local, expected: u16| {
        assert_eq!(local.send(Request::post("/"), long.clone()).status().as_u16(), expected);
    };
    check(&local, 413);
    let raised = "[middleware.more]\nuse = \"body_limit\"\nmax_bytes = 2000000\n";
    check(&Local::new(&hello("\"more\"", raised), &[]), 200);
    // A mount has no limit itself, so that one of its apps may allow more.
    let mounted = hello("\"more\"", raised).replace("app.main", "app.inner")
        + "[app.main]\nuse = \"mount\"\nroutes = { \"/\" = \"inner\" }\n";
    check(&Local::new(&mounted, &[]), 200);
    // Its refusals get a page.
    let local = Local::new(&hello("\"error_page\"", ""), &[]);
    let answer = local.send(Request::post("/").header("accept", "application/json"), long.clone());
    assert_eq!(shown(&answer, &["content-type"]).split(" | ").next(), Some("413 application/problem+json"));
}

#[test]
fn headers_are_removed_set_and_appended() {
    let options = "[middleware.h]\nuse = \"headers\"\n[middleware.h.response]\nremove = [\"content-type\"]\n\
                   set = { a = \"1\" }\nset_missing = { a = \"2\", b = \"3\" }\nappend = { b = \"4\" }\n";
    let local = Local::new(&hello("\"h\"", options), &[]);
    assert_eq!(shown(&local.get("/"), &["a", "b", "content-type"]), "200 1 3, 4 - | Hello, World");
    let wrong = "[middleware.h]\nuse = \"headers\"\n[middleware.h.response]\nremove = [\"a b\"]\n\
                 set = { content-length = \"1\", a = \"x\\ny\" }\n";
    assert_snapshot!(faults(&hello("\"h\"", wrong)), @r"
    `a b` is not a header name (use letters, digits and `-`)
    the value of header `a` contains characters that are not allowed in a header (remove line breaks and control characters)
    the header `content-length` cannot be changed (the server sets it from the message and the connection)
    ");
}

#[test]
fn request_ids_are_made_and_those_of_trusted_peers_kept() {
    let check = |options: &str, given: &str, kept: bool| {
        let tables = format!("[middleware.id]\nuse = \"request_id\"\n{options}\n");
        let answer = send(&Local::new(&hello("\"id\"", &tables), &[]), &[("x-request-id", given)]);
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(id == given, kept, "{options} {given}: {id}");
        assert!(kept || id.len() == 32, "{id}");
    };
    check("", "abc-123", false);
    check("trusted = [\"10.0.0.0/8\"]", "abc-123", false);
    check("trusted = [\"127.0.0.0/8\"]", "abc-123", true);
    check("trusted = [\"127.0.0.1\"]", "abc 123\"", false);
    check("trusted = [\"127.0.0.1\"]", &"x".repeat(129), false);
}

#[test]
fn responses_are_compressed_when_it_is_worth_it() {
    let text = "all work and no play ".repeat(200);
    let files = [("www/a.txt", text.as_str()), ("www/short.txt", "short"), ("www/a.png", text.as_str())];
    let folder = folder(&files);
    let www = folder.path().join("www");
    let config =
        format!("[app.main]\nuse = \"static\"\npublish_dir = {www:?}\nmiddleware = [\"compress\"]\n");
    let local = Local::in_folder(folder, &config, false);
    let check = |target: &str, accept: &str, range: bool, expected: &str| {
        let mut request = Request::get(target).header("accept-encoding", accept);
        if range {
            request = request.header("range", "bytes=0-2000");
        }
        let answer = local.send(request, "");
        let field = |name: &str| answer.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        let weak = field("etag").starts_with("W/");
        let shown = format!("{} {} {weak}", field("content-encoding"), field("vary"));
        assert_eq!(shown, expected, "{target} {accept}");
        assert_eq!(answer.body().len() < 200, target == "/short.txt" || expected.ends_with("true"));
    };
    check("/a.txt", "zstd, br, gzip", false, "zstd accept-encoding true");
    check("/a.txt", "br", false, "br accept-encoding true");
    check("/a.txt", "gzip;q=0.5", false, "gzip accept-encoding true");
    check("/a.txt", "identity", false, "- accept-encoding false");
    check("/a.txt", "gzip", true, "- accept-encoding false");
    check("/short.txt", "gzip", false, "- accept-encoding false");
    check("/a.png", "gzip", false, "- - false");
}

#[test]
fn compress_offers_the_listed_codings_from_the_stated_length() {
    let files = [("www/a.txt", "all work and no play "), ("www/b.txt", "all work and no play, all work")];
    let config = "[app.main]\nuse = \"static\"\npublish_dir = \"www\"\nmiddleware = [\"small\"]\n\
                  [middleware.small]\nuse = \"compress\"\nmin_bytes = 25\nalgorithms = [\"gzip\", \"br\"]\n";
    let local = Local::new(config, &files);
    let check = |target: &str, accept: &str, expected: Option<&str>| {
        let answer = local.send(Request::get(target).header("accept-encoding", accept), "");
        let coding = answer.headers().get("content-encoding").map(|coding| coding.to_str().unwrap());
        assert_eq!(coding, expected, "{target} {accept}");
    };
    check("/a.txt", "gzip", None);
    check("/b.txt", "gzip", Some("gzip"));
    check("/b.txt", "zstd, br;q=0.5", Some("br"));
    check("/b.txt", "zstd", None);
}

#[test]
fn head_has_the_fields_that_get_has() {
    let text = "all work and no play ".repeat(200);
    let folder =
        folder(&[("www/a.txt", text.as_str()), ("www/short.txt", "short"), ("www/a.png", text.as_str())]);
    let www = folder.path().join("www");
    let config =
        format!("[app.main]\nuse = \"static\"\npublish_dir = {www:?}\nmiddleware = [\"compress\"]\n");
    let local = Local::in_folder(folder, &config, false);
    let fields = |method: &str, target: &str, accept: Option<&str>| {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(accept) = accept {
            request = request.header("accept-encoding", accept);
        }
        let mut fields: Vec<_> = local
            .send(request, "")
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields
    };
    for target in ["/a.txt", "/short.txt", "/a.png", "/absent"] {
        for accept in [None, Some("gzip"), Some("br, zstd"), Some("identity")] {
            assert_eq!(fields("HEAD", target, accept), fields("GET", target, accept), "{target} {accept:?}");
        }
    }
    assert!(fields("HEAD", "/a.txt", Some("gzip")).contains(&"content-encoding: gzip".to_owned()));
}

#[tokio::test]
async fn head_claims_no_coding_where_the_length_is_unknown() {
    let app = App::from_fn(|_| async {
        let response = http::Response::builder().header("content-type", "text/plain").header("etag", "\"a\"");
        response.body(Body::empty()).unwrap()
    });
    for accept in [true, false] {
        let mut request = Request::head("/").body(Body::empty()).unwrap();
        if accept {
            request.headers_mut().insert("accept-encoding", http::HeaderValue::from_static("gzip"));
        }
        let response = wrap("compress", false, app.clone()).handle(request).await.unwrap();
        let field = |name: &str| response.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        let etag = if accept { "W/\"a\"" } else { "\"a\"" };
        assert_eq!([field("content-encoding"), field("vary"), field("etag")], ["-", "accept-encoding", etag]);
    }
}

#[test]
fn a_late_answer_is_504() {
    let local = Local::new(&hello("\"slow\"", "[middleware.slow]\nuse = \"timeout\"\nafter_secs = 1\n"), &[]);
    assert_eq!(local.get("/").status(), 200);
    // The app never reads a body that never comes, but `cascade` waits for it.
    let config = "[app.main]\nuse = \"cascade\"\napps = [\"a\"]\nmiddleware = [\"slow\"]\n[app.a]\nuse = \"respond\"\n\
                  [middleware.slow]\nuse = \"timeout\"\nafter_secs = 1\n";
    let local = Local::new(config, &[]);
    let never = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
    let begun = std::time::Instant::now();
    assert_eq!(local.send(Request::post("/"), Body::new(StreamBody::new(never))).status(), 504);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn error_pages_have_the_form_that_the_client_reads() {
    let config = "[app.main]\nuse = \"static\"\npublish_dir = \"www\"\nmiddleware = [\"error_page\"]\n";
    let files = [("www/index.html", ""), ("404.html", "<h1>own page</h1>")];
    let local = Local::new(config, &files);
    let check = |local: &Local, accept: &str, expected: &str| {
        let answer = local.send(Request::get("/absent").header("accept", accept), "");
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        let line = body.lines().find(|line| line.starts_with("<h1>")).unwrap_or(body.trim());
        let media = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(format!("{} {media} {line}", answer.status().as_u16()), expected);
    };
    check(&local, "text/html,*/*;q=0.8", "404 text/html; charset=utf-8 <h1>Not Found</h1>");
    check(
        &local,
        "application/json",
        "404 application/problem+json {\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\
         \"detail\":\"There is no such file.\"}",
    );
    check(&local, "*/*", "404 text/plain; charset=utf-8 There is no such file.");
    assert_eq!(local.get("/absent").headers()["vary"], "accept", "a cache keeps the forms apart");
    let own = config.replace("[\"error_page\"]", "[\"pages\"]")
        + "[middleware.pages]\nuse = \"error_page\"\npages = { \"4xx\" = \"404.html\" }\n";
    let local = Local::new(&own, &files);
    check(&local, "text/html", "404 text/html; charset=utf-8 <h1>own page</h1>");
    let head = local.send(Request::head("/absent").header("accept", "text/html"), "");
    assert_eq!(shown(&head, &["content-length", "vary"]), "404 17 accept | ");
    let answer = local.send(Request::post("/").header("accept", "text/html"), "");
    assert_eq!(answer.headers()["allow"], "GET, HEAD", "what the app said stays");
}

/// `lint` with `strict` fails on a 405 without `allow`: an error from inside a stack.
const FAILING: &str = "[app.main]\nuse = \"respond\"\nstatus = 405\nmiddleware = [\"error_page\", \"strict\"]\n\
                       [middleware.strict]\nuse = \"lint\"\nstrict = true\n";

#[test]
fn the_debug_page_is_for_developers_on_this_machine() {
    let request = || {
        Request::get("/x?token=s3cret&c")
            .header("accept", "text/html")
            .header("cookie", "s3cret")
            .header("x-note", "<script>")
    };
    let html = |answer: Answer| String::from_utf8(answer.body().to_vec()).unwrap();
    let page = html(Local::development(FAILING, &[]).send(request(), ""));
    for part in [
        "the middleware &#x60;strict&#x60; of the app &#x60;main&#x60; failed",
        "the status 405 Method Not Allowed has no &#x60;allow&#x60;",
        "token&#x3D;***&amp;c",
        "&lt;script&gt;",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!page.contains("s3cret"));
    let production = html(Local::new(FAILING, &[]).send(request(), ""));
    assert!(!production.contains("allow") && production.contains("Something went wrong"), "{production}");
}

#[test]
fn lint_logs_or_fails() {
    let local = Local::new(FAILING.replace("\"error_page\", ", "").as_str(), &[]);
    let error = local.try_send(Request::get("/a"), "").unwrap_err();
    assert_eq!(error.to_string(), "lint: the status 405 Method Not Allowed has no `allow`");
    let error =
        local.try_send(Request::get("/a").header("x_y", "1").header("transfer-encoding", "chunked"), "");
    assert_eq!(
        error.unwrap_err().to_string(),
        "lint: the request has the hop-by-hop field `transfer-encoding`; \
         the request has the field `x_y`, which CGI cannot distinguish from another one"
    );
    let lenient = Local::new(&FAILING.replace("strict = true", "").replace("\"error_page\", ", ""), &[]);
    assert_eq!(lenient.get("/").status(), 405);
}

#[test]
fn auth_basic_lets_in_whom_the_file_knows() {
    let entry = |name: &str, password: &str| format!("{name}:{}\n", bcrypt::hash(password, 4).unwrap());
    let config = hello(
        "\"door\"",
        "[middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\nrealm = \"Staff\"\n",
    );
    let local =
        Local::new(&config, &[("users", &(entry("ann", "first:pass") + "# note\n" + &entry("bob", "b")))]);
    let check = |name: &str, password: &str, expected: u16| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        let answer = send(&local, &[("authorization", &format!("Basic {credentials}"))]);
        assert_eq!(answer.status().as_u16(), expected, "{name} {password}");
    };
    for _ in 0..2 {
        check("ann", "first:pass", 200);
        check("ann", "wrong", 401);
        check("bob", "b", 200);
        check("eve", "b", 401);
        check("", "", 401);
        check("ann", "first:pass\0", 401);
    }
    let answer = local.get("/");
    assert_eq!(
        shown(&answer, &["www-authenticate"]),
        "401 Basic realm=\"Staff\", charset=\"UTF-8\" | A name and a password are required.\n"
    );
    for wrong in ["Basic", "Basic !!!", "Bearer abc", "Basic YWJj"] {
        assert_eq!(send(&local, &[("authorization", wrong)]).status(), 401, "{wrong}");
    }
    assert_eq!(
        send(&local, &[("authorization", "Basic Yjpi"), ("authorization", "Basic Yjpi")]).status(),
        401
    );
}

#[test]
fn a_changed_password_counts_also_in_a_file_of_the_same_size_and_time() {
    let entry = |password: &str| format!("ann:{}\n", bcrypt::hash(password, 4).unwrap());
    let config = hello("\"door\"", "[middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n");
    let local = Local::new(&config, &[("users", &entry("old"))]);
    let status = |password: &str| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}"));
        send(&local, &[("authorization", &format!("Basic {credentials}"))]).status().as_u16()
    };
    assert_eq!((status("old"), status("new")), (200, 401));
    let users = local.folder.path().join("users");
    let modified = std::fs::metadata(&users).unwrap().modified().unwrap();
    std::fs::write(&users, entry("new")).unwrap();
    std::fs::File::options().write(true).open(&users).unwrap().set_modified(modified).unwrap();
    crate::support::wait_until("the file is read again", || status("old") == 401);
    assert_eq!(status("new"), 200);
}

#[test]
fn weak_hashes_are_refused() {
    let config = hello("\"door\"", "[middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n");
    let folder = folder(&[("server.toml", &config), ("users", "a:{SHA}x\nb:$apr1$x\nc\n# d\ne:$6$x\n")]);
    let config = load(folder.path()).unwrap();
    let errors = paster::ops::assemble::assemble_apps(&config, &Context::alone(false), None);
    let errors: Vec<_> = errors.err().unwrap().iter().map(ToString::to_string).collect();
    let shown = errors.join("\n").replace(&*folder.path().to_string_lossy(), "F");
    assert_snapshot!(shown, @r"
    line 1 of `F/users` has an unsalted SHA-1 hash, which can be looked up in tables
    line 2 of `F/users` has an MD5 hash, which is too fast to resist guessing
    line 3 of `F/users` has no `name:hash`
    line 5 of `F/users` has a hash that is neither argon2id nor bcrypt
    ");
}

#[test]
fn the_access_log_has_a_line_a_request_and_no_secrets() {
    let check = |format: &str, expected: &str| {
        let tables =
            format!("[middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"{format}\"\n");
        let mut local = Local::new(&hello("\"log\"", &tables), &[]);
        // Characters that could harm a terminal are escaped in each format.
        let request = Request::get("/a?token=s3cret&b=c")
            .header("authorization", "Basic s3cret")
            .header("cookie", "s3cret")
            .header("referer", "http://h/?password=s3cret")
            .header("user-agent", "curl\\ \"8\"");
        local.send(request, "");
        // The log is complete when its app is gone.
        local.assembly.apps.clear();
        let log = std::fs::read_to_string(local.folder.path().join("access.log")).unwrap();
        assert!(!log.contains("s3cret"), "{log}");
        assert_eq!(normalised(&log), expected);
    };
    check("common", "127.0.0.1 - - [TIME] \"GET /a?token=***&b=c HTTP/1.1\" 200 12\n");
    check(
        "combined",
        "127.0.0.1 - - [TIME] \"GET /a?token=***&b=c HTTP/1.1\" 200 12 \"http://h/?password=***\" \
         \"curl\\x5c \\x228\\x22\"\n",
    );
    check(
        "json",
        "{\"time\":\"TIME\",\"client\":\"127.0.0.1\",\"user\":null,\"host\":\"localhost\",\"method\":\"GET\",\
         \"target\":\"/a?token=***&b=c\",\"version\":\"HTTP/1.1\",\"status\":200,\"bytes\":12,\"micros\":N,\
         \"referer\":\"http://h/?password=***\",\"user_agent\":\"curl\\\\ \\\"8\\\"\",\"request_id\":null}\n",
    );
}

/// The line with time and duration replaced.
fn normalised(line: &str) -> String {
    let mut line = line.to_owned();
    for (start, end, with) in [("[", "]", "TIME"), ("\"time\":\"", "\"", "TIME"), ("\"micros\":", ",", "N")] {
        if let Some(at) = line.find(start).map(|at| at + start.len())
            && let Some(length) = line[at..].find(end)
        {
            line.replace_range(at..at + length, with);
        }
    }
    line
}

#[test]
fn the_log_file_is_made_anew_when_it_was_moved_away() {
    let tables = "[middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"common\"\n";
    let mut local = Local::new(&hello("\"log\"", tables), &[]);
    local.get("/first");
    let log = local.folder.path().join("access.log");
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    let end = std::time::Instant::now() + crate::support::patience();
    while lines(&log) == 0 {
        assert!(std::time::Instant::now() < end, "the first line was never written");
        std::thread::yield_now();
    }
    std::fs::rename(&log, log.with_extension("old")).unwrap();
    while lines(&log) == 0 {
        assert!(std::time::Instant::now() < end, "the file was never made anew");
        local.get("/more");
        local.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
    local.assembly.apps.clear();
    assert!(lines(&log.with_extension("old")) >= 1);
}

/// `kind` with default options around `app`, as the assembler builds it.
fn wrap(kind: &str, strict: bool, app: App) -> App {
    let entry = MIDDLEWARE.iter().find(|entry| entry.name == kind).unwrap();
    let config = format!("[middleware.m]\nuse = \"{kind}\"\n{}", if strict { "strict = true\n" } else { "" });
    let folder = folder(&[("server.toml", &config)]);
    let table = load(folder.path()).unwrap().table("middleware", "m").unwrap();
    let context = &Context::alone(false);
    let mut builder = MiddlewareBuilder {
        context,
        app: "main",
        resolve: &mut |name, _| panic!("no app `{name}`"),
        instances: &std::cell::RefCell::default(),
    };
    entry.kind.build(&table, &mut builder, app).unwrap()
}

#[tokio::test]
async fn panics_and_errors_become_500() {
    let early = App::from_call(|_| panic!("secret reason"));
    let late = App::from_fn(|request: paster::body::Request| async move {
        assert!(request.uri().path().is_empty(), "secret reason");
        http::Response::new(Body::empty())
    });
    let error = App::from_call(|_| Box::pin(std::future::ready(Err("secret reason".into()))));
    for app in [early, late, error] {
        let request = Request::get("/").body(Body::empty()).unwrap();
        let response = wrap("error_page", false, app).handle(request).await.unwrap();
        assert_eq!(response.status(), 500);
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(&body[..], b"500 Internal Server Error\n");
    }
}

#[tokio::test]
async fn lint_counts_streamed_bodies() {
    for (length, strict, fails) in
        [("6", true, false), ("5", true, true), ("7", true, true), ("7", false, false), ("x", true, true)]
    {
        let app = App::from_fn(move |_| async move {
            let response =
                http::Response::builder().header("content-length", length).header("content-type", "a/b");
            response.body(stream(&["123", "456"])).unwrap()
        });
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        request.extensions_mut().insert(crate::local::environ("localhost"));
        let result = match wrap("lint", strict, app).handle(request).await {
            Ok(response) => http_body_util::BodyExt::collect(response.into_body()).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(result.is_err(), fails, "content-length {length}, strict {strict}: {result:?}");
    }
}

#[test]
fn the_log_knows_user_id_and_the_length_of_streams() {
    let folder = folder(&[("users", &format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap()))]);
    std::fs::create_dir(folder.path().join("www")).unwrap();
    std::fs::write(folder.path().join("www/large.bin"), vec![0; 200_000]).unwrap();
    let config = "[app.main]\nuse = \"static\"\npublish_dir = \"www\"\nmiddleware = [\"log\", \"request_id\", \"door\"]\n\
                  [middleware.log]\nuse = \"access_log\"\nfile = \"access.log\"\nformat = \"json\"\n\
                  [middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n";
    let mut local = Local::in_folder(folder, config, false);
    let credentials = base64::engine::general_purpose::STANDARD.encode("ann:pw");
    let request = Request::get("/large.bin").header("authorization", format!("Basic {credentials}"));
    let answer = local.send(request, "");
    local.assembly.apps.clear();
    let log = std::fs::read_to_string(local.folder.path().join("access.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&line["user"], &line["bytes"]), (&"ann".into(), &200_000.into()));
    assert_eq!(line["request_id"], answer.headers()["x-request-id"].to_str().unwrap());
}

#[test]
fn a_changed_password_holds_at_once_and_a_broken_file_changes_nothing() {
    let config = hello("\"door\"", "[middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n");
    let users = |password: &str| format!("ann:{}\n", bcrypt::hash(password, 4).unwrap());
    let local = Local::new(&config, &[("users", &users("old"))]);
    let status = |password: &str| {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}"));
        send(&local, &[("authorization", &format!("Basic {credentials}"))]).status().as_u16()
    };
    assert_eq!((status("old"), status("new")), (200, 401));
    let file = local.folder.path().join("users");
    std::fs::write(&file, users("new")).unwrap();
    let end = std::time::Instant::now() + crate::support::patience();
    while status("old") == 200 {
        assert!(std::time::Instant::now() < end, "the file was never read anew");
        local.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
    }
    assert_eq!(status("new"), 200);
    std::fs::write(&file, "broken").unwrap();
    // Longer than the content of the file is cached.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1200) {
        assert_eq!(status("new"), 200);
    }
    assert_eq!(status("old"), 401);
}
