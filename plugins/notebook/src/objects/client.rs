//! The HTTP client of the S3 service, with the TLS that the rest of the notebook has.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};

use crate::tls_client::tls_config;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes clients.
#[derive(Debug)]
pub(super) struct S3Connector(rustls::ClientConfig);

impl S3Connector {
    /// `ca_file` has the certificates of the authorities to trust; by default, the public ones are trusted.
    pub(super) fn new(ca_file: Option<&Path>) -> io::Result<S3Connector> {
        tls_config(ca_file).map(S3Connector)
    }
}

impl HttpConnector for S3Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.0.clone());
        let allow_http =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let tls = if allow_http { tls.https_or_http() } else { tls.https_only() };
        let connector = tls.enable_http1().wrap_connector(tcp);
        Ok(HttpClient::new(S3Client(Client::builder(TokioExecutor::new()).build(connector))))
    }
}

#[derive(Debug)]
struct S3Client(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for S3Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.request(request).await.map_err(|error| HttpError::new(kind(&error), error))?;
        let as_error = |error: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(as_error))))
    }
}

/// What is repeated: requests without a connection, and those whose connection was lost.
fn kind(error: &legacy::Error) -> HttpErrorKind {
    if error.is_connect() {
        return HttpErrorKind::Connect;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<hyper::Error>()
            && (error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted())
        {
            return HttpErrorKind::Request;
        }
        if inner.is::<io::Error>() {
            return HttpErrorKind::Interrupted;
        }
        cause = inner.source();
    }
    HttpErrorKind::Unknown
}
