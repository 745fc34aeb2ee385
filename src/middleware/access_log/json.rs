//! Lines in the format `json`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Version;
use serde_json::json;

use super::format::Answered;
use super::line;
use crate::body::{Refused, Request};
use crate::environ::{Environ, RemoteUser, RequestId};
use crate::escape;

/// The logged facts of one request. Header fields that hold secrets are never included.
pub(super) struct Facts {
    began: Instant,
    time: SystemTime,
    client: Option<IpAddr>,
    host: Option<Arc<str>>,
    method: String,
    target: String,
    version: Option<Version>,
    referer: Option<String>,
    agent: Option<String>,
    /// The user, if the request already names one: from the client's certificate, or from an outer
    /// middleware.
    user: Option<Arc<str>>,
    id: Option<Arc<str>>,
}

impl Facts {
    pub(super) fn of(request: &Request, came: Instant) -> Facts {
        let extensions = request.extensions();
        let environ = extensions.get::<Environ>();
        let (referer, agent) = line::named(request.headers());
        Facts {
            began: came,
            time: SystemTime::now(),
            client: environ.and_then(|environ| environ.client),
            host: environ.map(|environ| environ.host.clone()),
            method: request.method().to_string(),
            target: line::target(request, environ).into_owned(),
            version: Some(request.version()),
            referer: referer.map(|value| line::without_secrets(lossy(value)).into_owned()),
            agent: agent.map(|value| lossy(value).into_owned()),
            user: extensions.get::<RemoteUser>().map(|user| user.name.clone()),
            id: extensions.get::<RequestId>().map(|id| id.0.clone()),
        }
    }

    pub(super) fn of_refused(request: &Refused<'_>) -> Facts {
        let (referer, agent) = request.head.headers.map(line::named).unwrap_or_default();
        Facts {
            began: request.came,
            time: SystemTime::now(),
            client: request.client,
            host: None,
            method: request.head.method.to_string(),
            target: line::without_secrets(Cow::Borrowed(&request.head.target)).into_owned(),
            version: request.head.version,
            referer: referer.map(|value| line::without_secrets(lossy(value)).into_owned()),
            agent: agent.map(|value| lossy(value).into_owned()),
            user: None,
            id: None,
        }
    }

    /// The whole line with its line break.
    pub(super) fn line(&self, answered: &Answered<'_>) -> String {
        let mut line = json!({
            "time": humantime::format_rfc3339_micros(self.time).to_string(),
            "client": self.client,
            "user": answered.user.as_deref().or(self.user.as_deref()),
            "host": self.host.as_deref(),
            "method": known(&self.method),
            "target": known(&self.target),
            "version": self.version.map(|version| format!("{version:?}")),
            "status": answered.status,
            "bytes": answered.bytes,
            "micros": self.began.elapsed().as_micros() as u64,
            "referer": self.referer,
            "user_agent": self.agent,
            "request_id": answered.id.as_deref().or(self.id.as_deref()),
        });
        if let Some(reason) = answered.reason {
            line["reason"] = reason.into();
        }
        escape::json(line.to_string()) + "\n"
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn lossy(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}
