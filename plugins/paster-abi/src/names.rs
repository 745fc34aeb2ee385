//! Well-known header names by number, so that both Rust sides can skip parsing a name.
//!
//! A number is only a shortcut: `name` is always set, and a number beyond the reader's list is ignored.
//! Within an ABI version the list only grows at its end.

/// The names; the number of `NAMES[i]` is `i + 1`.
pub const NAMES: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "access-control-request-headers",
    "access-control-request-method",
    "age",
    "allow",
    "alt-svc",
    "authorization",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "link",
    "location",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "referrer-policy",
    "retry-after",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "x-content-type-options",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-frame-options",
    "x-request-id",
    "x-xss-protection",
];

const SLOTS: usize = 512;

/// The slot of a name, from four of its bytes and its length, which distinguish nearly all well-known names.
const fn slot(name: &[u8]) -> usize {
    let len = name.len();
    let mix = (len as u32).wrapping_mul(0x9e37)
        ^ (name[0] as u32).wrapping_mul(0x1f35)
        ^ (name[len - 1] as u32).wrapping_mul(0x3b9b)
        ^ (name[len / 2] as u32).wrapping_mul(0x6a2d)
        ^ (name[len * 3 / 4] as u32).wrapping_mul(0x1235);
    (mix >> 3) as usize % SLOTS
}

/// Open addressing: a slot holds a number; 0 means free.
const TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < NAMES.len() {
        let mut at = slot(NAMES[index].as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        table[at] = index as u8 + 1;
        index += 1;
    }
    table
};

/// The number of a lower-case name, or 0.
pub fn number(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let mut at = slot(name);
    loop {
        let number = usize::from(TABLE[at]);
        if number == 0 || NAMES[number - 1].as_bytes() == name {
            return number;
        }
        at = (at + 1) % SLOTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_number() {
        for (index, name) in NAMES.iter().enumerate() {
            assert_eq!(number(name.as_bytes()), index + 1, "{name}");
            assert_eq!(*name, name.to_ascii_lowercase());
        }
        for other in ["", "x", "x-own", "hosts", "Host"] {
            assert_eq!(number(other.as_bytes()), 0, "{other}");
        }
    }
}
