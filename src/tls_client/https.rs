//! Single requests over HTTPS: one connection per request, for services that are asked rarely.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::BoxError;

/// Maximum length of a response in bytes.
const RESPONSE_LIMIT: usize = 1024 * 1024;

/// A client for single requests.
#[derive(Clone)]
pub struct HttpsClient {
    tls: TlsConnector,
    /// Time limit for one request.
    time: Duration,
    /// Whether a service on this machine may be asked without TLS.
    plain_loopback: bool,
}

impl HttpsClient {
    /// A client with this TLS configuration, and a time limit for one request.
    pub fn new(config: ClientConfig, time: Duration) -> HttpsClient {
        HttpsClient { tls: TlsConnector::from(Arc::new(config)), time, plain_loopback: false }
    }

    /// The same, which also sends requests to `http` URLs of this machine.
    pub fn with_plain_loopback(self) -> HttpsClient {
        HttpsClient { plain_loopback: true, ..self }
    }

    /// Sends a request to its URL, and reads the whole response. Redirects are not followed.
    /// # Errors
    /// If there is no complete response within the time limit, and for a URL that is not `https`.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Bytes>, BoxError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match tokio::time::timeout(self.time, self.connect(request)).await {
            Ok(response) => response,
            Err(_) => Err(format!("there was no response within {} s", self.time.as_secs()).into()),
        }
    }

    async fn connect<B>(&self, request: Request<B>) -> Result<Response<Bytes>, BoxError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let uri = request.uri();
        let authority = uri.authority().ok_or_else(|| format!("`{uri}` has no host"))?.clone();
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if self.plain_loopback && is_loopback(&host) => false,
            _ => return Err(format!("`{uri}` is not an https URL").into()),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|cause| format!("cannot connect to `{authority}`: {cause}"))?;
        stream.set_nodelay(true)?;
        if !tls {
            return exchange(stream, request, authority.as_str()).await;
        }
        let stream = self.tls.connect(ServerName::try_from(host)?, stream).await;
        let stream =
            stream.map_err(|cause| format!("the TLS handshake with `{authority}` failed: {cause}"))?;
        exchange(stream, request, authority.as_str()).await
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn exchange<S, B>(stream: S, mut request: Request<B>, host: &str) -> Result<Response<Bytes>, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or(Uri::from_static("/"), |target: PathAndQuery| Uri::from(target));
    request.headers_mut().insert(HOST, HeaderValue::from_str(host)?);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, RESPONSE_LIMIT).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback() {
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.2", true),
            ("::1", true),
            ("192.0.2.1", false),
            ("a.localhost.example", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
