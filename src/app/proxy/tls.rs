//! TLS to upstreams: which certificates to trust.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::upstream::Tls;
use crate::config::{ReadPath, Table};
use crate::error::{Error, Errors, Result};

/// TLS to `https` upstreams.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsOptions {
    /// PEM file with the certificate authorities to trust instead of the public ones (Mozilla's list).
    /// Verification cannot be turned off.
    ca_file: Option<ReadPath>,
    /// The name that the upstream's certificate must be valid for, instead of the host of the address.
    server_name: Option<String>,
}

impl TlsOptions {
    /// Loads the certificates.
    /// # Errors
    /// A file that cannot be read or contains no certificate; an invalid name.
    pub(super) fn load(&self, table: &Table, http2: bool) -> Result<Tls> {
        let mut roots = RootCertStore::empty();
        let mut errors = Vec::new();
        match &self.ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let fail =
                    |error: Error| error.help("name a PEM file that contains `-----BEGIN CERTIFICATE-----`");
                let message = format!("cannot read the certificates `{}`", file.display());
                let read = |text: Vec<u8>| CertificateDer::pem_slice_iter(&text).collect();
                match table.files().read_text(file).map(read) {
                    Ok(Ok::<Vec<_>, _>(certificates)) if !certificates.is_empty() => {
                        let (added, _) = roots.add_parsable_certificates(certificates);
                        if added == 0 {
                            errors.push(fail(table.error("tls.ca_file", message)));
                        }
                    }
                    Ok(Ok(_)) => {
                        errors.push(fail(table.error("tls.ca_file", message).because("it contains none")))
                    }
                    Ok(Err(error)) => {
                        errors.push(fail(table.error("tls.ca_file", message).because(error)));
                    }
                    Err(error) => errors.push(fail(table.error("tls.ca_file", message).because(error))),
                }
            }
        }
        let name = match self.server_name.clone().map(ServerName::try_from).transpose() {
            Ok(name) => name,
            Err(error) => {
                errors.push(table.error("tls.server_name", "it is not a host name").because(error));
                None
            }
        };
        Errors::check(errors)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new("cannot set up TLS").because(error))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Tls { config: Arc::new(config), name })
    }
}
