//! TLS to upstreams: which certificates to trust.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::upstream::Tls;
use crate::config::{ReadPath, Table};
use crate::error::{Error, Errors, Result};
use crate::tls_client::client_builder;

/// A certificate with those up to the root, and its key.
type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// TLS to `https` upstreams.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsOptions {
    /// PEM file with the certificate authorities to trust instead of the public ones (Mozilla's list).
    /// Verification cannot be turned off.
    ca_file: Option<ReadPath>,
    /// The name that the upstream's certificate must be valid for, instead of the host of the address.
    server_name: Option<String>,
    /// PEM file with the certificate to send to upstreams, and its chain up to the root.
    certificate_file: Option<ReadPath>,
    /// PEM file of its private key, not encrypted.
    key_file: Option<ReadPath>,
}

impl TlsOptions {
    /// Loads the certificates.
    /// # Errors
    /// A file that cannot be read or contains no certificate; an invalid name.
    pub(super) fn load(&self, table: &Table, http2: bool) -> Result<Tls> {
        let mut errors = Vec::new();
        let config = client_builder(self.ca_file.as_deref(), table.files());
        let config = config.map_err(|error| errors.push(error.at(table.origin("tls.ca_file")))).ok();
        let own = self.own(table).map_err(|error| errors.push(error)).ok();
        let name = match self.server_name.clone().map(ServerName::try_from).transpose() {
            Ok(name) => name,
            Err(error) => {
                errors.push(table.error("tls.server_name", "it is not a host name").because(error));
                None
            }
        };
        Errors::check(errors)?;
        let (Some(builder), Some(own)) = (config, own) else { unreachable!("checked above") };
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|cause| {
                let error = table.error("tls.key_file", "the key does not belong to the certificate");
                error.because(cause)
            })?,
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Tls { config: Arc::new(config), name })
    }

    /// The certificate to show, and its key.
    fn own(&self, table: &Table) -> Result<Option<OwnCertificate>, Error> {
        let (certificate, key) = match (&self.certificate_file, &self.key_file) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => {
                let error = table.error("tls", "a certificate needs its key");
                return Err(error.help("set both `certificate_file` and `key_file`"));
            }
        };
        let read = |file: &ReadPath, option: &str, what: &str| {
            let message = format!("cannot read the {what} `{}`", file.display());
            table.files().read_text(file).map_err(|cause| table.error(option, message).because(cause))
        };
        let wrong = |file: &ReadPath, option: &str, what: &str| {
            // The parser's message may quote the file, so it is left out.
            table.error(option, format!("`{}` contains no {what} in PEM form", file.display()))
        };
        let text = read(certificate, "tls.certificate_file", "certificate")?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| wrong(certificate, "tls.certificate_file", "certificate"))?;
        let text = read(key, "tls.key_file", "key")?;
        let found = PrivateKeyDer::from_pem_slice(&text);
        Ok(Some((chain, found.map_err(|_| wrong(key, "tls.key_file", "private key"))?)))
    }
}
