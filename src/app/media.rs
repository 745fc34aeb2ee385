//! The media type of a file, by its name.

use std::path::Path;

use http::HeaderValue;

/// The `content-type` for a file with this name. Text gets `charset=utf-8`; unknown names are
/// `application/octet-stream`.
pub(super) fn media_type(path: &Path) -> HeaderValue {
    let Some(kind) = mime_guess::from_path(path).first_raw() else {
        return HeaderValue::from_static("application/octet-stream");
    };
    if is_text(kind) {
        HeaderValue::try_from(format!("{kind}; charset=utf-8"))
            .unwrap_or_else(|_| HeaderValue::from_static(kind))
    } else {
        HeaderValue::from_static(kind)
    }
}

fn is_text(kind: &str) -> bool {
    kind.starts_with("text/") || matches!(kind, "application/javascript" | "application/json")
}

/// Whether content of this type can be compressed.
pub(super) fn compressible(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or("").trim_end();
    is_text(kind)
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(kind, "application/wasm" | "application/xml" | "font/ttf" | "font/otf")
}
