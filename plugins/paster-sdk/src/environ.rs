//! What is known of a request beside its head.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use paster_abi as abi;

/// Facts about one request, in its extensions: who sent it, to which host, under which mount.
///
/// The host's gate has checked them; an application need not read `Host` or a forwarded field again.
///
/// ```
/// use axum::Extension;
/// use axum::http::StatusCode;
/// use paster_sdk::Environ;
///
/// async fn account(Extension(environ): Extension<Environ>) -> Result<String, StatusCode> {
///     match environ.user() {
///         Some(user) => Ok(format!("Hello, {user}!")),
///         None => Err(StatusCode::FORBIDDEN),
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/account", axum::routing::get(account));
/// ```
#[derive(Debug, Clone)]
pub struct Environ {
    client: abi::Address,
    peer: abi::Address,
    port: u16,
    secure: bool,
    /// One block for all texts, cut at `ends`: see [`Environ::texts`].
    text: Bytes,
    ends: [u32; TEXTS],
    certificate: Option<Arc<ClientCertificate>>,
}

/// Count of the texts of a request that an environ holds.
const TEXTS: usize = 7;

/// What is known of a client by its TLS certificate, which one of the server's authorities has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// Distinguished name of the subject by RFC 4514, the most specific part first: `CN=ada,O=Example,C=DE`.
    pub subject: String,
    /// Common name of the subject.
    pub common_name: Option<String>,
    /// Serial number in hexadecimal digits: `01A2`. `None` when a web server in front did not tell.
    pub serial: Option<String>,
    /// SHA-256 of the certificate in hexadecimal digits, lower case. `None` when a web server in front did not tell.
    pub sha256: Option<String>,
    /// Subject alternative names with their kinds: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`,
    /// `IP:192.0.2.7`.
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// Copies a certificate's facts.
    ///
    /// # Safety
    /// `raw` must be null or point to a table that lives for the call with all that it borrows.
    unsafe fn of(raw: *const abi::ClientCertificate) -> Option<Arc<ClientCertificate>> {
        // SAFETY: as the caller says, for all slices below.
        unsafe {
            let raw = raw.as_ref()?;
            let text = |slice: &abi::Slice| Some(slice.text()).filter(|text| !text.is_empty());
            let names = match raw.names.is_null() {
                true => &[][..],
                false => std::slice::from_raw_parts(raw.names, raw.name_count),
            };
            Some(Arc::new(ClientCertificate {
                subject: raw.subject.text(),
                common_name: text(&raw.common_name),
                serial: text(&raw.serial),
                sha256: text(&raw.sha256),
                names: names.iter().map(|name| name.text()).collect(),
            }))
        }
    }
}

impl Environ {
    /// The texts of a request that an environ holds, in its order.
    pub(crate) fn texts(request: &abi::Request) -> [abi::Slice; TEXTS] {
        let abi::Request { host, listen, script_name, server, user, auth_type, request_id, .. } = *request;
        [host, listen, script_name, server, user, auth_type, request_id]
    }

    /// A request's facts, with [`Environ::texts`] one after the other in `text`.
    ///
    /// # Safety
    /// What the request borrows must live for the call.
    pub(crate) unsafe fn of(request: &abi::Request, text: Bytes) -> Environ {
        let mut end = 0;
        let ends = Environ::texts(request).map(|part| {
            end += part.len as u32;
            end
        });
        Environ {
            client: request.client,
            peer: request.peer,
            port: request.host_port,
            secure: request.flags & abi::REQUEST_SECURE != 0,
            text,
            ends,
            // SAFETY: as the caller says.
            certificate: unsafe { ClientCertificate::of(request.certificate) },
        }
    }

    fn part(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        std::str::from_utf8(&self.text[start..self.ends[index] as usize]).unwrap_or_default()
    }

    /// Who sent the request: the peer, or what a trusted peer forwarded. `None` over a Unix socket.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.ip()
    }

    /// The other end of the socket; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.ip().map(|ip| SocketAddr::new(ip, self.peer.port))
    }

    /// The address listened on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub fn listen(&self) -> &str {
        self.part(1)
    }

    /// The one effective host, lower case, without its port.
    pub fn host(&self) -> &str {
        self.part(0)
    }

    /// Port of the effective host, where it was given.
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// Whether the client's connection is TLS.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Prefix that mounts took off the path: empty or `/a/b`. Links that the application writes begin with it.
    pub fn script_name(&self) -> &str {
        self.part(2)
    }

    /// Name of the server in the config.
    pub fn server(&self) -> &str {
        self.part(3)
    }

    /// Who the client proved to be: by a middleware such as `auth_basic`, by its certificate (the common name, or the
    /// whole subject without one), or by what a trusted web server in front said (`REMOTE_USER`). A header field of the
    /// client's never sets it.
    pub fn user(&self) -> Option<&str> {
        self.known(4)
    }

    /// How the client proved who it is: `Basic`, `CLIENT_CERT`, or what a trusted web server in front said
    /// (`AUTH_TYPE`).
    pub fn auth_type(&self) -> Option<&str> {
        self.known(5)
    }

    /// The id of the request, when the middleware `request_id` is in the stack: as in the access log.
    pub fn request_id(&self) -> Option<&str> {
        self.known(6)
    }

    /// The client's TLS certificate, when it has shown one that one of the server's authorities has signed.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    fn known(&self, index: usize) -> Option<&str> {
        Some(self.part(index)).filter(|text| !text.is_empty())
    }
}
