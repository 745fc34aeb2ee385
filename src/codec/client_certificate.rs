//! The variables of a client's certificate, with the names of Apache's `mod_ssl`.

use super::Variables;
use crate::environ::ClientCertificate;

/// The prefixes of subject alternative names, and the variables for their kinds, without the number.
const SAN_VARIABLES: [(&str, &str); 2] =
    [("email:", "SSL_CLIENT_SAN_Email_"), ("DNS:", "SSL_CLIENT_SAN_DNS_")];

/// Adds the variables for a verified certificate.
pub(super) fn push(variables: &mut Variables, certificate: &ClientCertificate) {
    variables.push("SSL_CLIENT_VERIFY", "SUCCESS");
    variables.push("SSL_CLIENT_S_DN", certificate.subject.as_bytes());
    if let Some(name) = &certificate.common_name {
        variables.push("SSL_CLIENT_S_DN_CN", name.as_bytes());
    }
    if let Some(serial) = &certificate.serial {
        variables.push("SSL_CLIENT_M_SERIAL", serial.as_bytes());
    }
    for (kind, variable) in SAN_VARIABLES {
        let names = certificate.names.iter().filter_map(|name| name.strip_prefix(kind));
        for (index, name) in names.enumerate() {
            variables.push(format!("{variable}{index}"), name.as_bytes());
        }
    }
}

/// The certificate that a web server has verified.
pub(super) fn read(variables: &Variables) -> Option<ClientCertificate> {
    let told = |name: &str| variables.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let checked = variables.text("SSL_CLIENT_VERIFY") == Some("SUCCESS");
    let subject = told("SSL_CLIENT_S_DN").filter(|_| checked)?;
    let names = SAN_VARIABLES.iter().flat_map(|(kind, variable)| {
        let names = (0..).map_while(move |index: usize| told(&format!("{variable}{index}")));
        names.map(move |name| format!("{kind}{name}"))
    });
    Some(ClientCertificate {
        subject,
        common_name: told("SSL_CLIENT_S_DN_CN"),
        serial: told("SSL_CLIENT_M_SERIAL"),
        names: names.collect(),
        ..ClientCertificate::default()
    })
}
