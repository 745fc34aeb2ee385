//! The target and the version of a request, for both Rust sides.

use bytes::Bytes;
use http::{Uri, Version};

use crate::Request;

/// Reads the target of a request, whose path and query `target` already holds.
/// # Errors
/// What is not valid in it.
/// # Safety
/// The slices of the request must live for the call.
pub unsafe fn read_uri(request: &Request, target: Bytes) -> Result<Uri, http::Error> {
    // SAFETY: guaranteed by the caller, for all slices below.
    unsafe {
        let target = match &target[..] {
            [] => None,
            [b'/'] => Some(http::uri::PathAndQuery::from_static("/")),
            _ => Some(http::uri::PathAndQuery::from_maybe_shared(target)?),
        };
        if let (0, 0, Some(target)) = (request.scheme.len, request.authority.len, &target) {
            return Ok(target.clone().into());
        }
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = target;
        if request.scheme.len > 0 {
            parts.scheme = Some(http::uri::Scheme::try_from(request.scheme.bytes())?);
        }
        if request.authority.len > 0 {
            parts.authority = Some(http::uri::Authority::try_from(request.authority.bytes())?);
        }
        Ok(Uri::from_parts(parts)?)
    }
}

/// The number of an HTTP version in a request.
pub fn version_number(version: Version) -> u16 {
    match version {
        Version::HTTP_09 => 9,
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    }
}
