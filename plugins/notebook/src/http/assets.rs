//! The front end's built files: compressed, with validators, and cached for long where the address names the content.

use std::borrow::Cow;

use axum::extract::{Path, RawQuery};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::ApiError;
use super::location::RequestLocation;

/// The front end as `npm run build` writes it. A debug build reads it from disk on each request.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Built;

/// The frame for rich output. Scripts in the output run in its opaque origin, so they have no cookies of ours and cannot reach
/// the page. From other hosts, it loads only images, media and frames over https, which `Image(url=…)` and `IFrame(…)` need.
/// (A script from `blob:` is one that the output has created.) The page sends it the files beside the notebook. Links open in
/// new tabs.
const FRAME: &str = "frame.html";
const FRAME_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; \
    img-src https: data: blob:; font-src data:; media-src https: data: blob:; frame-src https: blob:; connect-src data: blob:; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'; \
    sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads";

/// For an address that contains a hash of the content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// For other addresses: the browser asks each time whether the content has changed.
const NO_CACHE: &str = "no-cache";
/// The ending of the compressed form of a file, which lies beside it.
const GZIP: &str = ".gz";

/// The text of a built file; `None` if the front end is not built.
pub(super) fn text(path: &str) -> Option<String> {
    String::from_utf8(Built::get(path)?.data.into_owned()).ok()
}

/// Whether the front end is built.
pub(super) fn is_built() -> bool {
    Built::get("app.js").is_some()
}

/// The address of a built file, with a hash of its content.
pub(super) fn address(place: &RequestLocation, path: &str) -> String {
    let version = Built::get(path).map(|file| format!("?v={}", hash(&file))).unwrap_or_default();
    format!("{}static/{path}{version}", place.base())
}

fn hash(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A file of the front end.
pub(super) async fn asset(
    place: RequestLocation,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if path == FRAME && place.content_origin.is_some() {
        return Err(ApiError::missing("outputs are served from another origin (`content_origin`)"));
    }
    respond(&path, query.as_deref(), &headers)
}

/// The frame for rich output, at its own origin.
pub(super) fn frame(ancestors: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let mut response = respond(FRAME, None, headers)?;
    let policy = FRAME_POLICY.replace("frame-ancestors 'self'", &format!("frame-ancestors {ancestors}"));
    let policy = HeaderValue::from_str(&policy).map_err(|error| ApiError::bad(error.to_string()))?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

fn respond(path: &str, query: Option<&str>, request: &HeaderMap) -> Result<Response, ApiError> {
    let found = Built::get(path).filter(|_| !path.ends_with(GZIP));
    let file = found.ok_or_else(|| ApiError::missing(format!("the front end has no file `{path}`")))?;
    let hash = hash(&file);
    let is_versioned = query == Some(&format!("v={hash}")) || is_named_by_content(path);
    let zipped = Built::get(&format!("{path}{GZIP}"));
    let varies = zipped.is_some();
    let zipped = zipped.filter(|_| accepts_gzip(request));
    let tag = format!("\"{hash}{}\"", if zipped.is_some() { "-gzip" } else { "" });

    let mut headers = HeaderMap::new();
    set(&mut headers, header::CACHE_CONTROL, if is_versioned { IMMUTABLE } else { NO_CACHE })?;
    set(&mut headers, header::ETAG, &tag)?;
    if varies {
        set(&mut headers, header::VARY, "accept-encoding")?;
    }
    if path == FRAME {
        set(&mut headers, header::CONTENT_SECURITY_POLICY, FRAME_POLICY)?;
    }
    if is_known(request, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let kind = mime_guess::from_path(path).first_or_octet_stream().to_string();
    let charset = if kind.starts_with("text/") && !kind.contains("charset") { "; charset=utf-8" } else { "" };
    set(&mut headers, header::CONTENT_TYPE, &format!("{kind}{charset}"))?;
    if zipped.is_some() {
        set(&mut headers, header::CONTENT_ENCODING, "gzip")?;
    }
    Ok((headers, bytes_of(zipped.unwrap_or(file))).into_response())
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) -> Result<(), ApiError> {
    headers.insert(name, HeaderValue::from_str(value).map_err(|error| ApiError::bad(error.to_string()))?);
    Ok(())
}

fn bytes_of(file: EmbeddedFile) -> bytes::Bytes {
    match file.data {
        Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// Whether the name ends with a hash of the content, as in `chunk-QYOJ6IQ5.js`: the bundler gives such names.
fn is_named_by_content(path: &str) -> bool {
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    let bundled = path.starts_with("chunks/") || path.starts_with("fonts/");
    let hash = stem.rsplit_once('-').map(|(_, hash)| hash).unwrap_or_default();
    bundled && hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// The values of a header that is a list.
fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// RFC 9110 section 12.5.3. A weight of 0 excludes it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    list(headers, header::ACCEPT_ENCODING).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches("q=").parse::<f32>().unwrap_or(0.0);
        name.trim().eq_ignore_ascii_case("gzip") && weight > 0.0
    })
}

/// Whether the client has this version: RFC 9110 section 13.1.2, with weak comparison.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    list(headers, header::IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

pub(super) async fn favicon() -> Response {
    match Built::get("icon.svg") {
        Some(file) => ([(header::CONTENT_TYPE, "image/svg+xml")], bytes_of(file)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_and_validators_are_read_as_lists() {
        let headers = |name: header::HeaderName, value: &'static str| {
            HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
        };
        for (value, accepted) in [
            ("gzip, deflate, br", true),
            ("br;q=1, GZIP;q=0.2", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(accepts_gzip(&headers(header::ACCEPT_ENCODING, value)), accepted, "{value}");
        }
        for (value, known) in [("\"a\", W/\"b\"", true), ("*", true), ("\"bb\"", false), ("", false)] {
            assert_eq!(is_known(&headers(header::IF_NONE_MATCH, value), "\"b\""), known, "{value}");
        }
    }

    #[test]
    fn names_with_a_hash_are_those_of_the_bundler() {
        for (path, named) in [
            ("chunks/chunk-QYOJ6IQ5.js", true),
            ("fonts/KaTeX_Main-Regular-AB12CD34.woff2", true),
            ("fonts/KaTeX_Main-Regular.woff2", false),
            ("app.js", false),
            ("my-ABCDEFGH.js", false),
        ] {
            assert_eq!(is_named_by_content(path), named, "{path}");
        }
    }
}
