//! The header with which a server tells another one whose request it relays. The server that received the request has
//! authenticated the user, and has checked the host, the origin and the protection against forged requests.
//!
//! # Source
//! RFC 2104 (HMAC).

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::http::RequestLocation;
use crate::identity::Principal;

/// The header of a relayed request.
pub(super) const RELAYED: HeaderName = HeaderName::from_static("x-paster-relayed");
/// How long a header is valid. The clocks of the servers may differ by as much.
const VALID: Duration = Duration::from_secs(30);

/// Who sent a relayed request, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::http) struct RelayedRequest {
    pub(in crate::http) principal: Principal,
    /// At the server that received the request.
    pub(in crate::http) place: RequestLocation,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(flatten)]
    request: RelayedRequest,
    /// In seconds since 1970.
    issued: u64,
}

/// What a header is valid for.
pub(super) struct Scope<'a> {
    /// The address of the server that gets the request.
    pub(super) to: &'a str,
    pub(super) method: &'a Method,
    /// Path and query.
    pub(super) target: &'a str,
}

fn mac(key: &[u8], scope: &Scope<'_>, payload: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in ["relay", scope.to, scope.method.as_str(), scope.target, payload] {
        mac.update(part.as_bytes());
        mac.update(b"\0");
    }
    mac
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The value of the header.
pub(super) fn sign(key: &[u8], scope: &Scope<'_>, request: &RelayedRequest) -> HeaderValue {
    let payload = Payload { request: request.clone(), issued: now() };
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).unwrap_or_default());
    let signature = URL_SAFE_NO_PAD.encode(mac(key, scope, &payload).finalize().into_bytes());
    HeaderValue::try_from(format!("{payload}.{signature}")).expect("base64 is visible ASCII")
}

/// Checks a header.
/// # Errors
/// What is wrong with it.
pub(super) fn verify(
    key: &[u8],
    scope: &Scope<'_>,
    value: &HeaderValue,
) -> Result<RelayedRequest, &'static str> {
    const WRONG: &str = "the header `X-Paster-Relayed` was not signed for this request by a server of the same database: \
         check that `address` is the same in the settings and on the way here";
    let (payload, signature) = value.to_str().ok().and_then(|text| text.split_once('.')).ok_or(WRONG)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| WRONG)?;
    mac(key, scope, payload).verify_slice(&signature).map_err(|_| WRONG)?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).map_err(|_| WRONG)?;
    let Payload { request, issued } =
        serde_json::from_slice(&bytes).map_err(|_| "the other server has another version of the notebook")?;
    if now().abs_diff(issued) > VALID.as_secs() {
        return Err("the relayed request is too old: compare the clocks of the servers");
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Authentication;

    #[test]
    fn a_header_is_valid_for_its_request_alone() {
        let request = RelayedRequest {
            principal: Principal::owner(Authentication::Session([7; 32])),
            place: RequestLocation { prefix: "/n".to_owned(), ..RequestLocation::default() },
        };
        let scope = |to, method, target| Scope { to, method, target };
        let right = scope("http://a/", &Method::GET, "/api/contents/n.ipynb?content=0");
        let header = sign(b"key", &right, &request);
        let verified = verify(b"key", &right, &header).unwrap();
        assert_eq!((verified.principal, verified.place.prefix.as_str()), (request.principal, "/n"));
        for other in [
            scope("http://b/", &Method::GET, right.target),
            scope(right.to, &Method::PUT, right.target),
            scope(right.to, &Method::GET, "/api/contents/m.ipynb"),
        ] {
            assert!(verify(b"key", &other, &header).is_err(), "{} {}", other.method, other.target);
        }
        assert!(verify(b"another key", &right, &header).is_err());
        let text = header.to_str().unwrap();
        for forged in ["", ".", "e30.", &text[1..], &text[..text.len() - 2], &format!("x{text}")] {
            assert!(verify(b"key", &right, &forged.parse().unwrap()).is_err(), "{forged}");
        }
    }

    #[test]
    fn an_old_header_is_refused() {
        let scope = Scope { to: "http://a/", method: &Method::GET, target: "/" };
        let request = json_payload(now() - 31);
        let signature = URL_SAFE_NO_PAD.encode(mac(b"key", &scope, &request).finalize().into_bytes());
        let header = HeaderValue::try_from(format!("{request}.{signature}")).unwrap();
        assert!(verify(b"key", &scope, &header).unwrap_err().contains("too old"));
    }

    fn json_payload(issued: u64) -> String {
        let request = RelayedRequest { principal: Principal::nobody(), place: RequestLocation::default() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&Payload { request, issued }).unwrap())
    }
}
