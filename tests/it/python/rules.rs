//! The rules of PEP 3333 as requests and their answers: each with the paragraph that it comes from.

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: example.org:81\r\nConnection: close\r\n\r\n")
}

pub(super) fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

pub(super) fn chunked(target: &str, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("{:x}\r\n{part}\r\n", part.len())).collect();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{parts}0\r\n\r\n"
    )
}

/// What an answer must be. Words are looked for in the head without regard to case.
pub(super) struct Check {
    /// The paragraph, and what it says.
    pub(super) rule: &'static str,
    pub(super) request: String,
    pub(super) status: &'static str,
    /// Lines that the head must have, and must not have after `!`.
    pub(super) head: &'static [&'static str],
    /// What the body must contain, and must not contain after `!`; `=` for the whole body.
    pub(super) body: &'static [&'static str],
}

fn check(
    rule: &'static str,
    request: String,
    status: &'static str,
    head: &'static [&'static str],
    body: &'static [&'static str],
) -> Check {
    Check { rule, request, status, head, body }
}

#[rustfmt::skip]
pub(super) fn table() -> Vec<Check> {
    let with = |target: &str, field: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{field}\r\n\r\n");
    let head_of = |head: &str| get(&format!("/head_of?{head}"));
    vec![
        // environ Variables
        check("environ: REQUEST_METHOD, never empty", get("/env"), "200", &[], &["REQUEST_METHOD='GET'"]),
        check("environ: other methods", "PROPFIND /env HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200", &[], &["REQUEST_METHOD='PROPFIND'"]),
        check("environ: SCRIPT_NAME is empty at the root", get("/env"), "200", &[], &["SCRIPT_NAME=''"]),
        check("environ: PATH_INFO", get("/env/a/b"), "200", &[], &["PATH_INFO='/env/a/b'"]),
        check("environ: PATH_INFO is decoded", get("/env/a%20b%3F"), "200", &[], &["PATH_INFO='/env/a b?'"]),
        check("Unicode Issues: PATH_INFO is latin-1 of the bytes", get("/env/%C3%A9"), "200", &[], &["PATH_INFO='/env/\\xc3\\xa9'"]),
        check("Unicode Issues: the gate refuses bytes that are not UTF-8", get("/env/%E9"), "400", &[], &[]),
        check("environ: QUERY_STRING, not decoded", get("/env?a=%20b&c=d?e"), "200", &[], &["QUERY_STRING='a=%20b&c=d?e'"]),
        check("environ: QUERY_STRING may be empty", get("/env"), "200", &[], &["QUERY_STRING=''"]),
        check("environ: SERVER_NAME", get("/env"), "200", &[], &["SERVER_NAME='example.org'"]),
        check("environ: SERVER_PORT is a string", get("/env"), "200", &[], &["SERVER_PORT='81'"]),
        check("environ: SERVER_PROTOCOL", get("/env"), "200", &[], &["SERVER_PROTOCOL='HTTP/1.1'"]),
        check("environ: SERVER_PROTOCOL of HTTP/1.0", "GET /env HTTP/1.0\r\nHost: a\r\n\r\n".into(), "200", &[], &["SERVER_PROTOCOL='HTTP/1.0'"]),
        check("environ: HTTP_ variables", with("/env", "X-Some-Thing: value"), "200", &[], &["HTTP_X_SOME_THING='value'"]),
        check("environ: HTTP_HOST", get("/env"), "200", &[], &["HTTP_HOST='example.org:81'"]),
        check("environ: repeated fields are joined", with("/env", "X-A: 1\r\nX-A: 2"), "200", &[], &["HTTP_X_A='1, 2'"]),
        check("environ: cookies are joined by a semicolon", with("/env", "Cookie: a=1\r\nCookie: b=2"), "200", &[], &["HTTP_COOKIE='a=1; b=2'"]),
        check("environ: no HTTP_PROXY", with("/env", "Proxy: evil"), "200", &[], &["!HTTP_PROXY"]),
        check("environ: CONTENT_TYPE without HTTP_", with("/env", "Content-Type: a/b"), "200", &[], &["CONTENT_TYPE='a/b'", "!HTTP_CONTENT_TYPE"]),
        check("environ: CONTENT_LENGTH without HTTP_", post("/env", "abc"), "200", &[], &["CONTENT_LENGTH='3'", "!HTTP_CONTENT_LENGTH"]),
        check("environ: no CONTENT_LENGTH for chunks", chunked("/env", &["abc"]), "200", &[], &["!CONTENT_LENGTH", "!HTTP_TRANSFER_ENCODING"]),
        check("environ: latin-1 field values", with("/env", "X-A: caf\u{e9}"), "200", &[], &["HTTP_X_A='caf\\xc3\\xa9'"]),
        check("environ: REMOTE_ADDR", get("/env"), "200", &[], &["REMOTE_ADDR='127.0.0.1'"]),
        check("environ: a builtin dictionary", get("/env"), "200", &[], &["type=dict"]),
        check("environ: without the process's variables", get("/env"), "200", &[], &["!PATH='/", "!XDG_STATE_HOME"]),
        check("environ: wsgi.version", get("/env"), "200", &[], &["wsgi.version=(1, 0)"]),
        check("environ: wsgi.url_scheme", get("/env"), "200", &[], &["wsgi.url_scheme='http'"]),
        check("environ: wsgi.multithread", get("/env"), "200", &[], &["wsgi.multithread=True"]),
        check("environ: wsgi.multiprocess", get("/env"), "200", &[], &["wsgi.multiprocess=False"]),
        check("environ: wsgi.run_once", get("/env"), "200", &[], &["wsgi.run_once=False"]),
        check("environ: wsgi.input_terminated", get("/env"), "200", &[], &["wsgi.input_terminated=True"]),
        check("environ: wsgi.input", get("/env"), "200", &[], &["wsgi.input="]),
        check("environ: wsgi.errors", get("/env"), "200", &[], &["wsgi.errors="]),
        check("environ: PATH_INFO keeps a slash at its end", get("/env/a/"), "200", &[], &["PATH_INFO='/env/a/'"]),
        check("environ: PATH_INFO keeps a plus sign", get("/env/a+b"), "200", &[], &["PATH_INFO='/env/a+b'"]),
        check("environ: QUERY_STRING keeps a plus sign and escapes", get("/env?a+b=%C3%A9"), "200", &[], &["QUERY_STRING='a+b=%C3%A9'"]),
        check("environ: PATH_INFO of a target with a host", "GET http://a/env?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200", &[], &["PATH_INFO='/env'", "QUERY_STRING='b'"]),
        check("environ: an empty field", with("/env", "X-Empty:"), "200", &[], &["HTTP_X_EMPTY=''"]),
        check("environ: without the spaces around a field", with("/env", "X-A: \t a  b \t"), "200", &[], &["HTTP_X_A='a  b'"]),
        // Input and Error Streams
        check("Input: an empty body", post("/read_all", ""), "200", &[], &["=0 b'' b''"]),
        check("Input: lines that end with CR LF", post("/iterate", "a\r\nb\r\n"), "200", &[], &["=[b'a\\r\\n', b'b\\r\\n']"]),
        check("Input: any byte", post("/read_parts", "a\0b"), "200", &[], &["=[b'a\\x00b']"]),
        check("Input: a large body", post("/read_all", &"x".repeat(300_000)), "200", &[], &["=300000 b'' b''"]),
        check("Input: not beyond Content-Length", format!("{}more", post("/read_all", "abc")), "200", &[], &["=3 b'' b''"]),
        check("Input: chunk extensions and trailers are not part of it", "POST /read_all HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n".into(), "200", &[], &["=3 b'' b''"]),
        check("Input: read(size), and the end", post("/read", "hello"), "200", &[], &["5 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 b''"]),
        check("Input: read()", post("/read_all", "hello"), "200", &[], &["=5 b'' b''"]),
        check("Input: read in parts", post("/read_parts", "abcdefgh"), "200", &[], &["=[b'abc', b'def', b'gh']"]),
        check("Input: readline with and without a size", post("/readline", "one\ntwo\nthree"), "200", &[], &["=[b'one\\n', b'tw', b'o\\n', b'three', b'']"]),
        check("Input: readlines", post("/readlines", "a\n\nb"), "200", &[], &["=[b'a\\n', b'\\n', b'b']"]),
        check("Input: readlines with a hint", post("/readlines_hint", "a\nb\nc\nd\n"), "200", &[], &["=[[b'a\\n', b'b\\n'], [b'c\\n'], [b'd\\n']]"]),
        check("Input: iteration", post("/iterate", "a\nb"), "200", &[], &["=[b'a\\n', b'b']"]),
        check("Input: empty without a body", get("/iterate"), "200", &[], &["=[]"]),
        check("Input: chunks are joined", chunked("/read_parts", &["ab", "cdefg", "h"]), "200", &[], &["=[b'abc', b'def', b'gh']"]),
        check("Input: lines across chunks", chunked("/iterate", &["a", "b\nc", "\n", "d"]), "200", &[], &["=[b'ab\\n', b'c\\n', b'd']"]),
        check("Input: the end of chunks", chunked("/read_all", &["hello"]), "200", &[], &["=5 b'' b''"]),
        check("Input: it need not be read", post("/unread", "abc"), "200", &[], &["=not read\n"]),
        // The start_response() Callable
        check("start_response: status and reason", head_of("201%20Made%20Here"), "201 Made Here", &[], &["=sent\n"]),
        check("start_response: an empty reason", head_of("200%20"), "200", &[], &["=sent\n"]),
        check("start_response: headers in their order", head_of("200%20OK|X-A|1|X-B|2"), "200 OK", &["x-a: 1", "x-b: 2"], &[]),
        check("start_response: repeated headers stay apart", head_of("200%20OK|Set-Cookie|a=1|Set-Cookie|b=2"), "200 OK", &["set-cookie: a=1", "set-cookie: b=2"], &[]),
        check("start_response: latin-1 values", get("/latin1/x"), "200", &["x-name: caf\u{e9}"], &[]),
        check("start_response: a line end in a value", head_of("200%20OK|X-A|a%0D%0AX-Evil:%20b"), "500", &["!x-evil"], &[]),
        check("start_response: a line end in the status", head_of("200%20OK%0D%0AX-Evil:%20b"), "500", &["!x-evil"], &[]),
        check("start_response: a NUL in a value", head_of("200%20OK|X-A|a%00b"), "500", &["!x-a"], &[]),
        check("start_response: a colon in a name", head_of("200%20OK|X-A:|a"), "500", &["!x-a"], &[]),
        check("start_response: an empty name", head_of("200%20OK||a"), "500", &[], &[]),
        check("start_response: no Status header", head_of("200%20OK|Status|200"), "500", &["!status"], &[]),
        check("start_response: a status that is none", head_of("OK"), "500", &[], &[]),
        check("start_response: a status of two digits", head_of("20%20OK"), "500", &[], &[]),
        check("start_response: a status above 599", head_of("999%20OK"), "500", &[], &[]),
        check("start_response: the status is a string", get("/head_types?status"), "500", &[], &[]),
        check("start_response: the headers are a list", get("/head_types?tuple"), "500", &[], &[]),
        check("start_response: of tuples", get("/head_types?lists"), "500", &[], &[]),
        check("start_response: names are strings", get("/head_types?name"), "500", &[], &[]),
        check("start_response: values are strings", get("/head_types?value"), "500", &[], &[]),
        check("start_response: not twice", get("/twice"), "500", &[], &["!never"]),
        check("start_response: it must be called before a part", get("/not_started"), "500", &[], &["!never"]),
        check("start_response: it must be called", get("/never_started"), "500", &[], &[]),
        check("start_response: in the first step of a generator", get("/generator"), "200", &["content-type: text/plain"], &["one ", "two ", "three\n"]),
        check("start_response: exc_info replaces the head", get("/replaced"), "500 Oops", &["x-second: 2", "!x-first"], &["=replaced\n"]),
        check("start_response: exc_info after the head is raised", get("/too_late"), "200", &[], &["=sent broken off"]),
        check("Other HTTP Features: Connection", head_of("200%20OK|Connection|keep-alive"), "500", &[], &[]),
        check("Other HTTP Features: Transfer-Encoding", head_of("200%20OK|Transfer-Encoding|chunked"), "500", &[], &[]),
        check("Other HTTP Features: Upgrade", head_of("200%20OK|Upgrade|x"), "500", &[], &[]),
        check("Other HTTP Features: Keep-Alive", head_of("200%20OK|Keep-Alive|a"), "500", &[], &[]),
        check("Other HTTP Features: Trailer", head_of("200%20OK|Trailer|a"), "500", &[], &[]),
        check("Other HTTP Features: TE", head_of("200%20OK|TE|a"), "500", &[], &[]),
        check("Other HTTP Features: Proxy-Authenticate", head_of("200%20OK|Proxy-Authenticate|a"), "500", &[], &[]),
        check("Other HTTP Features: the server adds Date", get("/raw/hello"), "200", &["date: "], &[]),
        check("start_response: an empty value", head_of("200%20OK|X-A|"), "200", &["x-a:"], &["=sent\n"]),
        check("start_response: a control character in a value", head_of("200%20OK|X-A|a%7Fb"), "500", &["!x-a"], &[]),
        check("start_response: a space in a name", head_of("200%20OK|X%20A|a"), "500", &["!x a"], &[]),
        // Handling the Content-Length Header
        check("Content-Length: of a list of one part", get("/raw/hello"), "200 OK", &["content-length: 6"], &["=hello\n"]),
        check("Content-Length: of an iterable whose length is 1", get("/raw/once"), "200 OK", &["content-length: 8"], &["=one part"]),
        check("Content-Length: of a list", get("/raw/several"), "200 OK", &["content-length: 3"], &["=abc"]),
        check("Content-Length: of an empty list", get("/raw/nothing"), "200 OK", &["content-length: 0"], &["="]),
        check("Content-Length: that of the application", get("/sized"), "200 OK", &["content-length: 5"], &["=12345"]),
        check("Content-Length: nothing beyond it is sent", get("/long"), "200 OK", &["content-length: 5"], &["=12345"]),
        check("Content-Length: a number", get("/wrong_length"), "500", &[], &[]),
        check("Content-Length: twice", head_of("200%20OK|Content-Length|5|Content-Length|5"), "500", &[], &[]),
        // Buffering and Streaming; The write() Callable
        check("write: before the parts", get("/write"), "200 OK", &[], &["first ", "second ", "third\n"]),
        check("Streaming: empty parts are allowed", get("/generator"), "200 OK", &["transfer-encoding: chunked"], &["=one two three\n"]),
        check("Streaming: parts are bytes", get("/written_text"), "500", &[], &[]),
        check("Streaming: bytes are no iterable of parts", get("/returned_bytes"), "500", &[], &[]),
        check("Streaming: something must be returned", get("/returned_none"), "500", &[], &[]),
        check("Streaming: a large part", get("/raw/large?1000000"), "200 OK", &["content-length: 1000000"], &["yyyy"]),
        check("Streaming: not in chunks to HTTP/1.0", "GET /generator HTTP/1.0\r\nHost: a\r\n\r\n".into(), "200 OK", &["!transfer-encoding"], &["=one two three\n"]),
        // Error Handling
        check("Error Handling: 500 without the cause", get("/fails"), "500", &[], &["!told by the application", "!Traceback"]),
        check("Error Handling: in the first part", get("/fails_in_first_part"), "500", &[], &["!in the first part"]),
        check("Error Handling: SystemExit is an error like others", get("/exits"), "500", &[], &[]),
        check("Error Handling: in close, after the response", get("/fails_in_close"), "200 OK", &[], &["sent\n"]),
        // HTTP
        check("HEAD: no body, and the length", "HEAD /raw/hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &["content-length: 6"], &["="]),
        check("HEAD: a generator", "HEAD /generator HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &[], &["="]),
        check("HEAD: an endless one", "HEAD /endless HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &[], &["="]),
        check("HEAD: a file", "HEAD /raw/file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &["content-length: 1000000"], &["="]),
        check("HEAD: a large part", "HEAD /raw/large?1000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), "200 OK", &["content-length: 1000000"], &["="]),
        check("204: no body", get("/no_content"), "204", &["!content-length", "!transfer-encoding"], &["="]),
        check("204: with a body that must not be sent", get("/body_with_204"), "204", &["!content-length"], &["="]),
        check("304: no body", get("/not_modified"), "304", &["etag: \"a\""], &["="]),
        // Optional Platform-Specific File Handling
        check("file_wrapper: the whole file", get("/raw/file"), "200 OK", &["content-length: 1000000"], &["0123456789"]),
        check("file_wrapper: from the current position", get("/raw/file_from"), "200 OK", &["content-length: 5"], &["=56789"]),
        check("file_wrapper: as much as Content-Length says", get("/raw/file_part"), "200 OK", &["content-length: 15"], &["=012345678901234"]),
        check("file_wrapper: an object without a descriptor", get("/file_like"), "200 OK", &[], &["xxx"]),
    ]
}
