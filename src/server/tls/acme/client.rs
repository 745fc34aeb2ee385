//! The HTTPS client for an authority: one connection per request, because an order has only a dozen.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Files;
use crate::error::{BoxError, Error};
use crate::server::tls::certificate;

/// Time limit for one request.
const TIME: Duration = Duration::from_secs(30);
/// Longest response: a certificate chain has a few KiB.
const LONGEST: usize = 1024 * 1024;

pub(super) struct AcmeClient {
    tls: TlsConnector,
}

impl AcmeClient {
    /// Trusts the authorities in `ca`; by default, Mozilla's list.
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn new(ca: Option<&Path>, opener: &Files) -> Result<AcmeClient, Error> {
        let roots = match ca {
            Some(file) => certificate::roots(file, opener)?.store,
            None => Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::new("cannot set up TLS").because(cause))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(AcmeClient { tls: TlsConnector::from(Arc::new(config)) })
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            match tokio::time::timeout(TIME, send(tls, request)).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(error)) => Err(instant_acme::Error::Other(error)),
                Err(_) => Err(instant_acme::Error::Other("the authority did not respond".into())),
            }
        })
    }
}

async fn send(
    tls: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, BoxError> {
    let uri = request.uri();
    if uri.scheme_str() != Some("https") {
        return Err(format!("the authority names `{uri}`, which is not an https URL").into());
    }
    let authority = uri.authority().ok_or("the authority names a URL without a host")?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443)));
    let stream = stream.await.map_err(|cause| format!("cannot connect to `{authority}`: {cause}"))?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from(host)?, stream);
    let stream =
        stream.await.map_err(|cause| format!("the TLS handshake with `{authority}` failed: {cause}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    *request.uri_mut() =
        uri.path_and_query().map_or(Uri::from_static("/"), |target: &PathAndQuery| Uri::from(target.clone()));
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, Full::new(body)))
}
