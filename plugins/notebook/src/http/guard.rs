//! Runs before every route: checks host, token or cookie, origin and request forgery, and sets the headers of
//! every response.
//!
//! A request is allowed with a token (header or query) or with the login cookie. Other pages cannot know the token, but a
//! browser sends the cookie with their requests, too. So with the cookie, every upgrade and every unsafe method must come from
//! one of our pages.
//!
//! # Source
//! RFC 9110, sections 7.2 (Host) and 11.6.2 (Authorization); RFC 6750, section 2.1 (`Bearer`); RFC 6265, sections 4.1 and
//! 4.2 (cookies); RFC 6454, section 7 (Origin); W3C, "Fetch Metadata Request Headers" (`Sec-Fetch-…`); Jupyter Server, "Security in
//! the Jupyter Server" (`token`, `_xsrf`).

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use super::content;
use super::cookies::{add_cookie, logged_in, login_cookie, valid_xsrf, xsrf_cookie};
use super::error::ApiError;
use super::location::RequestLocation;
use super::percent::{decode, encode};
use super::plain;
use super::relay;
use super::server_user;
use crate::auth::Verdict;
use crate::content_origin::ContentOrigin;
use crate::identity::{Authentication, Principal};
use crate::state::Shared;

/// The headers that repeat the cookie against forged requests, as in Jupyter Server.
const XSRF_HEADERS: [&str; 2] = ["x-xsrftoken", "x-csrftoken"];
/// The policy of our pages. Scripts in outputs run in `static/frame.html`, which has its own.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' https: data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self' blob: data:; \
    media-src 'self' data: blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

