//! Follows redirects, for `paster request --location` and the console.

use http::header::LOCATION;
use http::{HeaderValue, Method, StatusCode, Uri};

use crate::body::Response;

/// Method and target of the request that a redirect asks for; `None` if the response is not a redirect, or
/// leads to another host, which is not in this process.
/// # Source
/// RFC 9110 section 15.4; RFC 3986 section 5.2.
pub(super) fn next(
    method: &Method,
    target: &str,
    host: Option<&HeaderValue>,
    response: &Response,
) -> Option<(Method, String)> {
    let method = match response.status() {
        StatusCode::SEE_OTHER if *method == Method::HEAD => Method::HEAD,
        StatusCode::SEE_OTHER => Method::GET,
        // As browsers do.
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if *method == Method::POST => Method::GET,
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => method.clone(),
        _ => return None,
    };
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let location = location.split('#').next().unwrap_or_default();
    let uri = location.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
    if location.contains("://") || location.starts_with("//") {
        let uri = uri?;
        let same = host
            .is_some_and(|host| uri.authority().is_some_and(|to| host.as_bytes() == to.as_str().as_bytes()));
        return same.then(|| (method, uri.path_and_query().map_or("/".into(), ToString::to_string)));
    }
    let path = target.split('?').next().unwrap_or("/");
    let to = match location.chars().next() {
        None => target.to_owned(),
        Some('/') => location.to_owned(),
        Some('?') => format!("{path}{location}"),
        // The gate removes `..`.
        Some(_) => format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
    };
    Some((method, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_they_are_written() {
        let check = |location: &str, status: u16, method: Method| {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert(LOCATION, location.parse().unwrap());
            next(&method, "/a/b?c", Some(&HeaderValue::from_static("localhost")), &response)
        };
        let to = |location: &str| check(location, 302, Method::GET).map(|(_, to)| to);
        assert_eq!(to("/x?y#z").as_deref(), Some("/x?y"));
        assert_eq!(to("x").as_deref(), Some("/a/x"));
        assert_eq!(to("?d").as_deref(), Some("/a/b?d"));
        assert_eq!(to("http://localhost/x").as_deref(), Some("/x"));
        assert_eq!(to("http://elsewhere/x"), None);
        assert_eq!(to("//elsewhere/x"), None);
        assert_eq!(check("/x", 303, Method::PUT), Some((Method::GET, "/x".into())));
        assert_eq!(check("/x", 302, Method::POST), Some((Method::GET, "/x".into())));
        assert_eq!(check("/x", 307, Method::POST), Some((Method::POST, "/x".into())));
        assert_eq!(check("/x", 200, Method::GET), None);
    }
}
