//! The HTTPS client for an authority.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};

use crate::config::Files;
use crate::error::Error;
use crate::tls_client::{HttpsClient, client_config};

/// Time limit for one request.
const TIME: Duration = Duration::from_secs(30);

pub(super) struct AcmeClient(HttpsClient);

impl AcmeClient {
    /// Trusts the authorities in `ca`; by default, Mozilla's list.
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn new(ca: Option<&Path>, opener: &Files) -> Result<AcmeClient, Error> {
        Ok(AcmeClient(HttpsClient::new(client_config(ca, opener)?, TIME)))
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let response = client.send(request).await.map_err(instant_acme::Error::Other)?;
            Ok(BytesResponse::from(response.map(Full::new)))
        })
    }
}
