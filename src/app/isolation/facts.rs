//! The facts about a request besides its head, as one header field.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Version};
use serde::{Deserialize, Serialize};

use crate::environ::{ClientCertificate, Environ, RemoteUser, RequestId};
use crate::error::BoxError;
use crate::inflight::RequestHandle;
use crate::session::Session;

/// The field of a request with its facts. A client's field of this name is dropped.
pub(in crate::app) const FACTS: &str = "paster-facts";
/// The field of a response that reports a failure of the app: the percent-encoded reason.
pub(in crate::app) const FAILURE: &str = "paster-failure";
/// The field of a response with the app's changes in the session, as JSON in base64.
const SESSION: &str = "paster-session";

/// The facts, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Facts<'a> {
    peer: Option<SocketAddr>,
    client: Option<IpAddr>,
    relayed: bool,
    trusted: bool,
    listen: Arc<str>,
    host: Arc<str>,
    port: Option<u16>,
    secure: bool,
    script_name: Arc<str>,
    server: Arc<str>,
    /// 10 for HTTP/1.0, 20 for HTTP/2.
    version: u8,
    user: Option<(Arc<str>, Cow<'a, str>, Arc<str>)>,
    id: Option<Arc<str>>,
    certificate: Option<CertificateFacts>,
    /// The data of the session, as JSON.
    #[serde(default)]
    session: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CertificateFacts {
    subject: String,
    common_name: Option<String>,
    serial: Option<String>,
    sha256: Option<String>,
    names: Vec<String>,
    /// In base64.
    der: Option<String>,
}

/// The value of [`FACTS`] for a request.
pub(in crate::app) fn encode(parts: &Parts) -> Option<Vec<u8>> {
    let environ = parts.extensions.get::<Environ>()?;
    let user = parts.extensions.get::<RemoteUser>();
    let facts = Facts {
        peer: environ.peer,
        client: environ.client,
        relayed: environ.relayed,
        trusted: environ.trusted,
        listen: environ.listen.clone(),
        host: environ.host.clone(),
        port: environ.port,
        secure: environ.secure,
        script_name: environ.script_name.clone(),
        server: environ.server.clone(),
        version: match parts.version {
            Version::HTTP_10 => 10,
            Version::HTTP_2 => 20,
            _ => 11,
        },
        user: user.map(|user| (user.name.clone(), Cow::Borrowed(&*user.auth_type), user.groups.clone())),
        id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
        certificate: parts.extensions.get::<Arc<ClientCertificate>>().map(|one| CertificateFacts {
            subject: one.subject.clone(),
            common_name: one.common_name.clone(),
            serial: one.serial.clone(),
            sha256: one.sha256.clone(),
            names: one.names.clone(),
            der: one.der.as_ref().map(|der| STANDARD.encode(der)),
        }),
        session: parts.extensions.get::<Session>().map(Session::to_json),
    };
    serde_json::to_vec(&facts).ok()
}

/// Moves the facts of `field` into the extensions. Returns the client's HTTP version.
/// # Errors
/// When the field does not come from a worker.
pub(super) fn restore(field: &[u8], extensions: &mut Extensions) -> Result<Version, serde_json::Error> {
    let facts: Facts<'_> = serde_json::from_slice(field)?;
    extensions.insert(Environ {
        peer: facts.peer,
        client: facts.client,
        relayed: facts.relayed,
        trusted: facts.trusted,
        listen: facts.listen,
        host: facts.host,
        port: facts.port,
        secure: facts.secure,
        script_name: facts.script_name,
        server: facts.server,
        handle: RequestHandle::default(),
    });
    if let Some((name, auth_type, groups)) = facts.user {
        extensions.insert(RemoteUser { name, auth_type: Cow::Owned(auth_type.into_owned()), groups });
    }
    if let Some(id) = facts.id {
        extensions.insert(RequestId(id));
    }
    if let Some(one) = facts.certificate {
        let der = one.der.and_then(|der| STANDARD.decode(der).ok()).map(Into::into);
        let CertificateFacts { subject, common_name, serial, sha256, names, .. } = one;
        extensions.insert(Arc::new(ClientCertificate { subject, common_name, serial, sha256, names, der }));
    }
    if let Some(session) = facts.session {
        extensions.insert(Session::new(serde_json::from_str(&session)?));
    }
    Ok(match facts.version {
        10 => Version::HTTP_10,
        20 => Version::HTTP_2,
        _ => Version::HTTP_11,
    })
}

/// Adds the app's changes in the session to the response.
pub(super) fn put_changes(session: Option<&Session>, headers: &mut HeaderMap) {
    let Some(changes) = session.map(Session::take_changes).filter(|changes| !changes.is_empty()) else {
        return;
    };
    let changes = serde_json::to_vec(&changes).unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(STANDARD.encode(changes)) {
        headers.insert(SESSION, value);
    }
}

/// Applies these changes to the session of the request.
/// # Errors
/// When they are malformed.
pub(in crate::app) fn take_changes(extensions: &Extensions, headers: &mut HeaderMap) -> Result<(), BoxError> {
    let Some(value) = headers.remove(SESSION) else { return Ok(()) };
    let Some(session) = extensions.get::<Session>() else { return Ok(()) };
    Ok(session.change_by(&STANDARD.decode(value)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_pass() {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        assert_eq!(encode(&parts), None, "no gate has seen it");
        let certificate =
            ClientCertificate { subject: "CN=ä".into(), der: Some("der".into()), ..Default::default() };
        let environ = Environ {
            peer: Some("127.0.0.1:80".parse().unwrap()),
            client: Some("::1".parse().unwrap()),
            relayed: false,
            trusted: true,
            listen: "unix:/a".into(),
            host: "example.org".into(),
            port: Some(8080),
            secure: true,
            script_name: "/über".into(),
            server: "main".into(),
            handle: RequestHandle::default(),
        };
        parts.extensions.insert(environ.clone());
        parts.extensions.insert(RemoteUser::new("Ada", "Basic").with_groups(["staff", "admins"]));
        parts.extensions.insert(RequestId("7".into()));
        parts.extensions.insert(Arc::new(certificate.clone()));
        parts.extensions.insert(Session::new(serde_json::Map::from_iter([("a".to_owned(), 1.into())])));
        parts.version = Version::HTTP_2;
        let mut found = Extensions::new();
        assert_eq!(restore(&encode(&parts).unwrap(), &mut found).unwrap(), Version::HTTP_2);
        assert_eq!(format!("{:?}", found.get::<Environ>().unwrap()), format!("{environ:?}"));
        assert_eq!(found.get::<RemoteUser>(), parts.extensions.get::<RemoteUser>());
        assert_eq!(found.get::<RequestId>(), parts.extensions.get::<RequestId>());
        assert_eq!(**found.get::<Arc<ClientCertificate>>().unwrap(), certificate);
        let (there, mut headers) = (found.get::<Session>().unwrap(), HeaderMap::new());
        put_changes(Some(there), &mut headers);
        assert!(headers.is_empty());
        there.set("b", "ü".into());
        put_changes(Some(there), &mut headers);
        take_changes(&parts.extensions, &mut headers).unwrap();
        assert_eq!(parts.extensions.get::<Session>().unwrap().to_json(), r#"{"a":1,"b":"ü"}"#);
        assert!(headers.is_empty());
        assert!(restore(b"{}", &mut Extensions::new()).is_err());
    }
}
