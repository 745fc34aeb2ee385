//! Responses to an authority's challenges, as files that every process of the server reads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::store::{CHALLENGES, keep};
use crate::codec::host_name::is_dns_name;
use crate::error::BoxError;

/// The protocol of tls-alpn-01, RFC 8737 section 6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// A prepared response, removed on drop.
pub(super) struct PreparedChallenge(PathBuf);

impl Drop for PreparedChallenge {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // a leftover file does no harm
    }
}

/// Prepares http-01 (RFC 8555 section 8.3).
/// # Errors
/// An invalid token; a directory that cannot be written.
pub(super) fn prepare_http(folder: &Path, token: &str, answer: &str) -> io::Result<PreparedChallenge> {
    let file = http_file(folder, token).ok_or(io::ErrorKind::InvalidData)?;
    keep(&file, answer.as_bytes())?;
    Ok(PreparedChallenge(file))
}

/// Prepares tls-alpn-01 (RFC 8737 section 3): a certificate for the name that carries the digest.
/// # Errors
/// An invalid name; a directory that cannot be written.
pub(super) fn prepare_tls(folder: &Path, name: &str, digest: &[u8]) -> Result<PreparedChallenge, BoxError> {
    let file = tls_file(folder, name).ok_or("not a DNS name")?;
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    keep(&file, (certificate.pem() + &key.serialize_pem()).as_bytes())?;
    Ok(PreparedChallenge(file))
}

/// The response to http-01 for a pending token.
pub(super) fn http(folder: &Path, token: &str) -> Option<String> {
    std::fs::read_to_string(http_file(folder, token)?).ok()
}

/// The response to tls-alpn-01, if the client is an authority and its name is pending.
pub(super) fn tls(folder: &Path, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
    // RFC 8737 section 3: the authority offers only this protocol.
    let mut offered = hello.alpn()?;
    if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
        return None;
    }
    let text = std::fs::read(tls_file(folder, &hello.server_name()?.to_ascii_lowercase())?).ok()?;
    let certificate = CertificateDer::from_pem_slice(&text).ok()?;
    let key = PrivateKeyDer::from_pem_slice(&text).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Key and certificate are not checked against each other: the extension is critical, and rustls does not
    // know it.
    let key = CertifiedKey::new(vec![certificate], provider.key_provider.load_private_key(key).ok()?);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let key = Arc::new(SingleCertAndKey::from(key));
    let mut config = builder.with_no_client_auth().with_cert_resolver(key);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Some(Arc::new(config))
}

/// A token is base64url (RFC 8555 section 8.1), so it cannot lead to another directory.
fn http_file(folder: &Path, token: &str) -> Option<PathBuf> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_token = (1..=200).contains(&token.len()) && token.bytes().all(fits);
    is_token.then(|| folder.join(CHALLENGES).join(format!("{token}.http")))
}

fn tls_file(folder: &Path, name: &str) -> Option<PathBuf> {
    is_dns_name(name).then(|| folder.join(CHALLENGES).join(format!("{name}.pem")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_while_it_is_prepared() {
        let folder = tempfile::tempdir().unwrap();
        super::super::store::make_folder(folder.path()).unwrap();
        let prepared = prepare_http(folder.path(), "a_B-1", "a_B-1.thumb").unwrap();
        assert_eq!(http(folder.path(), "a_B-1").unwrap(), "a_B-1.thumb");
        drop(prepared);
        assert!(http(folder.path(), "a_B-1").is_none());
        assert!(prepare_http(folder.path(), "../lock", "x").is_err());
        assert!(http(folder.path(), "").is_none());
        assert!(prepare_tls(folder.path(), "../lock", &[0; 32]).is_err());
    }
}
