//! How a line of the format `json` reads.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Method, Version};
use serde_json::json;

use super::{Answered, line};
use crate::body::Request;
use crate::environ::Environ;

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
}

impl Facts {
    pub(super) fn of(request: &Request, time: SystemTime) -> Facts {
        let environ = request.extensions().get::<Environ>();
        Facts {
            began: Instant::now(),
            time,
            client: environ.and_then(|environ| environ.client),
            host: environ.map(|environ| environ.host.clone()),
            method: request.method().clone(),
            target: line::without_secrets(line::target(request)).into_owned(),
            version: request.version(),
            referer: line::referer(request).map(Into::into),
            agent: line::agent(request).map(Into::into),
        }
    }

    /// The whole line with its line break.
    pub(super) fn line(&self, answered: &Answered) -> String {
        let line = json!({
            "time": humantime::format_rfc3339_micros(self.time).to_string(),
            "client": self.client,
            "user": answered.user.as_deref(),
            "host": self.host.as_deref(),
            "method": self.method.as_str(),
            "target": self.target,
            "version": format!("{:?}", self.version),
            "status": answered.status,
            "bytes": answered.bytes,
            "micros": self.began.elapsed().as_micros() as u64,
            "referer": self.referer,
            "user_agent": self.agent,
            "request_id": answered.id.as_deref(),
        });
        format!("{line}\n")
    }
}
