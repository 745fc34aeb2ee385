//! What the options of several kinds have in common: lists of entries that are parsed one by one.

use http::{HeaderName, Method};

use crate::config::{KeyPath, Table, item};
use crate::error::Error;

/// Why an entry is wrong, and how to fix it.
pub(super) type Wrong = (String, &'static str);

/// Parses the entries of the list at `key`; each fault gets its place and goes to `errors`.
pub(super) fn entries<T>(
    table: &Table,
    key: impl Into<KeyPath>,
    list: &[String],
    errors: &mut Vec<Error>,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Vec<T> {
    let key = key.into();
    let mut parsed = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        match parse(entry) {
            Ok(entry) => parsed.push(entry),
            Err((message, help)) => errors.push(table.error(item(key.clone(), index), message).help(help)),
        }
    }
    parsed
}

/// The value of one option, parsed; the fault gets its place and goes to `errors`.
pub(super) fn value<T>(
    table: &Table,
    key: impl Into<KeyPath>,
    text: &str,
    errors: &mut Vec<Error>,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let fault = |(message, help): Wrong| errors.push(table.error(key, message).help(help));
    parse(text).map_err(fault).ok()
}

/// The name of a header field.
pub(super) fn header(text: &str) -> Result<HeaderName, Wrong> {
    HeaderName::try_from(text)
        .map_err(|_| (format!("`{text}` is not a header name"), "use letters, digits and `-`"))
}

/// A method. Methods are case-sensitive, and no usual one has lower-case letters.
pub(super) fn method(text: &str) -> Result<Method, Wrong> {
    let wrong = || (format!("`{text}` is not a method"), "write it in upper case: `POST`");
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if !text.chars().any(char::is_lowercase) => Ok(method),
        _ => Err(wrong()),
    }
}

/// The path of an app, below its mount.
pub(super) fn path(text: &str) -> Result<http::uri::PathAndQuery, Wrong> {
    let wrong = || (format!("`{text}` is not a path"), "begin it with `/`");
    text.parse().ok().filter(|_| text.starts_with('/')).ok_or_else(wrong)
}
