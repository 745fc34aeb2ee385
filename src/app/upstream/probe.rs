//! Active health checks: requests a path of each upstream from time to time.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::exchange::{UpstreamExchange, UpstreamStop};
use super::failure::FailureReason;
use super::group::Group;
use super::member::Member;
use super::options::duration;
use super::outgoing::Outgoing;
use super::protocol::Protocol;
use crate::body::Body;
use crate::context::Context;
use crate::environ::Environ;

/// An app that can probe its upstreams.
pub(in crate::app) trait ProbeUpstreams: Send + Sync + 'static {
    /// Its upstreams.
    fn group(&self) -> &Arc<Group>;

    /// Sends one probe to an upstream, on a new connection; `parts` is its head.
    /// # Errors
    /// What is wrong, for the log.
    fn probe(&self, member: &Arc<Member>, parts: Parts) -> impl Future<Output = Result<(), String>> + Send;
}

/// Probes every upstream of `app` from now on, if configured, until nothing else holds the app. Without a
/// runtime (when a config is only checked) it does nothing. Also adds the upstreams to the metrics.
pub(in crate::app) fn start_probes<A: ProbeUpstreams>(app: &Arc<A>, context: &Context) {
    let group = Arc::downgrade(app.group());
    context.parts.add(group);
    for member in &app.group().members().list {
        probe_member(app, member);
    }
}

/// The same for one upstream, until it is gone.
pub(super) fn probe_member<A: ProbeUpstreams>(app: &Arc<A>, member: &Arc<Member>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if app.group().health.path.is_none() {
        return;
    }
    let (app, member) = (Arc::downgrade(app), Arc::downgrade(member));
    runtime.spawn(async move {
        let mut interval = None::<Duration>;
        loop {
            if let Some(interval) = interval {
                tokio::time::sleep(interval).await;
            }
            let (Some(app), Some(member)) = (app.upgrade(), member.upgrade()) else { return };
            if !app.group().members().list.iter().any(|one| Arc::ptr_eq(one, &member)) {
                return;
            }
            let group = app.group();
            interval = Some(duration(group.health.interval_secs));
            let limit = duration(group.health.timeout_secs);
            let probed = tokio::time::timeout(limit, app.probe(&member, probe_parts(group))).await;
            let result = probed.unwrap_or_else(|_| Err("no response in time".to_owned()));
            member.health.probed(&member.name, &member.address.shown, result);
        }
    });
}

/// The head of a probe: a GET of the configured path.
fn probe_parts(group: &Group) -> Parts {
    let mut request = http::Request::new(());
    *request.uri_mut() = group.health.path.as_deref().and_then(|path| path.parse().ok()).unwrap_or_default();
    request.extensions_mut().insert(Environ {
        peer: None,
        client: None,
        relayed: false,
        trusted: false,
        listen: "".into(),
        host: "localhost".into(),
        port: None,
        secure: false,
        script_name: "".into(),
        server: "".into(),
        handle: Default::default(),
    });
    request.into_parts().0
}

/// Sends a probe to an upstream: whether it responds with 2xx or 3xx.
/// # Errors
/// What is wrong, for the log.
pub(in crate::app) async fn send_probe<P: Protocol>(
    group: &Arc<Group>,
    member: &Arc<Member>,
    write: impl FnOnce(&mut Outgoing, &Body) -> P,
) -> Result<(), String> {
    let lease = group.uncounted(member);
    let told = |reason: FailureReason| match std::error::Error::source(&reason) {
        Some(cause) => format!("{reason}: {cause}"),
        None => reason.to_string(),
    };
    let connection = group.connect(&lease.member).await.map_err(told)?;
    let mut exchange = UpstreamExchange::new(group.clone(), lease, connection, Body::empty(), None, write);
    match exchange.head().await {
        Ok(head) => check_status(head.status),
        Err(UpstreamStop::Upstream(reason)) => Err(told(reason)),
        Err(UpstreamStop::Client(error)) => Err(error.to_string()),
    }
}

/// Whether the status of the response to a probe is good.
/// # Errors
/// What is wrong with it.
pub(in crate::app) fn check_status(status: StatusCode) -> Result<(), String> {
    match status.is_success() || status.is_redirection() {
        true => Ok(()),
        false => Err(format!("it responded with {status}")),
    }
}
