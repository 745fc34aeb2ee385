//! What is known about a request apart from its head.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use paster_abi as abi;

/// Facts about one request, in its extensions: who sent it, to which host, at which mount.
///
/// The host's gate has checked them. An application need not read `Host` or a forwarded field.
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
    /// All texts in one block, cut at `ends`: see [`Environ::texts`].
    text: Bytes,
    ends: [u32; TEXTS],
    certificate: Option<Arc<ClientCertificate>>,
}

/// The number of texts of a request in an environ.
const TEXTS: usize = 8;

/// What a client's TLS certificate states. One of the server's authorities has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// Distinguished name of the subject by RFC 4514, the most specific part first: `CN=ada,O=Example,C=DE`.
    pub subject: String,
    /// Common name of the subject.
    pub common_name: Option<String>,
    /// Serial number in hexadecimal digits: `01A2`. `None` if a web server in front did not pass it on.
    pub serial: Option<String>,
    /// SHA-256 of the certificate in lower-case hexadecimal digits. `None` if a web server in front did not
    /// pass it on.
    pub sha256: Option<String>,
    /// Subject alternative names with their kinds: `DNS:a.example`, `email:ada@a.example`, `URI:spiffe://a.example/ada`,
    /// `IP:192.0.2.7`.
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// Copies a certificate's facts.
    ///
    /// # Safety
    /// `raw` must be null or point to a table that lives for the call, with everything that it borrows.
    unsafe fn of(raw: *const abi::ClientCertificate) -> Option<Arc<ClientCertificate>> {
        // SAFETY: guaranteed by the caller, for all slices below.
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
    /// The texts of a request that an environ holds, in order.
    pub(crate) fn texts(request: &abi::Request) -> [abi::Slice; TEXTS] {
        let abi::Request { host, listen, script_name, server, user, auth_type, request_id, groups, .. } =
            *request;
        [host, listen, script_name, server, user, auth_type, request_id, groups]
    }

    /// A request's facts, with [`Environ::texts`] one after the other in `text`.
    ///
    /// # Safety
    /// Everything that the request borrows must live for the call.
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
            // SAFETY: guaranteed by the caller.
            certificate: unsafe { ClientCertificate::of(request.certificate) },
        }
    }

    /// Writes the facts into a request that a middleware passes on. The request borrows from here.
    pub(crate) fn write(&self, request: &mut abi::Request) {
        let text = |index| abi::Slice::new(self.part(index).as_bytes());
        request.client = self.client;
        request.peer = self.peer;
        request.host_port = self.port;
        request.flags = if self.secure { abi::REQUEST_SECURE } else { 0 };
        request.host = text(0);
        request.listen = text(1);
        request.script_name = text(2);
        request.server = text(3);
        request.user = text(4);
        request.auth_type = text(5);
        request.request_id = text(6);
        request.groups = text(7);
    }

    /// Replaces texts, by their index in [`Environ::texts`].
    fn replace(&mut self, new: &[(usize, &str)]) {
        let mut text = Vec::with_capacity(self.text.len());
        let mut ends = [0; TEXTS];
        for (index, end) in ends.iter_mut().enumerate() {
            let part =
                new.iter().find(|(at, _)| *at == index).map_or_else(|| self.part(index), |(_, part)| part);
            text.extend_from_slice(part.as_bytes());
            *end = text.len() as u32;
        }
        (self.text, self.ends) = (text.into(), ends);
    }

    /// Sets the client's address, for the parts that a middleware passes the request to.
    pub fn set_client(&mut self, client: Option<IpAddr>) {
        self.client = client.map_or(abi::Address::NONE, |client| abi::Address::new(client, 0));
    }

    /// Sets the effective host, without the port, and the port. The host refuses a request with a host that is not valid.
    pub fn set_host(&mut self, host: &str, port: Option<u16>) {
        self.replace(&[(0, host)]);
        self.port = port.unwrap_or(0);
    }

    /// Sets whether the client's connection is TLS.
    pub fn set_secure(&mut self, secure: bool) {
        self.secure = secure;
    }

    /// Sets the prefix that was removed from the path. A middleware that sets it changes the path of the request too.
    pub fn set_script_name(&mut self, prefix: &str) {
        self.replace(&[(2, prefix)]);
    }

    /// Sets the authenticated user, and how it authenticated, such as `Basic`. `None` if no one did.
    ///
    /// ```
    /// use http::{Request, Response, StatusCode};
    /// use paster_sdk::{Body, BoxError, Environ, Next};
    ///
    /// async fn authenticate(mut request: Request<Body>, next: Next) -> Result<Response<Body>, BoxError> {
    ///     if request.headers().get("x-token").is_none_or(|token| token != "secret") {
    ///         let mut response = Response::new("who are you?".into());
    ///         *response.status_mut() = StatusCode::UNAUTHORIZED;
    ///         return Ok(response);
    ///     }
    ///     if let Some(environ) = request.extensions_mut().get_mut::<Environ>() {
    ///         environ.set_user(Some("ann"), "Token");
    ///     }
    ///     next.run(request).await
    /// }
    /// # let _ = paster_sdk::Middleware::from_fn(authenticate);
    /// ```
    pub fn set_user(&mut self, user: Option<&str>, auth_type: &str) {
        let auth_type = if user.is_some() { auth_type } else { "" };
        self.replace(&[(4, user.unwrap_or("")), (5, auth_type), (7, "")]);
    }

    /// Sets the groups of the user. Empty names, and names with a comma, are left out.
    pub fn set_groups<'a>(&mut self, groups: impl IntoIterator<Item = &'a str>) {
        let groups = groups.into_iter().filter(|group| !group.is_empty() && !group.contains(','));
        self.replace(&[(7, &groups.collect::<Vec<_>>().join(","))]);
    }

    /// Sets the request's id.
    pub fn set_request_id(&mut self, id: &str) {
        self.replace(&[(6, id)]);
    }

    fn part(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        std::str::from_utf8(&self.text[start..self.ends[index] as usize]).unwrap_or_default()
    }

    /// The client's address: the peer, or what a trusted peer forwarded. `None` on a Unix socket.
    pub fn client(&self) -> Option<IpAddr> {
        self.client.ip()
    }

    /// The other end of the socket; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.ip().map(|ip| SocketAddr::new(ip, self.peer.port))
    }

    /// The address that the server listens on: `127.0.0.1:8080` or `unix:/run/app.sock`.
    pub fn listen(&self) -> &str {
        self.part(1)
    }

    /// The effective host, in lower case, without the port.
    pub fn host(&self) -> &str {
        self.part(0)
    }

    /// The port of the effective host, if one was given.
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// Whether the client's connection is TLS.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The prefix that mounts removed from the path: empty or `/a/b`. The application's links begin with it.
    pub fn script_name(&self) -> &str {
        self.part(2)
    }

    /// The server's name in the config.
    pub fn server(&self) -> &str {
        self.part(3)
    }

    /// The authenticated user: from a middleware such as `auth_basic`, from the client's certificate (the
    /// common name, or the whole subject if there is none), or from a trusted web server in front
    /// (`REMOTE_USER`). A header field that the client sent never sets it.
    pub fn user(&self) -> Option<&str> {
        self.known(4)
    }

    /// The groups of the user, if the part that authenticated it knows them, such as the middleware `auth_ldap`
    /// and `auth_oidc` (`REMOTE_GROUPS`).
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.part(7).split(',').filter(|group| !group.is_empty())
    }

    /// How the client authenticated: `Basic`, `CLIENT_CERT`, or what a trusted web server in front reported
    /// (`AUTH_TYPE`).
    pub fn auth_type(&self) -> Option<&str> {
        self.known(5)
    }

    /// The request's id, as in the access log, if the middleware `request_id` is in the stack.
    pub fn request_id(&self) -> Option<&str> {
        self.known(6)
    }

    /// The client's TLS certificate, if it sent one that one of the server's authorities has signed.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    fn known(&self, index: usize) -> Option<&str> {
        Some(self.part(index)).filter(|text| !text.is_empty())
    }
}
