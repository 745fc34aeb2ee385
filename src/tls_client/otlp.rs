//! OTLP over HTTP, in protobuf: where to send, how, and what all messages have in common.
//!
//! # Source
//! OTLP 1.x, section "OTLP/HTTP": <https://opentelemetry.io/docs/specs/otlp/>.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::client_config;
use crate::config::{Table, join};
use crate::error::Error;

/// Time limit for one message.
const SENDING: Duration = Duration::from_secs(5);

/// A collector.
#[derive(Debug, Clone)]
pub struct OtlpTarget {
    /// Its address, with the path of the signal.
    pub uri: Uri,
    /// For `https`.
    tls: Option<Arc<ClientConfig>>,
    /// SHA-256 of the file with the authorities.
    authorities: Option<[u8; 32]>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl OtlpTarget {
    /// Reads the options `endpoint`, `ca_file` and `headers` of a table; faults go to `errors`. `example` is the path that
    /// the help shows.
    pub fn read(
        (endpoint, example): (&str, &str),
        ca_file: Option<&Path>,
        headers: &BTreeMap<String, String>,
        table: &Table,
        errors: &mut Vec<Error>,
    ) -> Option<OtlpTarget> {
        let uri = endpoint.parse::<Uri>().ok();
        let known =
            |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        let uri = uri.filter(known);
        if uri.is_none() {
            let message = format!("`{endpoint}` is not the address of a collector");
            let help = format!("write `http://HOST:4318{example}`, or `https://…`");
            errors.push(table.error("endpoint", message).help(help));
        }
        let secure = uri.as_ref().is_some_and(|uri| uri.scheme_str() == Some("https"));
        let tls = (secure || ca_file.is_some())
            .then(|| {
                let config = client_config(ca_file, table.files());
                config.map_err(|error| errors.push(error.at(table.origin("ca_file")))).ok()
            })
            .flatten();
        let tls = tls.filter(|_| secure).map(Arc::new);
        let mut fields = Vec::new();
        for (name, value) in headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    fields.push((name, value));
                }
                _ => {
                    errors.push(table.error(join("headers", name), format!("`{name}` is not a header field")))
                }
            }
        }
        let authorities = ca_file.and_then(|file| table.files().read_text(file).ok());
        let authorities = authorities.map(|text| Sha256::digest(text).into());
        Some(OtlpTarget { uri: uri?, tls, authorities, headers: fields })
    }

    /// Whether it is the same collector, with the same authorities.
    pub fn is_same(&self, other: &OtlpTarget) -> bool {
        (&self.uri, &self.headers, self.authorities) == (&other.uri, &other.headers, other.authorities)
    }

    /// The same collector with another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> OtlpTarget {
        let base = self.uri.path().trim_end_matches('/');
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = format!("{base}{path}").parse().ok();
        OtlpTarget { uri: Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone()), ..self.clone() }
    }

    /// Sends one message on a new connection, within a limit of time.
    /// # Errors
    /// Why it was not accepted, for the log.
    pub async fn post(&self, message: &impl Message) -> Result<(), String> {
        let body = Bytes::from(message.encode_to_vec());
        match tokio::time::timeout(SENDING, self.send(body)).await {
            Ok(sent) => sent,
            Err(_) => Err(format!("no response within {} s", SENDING.as_secs())),
        }
    }

    async fn send(&self, body: Bytes) -> Result<(), String> {
        let failed = |error: &dyn std::error::Error| error.to_string();
        let authority = self.uri.authority().ok_or("the URL has no host")?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
        let (mut sender, driver) = match &self.tls {
            None => connect(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
                let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
                connect(stream.map_err(|error| failed(&error))?).await
            }
        }
        .map_err(|error| failed(&error))?;
        let mut request = http::Request::post(self.uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))
            .map_err(|error| failed(&error))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let answered = sender.send_request(request).await;
        let result = match answered {
            Ok(response) if response.status().is_success() => {
                // The body names what was partially rejected; nothing can be done about it here.
                response.into_body().collect().await.map(drop).map_err(|error| failed(&error))
            }
            Ok(response) => Err(format!("it responded with {}", response.status())),
            Err(error) => Err(failed(&error)),
        };
        driver.abort();
        result
    }
}

/// An HTTP/1 connection over the stream, and the task that runs it.
async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<(SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>)> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    Ok((sender, tokio::spawn(connection)))
}

/// The resource of all messages of this process, with more attributes.
pub fn resource(service: &str, more: impl IntoIterator<Item = KeyValue>) -> Resource {
    let pid = std::process::id();
    let mut attributes = vec![
        text("service.name", service),
        text("service.instance.id", &pid.to_string()),
        number("process.pid", pid.into()),
    ];
    attributes.extend(more);
    Resource { attributes, ..Resource::default() }
}

/// The scope of all messages.
pub fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "paster".to_owned(), version, ..InstrumentationScope::default() }
}

/// An attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// An attribute.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// An attribute.
pub fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// Nanoseconds since 1970, as all messages have them. They fit until the year 2554.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
