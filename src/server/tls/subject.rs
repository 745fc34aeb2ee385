//! The names in a client's certificate, as text.

use std::net::IpAddr;

use x509_parser::asn1_rs::{Any, Oid, ToDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

/// Attribute types with a short name: those of RFC 4514 section 3, and two that OpenSSL, Apache and nginx
/// also name.
const NAMES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The distinguished name, the most specific part first: `CN=ada,O=Example,C=DE`.
///
/// Values are escaped, so that no value can look like another part. Control characters are escaped.
/// # Source
/// RFC 4514 section 2.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let values = part.iter().map(|pair| attribute(pair.attr_type(), pair.attr_value()));
            values.collect::<Vec<_>>().join("+")
        })
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(kind: &Oid<'_>, value: &Any<'_>) -> String {
    let number = kind.to_id_string();
    let known = NAMES.iter().find(|(oid, _)| *oid == number);
    match (known, value.as_any_str()) {
        (Some((_, name)), Ok(text)) => format!("{name}={}", escape(&text)),
        // Section 2.4: the DER encoding.
        (known, _) => {
            let der = value.to_der_vec().unwrap_or_default();
            let hex: String = der.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}=#{hex}", known.map_or(&*number, |(_, name)| name))
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', c]),
            ' ' if index == 0 || index == last => escaped.push_str("\\ "),
            '#' if index == 0 => escaped.push_str("\\#"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    escaped.push_str(&format!("\\{byte:02X}"));
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// The first common name, unless a reader of lines or variables could mistake it for another.
pub(super) fn common_name(name: &X509Name<'_>) -> Option<String> {
    let text = name.iter_common_name().next()?.attr_value().as_any_str().ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
}

/// Subject alternative names with their kinds, as OpenSSL writes them: `DNS:a.example`. Other kinds, and
/// names with control characters, are left out.
pub(super) fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
        GeneralName::URI(name) => Some(format!("URI:{name}")),
        GeneralName::IPAddress(octets) => address(octets).map(|address| format!("IP:{address}")),
        _ => None,
    });
    names.filter(|name| !name.contains(char::is_control)).collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
