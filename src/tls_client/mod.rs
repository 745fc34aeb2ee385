//! TLS as a client: which authorities to trust, single requests over HTTPS, and OTLP.

mod https;
mod otlp;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use sha2::{Digest, Sha256};

pub use self::https::HttpsClient;
pub use self::otlp::{OtlpTarget, attribute, nanos, number, resource, scope, text};
use crate::config::{Files, help_for_denied};
use crate::error::Error;

/// Certificate authorities to trust.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Their certificates.
    pub store: Arc<RootCertStore>,
    /// SHA-256 of their file.
    pub digest: [u8; 32],
}

impl Roots {
    /// Reads the authorities of a PEM file.
    /// # Errors
    /// A file that cannot be read, is not PEM, or has no usable certificate.
    pub fn read(file: &Path, files: &Files) -> Result<Roots, Error> {
        let shown = format!("`{}`", file.display());
        let text = files.read_text(file).map_err(|cause| {
            let error = Error::config(format!("cannot read the authorities' certificates {shown}"));
            let error = match cause.kind() {
                io::ErrorKind::PermissionDenied => error.help(help_for_denied()),
                _ => error,
            };
            error.because(cause)
        })?;
        let none = || Error::config(format!("{shown} contains no certificate"));
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| match error {
                PemError::NoItemsFound => none(),
                // The parser's message may quote the file, so it is left out.
                _ => Error::config(format!("{shown} is not a valid PEM file")),
            })?;
            store.add(certificate).map_err(|cause| {
                Error::config(format!("{shown} contains a certificate that cannot be used")).because(cause)
            })?;
        }
        if store.is_empty() {
            return Err(none());
        }
        Ok(Roots { store: Arc::new(store), digest: Sha256::digest(&text).into() })
    }
}

/// A client that trusts the authorities in the PEM file `ca`; by default, the public ones (Mozilla's list). What
/// certificate it shows is left open.
/// # Errors
/// As [`Roots::read`].
pub fn client_builder(
    ca: Option<&Path>,
    files: &Files,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let roots = match ca {
        Some(file) => Roots::read(file, files)?.store,
        None => Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new("cannot set up TLS").because(cause))?;
    Ok(builder.with_root_certificates(roots))
}

/// The same, without a client certificate.
/// # Errors
/// As [`Roots::read`].
pub fn client_config(ca: Option<&Path>, files: &Files) -> Result<ClientConfig, Error> {
    client_builder(ca, files).map(|builder| builder.with_no_client_auth())
}
