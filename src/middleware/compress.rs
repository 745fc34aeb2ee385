//! `compress`: compresses responses for clients that accept it.

use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue,
};
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
    /// Codings to offer.
    #[serde(default = "all")]
    algorithms: Vec<Algorithm>,
    /// Shorter responses are sent as they are, in bytes.
    #[serde(default = "one_kib")]
    min_bytes: u64,
    /// How hard to try.
    #[serde(default)]
    level: Level,
}

/// A coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    Zstd,
    Br,
    Gzip,
}

/// Time against size.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Least time.
    Fastest,
    /// Each coding's usual level for answers that are made on request.
    #[default]
    Balanced,
    /// Smallest size, at several times the time.
    Best,
}

fn all() -> Vec<Algorithm> {
    vec![Algorithm::Zstd, Algorithm::Br, Algorithm::Gzip]
}

fn one_kib() -> u64 {
    1024
}

/// Wraps `next`. Responses are compressed when their type gets smaller by it and they are not short, compressed,
/// partial, event streams, or marked `no-transform`. `vary` is set, and a strong entity tag becomes a weak one.
pub(super) fn build(table: &Table, _: &Context, next: App) -> Result<App> {
    let options: Options = table.options()?;
    let offers = |algorithm| options.algorithms.contains(&algorithm);
    let level = match options.level {
        Level::Fastest => CompressionLevel::Fastest,
        // The library's default for br is its highest level, which is meant for files made once.
        Level::Balanced => CompressionLevel::Precise(4),
        Level::Best => CompressionLevel::Best,
    };
    let layer = CompressionLayer::new()
        .gzip(offers(Algorithm::Gzip))
        .br(offers(Algorithm::Br))
        .zstd(offers(Algorithm::Zstd))
        .quality(level)
        .compress_when(Worth { min_bytes: options.min_bytes });
    let marked = App::from_call({
        let next = next.clone();
        move |request| {
            let response = next.handle(request);
            Box::pin(async move {
                let mut response = response.await?;
                if !response.headers().contains_key(CONTENT_ENCODING) {
                    response.extensions_mut().insert(Plain);
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
            let response = next.handle(request);
            let min_bytes = options.min_bytes;
            return Box::pin(async move {
                let mut response = response.await?;
                if (Worth { min_bytes }).should_compress(&response)
                    && !response.headers().contains_key(CONTENT_ENCODING)
                {
                    response
                        .headers_mut()
                        .append(http::header::VARY, HeaderValue::from_static("accept-encoding"));
                }
                Ok(response)
            });
        }
        let response = compressed.handle(request);
        Box::pin(async move {
            let mut response = response.await?;
            if let Some(Aside(body)) = response.extensions_mut().remove() {
                *response.body_mut() =
                    std::mem::take(&mut body.lock().unwrap_or_else(PoisonError::into_inner));
            }
            weaken_etag(&mut response);
            Ok(response)
        })
    }))
}

/// The body of a response that stays as it is: round the library, which would wrap it, and have every file read.
#[derive(Clone)]
struct Aside(Arc<Mutex<Body>>);

/// Marks a response that left the app uncompressed.
#[derive(Debug, Clone, Copy)]
struct Plain;

/// Two codings of one content are not the same bytes, so their tag must not be a strong one (RFC 9110, section 8.8.1).
fn weaken_etag(response: &mut Response) {
    let compressed_here =
        response.extensions().get::<Plain>().is_some() && response.headers().contains_key(CONTENT_ENCODING);
    let Some(etag) = response.headers().get(ETAG).filter(|_| compressed_here) else { return };
    if etag.as_bytes().starts_with(b"\"") {
        let mut weak = b"W/".to_vec();
        weak.extend_from_slice(etag.as_bytes());
        if let Ok(weak) = HeaderValue::from_bytes(&weak) {
            response.headers_mut().insert(ETAG, weak);
        }
    }
}

/// Which responses are worth the work.
#[derive(Debug, Clone, Copy)]
struct Worth {
    min_bytes: u64,
}

impl Predicate for Worth {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let headers = response.headers();
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length = response.body().size_hint().exact().or(announced);
        let whole = !matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
        ) && !response.status().is_informational();
        whole && length.is_none_or(|length| length >= self.min_bytes) && may_shrink(headers)
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
