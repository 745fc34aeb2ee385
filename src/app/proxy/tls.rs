//! TLS to upstreams: which certificates to trust.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::upstream::Tls;
use crate::config::{ReadPath, Table, client_tls};
use crate::error::{Errors, Result};

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
        let mut errors = Vec::new();
        let config = client_tls(table, "tls.ca_file", self.ca_file.as_ref());
        let config = config.map_err(|found| errors.extend(found)).ok();
        let name = match self.server_name.clone().map(ServerName::try_from).transpose() {
            Ok(name) => name,
            Err(error) => {
                errors.push(table.error("tls.server_name", "it is not a host name").because(error));
                None
            }
        };
        Errors::check(errors)?;
        let Some(mut config) = config else { return Err(table.error("tls", "no configuration").into()) };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(Tls { config: Arc::new(config), name })
    }
}
