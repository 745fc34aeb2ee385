//! The certificate authorities that a client trusts.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{KeyPath, ReadPath, Table};
use crate::error::{Error, Result};

/// TLS for a client that trusts the public authorities (Mozilla's list) or, in their place, those of the PEM file
/// that the option `key` names. It announces no protocol by ALPN.
/// # Errors
/// A file that cannot be read or contains no certificate.
pub fn client_tls(table: &Table, key: impl Into<KeyPath>, file: Option<&ReadPath>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let failed = |cause: String| {
                table
                    .error(key, format!("cannot read the certificates `{}`", file.display()))
                    .because(cause)
                    .help("name a PEM file that contains `-----BEGIN CERTIFICATE-----`")
            };
            let read = table.files().read_text(file).map_err(|error| error.to_string()).and_then(|text| {
                CertificateDer::pem_slice_iter(&text)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| error.to_string())
            });
            let certificates = match read {
                Ok(certificates) => certificates,
                Err(cause) => return Err(failed(cause).into()),
            };
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(failed("it contains none".to_owned()).into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new("cannot set up TLS").because(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
