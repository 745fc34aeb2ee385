//! Connections to other servers, with TLS for `https`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustix::net::sockopt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// After this time without a byte, it is checked whether the other machine still runs.
const SILENCE: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// The configuration of TLS. `ca_file` has the certificates (PEM) of the authorities to trust; by default, the public ones are
/// trusted.
/// # Errors
/// If the file cannot be read, or has no certificate. The message does not contain the path.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file).map_err(io::Error::other)?;
            let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(io::Error::other("it has no certificate (PEM)"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Connects to the server of an address, within `limit`.
/// # Errors
/// Those of the connection; [`io::ErrorKind::TimedOut`].
pub(crate) async fn connect(
    uri: &Uri,
    tls: &Arc<rustls::ClientConfig>,
    limit: Duration,
) -> io::Result<Box<dyn ByteStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let connecting = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        sockopt::set_tcp_keepidle(&stream, SILENCE)?;
        sockopt::set_tcp_keepintvl(&stream, SILENCE / 2)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        if !is_tls {
            return Ok(Box::new(stream) as Box<dyn ByteStream>);
        }
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, stream).await?) as Box<dyn ByteStream>)
    };
    tokio::time::timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
