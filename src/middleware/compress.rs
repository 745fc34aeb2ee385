//! `compress`: compresses responses for clients that accept it.

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, VARY,
};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower::Layer;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;

use crate::body::{App, Body, Response};
use crate::config::Table;
use crate::context::Context;
use crate::error::Result;

/// Options of a `[middleware.NAME]` table with `use = "compress"`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Content codings to offer.
    #[serde(default = "all")]
    algorithms: Vec<ContentCoding>,
    /// Do not compress responses shorter than this many bytes.
    #[serde(default = "one_kib")]
    min_bytes: u64,
    /// The compression level.
    #[serde(default)]
    level: CompressPreference,
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ContentCoding {
    Zstd,
    Br,
    Gzip,
}

/// Speed versus size.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CompressPreference {
    /// Fastest.
    Fastest,
    /// The usual level of each coding for dynamic responses.
    #[default]
    Balanced,
    /// Smallest size, several times slower.
    Best,
}

fn all() -> Vec<ContentCoding> {
    vec![ContentCoding::Zstd, ContentCoding::Br, ContentCoding::Gzip]
}

fn one_kib() -> u64 {
    1024
}

/// Wraps `next`. Responses are compressed if their media type is compressible and they are not short, already
/// compressed, partial, event streams, or marked `no-transform`. `vary` is set, and a strong entity tag
/// becomes a weak one. A response to HEAD has the fields that GET would have. If its length is unknown, it is
/// unknown whether GET's would be compressed, so it claims no coding.
pub(super) fn build(options: Options, _: &Table, _: &Context, next: App) -> Result<App> {
    let offers = |algorithm| options.algorithms.contains(&algorithm);
    let level = match options.level {
        CompressPreference::Fastest => CompressionLevel::Fastest,
        // The library's default for br is its highest level, which is meant for precompressed files.
        CompressPreference::Balanced => CompressionLevel::Precise(4),
        CompressPreference::Best => CompressionLevel::Best,
    };
    let layer = CompressionLayer::new()
        .gzip(offers(ContentCoding::Gzip))
        .br(offers(ContentCoding::Br))
        .zstd(offers(ContentCoding::Zstd))
        .quality(level)
        .compress_when(Worth { min_bytes: options.min_bytes });
    let marked = App::from_call({
        let next = next.clone();
        move |request| {
            let head = *request.method() == Method::HEAD;
            let response = next.handle(request);
            Box::pin(async move {
                let mut response = response.await?;
                if head {
                    response.extensions_mut().insert(HeadResponse);
                }
                if !response.headers().contains_key(CONTENT_ENCODING) {
                    response.extensions_mut().insert(Uncompressed);
                }
                if response.headers().contains_key(CONTENT_ENCODING)
                    || !(Worth { min_bytes: options.min_bytes }).should_compress(&response)
                {
                    let body = std::mem::take(response.body_mut());
                    response.extensions_mut().insert(Aside(Arc::new(Mutex::new(body))));
                }
                Ok(response)
            })
        }
    });
    let compressed = App::new(layer.layer(marked));
    Ok(App::from_call(move |request| {
        if !request.headers().contains_key(ACCEPT_ENCODING) {
            let head = *request.method() == Method::HEAD;
            let response = next.handle(request);
            let min_bytes = options.min_bytes;
            return Box::pin(async move {
                let mut response = response.await?;
                if head {
                    response.extensions_mut().insert(HeadResponse);
                }
                let worth = Worth { min_bytes };
                let varies = worth.should_compress(&response) || worth.is_doubtful(&response);
                if varies && !response.headers().contains_key(CONTENT_ENCODING) {
                    add_vary(response.headers_mut());
                }
                Ok(response)
            });
        }
        let response = compressed.handle(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(Aside(body)) = response.extensions_mut().remove() {
                *response.body_mut() = std::mem::take(&mut body.lock());
            }
            let doubtful = Worth { min_bytes: options.min_bytes }.is_doubtful(&response)
                && !response.headers().contains_key(CONTENT_ENCODING);
            if doubtful {
                add_vary(response.headers_mut());
            }
            weaken_etag(&mut response, doubtful);
            Ok(response)
        })
    }))
}

/// A body that stays uncompressed. It bypasses the library, which would wrap it and cause every file to be
/// read.
#[derive(Clone)]
struct Aside(Arc<Mutex<Body>>);

/// Marks a response to HEAD.
#[derive(Debug, Clone, Copy)]
struct HeadResponse;

fn add_vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Marks a response that left the app uncompressed.
#[derive(Debug, Clone, Copy)]
struct Uncompressed;

/// Two codings of the same content are different bytes, so they must not share a strong tag (RFC 9110,
/// section 8.8.1). `doubtful`: GET's response may be compressed.
fn weaken_etag(response: &mut Response, doubtful: bool) {
    let compressed_here = response.extensions().get::<Uncompressed>().is_some()
        && response.headers().contains_key(CONTENT_ENCODING);
    let weakens = compressed_here || doubtful;
    let Some(etag) = response.headers().get(ETAG).filter(|_| weakens) else { return };
    if etag.as_bytes().starts_with(b"\"") {
        let mut weak = b"W/".to_vec();
        weak.extend_from_slice(etag.as_bytes());
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            response.headers_mut().insert(ETAG, weak);
        }
    }
}

/// Decides which responses are worth compressing.
#[derive(Debug, Clone, Copy)]
struct Worth {
    min_bytes: u64,
}

impl Worth {
    /// Whether it is compressed provided that it is long enough.
    fn may_compress<B>(response: &http::Response<B>) -> bool {
        let whole = !matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
        ) && !response.status().is_informational();
        whole && may_shrink(response.headers())
    }

    /// Whether this is a response to HEAD without the length of the response to GET.
    fn is_doubtful<B: http_body::Body>(self, response: &http::Response<B>) -> bool {
        response.extensions().get::<HeadResponse>().is_some()
            && length(response).is_none()
            && Worth::may_compress(response)
    }
}

/// The length of the body, or for HEAD that of GET's body, if known.
fn length<B: http_body::Body>(response: &http::Response<B>) -> Option<u64> {
    let announced = || response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let exact = response.body().size_hint().exact();
    // The empty body of a response to HEAD is not significant.
    exact
        .filter(|exact| *exact > 0 || response.extensions().get::<HeadResponse>().is_none())
        .or_else(announced)
}

impl Predicate for Worth {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let long = match length(response) {
            Some(length) => length >= self.min_bytes,
            None => response.extensions().get::<HeadResponse>().is_none() || !response.body().is_end_stream(),
        };
        long && Worth::may_compress(response)
    }
}

fn may_shrink(headers: &HeaderMap) -> bool {
    let transform = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    if transform.flat_map(|value| value.split(',')).any(|item| item.trim() == "no-transform") {
        return false;
    }
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or("");
    let media = media.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let text = media.starts_with("text/") && media != "text/event-stream";
    text || media.ends_with("+json")
        || media.ends_with("+xml")
        || matches!(
            &*media,
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
                | "font/ttf"
                | "font/otf"
        )
}
