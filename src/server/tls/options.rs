//! The options of `[server.NAME.tls]`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::acme;
use crate::config::{FollowedPath, ReadPath};

/// The table `[server.NAME.tls]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::server) struct Options {
    /// Certificates with their keys, chosen by the server name that the client asks for (`*.example.org`
    /// covers one label). The first is used for unknown names. Changed files are loaded without a reload.
    pub certificates: Vec<Pair>,
    /// Generate a self-signed certificate for `localhost` and the server's `hosts`, for development. Clients
    /// do not trust it by default.
    pub self_signed: bool,
    /// Use a certificate for `localhost` and the server's `hosts` from a local authority of this user, for development. paster
    /// creates the authority once, in the user's data directory. `paster tls trust` shows how to trust it.
    pub local_authority: bool,
    /// Minimum TLS version.
    pub min_version: MinVersion,
    /// Close a connection if its handshake takes longer.
    pub handshake_timeout_secs: NonZeroU32,
    /// Whether to ask clients for a certificate. Certificates are verified against `client_ca_file` before an
    /// application sees them.
    pub client_certificates: ClientCertificates,
    /// PEM file with the certificate authorities for client certificates.
    pub client_ca_file: Option<ReadPath>,
    /// Whether the host of a request must be the one that the client has named in the TLS handshake (SNI). Other requests get
    /// 421, and browsers then open another connection. By default, only if clients are asked for a certificate.
    pub strict_sni_host: Option<bool>,
    /// Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
    pub acme: Option<acme::Options>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            certificates: Vec::new(),
            self_signed: false,
            local_authority: false,
            min_version: MinVersion::default(),
            handshake_timeout_secs: NonZeroU32::MIN.saturating_add(9),
            client_certificates: ClientCertificates::default(),
            client_ca_file: None,
            strict_sni_host: None,
            acme: None,
        }
    }
}

/// One certificate and its key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct Pair {
    /// PEM file: the server's certificate first, then those up to the root.
    pub certificate_file: FollowedPath,
    /// PEM file of its private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key_file: FollowedPath,
}

/// Oldest version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::server) enum MinVersion {
    /// TLS 1.2 (RFC 5246) with forward secrecy.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum ClientCertificates {
    /// Do not ask.
    #[default]
    None,
    /// Ask. Clients without a certificate are served too; those with an invalid one are not.
    Optional,
    /// Refuse clients without a valid certificate.
    Required,
}
