//! `cache`: the clauses of RFC 9111 (and 5861, 9110, 9211, 9213, 9875), one by one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use insta::assert_snapshot;
use paster::body::{App, Body};

use super::{hello, wrap};
use crate::local::{environ, faults};

/// A request, the app's response, and what the client gets.
///
/// - the request: `GET /a | accept: x`;
/// - the app's response: `200 | etag: "1" | =body`, or `fail`, or nothing if the app must not be asked; `?name: value`
///   is a field that the app must see, and `?!name` one that it must not see;
/// - what the client gets: the status, how it came about (see [`outcome`]), and parts that must be there: `age: 5`
///   is a field, `!etag` a field that is missing, `=body` the body.
type Step = (&'static str, &'static str, &'static str);

/// The section, what it says, the options, and the steps.
struct Clause(&'static str, &'static str, &'static str, &'static [Step]);

const FRESH: &str = "200 | cache-control: max-age=60 | =one";

/// Fresh for `max-age` seconds, but `age` is more: no test waits until a response is stale.
#[rustfmt::skip] // one step per line
const CLAUSES: &[Clause] = &[
    Clause("2", "the cache key is the URL", "", &[
        ("GET /a?b=1", FRESH, "200 stored =one"),
        ("GET /a?b=1", "", "200 hit =one"),
        ("GET /a?b=2", "200 | =two", "200 passed =two"),
        ("GET /a?b=1 | host: other", "200 | =two", "200 passed =two"),
        ("GET /a?b=1 | host: localhost:80", "", "200 hit =one"),
        ("GET /a?b=1 | host: localhost:81", "200 | =two", "200 passed =two"),
    ]),
    Clause("3", "a response without explicit freshness is not stored", "", &[
        ("GET /", "200 | =one", "200 passed =one"),
        ("GET /", "200 | etag: \"1\" | =two", "200 passed =two"),
        ("GET /", "200 | last-modified: Sun, 06 Nov 1994 08:49:37 GMT | =three", "200 passed"),
        ("GET /", "200 | =four", "200 passed =four"),
    ]),
    Clause("3", "any final status with explicit freshness may be stored", "", &[
        ("GET /", "404 | cache-control: max-age=60 | =none", "404 stored"),
        ("GET /", "", "404 hit =none"),
        ("GET /b", "302 | cache-control: max-age=60 | location: /c", "302 stored"),
        ("GET /b", "", "302 hit location: /c"),
        ("GET /c", "599 | cache-control: max-age=60", "599 stored"),
        ("GET /c", "", "599 hit"),
    ]),
    Clause("3", "must-understand lets a response be stored only if its status is understood", "", &[
        ("GET /", "599 | cache-control: max-age=60, no-store, must-understand", "599 passed"),
        ("GET /a", "200 | cache-control: max-age=60, no-store, must-understand", "200 stored"),
        ("GET /a", "", "200 hit"),
    ]),
    Clause("3", "other methods are not stored", "", &[
        ("POST /", FRESH, "200 method"),
        ("GET /", "200 | =two", "200 passed =two"),
        ("PROPFIND /p", FRESH, "200 method"),
        ("OPTIONS /o", FRESH, "200 method"),
        ("OPTIONS /o", FRESH, "200 method"),
    ]),
    Clause("3.1", "fields of the connection are not stored, all others are, with all values", "", &[
        ("GET /", "200 | cache-control: max-age=60 | connection: x-mine | x-mine: a | keep-alive: 1 | link: <a> | link: <b>", "200 stored"),
        ("GET /", "", "200 hit !x-mine !keep-alive !connection link: <a>, <b> cache-control: max-age=60"),
    ]),
    Clause("3.2", "a 304 updates the stored fields, except those of the body", "", &[
        ("GET /", "200 | cache-control: max-age=60 | age: 99 | etag: \"1\" | x-a: 1 | x-b: 1 | content-type: text/a | =one", "200 stored"),
        ("GET /", "304 | ?if-none-match: \"1\" | cache-control: max-age=60 | x-a: 2 | content-type: text/b", "200 validated x-a: 2 x-b: 1 content-type: text/a =one"),
        ("GET /", "", "200 hit x-a: 2 x-b: 1 etag: \"1\" content-type: text/a =one"),
    ]),
    Clause("3.3", "parts of a content are not stored", "", &[
        ("GET / | range: bytes=0-1", "206 | cache-control: max-age=60 | content-range: bytes 0-1/3 | =on", "206 passed"),
        ("GET /", FRESH, "200 stored"),
    ]),
    Clause("3.5", "responses to requests with Authorization", "", &[
        ("GET / | authorization: a", FRESH, "200 passed"),
        ("GET / | authorization: a", "200 | cache-control: public, max-age=60 | =all", "200 stored"),
        ("GET / | authorization: b", "", "200 hit =all"),
        ("GET /", "", "200 hit =all"),
        ("GET /b | authorization: a", "200 | cache-control: s-maxage=60", "200 stored"),
        ("GET /c | authorization: a", "200 | cache-control: must-revalidate, max-age=60", "200 stored"),
        ("GET /d | authorization: a", "200 | cache-control: no-cache | etag: \"1\"", "200 passed"),
    ]),
    Clause("4.1", "Vary: the request fields that it names select a response", "", &[
        ("GET / | accept-language: de", "200 | cache-control: max-age=60 | vary: Accept-Language | =ja", "200 stored"),
        ("GET / | accept-language: en", "200 | cache-control: max-age=60 | vary: accept-language | =yes", "200 stored"),
        ("GET / | accept-language: de", "", "200 hit =ja"),
        ("GET / | accept-language: en | x: y", "", "200 hit =yes"),
        ("GET /", "200 | cache-control: max-age=60 | vary: accept-language | =?", "200 stored"),
        ("GET /", "", "200 hit =?"),
        ("GET / | accept-language: fr", "200 | =oui", "200 passed =oui"),
    ]),
    Clause("4.1", "Vary: whitespace and the number of lines do not matter, the order of values does", "", &[
        ("GET / | x: a,b | x: c", "200 | cache-control: max-age=60 | vary: x, y | =one", "200 stored"),
        ("GET / | x: a , b, c", "", "200 hit =one"),
        ("GET / | x: b, a, c", "200 | =two", "200 passed =two"),
        ("GET / | x: a, b, c | y: 1", "200 | =three", "200 passed =three"),
    ]),
    Clause("4.1", "Vary: * matches no request", "", &[
        ("GET /", "200 | cache-control: max-age=60 | vary: x, *", "200 passed"),
        ("GET /", "200 | cache-control: max-age=60 | vary: *", "200 passed"),
    ]),
    Clause("4.2", "a stale response is not used without validation", "", &[
        ("GET /", "200 | cache-control: max-age=60 | age: 61 | etag: \"1\" | =one", "200 stored"),
        ("GET /", "200 | ?if-none-match: \"1\" | cache-control: max-age=60 | etag: \"2\" | =two", "200 stored =two"),
        ("GET /", "", "200 hit =two"),
    ]),
    Clause("4.2.1", "s-maxage before max-age before Expires", "", &[
        ("GET /a", "200 | cache-control: max-age=0, s-maxage=60", "200 stored"),
        ("GET /a", "", "200 hit"),
        ("GET /b", "200 | cache-control: max-age=60, s-maxage=0 | =one", "200 passed"),
        ("GET /c", "200 | cache-control: max-age=60 | expires: 0", "200 stored"),
        ("GET /c", "", "200 hit"),
        ("GET /d", "200 | cache-control: max-age=0 | expires: Fri, 31 Dec 2100 00:00:00 GMT", "200 passed"),
    ]),
    Clause("4.2.1", "Expires counts from Date", "", &[
        ("GET /", "200 | date: Sat, 06 Nov 2094 08:00:00 GMT | expires: Sat, 06 Nov 2094 08:01:00 GMT", "200 stored"),
        ("GET /", "", "200 hit"),
        ("GET /a", "200 | date: Sat, 06 Nov 2094 08:00:00 GMT | expires: Sat, 06 Nov 2094 08:00:00 GMT", "200 passed"),
        ("GET /b", "200 | date: Sun, 06 Nov 1994 08:00:00 GMT | expires: Sun, 06 Nov 1994 08:01:00 GMT", "200 passed"),
    ]),
    Clause("4.2.1", "malformed or contradictory freshness is none", "", &[
        ("GET /a", "200 | cache-control: max-age=60, max-age=61", "200 passed"),
        ("GET /b", "200 | cache-control: max-age=60.5", "200 passed"),
        ("GET /c", "200 | cache-control: max-age", "200 passed"),
        ("GET /d", "200 | expires: tomorrow", "200 passed"),
        ("GET /e", "200 | expires: Fri, 31 Dec 2100 00:00:00 GMT | expires: Fri, 31 Dec 2100 00:00:00 GMT", "200 passed"),
        ("GET /f", "200 | cache-control: a=\"max-age=60\"", "200 passed"),
    ]),
    Clause("4.2.2", "a heuristic, if the config has one, for statuses that allow it", "heuristic_percent = 10", &[
        ("GET /a", "200 | last-modified: Sun, 06 Nov 1994 08:49:37 GMT | =one", "200 stored"),
        ("GET /a", "", "200 hit =one"),
        ("GET /b", "403 | last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "403 passed"),
        ("GET /c", "403 | cache-control: public | last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "403 stored"),
        ("GET /d", "200 | =no date", "200 passed"),
    ]),
    Clause("4.2.3", "the age counts from Date and Age", "", &[
        ("GET /a", "200 | cache-control: max-age=60 | age: 10", "200 stored"),
        ("GET /a", "", "200 hit age: 10"),
        ("GET /b", "200 | cache-control: max-age=60 | date: Sun, 06 Nov 1994 08:49:37 GMT", "200 passed"),
        ("GET /c", "200 | cache-control: max-age=60 | age: x", "200 stored"),
        ("GET /c", "", "200 hit age: 0"),
        ("GET /d", "200 | cache-control: max-age=60 | age: 70, 1", "200 passed"),
    ]),
    Clause("4.2.4", "a stale response is not used if a directive forbids it", "stale_if_error_secs = 60", &[
        ("GET /a", "200 | cache-control: max-age=1 | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /a", "fail", "200 on_error =one"),
        ("GET /b", "200 | cache-control: max-age=1, must-revalidate | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /b", "503 | =two", "503 passed =two"),
        ("GET /c", "200 | cache-control: max-age=1, proxy-revalidate | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /c", "503 | =two", "503 passed =two"),
        ("GET /d", "200 | cache-control: s-maxage=1 | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /d", "503 | =two", "503 passed =two"),
        ("GET /e", "200 | cache-control: no-cache, max-age=60 | etag: \"1\" | =one", "200 stored"),
        ("GET /e", "503 | =two", "503 passed =two"),
    ]),
    Clause("4.3.1", "validation with the stored validators, in place of the client's", "", &[
        ("GET /", "200 | cache-control: max-age=1 | age: 2 | etag: W/\"1\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT | =one", "200 stored"),
        ("GET / | if-none-match: \"0\"", "304 | ?if-none-match: W/\"1\" | ?if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT | cache-control: max-age=60", "200 validated =one"),
        ("GET / | if-none-match: \"1\"", "", "304 hit ="),
    ]),
    Clause("4.3.1", "a client's condition passes if nothing is stored", "", &[
        ("GET / | if-none-match: \"1\"", "304 | ?if-none-match: \"1\" | etag: \"1\"", "304 passed"),
        ("GET / | if-match: \"1\"", "200 | ?if-match: \"1\" | cache-control: max-age=60", "200 bypass"),
        ("GET /", "200", "200 passed"),
    ]),
    Clause("4.3.2", "conditional requests are answered from the cache", "", &[
        ("GET /", "200 | cache-control: max-age=60 | etag: \"1\" | last-modified: Sun, 06 Nov 1994 08:49:37 GMT | content-type: a/b | =one", "200 stored"),
        ("GET / | if-none-match: \"0\", W/\"1\"", "", "304 hit etag: \"1\" cache-control: max-age=60 !content-type ="),
        ("GET / | if-none-match: *", "", "304 hit"),
        ("GET / | if-none-match: \"2\" | if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT", "", "200 hit =one"),
        ("GET / | if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT", "", "304 hit"),
        ("GET / | if-modified-since: Sunday, 06-Nov-94 08:49:37 GMT", "", "304 hit"),
        ("GET / | if-modified-since: Sun, 06 Nov 1994 08:49:36 GMT", "", "200 hit =one"),
    ]),
    Clause("4.3.3", "a full response replaces the stored one, and a server error does not", "", &[
        ("GET /", "200 | cache-control: max-age=1 | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /", "503 | =down", "503 passed =down"),
        ("GET /", "304 | ?if-none-match: \"1\" | cache-control: max-age=60", "200 validated =one"),
        ("GET /b", "200 | cache-control: max-age=1 | age: 2 | etag: \"1\" | =one", "200 stored"),
        ("GET /b", "200 | ?if-none-match: \"1\" | cache-control: no-store | =two", "200 passed =two"),
        ("GET /b", "200 | ?!if-none-match | =three", "200 passed =three"),
    ]),
    Clause("4.3.4", "the age starts again after validation", "", &[
        ("GET /", "200 | cache-control: max-age=60 | age: 70 | etag: \"1\" | =one", "200 stored"),
        ("GET /", "304 | etag: \"1\"", "200 validated =one"),
        ("GET /", "", "200 hit age: 0 =one"),
    ]),
    Clause("4.4", "unsafe methods delete what they may have changed", "", &[
        ("GET /a", FRESH, "200 stored"),
        ("POST /a", "500", "500 method"),
        ("GET /a", "", "200 hit"),
        ("POST /a", "204", "204 method"),
        ("GET /a", FRESH, "200 stored"),
        ("GET /b", FRESH, "200 stored"),
        ("GET /c", FRESH, "200 stored"),
        ("PUT /x", "201 | location: /a | content-location: http://localhost/b", "201 method"),
        ("GET /a", FRESH, "200 stored"),
        ("GET /b", FRESH, "200 stored"),
        ("DELETE /x", "303 | location: http://other/c", "303 method"),
        ("GET /c", "", "200 hit"),
        ("FROB /c", "200", "200 method"),
        ("GET /c", "200", "200 passed"),
    ]),
    Clause("5.2.1", "requests are obeyed only if the config says so", "", &[
        ("GET /", FRESH, "200 stored"),
        ("GET / | cache-control: no-cache", "", "200 hit"),
        ("GET / | cache-control: max-age=0", "", "200 hit"),
        ("GET / | pragma: no-cache", "", "200 hit"),
        ("GET /n | cache-control: only-if-cached", "200", "200 passed"),
    ]),
    Clause("5.2.1", "no-store in a request is always obeyed", "", &[
        ("GET / | cache-control: no-store", FRESH, "200 passed"),
        ("GET /", FRESH, "200 stored"),
        ("GET / | cache-control: no-store", "", "200 hit"),
    ]),
    Clause("5.2.1.1-7", "the directives of requests", "client_directives = true", &[
        ("GET /", "200 | cache-control: max-age=60 | age: 10 | etag: \"1\" | =one", "200 stored"),
        ("GET / | cache-control: max-age=40", "", "200 hit"),
        ("GET / | cache-control: max-age=5", "304 | ?if-none-match: \"1\" | age: 10", "200 validated"),
        ("GET / | cache-control: min-fresh=20", "", "200 hit"),
        ("GET / | cache-control: min-fresh=55", "304 | age: 10", "200 validated"),
        ("GET / | cache-control: no-cache", "304 | ?if-none-match: \"1\" | age: 10", "200 validated"),
        ("GET / | pragma: no-cache", "304 | age: 10", "200 validated"),
        ("GET / | pragma: no-cache | cache-control: max-age=60", "", "200 hit"),
        ("GET / | cache-control: only-if-cached", "", "200 hit"),
        ("GET /n | cache-control: only-if-cached", "", "504 request"),
        ("GET /s", "200 | cache-control: max-age=60 | age: 70 | etag: \"1\" | =old", "200 stored"),
        ("GET /s | cache-control: max-stale=40", "", "200 stale =old"),
        ("GET /s | cache-control: max-stale", "", "200 stale =old"),
        ("GET /s | cache-control: max-stale=5", "304 | age: 70", "200 validated"),
        ("GET /m", "200 | cache-control: max-age=60, must-revalidate | age: 70 | etag: \"1\"", "200 stored"),
        ("GET /m | cache-control: max-stale", "304 | age: 70", "200 validated"),
    ]),
    Clause("5.2.2.3-8", "no-cache, no-store and private", "", &[
        ("GET /a", "200 | cache-control: No-Cache, max-age=60 | etag: \"1\" | =one", "200 stored"),
        ("GET /a", "304 | ?if-none-match: \"1\"", "200 validated =one"),
        ("GET /b", "200 | cache-control: no-store, max-age=60", "200 passed"),
        ("GET /c", "200 | cache-control: private, max-age=60", "200 passed"),
        ("GET /d", "200 | cache-control: max-age=60, no-cache=\"x-a, x-b\" | x-a: 1 | x-b: 1 | x-c: 1", "200 stored x-a: 1"),
        ("GET /d", "", "200 hit !x-a !x-b x-c: 1"),
        ("GET /e", "200 | cache-control: max-age=60, private=\"x-a\" | x-a: 1", "200 stored x-a: 1"),
        ("GET /e", "", "200 hit !x-a"),
    ]),
    Clause("7.3", "a response with Set-Cookie is stored only without it", "", &[
        ("GET /a", "200 | cache-control: public, max-age=60 | set-cookie: a=1", "200 passed set-cookie: a=1"),
        ("GET /b", "200 | cache-control: max-age=60, no-cache=\"Set-Cookie\" | set-cookie: a=1", "200 stored set-cookie: a=1"),
        ("GET /b", "", "200 hit !set-cookie"),
    ]),
    Clause("RFC 9110, 9.3.2", "HEAD is answered from a stored GET", "", &[
        ("HEAD /", "200 | cache-control: max-age=60", "200 passed"),
        ("GET /", FRESH, "200 stored"),
        ("HEAD /", "", "200 hit"),
    ]),
    Clause("RFC 9110, 14", "ranges of a stored response", "", &[
        ("GET /", "200 | cache-control: max-age=60 | etag: \"1\" | content-type: a/b | =0123456789", "200 stored"),
        ("GET / | range: bytes=2-4", "", "206 hit content-range: bytes 2-4/10 content-length: 3 content-type: a/b =234"),
        ("GET / | range: bytes=-2", "", "206 hit content-range: bytes 8-9/10 =89"),
        ("GET / | range: bytes=10-", "", "416 hit content-range: bytes */10 ="),
        ("GET / | range: bytes=0-1,4-5", "", "200 hit =0123456789"),
        ("GET / | range: bytes=2-4 | if-range: \"1\"", "", "206 hit =234"),
        ("GET / | range: bytes=2-4 | if-range: \"2\"", "", "200 hit =0123456789"),
        ("GET / | range: bytes=2-4 | if-none-match: \"1\"", "", "304 hit"),
        ("HEAD / | range: bytes=2-4", "", "200 hit"),
    ]),
    Clause("RFC 9213, 2", "CDN-Cache-Control replaces Cache-Control and Expires", "", &[
        ("GET /a", "200 | cache-control: no-store | cdn-cache-control: max-age=60", "200 stored"),
        ("GET /a", "", "200 hit cache-control: no-store cdn-cache-control: max-age=60"),
        ("GET /b", "200 | cache-control: max-age=60 | cdn-cache-control: no-store", "200 passed"),
        ("GET /c", "200 | cache-control: max-age=60 | cdn-cache-control: &", "200 stored"),
        ("GET /d", "200 | expires: Fri, 31 Dec 2100 00:00:00 GMT | cdn-cache-control: foo", "200 passed"),
    ]),
    Clause("RFC 9213, 2", "the config names the targeted fields", "targeted_fields = [\"x-mine\", \"cdn-cache-control\"]", &[
        ("GET /a", "200 | cdn-cache-control: max-age=60 | x-mine: no-store", "200 passed"),
        ("GET /b", "200 | cdn-cache-control: max-age=60", "200 stored"),
    ]),
    Clause("RFC 9875, 3", "groups that a response invalidates", "", &[
        ("GET /a", "200 | cache-control: max-age=60 | cache-groups: \"news\", \"top\"", "200 stored"),
        ("GET /b", "200 | cache-control: max-age=60 | cache-groups: \"old\"", "200 stored"),
        ("POST /x", "204 | cache-group-invalidation: \"top\"", "204 method"),
        ("GET /a", "200", "200 passed"),
        ("GET /b", "", "200 hit"),
    ]),
    Clause("RFC 5861, 3", "a stale response is used while a new one is fetched", "stale_while_revalidate_secs = 60", &[
        ("GET /a", "200 | cache-control: max-age=60 | age: 61 | etag: \"1\" | =one", "200 stored"),
        ("GET /a", "304 | ?if-none-match: \"1\" | age: 0", "200 stale =one"),
        ("GET /a", "", "200 hit =one"),
        ("GET /b", "200 | cache-control: max-age=60 | age: 121 | etag: \"1\" | =one", "200 stored"),
        ("GET /b", "200 | =two", "200 passed =two"),
        ("GET /c", "200 | cache-control: max-age=60, must-revalidate | age: 61 | etag: \"1\" | =one", "200 stored"),
        ("GET /c", "304", "200 validated =one"),
        ("GET /d", "200 | cache-control: max-age=60, stale-while-revalidate=0 | age: 61 | etag: \"1\" | =one", "200 stored"),
        ("GET /d", "304", "200 validated =one"),
    ]),
    Clause("RFC 5861, 4", "a stale response replaces an error", "", &[
        ("GET /a", "200 | cache-control: max-age=1, stale-if-error=60 | age: 2 | =one", "200 stored"),
        ("GET /a", "502", "200 on_error =one"),
        ("GET /a", "fail", "200 on_error =one"),
        ("GET /a", "404", "404 passed"),
        ("GET /b", "200 | cache-control: max-age=1, stale-if-error=60 | age: 99 | etag: \"1\" | =one", "200 stored"),
        ("GET /b", "502", "502 passed"),
    ]),
    Clause("-", "responses that are longer than the limit pass", "max_entry_bytes = 3", &[
        ("GET /a", "200 | cache-control: max-age=60 | =1234", "200 passed =1234"),
        ("GET /b", "200 | cache-control: max-age=60 | =123", "200 stored =123"),
        ("GET /c", "200 | cache-control: max-age=60 | ~=1234", "200 stored =1234"),
        ("GET /c", "200 | =two", "200 passed =two"),
        ("GET /d", "200 | cache-control: max-age=60 | ~=123", "200 stored =123"),
        ("GET /d", "", "200 hit =123"),
    ]),
    Clause("-", "the least recently used response goes first", "max_entries = 2", &[
        ("GET /a", FRESH, "200 stored"),
        ("GET /b", FRESH, "200 stored"),
        ("GET /a", "", "200 hit"),
        ("GET /c", FRESH, "200 stored"),
        ("GET /a", "", "200 hit"),
        ("GET /b", "200", "200 passed"),
    ]),
];

/// An app that gives the next response of a list; the test fails if there is none.
fn scripted(script: Arc<Mutex<VecDeque<&'static str>>>) -> App {
    App::from_call(move |request| {
        let line = script.lock().unwrap().pop_front();
        let line = line.unwrap_or_else(|| panic!("the app was asked for {}", request.uri()));
        Box::pin(std::future::ready(respond(line, request.headers())))
    })
}

fn respond(line: &str, seen: &HeaderMap) -> Result<Response<Body>, paster::error::BoxError> {
    if line == "fail" {
        return Err("it failed".into());
    }
    let mut parts = line.split(" | ");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = parts.next().unwrap().parse().unwrap();
    for part in parts {
        if let Some(name) = part.strip_prefix("?!") {
            assert!(!seen.contains_key(name), "the app saw {name}");
        } else if let Some((name, value)) = part.strip_prefix('?').and_then(|part| part.split_once(": ")) {
            assert_eq!(seen[name], value, "what the app saw");
        } else if let Some(body) = part.strip_prefix('=') {
            *response.body_mut() = body.to_owned().into();
        } else if let Some(body) = part.strip_prefix("~=") {
            let chunks: Vec<_> = body.bytes().map(|byte| Ok::<_, std::io::Error>(frame(byte))).collect();
            *response.body_mut() = Body::new(StreamBody::new(futures_util::stream::iter(chunks)));
        } else {
            let (name, value) = part.split_once(": ").unwrap();
            response.headers_mut().append(http::HeaderName::try_from(name)?, value.parse()?);
        }
    }
    Ok(response)
}

fn frame(byte: u8) -> http_body::Frame<Bytes> {
    http_body::Frame::data(Bytes::copy_from_slice(&[byte]))
}

fn request(line: &str) -> Request<Body> {
    let mut parts = line.split(" | ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
    let mut host = "localhost";
    for part in parts {
        let (name, value) = part.split_once(": ").unwrap();
        match name {
            "host" => host = value,
            _ => drop(
                request
                    .headers_mut()
                    .append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap()),
            ),
        }
    }
    request.extensions_mut().insert(environ(host));
    request
}

/// How a response came about, by `Cache-Status`.
fn outcome(headers: &HeaderMap) -> &'static str {
    let status = headers["cache-status"].to_str().unwrap();
    let status = status.strip_prefix("paster; ").unwrap();
    match status.split_once("ttl=") {
        Some((_, ttl)) if ttl.parse::<i64>().unwrap() > 0 => return "hit",
        Some(_) => return "stale",
        None => {}
    }
    match status {
        "fwd=stale; fwd-status=304" => "validated",
        "fwd=miss; collapsed" => "collapsed",
        "fwd=method" => "method",
        "fwd=bypass" => "bypass",
        "fwd=request" => "request",
        "fwd=stale; detail=error" => "on_error",
        status if status.starts_with("fwd=stale; fwd-status=5") => "on_error",
        status if status.ends_with("; stored") => "stored",
        _ => "passed",
    }
}

async fn check(context: &str, app: &App, line: &str, expected: &str) {
    let response = app.handle(request(line)).await.unwrap();
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let (plain, content) = match expected.split_once('=') {
        // `=` also occurs in fields: the body comes after a space.
        Some(_) => match expected.rsplit_once(" =") {
            Some((plain, content)) => (plain, Some(content)),
            None => (expected, None),
        },
        None => (expected, None),
    };
    let mut words = plain.split(' ');
    let (status, how) = (words.next().unwrap(), words.next().unwrap());
    assert_eq!(
        (head.status.as_str(), outcome(&head.headers)),
        (status, how),
        "{context}: {line}: {:?}",
        head.headers
    );
    let rest: Vec<_> = words.collect();
    let mut fields = Vec::<(String, String)>::new();
    for word in rest {
        match word.strip_suffix(':') {
            Some(name) => fields.push((name.to_owned(), String::new())),
            None if word.starts_with('!') => fields.push((word.to_owned(), String::new())),
            None => {
                let (_, value) = fields.last_mut().unwrap();
                *value = [value.as_str(), word]
                    .iter()
                    .filter(|part| !part.is_empty())
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" ");
            }
        }
    }
    for (name, value) in fields {
        if let Some(name) = name.strip_prefix('!') {
            assert!(!head.headers.contains_key(name), "{context}: {line}: {name}");
            continue;
        }
        let values: Vec<_> =
            head.headers.get_all(&name).iter().map(|value| value.to_str().unwrap()).collect();
        match name.as_str() {
            "age" => {
                let (age, least): (u64, u64) = (values[0].parse().unwrap(), value.parse().unwrap());
                assert!((least..least + 40).contains(&age), "{context}: {line}: {age}"); // a busy machine is slow
            }
            _ => assert_eq!(values.join(", "), value, "{context}: {line}: {name}"),
        }
    }
    if let Some(content) = content {
        assert_eq!(body, content, "{context}: {line}");
    }
}

async fn run(clause: &Clause, more: &str) {
    let Clause(section, rule, options, steps) = clause;
    let context = format!("{section}: {rule} ({more})");
    let script = Arc::new(Mutex::new(VecDeque::new()));
    let app = wrap(&format!("{options}\n{more}\n"), "cache", scripted(script.clone()));
    for (line, response, expected) in *steps {
        script.lock().unwrap().extend((!response.is_empty()).then_some(*response));
        check(&context, &app, line, expected).await;
        // A body that comes in pieces is stored by a task of its own, and so is a response that is refreshed.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(script.lock().unwrap().is_empty(), "{context}: {line}: the app was not asked");
    }
}

#[tokio::test]
async fn the_clauses_hold_in_memory() {
    for clause in CLAUSES {
        run(clause, "").await;
    }
}

#[tokio::test]
async fn the_clauses_hold_on_disk() {
    // Without those about limits and about what happens in the background, which takes a moment on disk.
    for clause in CLAUSES.iter().filter(|Clause(section, ..)| !["-", "RFC 5861, 3"].contains(section)) {
        let dir = tempfile::tempdir().unwrap();
        run(clause, &format!("dir = {:?}", dir.path())).await;
    }
}

#[tokio::test]
async fn the_status_field_can_be_left_out() {
    let script = Arc::new(Mutex::new(VecDeque::from([FRESH])));
    let app = wrap("status_field = false", "cache", scripted(script));
    for _ in 0..2 {
        let response = app.handle(request("GET /")).await.unwrap();
        assert!(!response.headers().contains_key("cache-status"));
    }
}

#[test]
fn wrong_options() {
    let wrong = "[middleware.c]\nuse = \"cache\"\nmax_bytes = 10\nmax_entry_bytes = 11\ntargeted_fields = [\"a b\"]\ndir = \"none\"\n";
    let found = faults(&hello("[\"c\"]", wrong));
    let found = found.lines().map(|line| line.split(" in `").next().unwrap()).collect::<Vec<_>>().join("\n");
    assert_snapshot!(found, @r"
    cannot create files
    `a b` is not a header name (use letters, digits and `-`)
    `max_entry_bytes` is larger than `max_bytes` (10) (decrease it, or increase `max_bytes`)
    ");
}
