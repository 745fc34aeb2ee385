//! The gateway's REST interface.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::tls_client::{self, ByteStream, tls_config};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a gateway may take for a response. It may have to find a machine for a kernel first.
const RESPONSE: Duration = Duration::from_secs(120);
/// The longest response, in bytes.
const MAX_RESPONSE: usize = 16 << 20;

/// A gateway.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Its address, `http` or `https`, with the path below which its interface is; no slash at the end.
    url: String,
    /// What it asks for in `Authorization: token …`.
    token: Option<String>,
    /// The file with the certificates that its own may be signed by; `None`: those of the usual authorities.
    ca_file: Option<String>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why a gateway could not do something, for users.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the kernel gateway {url} {what}")]
pub struct GatewayError {
    url: String,
    what: String,
}

impl Gateway {
    /// # Errors
    /// When the address is not that of a gateway.
    pub fn new(url: &str, token: Option<String>, ca_file: Option<String>) -> Result<Gateway, GatewayError> {
        let gateway = Gateway { url: url.trim_end_matches('/').to_owned(), token, ca_file };
        let uri: Option<Uri> = gateway.url.parse().ok();
        let scheme = uri.as_ref().filter(|uri| uri.host().is_some()).and_then(Uri::scheme_str);
        match scheme {
            Some("http" | "https") => Ok(gateway),
            _ => Err(gateway.error("is not an address such as `http://gateway.example:8888`")),
        }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> GatewayError {
        GatewayError { url: self.url.clone(), what: what.into() }
    }

    fn unreachable(&self, cause: impl fmt::Display) -> GatewayError {
        self.error(format!("cannot be reached: {cause}"))
    }

    /// Its kernelspecs, as in `/api/kernelspecs`.
    /// # Errors
    /// [`GatewayError`].
    pub async fn specs(&self) -> Result<Value, GatewayError> {
        self.expect(Method::GET, "/api/kernelspecs", None).await
    }

    /// Starts a kernel. Returns its id there.
    pub(super) async fn start(&self, name: &str, env: &[(String, String)]) -> Result<String, GatewayError> {
        let env: serde_json::Map<String, Value> =
            env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let body = json!({ "name": name, "env": env });
        let kernel = self.expect(Method::POST, "/api/kernels", Some(&body)).await?;
        let id = kernel["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| self.error("started a kernel without an id"))
    }

    /// The state of a kernel; `None` if there is no such kernel.
    pub(super) async fn state(&self, id: &str) -> Result<Option<String>, GatewayError> {
        match self.send(Method::GET, &format!("/api/kernels/{id}"), None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, kernel) if status.is_success() => {
                Ok(Some(kernel["execution_state"].as_str().unwrap_or_default().to_owned()))
            }
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    pub(super) async fn interrupt(&self, id: &str) -> Result<(), GatewayError> {
        self.expect(Method::POST, &format!("/api/kernels/{id}/interrupt"), None).await.map(drop)
    }

    /// Ends a kernel. One that does not exist is ended.
    pub(super) async fn end(&self, id: &str) -> Result<(), GatewayError> {
        match self.send(Method::DELETE, &format!("/api/kernels/{id}"), None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(()),
            (status, _) if status.is_success() => Ok(()),
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, GatewayError> {
        match self.send(method, path, body).await? {
            (status, answer) if status.is_success() => Ok(answer),
            (status, answer) => Err(self.refused(status, &answer)),
        }
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> GatewayError {
        let said = answer["message"].as_str().or(answer["reason"].as_str()).unwrap_or_default();
        let help = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": check `kernel_gateway.token`",
            _ => "",
        };
        self.error(format!("answered {status} {said}").trim_end().to_owned() + help)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), GatewayError> {
        let exchange = async {
            let io = TokioIo::new(self.connect().await.map_err(|cause| self.unreachable(cause))?);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(io).await.map_err(|cause| self.unreachable(cause))?;
            let driver = tokio::spawn(connection);
            let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = method;
            *request.uri_mut() =
                self.path(path).parse().map_err(|_| self.error("has a malformed address"))?;
            self.add_headers(request.headers_mut())?;
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let response = sender.send_request(request).await.map_err(|cause| self.unreachable(cause))?;
            let status = response.status();
            let answer = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
            driver.abort();
            let answer = answer.map_err(|cause| self.unreachable(cause))?.to_bytes();
            Ok((status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
        };
        let late = |_| self.error(format!("did not respond within {} s", RESPONSE.as_secs()));
        tokio::time::timeout(RESPONSE, exchange).await.map_err(late)?
    }

    /// The path of a request, below that of the address.
    pub(super) fn path(&self, path: &str) -> String {
        let uri: Uri = self.url.parse().unwrap_or_default();
        format!("{}{path}", uri.path().trim_end_matches('/'))
    }

    /// Adds `Host` and `Authorization`.
    pub(super) fn add_headers(&self, headers: &mut http::HeaderMap) -> Result<(), GatewayError> {
        let uri: Uri = self.url.parse().unwrap_or_default();
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let host = HeaderValue::from_str(authority).map_err(|_| self.error("has a malformed address"))?;
        headers.insert(header::HOST, host);
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("token {token}"))
                .map_err(|_| self.error("has a token with a line break or a control character"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(())
    }

    /// Connects, with TLS for `https`.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn ByteStream>> {
        let uri: Uri = self.url.parse().map_err(io::Error::other)?;
        let file = self.ca_file.as_deref();
        let tls = tls_config(file.map(Path::new)).map_err(|cause| {
            io::Error::other(format!("cannot read `{}`: {cause}", file.unwrap_or_default()))
        })?;
        tls_client::connect(&uri, &Arc::new(tls), CONNECT).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for wrong in ["", "gateway:8888", "ftp://gateway", "http://", "/kernels"] {
            assert!(Gateway::new(wrong, None, None).is_err(), "{wrong}");
        }
        let gateway = Gateway::new("https://g.example:1/base/", Some("secret".into()), None).unwrap();
        assert_eq!(gateway.path("/api/kernels"), "/base/api/kernels");
        let mut headers = http::HeaderMap::new();
        gateway.add_headers(&mut headers).unwrap();
        assert_eq!(headers[header::HOST], "g.example:1");
        assert_eq!(headers[header::AUTHORIZATION], "token secret");
        assert!(!format!("{gateway:?}").contains("secret"));
    }
}
