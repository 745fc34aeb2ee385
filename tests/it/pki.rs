//! A certificate authority for tests, and clients that trust it.
#![allow(dead_code, reason = "each helper serves some of the files")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::inprocess::within;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A new authority.
pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

/// A certificate and its key as files.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// An item of `certificates`.
    pub(crate) fn item(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("{{ certificate_file = \"{certificate}\", key_file = \"{key}\" }}")
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Authority { issuer: Issuer::new(params, key), pem, der }
    }

    /// The authority's certificate as a file.
    pub(crate) fn file(&self, folder: &Path) -> PathBuf {
        let file = folder.join("authority.pem");
        std::fs::write(&file, &self.pem).unwrap();
        file
    }

    /// Signs a certificate for `names` (the first one its common name) as `NAME.pem` and `NAME.key`.
    pub(crate) fn pair(&self, folder: &Path, name: &str, names: &[&str]) -> Pair {
        self.pair_until(folder, name, names, SystemTime::now() + 90 * DAY)
    }

    /// The same, with the end of its validity.
    pub(crate) fn pair_until(&self, folder: &Path, name: &str, names: &[&str], end: SystemTime) -> Pair {
        let (certificate, key) = self.sign(names, end);
        let pair =
            Pair { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&pair.certificate, certificate).unwrap();
        std::fs::write(&pair.key, key).unwrap();
        pair
    }

    /// Certificate and key as PEM.
    pub(crate) fn sign(&self, names: &[&str], end: SystemTime) -> (String, String) {
        let alternative: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(alternative).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.not_before = (end - 91 * DAY).into();
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority, offers `protocols` and sends the certificate `own`.
    pub(crate) fn client(&self, protocols: &[&str], own: Option<&Pair>) -> TlsConnector {
        self.client_with(protocols, own, rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_with(
        &self,
        protocols: &[&str],
        own: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_file_iter(&own.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// Connects and does the handshake.
pub(crate) async fn try_connect(
    client: &TlsConnector,
    address: &str,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(client.connect(name, stream)).await
}

pub(crate) async fn connect(client: &TlsConnector, address: &str, name: &str) -> TlsStream<TcpStream> {
    try_connect(client, address, name).await.unwrap()
}
