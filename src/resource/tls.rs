//! Certificates of authorities, for connections to databases.

use std::path::Path;

use crate::config::Table;
use crate::error::Error;

/// The content of the file that the option `ca_file` names.
/// # Errors
/// When it cannot be read.
#[cfg(feature = "redis")]
pub(super) fn read(path: &Path, table: &Table) -> Result<Vec<u8>, Error> {
    table.files().read_text(path).map_err(|cause| unreadable(path, table).because(cause))
}

fn unreadable(path: &Path, table: &Table) -> Error {
    let message = format!("cannot read the certificates `{}`", path.display());
    table.error("ca_file", message).help("set a PEM file that contains `-----BEGIN CERTIFICATE-----`")
}

/// A client that trusts the authorities in `ca_file`, or the public ones (Mozilla's list).
/// # Errors
/// When the file cannot be read, or contains no certificate.
#[cfg(feature = "postgres")]
pub(super) fn client(ca_file: Option<&Path>, table: &Table) -> Result<rustls::ClientConfig, Error> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let text = table.files().read_text(path);
            let text = text.map_err(|cause| unreadable(path, table).because(cause))?;
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
            let certificates = certificates.map_err(|cause| unreadable(path, table).because(cause))?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(unreadable(path, table).because("it contains none"));
            }
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new("cannot set up TLS").because(error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
