//! The TLS handshake, with the current certificates.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::{Choice, client};
use super::options::{ClientCertificates, MinVersion};
use super::settings::{LoadedFiles, TlsSettings};
use super::tickets::{Secret, Tickets};
use crate::environ::ClientCertificate;
use crate::error::Error;

/// The protocols to offer, preferred ones first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Terminates TLS for the connections of one server.
#[derive(Debug)]
pub(crate) struct Terminator {
    settings: TlsSettings,
    server: String,
    secret: Secret,
    config: RwLock<Arc<ServerConfig>>,
}

/// A connection after its handshake.
pub(crate) struct Secured<S> {
    pub(crate) stream: TlsStream<S>,
    /// The client negotiated HTTP/2.
    pub(crate) http2: bool,
    pub(crate) client: Option<Arc<ClientCertificate>>,
    /// The host that requests must be for, if there must be one; empty if the client has named none.
    pub(crate) host: Option<Arc<str>>,
}

/// How a handshake ended.
pub(crate) enum Handshake<S> {
    Secured(Box<Secured<S>>),
    /// An authority has verified its challenge: nothing more follows.
    Challenged,
}

impl Terminator {
    /// Creates it.
    /// # Errors
    /// If the settings and the files do not fit together.
    pub(super) fn new(
        settings: TlsSettings,
        loaded: LoadedFiles,
        server: &str,
        secret: &Secret,
    ) -> Result<Terminator, Error> {
        let config = RwLock::new(Arc::new(configure(&settings, loaded, server, secret)?));
        Ok(Terminator { settings, server: server.to_owned(), secret: secret.clone(), config })
    }

    pub(super) fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// The time limit for [`accept`](Self::accept).
    pub(crate) fn handshake_time(&self) -> Duration {
        self.settings.handshake_time
    }

    /// The response to an authority's request over plain HTTP (RFC 8555 section 8.3), for a token.
    pub(crate) fn http_challenge(&self, token: &str) -> Option<String> {
        self.settings.acme.as_ref()?.http_challenge(token)
    }

    /// New connections use the reloaded certificates from now on; open ones keep theirs.
    pub(super) fn renew(&self, loaded: LoadedFiles) -> Result<(), Error> {
        let config = configure(&self.settings, loaded, &self.server, &self.secret)?;
        *self.config.write() = Arc::new(config);
        Ok(())
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config.read().clone()
    }

    /// Does the handshake; the caller enforces the time limit.
    /// # Errors
    /// If the client has gone, does not speak TLS, or offers nothing that both sides support.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Handshake<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if let Some(acme) = &self.settings.acme
            && let Some(config) = acme.tls_challenge(&hello.client_hello())
        {
            let mut stream = hello.into_stream(config).await?;
            // RFC 8737 section 3: no data is exchanged after the handshake.
            stream.shutdown().await?;
            return Ok(Handshake::Challenged);
        }
        let stream = hello.into_stream(self.config()).await?;
        let connection = stream.get_ref().1;
        let http2 = connection.alpn_protocol() == Some(PROTOCOLS[0]);
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let client = match shown {
            None => None,
            // It was verified, so it can be parsed. If not, refuse the client rather than treat it as one
            // without a certificate.
            Some(shown) => Some(Arc::new(client(shown).ok_or(io::ErrorKind::InvalidData)?)),
        };
        let named = |name: &str| name.trim_end_matches('.').to_ascii_lowercase().into();
        let host = self.settings.strict_sni_host.then(|| connection.server_name().map_or("".into(), named));
        Ok(Handshake::Secured(Box::new(Secured { stream, http2, client, host })))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn configure(
    settings: &TlsSettings,
    loaded: LoadedFiles,
    server: &str,
    secret: &Secret,
) -> Result<ServerConfig, Error> {
    let failed = |cause: rustls::Error| Error::new("cannot set up TLS").because(cause);
    let versions: &[_] = match settings.min_version {
        MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).map_err(failed)?;
    let mut policy = vec![settings.client_certificates as u8];
    let builder = match loaded.roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            policy.extend(roots.digest);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.store, provider());
            let verifier = match settings.client_certificates {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let cannot = "client certificates cannot be verified";
            builder.with_client_cert_verifier(
                verifier.build().map_err(|cause| Error::new(cannot).because(cause))?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice(loaded.certificates)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // A session exists only in its ticket, because the next connection may reach another worker.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Tickets::new(secret, server, &policy));
    Ok(config)
}
