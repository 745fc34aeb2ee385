//! Hand-off of a response: an upstream names a file, and an app of the config sends it.

use std::collections::BTreeMap;

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, EXPIRES, HeaderName, IF_RANGE, RANGE, SET_COOKIE,
};
use http::request::Parts;
use http::{Method, StatusCode, Uri};

use super::target::RequestTarget;
use super::{AppLink, Builder};
use crate::body::{App, Body, Request, Response, text_response};
use crate::config::{Table, join};
use crate::environ::Environ;
use crate::error::{BoxError, Error};

/// The header field that names the file, as in nginx.
const FIELD: HeaderName = HeaderName::from_static("x-accel-redirect");

/// The apps that upstreams may hand requests to, longest prefix first.
pub(super) struct HandOff(Vec<(String, App)>);

impl HandOff {
    /// Parses `hand_off` of `table`; `None` if it names no app.
    pub(super) fn new(
        table: &Table,
        routes: &BTreeMap<String, String>,
        builder: &mut Builder<'_>,
        errors: &mut Vec<Error>,
    ) -> Option<HandOff> {
        let mut found = Vec::new();
        for (prefix, app) in routes {
            let key = join("hand_off", prefix);
            let app = (builder.resolve)(app, table.origin(&key));
            match RequestTarget::parse(prefix.as_bytes()) {
                Ok(target) => found.push((target.path().trim_end_matches('/').to_owned(), app)),
                Err(reason) => {
                    let error =
                        Error::config(format!("`{prefix}` is not a prefix for `X-Accel-Redirect`: {reason}"));
                    errors.push(error.at(table.key_origin(&key)).help("write one such as `/protected`"));
                }
            }
        }
        found.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        (!found.is_empty()).then_some(HandOff(found))
    }

    /// Follows the response: if it names a path, the app there handles the request instead, as a GET (or a HEAD). Of the
    /// upstream's header fields, only its cookies and those that describe the file are kept.
    pub(super) async fn apply(&self, parts: &Parts, mut response: Response) -> Result<Response, BoxError> {
        let Some(target) = response.headers_mut().remove(FIELD) else { return Ok(response) };
        let (prefix, app, uri) = match self.find(target.as_bytes()) {
            Ok(found) => found,
            Err(reason) => {
                let path = String::from_utf8_lossy(target.as_bytes());
                tracing::error!(%path, "cannot follow the `X-Accel-Redirect` of an upstream: {reason}");
                return Ok(text_response(
                    StatusCode::BAD_GATEWAY,
                    "The application handed this request to a path that cannot be served.\n",
                ));
            }
        };
        let mut request = Request::new(Body::empty());
        *request.method_mut() = if parts.method == Method::HEAD { Method::HEAD } else { Method::GET };
        *request.uri_mut() = uri;
        for (name, value) in &parts.headers {
            let name_text = name.as_str();
            if matches!(*name, RANGE | IF_RANGE)
                || name_text.starts_with("if-")
                || name_text.starts_with("accept")
            {
                request.headers_mut().append(name, value.clone());
            }
        }
        if let Some(environ) = parts.extensions.get::<Environ>() {
            request.extensions_mut().insert(Environ { script_name: prefix.into(), ..environ.clone() });
        }
        let mut answer = app.handle(request).await?;
        let success = answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED;
        for name in [CONTENT_TYPE, CONTENT_DISPOSITION, CACHE_CONTROL, EXPIRES] {
            if let Some(value) = response.headers_mut().remove(&name).filter(|_| success) {
                answer.headers_mut().insert(name, value);
            }
        }
        for cookie in response.headers().get_all(SET_COOKIE) {
            answer.headers_mut().append(SET_COOKIE, cookie.clone());
        }
        Ok(answer)
    }

    /// The app for a target, with its prefix and the rest of the target. As in nginx, the target may be
    /// percent-encoded or raw.
    /// # Errors
    /// Why there is no app for it.
    fn find(&self, target: &[u8]) -> Result<(&str, &App, Uri), &'static str> {
        let target = RequestTarget::parse(target)?;
        let found =
            self.0.iter().find_map(|(prefix, app)| Some((prefix.as_str(), app, target.below(prefix)?)));
        found.ok_or("no prefix of `hand_off` matches it")
    }
}

/// The apps that the table names.
pub(super) fn links(routes: &BTreeMap<String, String>) -> Vec<AppLink> {
    let link = |(prefix, app): (&String, &String)| AppLink {
        at: format!("X-Accel-Redirect {prefix}"),
        app: app.clone(),
        key: join("hand_off", prefix),
    };
    routes.iter().map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let app = || App::from_fn(|_| async { Response::default() });
        let hand_off = HandOff(vec![("/private/deep".to_owned(), app()), ("/private".to_owned(), app())]);
        let check = |target: &str, expected: Result<(&str, &str), &str>| {
            let found = hand_off.find(target.as_bytes()).map(|(prefix, _, uri)| (prefix, uri.to_string()));
            let found = found.as_ref().map(|(prefix, uri)| (*prefix, uri.as_str()));
            assert_eq!(found.map_err(|reason| *reason), expected, "{target}");
        };
        check("/private/a.pdf", Ok(("/private", "/a.pdf")));
        check("/private/deep/a%20b?c=d", Ok(("/private/deep", "/a%20b?c=d")));
        check("/private/deep/a b?c=d", Ok(("/private/deep", "/a%20b?c=d")));
        check("/%70rivate/ä", Ok(("/private", "/%C3%A4")));
        for path in ["/privateer/a", "/private"] {
            check(path, Err("no prefix of `hand_off` matches it"));
        }
        for path in ["/private/../etc/passwd", "/private/%2e%2e/etc/passwd", "/private/a%2f../b"] {
            check(path, Err("it contains a dot segment"));
        }
        check("/private/a%5cb", Err("it contains a backslash"));
        check("/private/a%0ab", Err("it contains a control character"));
        check("/private/%e4", Err("it is not UTF-8"));
        for path in ["http://elsewhere/private/a", "private/a", ""] {
            check(path, Err("it does not begin with `/`"));
        }
    }
}