pub(super) async fn guard(State(notebook): State<Shared>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let relayed = match relay::accept(&notebook, &parts) {
        Ok(relayed) => relayed,
        Err(error) => return finish(error.into_response(), &[], notebook.content_origin.as_ref()),
    };
    let mut place = match &relayed {
        Some(relayed) => relayed.place.clone(),
        None => RequestLocation::of(&parts),
    };
    if content::is_content(&notebook, &parts, &place) {
        return content::respond(&notebook, &parts).await;
    }
    place.content_origin = notebook.content_origin.as_ref().map(|origin| origin.as_str().to_owned());
    parts.extensions.insert(place.clone());
    // A WebSocket below the address of a page is not a page, so its token must not cause a redirect.
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let page = !upgrade && is_page(&parts) && relayed.is_none();
    let navigation = plain::is_navigation(&parts.method, parts.uri.path(), &parts.headers);
    let mut cookies = Vec::new();
    let is_relayed = relayed.is_some();
    let admitted = match relayed {
        // The other server has checked all of this.
        Some(relayed) => {
            let principal = relayed.principal.clone();
            parts.extensions.insert(relayed);
            Ok(Admitted::Through(principal))
        }
        None => match server_user::principal(&notebook, &place).await {
            Ok(known) => admit(&notebook, &parts, &place, known, (page, navigation)),
            Err(error) => Err(error.into_response()),
        },
    };
    let mut response = match admitted {
        Ok(Admitted::Through(principal)) => {
            let mut request = Request::from_parts(parts.clone(), body);
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Ok(Admitted::LoggedIn(target)) => {
            cookies.push(login_cookie(&notebook, &place));
            Redirect::to(&target).into_response()
        }
        Err(response) => response,
    };
    if navigation {
        response = plain::show_error(&place, response);
    }
    if is_relayed {
        relay::mark(&mut response);
    }
    if page && valid_xsrf(&notebook, &parts.headers).is_none() {
        cookies.push(xsrf_cookie(&notebook, &place));
    }
    finish(response, &cookies, notebook.content_origin.as_ref())
}

enum Admitted {
    Through(Principal),
    /// A page was opened with `?token=`: set the cookie, and redirect to the address without the token.
    LoggedIn(String),
}

#[expect(clippy::result_large_err, reason = "once a request, and the answer is sent as it is")]
fn admit(
    notebook: &Shared,
    parts: &Parts,
    place: &RequestLocation,
    known: Option<Principal>,
    (page, navigation): (bool, bool),
) -> Result<Admitted, Response> {
    let refuse = |status, message: &str| Err(ApiError::new(status, message).into_response());
    if !host_allowed(notebook, parts, place) {
        let message = "this host name is not allowed: add it to the setting `allowed_hosts`";
        return refuse(StatusCode::FORBIDDEN, message);
    }
    let path = parts.uri.path();
    let shown = shown_token(parts);
    let leaves = path == "/logout" && parts.method == Method::POST;
    if is_public(path)
        && !(leaves && logged_in(notebook, &parts.headers).is_some())
        && shown.as_ref().is_none_or(|shown| !shown.in_query)
    {
        // The login form is protected too: another page must not log anyone in.
        // Nor may it connect to the kernel of a published notebook.
        let upgrade = parts.headers.contains_key(header::UPGRADE);
        let origin = origin(notebook, parts, place);
        let foreign =
            (parts.method == Method::POST && origin == Origin::Foreign) || (upgrade && origin != Origin::Own);
        return if foreign {
            refuse(StatusCode::FORBIDDEN, "the request comes from another origin")
        } else {
            let principal = known.or_else(|| logged_in(notebook, &parts.headers));
            Ok(Admitted::Through(principal.unwrap_or_else(Principal::nobody)))
        };
    }
    if let Some(shown) = shown {
        // Another page can make the browser request any address, which must not use up the allowed attempts.
        let foreign = text(&parts.headers, "sec-fetch-site")
            .is_some_and(|site| site == "cross-site" || site == "same-site");
        let navigation = text(&parts.headers, "sec-fetch-mode").is_some_and(|mode| mode == "navigate");
        if shown.in_query && foreign && !navigation {
            return refuse(StatusCode::FORBIDDEN, "the request comes from another origin");
        }
        if let Some(accounts) = &notebook.accounts {
            // An account's token never logs a browser in.
            return match accounts.of_token(&shown.token) {
                Ok(Some(principal)) => Ok(Admitted::Through(principal)),
                Ok(None) => refuse(StatusCode::FORBIDDEN, "the token is wrong, has expired, or was deleted"),
                Err(error) => Err(ApiError::from(error).into_response()),
            };
        }
        return match notebook.auth.check_token(&shown.token) {
            Verdict::Right if shown.in_query && page => Ok(Admitted::LoggedIn(without_token(parts, place))),
            Verdict::Right => Ok(Admitted::Through(Principal::owner(Authentication::Token))),
            Verdict::Wrong if page => {
                Err(Redirect::to(&format!("{}login?failed=1", place.base())).into_response())
            }
            Verdict::Wrong => refuse(StatusCode::FORBIDDEN, "the token is wrong"),
            Verdict::Throttled { wait_secs } => Err(throttled(wait_secs)),
        };
    }
    let Some(principal) = known.or_else(|| logged_in(notebook, &parts.headers)) else {
        if (page || navigation) && parts.method == Method::GET {
            let next = format!(
                "{}{}",
                place.prefix,
                parts.uri.path_and_query().map_or("/", |target| target.as_str())
            );
            return Err(
                Redirect::to(&format!("{}login?next={}", place.base(), encode(&next))).into_response()
            );
        }
        return refuse(
            StatusCode::FORBIDDEN,
            match notebook.accounts {
                Some(_) => "log in first, or send a token of your account",
                None => {
                    "log in first: send the token, or open the address that the server printed when it started"
                }
            },
        );
    };
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let origin = origin(notebook, parts, place);
    // Browsers send the origin of every upgrade and of every unsafe request. A script with the cookie may omit it.
    if (upgrade && origin != Origin::Own) || (!safe && origin == Origin::Foreign) {
        return refuse(
            StatusCode::FORBIDDEN,
            "the request comes from another origin (its Origin is not this server's)",
        );
    }
    if !safe && !repeats_xsrf(notebook, parts) {
        let message = "the header `X-XSRFToken` or the argument `_xsrf` must repeat the cookie `_xsrf`: reload the page, or send a token instead of the cookie";
        return refuse(StatusCode::FORBIDDEN, message);
    }
    Ok(Admitted::Through(principal))
}

/// Whether a header or a query argument repeats the `_xsrf` cookie, as in Jupyter Server. Another page can
/// make a browser send the cookie, but cannot read it.
fn repeats_xsrf(notebook: &Shared, parts: &Parts) -> bool {
    let sent = XSRF_HEADERS.iter().find_map(|name| text(&parts.headers, name)).map(str::to_owned);
    let sent = sent.or_else(|| argument(parts, "_xsrf"));
    sent.zip(valid_xsrf(notebook, &parts.headers))
        .is_some_and(|(sent, own)| bool::from(subtle::ConstantTimeEq::ct_eq(sent.as_bytes(), own.as_bytes())))
}

/// A query argument, decoded.
fn argument(parts: &Parts, name: &str) -> Option<String> {
    let pairs = parts.uri.query()?.split('&');
    pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).next().map(decode)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a path is allowed without login. `/api` only returns the version.
fn is_public(path: &str) -> bool {
    matches!(
        path,
        "/login" | "/login/passkey" | "/logout" | "/signup" | "/forgot" | "/api" | "/api/" | "/favicon.ico"
    ) || ["/static/", "/pub/", "/api/published/", "/api/published-sessions/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// All paths below these are pages.
const PAGES_BELOW: [&str; 10] = [
    "/app/",
    "/tree/",
    "/notebooks/",
    "/history/",
    "/scheduled-runs/",
    "/edit/",
    "/terminals/",
    "/lab/tree/",
    "/lab/workspaces/",
    "/doc/tree/",
];

/// Whether a browser shows the response to a user.
fn is_page(parts: &Parts) -> bool {
    let path = parts.uri.path();
    matches!(path, "/" | "/tree" | "/library" | "/inbox" | "/lab" | "/lab/" | "/doc")
        || plain::is_form(path)
        || PAGES_BELOW.iter().any(|prefix| path.starts_with(prefix))
}

struct ShownToken {
    token: String,
    in_query: bool,
}

fn shown_token(parts: &Parts) -> Option<ShownToken> {
    if let Some(value) = text(&parts.headers, "authorization") {
        let (scheme, token) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer") {
            return Some(ShownToken { token: token.trim().to_owned(), in_query: false });
        }
    }
    Some(ShownToken { token: argument(parts, "token")?, in_query: true })
}

fn without_token(parts: &Parts, place: &RequestLocation) -> String {
    let query = parts.uri.query().unwrap_or_default();
    let rest: Vec<&str> =
        query.split('&').filter(|pair| !pair.starts_with("token=") && !pair.is_empty()).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    // A path that begins with two slashes would lead to another host.
    let path = format!("/{}", parts.uri.path().trim_start_matches('/'));
    format!("{}{path}{mark}{}", place.prefix, rest.join("&"))
}

/// The host that the client requested, as `name[:port]`.
pub(super) fn authority<'a>(parts: &'a Parts, place: &'a RequestLocation) -> Option<&'a str> {
    place
        .authority
        .as_deref()
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .or_else(|| text(&parts.headers, "host"))
}

fn host_allowed(notebook: &Shared, parts: &Parts, place: &RequestLocation) -> bool {
    let Some(authority) = authority(parts, place) else { return false };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.to_ascii_lowercase();
    let local = match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    local || notebook.settings.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host))
}

