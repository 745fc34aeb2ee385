//! Chooses the format of an error page for a client.

use http::HeaderMap;
use http::header::ACCEPT;

/// A format of an error page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    Json,
    Plain,
}

impl Form {
    /// Its `content-type`.
    pub(super) fn media(self) -> &'static str {
        match self {
            Form::Html => "text/html; charset=utf-8",
            Form::Json => "application/problem+json",
            Form::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// The format with the highest weight in `Accept`; among equal ones HTML, then JSON. Programs and command
/// lines send only `*/*`, or no field: they get plain text (RFC 9110, section 12.5.1).
pub(super) fn form(headers: &HeaderMap) -> Form {
    let mut best = (Form::Plain, 0.0_f32);
    let rank = |form| match form {
        Form::Html => 2,
        Form::Json => 1,
        Form::Plain => 0,
    };
    let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for item in fields.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        let form = match &*media {
            "text/html" | "application/xhtml+xml" | "text/*" => Form::Html,
            "application/json" | "application/problem+json" | "application/*" => Form::Json,
            "text/plain" => Form::Plain,
            _ => continue,
        };
        if weight > best.1 || (weight == best.1 && weight > 0.0 && rank(form) > rank(best.0)) {
            best = (form, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = |accept: &'static str, expected: Form| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, http::HeaderValue::from_static(accept));
            assert_eq!(form(&headers), expected, "{accept}");
        };
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html);
        check("*/*", Form::Plain);
        check("application/json", Form::Json);
        check("application/json, text/plain, */*", Form::Json);
        check("text/html;q=0.5, application/json", Form::Json);
        check("text/html;q=0, text/plain;q=0.1", Form::Plain);
        check("image/png", Form::Plain);
        assert_eq!(form(&HeaderMap::new()), Form::Plain);
    }
}
