//! Header fields that an application sets.

/// Fields that concern the connection: the server sets them (PEP 3333, "Other HTTP Features"; RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a field concerns the connection.
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
}

/// Checks a name and a value (RFC 9110 sections 5.1 and 5.5).
/// # Errors
/// If one is not valid.
pub(crate) fn check_field(name: &[u8], value: &[u8]) -> Result<(), String> {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let shown = String::from_utf8_lossy(name);
    if name.is_empty() || !name.iter().all(token) {
        return Err(format!("{shown:?} is not a valid header name"));
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err(format!("the value of the header `{shown}` contains a control character"));
    }
    Ok(())
}