/// The page that sent a request, according to the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// One of our pages, or one of an allowed origin.
    Own,
    /// Another page.
    Foreign,
    /// Unknown: not a browser, or a request for which browsers send neither field.
    Unknown,
}

fn origin(notebook: &Shared, parts: &Parts, place: &RequestLocation) -> Origin {
    let Some(authority) = authority(parts, place) else { return Origin::Foreign };
    let scheme = if place.secure { "https" } else { "http" };
    let own = format!("{scheme}://{authority}");
    let matches = |origin: &str| {
        origin.eq_ignore_ascii_case(&own)
            || notebook.settings.allowed_origins.iter().any(|allowed| allowed.trim_end_matches('/') == origin)
    };
    // Our pages never cause an unreadable field.
    let field = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let own = match (field("origin"), field("sec-fetch-site"), field("referer")) {
        (Some(origin), _, _) => matches(origin),
        (None, Some(site), _) => site == "same-origin",
        (None, None, Some(referer)) => {
            let end = referer.match_indices('/').nth(2).map_or(referer.len(), |(at, _)| at);
            matches(&referer[..end])
        }
        (None, None, None) => return Origin::Unknown,
    };
    if own { Origin::Own } else { Origin::Foreign }
}

pub(super) fn throttled(wait_secs: u64) -> Response {
    let message = format!("too many wrong tokens: try again in {wait_secs} s");
    let mut response = ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, wait_secs.into());
    response
}

fn finish(mut response: Response, cookies: &[String], content: Option<&ContentOrigin>) -> Response {
    for cookie in cookies {
        add_cookie(&mut response, cookie);
    }
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    let policy = content.and_then(|origin| {
        let frames = format!("frame-src {} ", origin.as_str());
        HeaderValue::from_str(&PAGE_POLICY.replace("frame-src ", &frames)).ok()
    });
    let policy = policy.unwrap_or(HeaderValue::from_static(PAGE_POLICY));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}
