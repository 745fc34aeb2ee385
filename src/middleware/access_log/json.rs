//! How a line of the format `json` reads.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Method, Version};
use serde_json::json;

use super::{Answered, line};
use crate::body::Request;
use crate::environ::{Environ, RemoteUser, RequestId};

/// The facts of one request. Header fields with secrets have no place in it.
pub(super) struct Facts {
    began: Instant,
    time: SystemTime,
    client: Option<IpAddr>,
    host: Option<Arc<str>>,
    method: Method,
    target: String,
    version: Version,
    referer: Option<String>,
    agent: Option<String>,
    /// What the request says already: by the client's certificate, or by what stands further out.
    user: Option<Arc<str>>,
    id: Option<Arc<str>>,
}

impl Facts {
    pub(super) fn of(request: &Request, came: Instant) -> Facts {
        let extensions = request.extensions();
        let environ = extensions.get::<Environ>();
        let (referer, agent) = line::named(request);
        Facts {
            began: came,
            time: SystemTime::now(),
            client: environ.and_then(|environ| environ.client),
            host: environ.map(|environ| environ.host.clone()),
            method: request.method().clone(),
            target: line::target(request, environ).into_owned(),
            version: request.version(),
            referer: referer.map(|value| line::without_secrets(lossy(value)).into_owned()),
            agent: agent.map(|value| lossy(value).into_owned()),
            user: extensions.get::<RemoteUser>().map(|user| user.name.clone()),
            id: extensions.get::<RequestId>().map(|id| id.0.clone()),
        }
    }

    /// The whole line with its line break.
    pub(super) fn line(&self, answered: &Answered) -> String {
        let line = json!({
            "time": humantime::format_rfc3339_micros(self.time).to_string(),
            "client": self.client,
            "user": answered.user.as_deref().or(self.user.as_deref()),
            "host": self.host.as_deref(),
            "method": self.method.as_str(),
            "target": self.target,
            "version": format!("{:?}", self.version),
            "status": answered.status,
            "bytes": answered.bytes,
            "micros": self.began.elapsed().as_micros() as u64,
            "referer": self.referer,
            "user_agent": self.agent,
            "request_id": answered.id.as_deref().or(self.id.as_deref()),
        });
        format!("{line}\n")
    }
}

fn lossy(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}
